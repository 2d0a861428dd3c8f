"""What all arms of a comparison must share, as hashes: the contract.

It is made before the search, kept with the results, and compared when a comparison is continued:
a changed model, question, prompt, scoring rule or library would otherwise mix two comparisons into one.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import medalign
from medalign.data.preparation import PreparedData
from medalign.errors import ContractError

LIBRARIES = ("torch", "transformers", "peft", "trl", "bitsandbytes", "tokenizers", "numpy", "scikit-learn")

# What decides how a question is put, how an answer is written and how it is scored.
_PROMPT_FILES = ("data/prompts.py", "modeling/chat.py")
_SCORING_FILES = (
    "modeling/rows.py",
    "modeling/predictor.py",
    "evaluation/metrics.py",
    "evaluation/predictions.py",
)


def make_contract(
    *,
    model: str,
    precision: str,
    base_fingerprint: Mapping[str, str],
    data: PreparedData,
    scoring: str,
    max_new_tokens: int,
    defaults: Mapping[str, Mapping[str, Any]],
) -> dict[str, Any]:
    """The contract of a comparison: plain values, nested one level.

    Args:
        base_fingerprint: Hashes of the base weights and of the tokenizer with its chat template.
        defaults: For each method the settings that its search space leaves alone keep these values.
    """
    return {
        "base": {"model": model, "precision": precision, **base_fingerprint},
        "questions": dict(data.fingerprints)
        | ({"stages": ", ".join(map(str, data.stages))} if len(data.stages) > 1 else {}),
        "prompt": _hash_of(_PROMPT_FILES),
        "decoding": {"method": "greedy, first line", "max_new_tokens": max_new_tokens},
        "scoring": {"rule": scoring, "code": _hash_of(_SCORING_FILES)},
        "defaults": {method: dict(settings) for method, settings in defaults.items()},
        "libraries": {name: _version(name) for name in LIBRARIES},
        "medalign": medalign.__version__,
    }


def check_same_contract(kept: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Refuse to go on under another contract.

    Raises:
        ContractError: Names everything that differs, with both values.
    """
    changes = sorted(_changes(kept, now))
    if changes:
        raise ContractError(
            f"this comparison was begun under another contract ({'; '.join(changes)}); "
            "put that back, or start a new comparison"
        )


def _changes(kept: Any, now: Any, path: str = "") -> Iterator[str]:
    if isinstance(kept, Mapping) and isinstance(now, Mapping):
        for key in kept.keys() | now.keys():
            yield from _changes(kept.get(key), now.get(key), f"{path}.{key}" if path else str(key))
    elif kept != now:
        yield f"{path}: {kept}, now {now}"


def _hash_of(files: tuple[str, ...]) -> str:
    root = Path(medalign.__file__).parent
    digest = hashlib.sha256()
    for file in files:
        digest.update((root / file).read_bytes())
    return digest.hexdigest()[:16]


def _version(library: str) -> str:
    try:
        return importlib.metadata.version(library)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"
