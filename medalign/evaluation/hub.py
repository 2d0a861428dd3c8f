"""The metrics as modules of Hugging Face `evaluate`, which load from this package and need no network.

`evaluate.load` fetches a module's code from a hub, even that of accuracy. `load` here gives the same kind of object, an
`evaluate.Metric`, so that it works with `compute`, `add_batch` and `evaluate.combine`:

    evaluate.combine([load("accuracy"), load("kappa")]).compute(predictions=["yes"], references=["no"])

The classes are made when first asked for, because `evaluate` loads slowly.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, Literal, NamedTuple

from medalign.errors import ConfigError
from medalign.evaluation import calibration, metrics, texts
from medalign.evaluation.agreement import cohen_kappa
from medalign.evaluation.medical_terms import medical_term_f1

Kind = Literal["labels", "texts", "probabilities"]
Compute = Callable[..., Mapping[str, float | None]]


class Module(NamedTuple):
    """A metric as `evaluate` sees it.

    Attributes:
        kind: What `predictions` and `references` are: `labels` (strings), `texts` (strings), or `probabilities`
            of the options against the position of the right one.
        compute: From predictions, references and further keywords to named values; None where one is undefined.
        description: In a line.
        citation: Whose definition it is.
    """

    kind: Kind
    compute: Compute
    description: str
    citation: str


def _accuracy(predictions: Sequence[str], references: Sequence[str]) -> dict[str, float]:
    return {"accuracy": metrics.accuracy([a == b for a, b in zip(predictions, references, strict=True)])}


def _macro_f1(predictions: Sequence[str], references: Sequence[str]) -> dict[str, float]:
    return {"macro_f1": metrics.macro_f1(references, predictions)}


def _kappa(predictions: Sequence[str], references: Sequence[str]) -> dict[str, float]:
    return {"cohen_kappa": cohen_kappa(references, predictions)}


def _exact_match(predictions: Sequence[str], references: Sequence[str]) -> dict[str, float]:
    return {"exact_match": _mean(metrics.exact_match, predictions, references)}


def _token_f1(predictions: Sequence[str], references: Sequence[str]) -> dict[str, float]:
    return {"token_f1": _mean(metrics.token_f1, predictions, references)}


def _medical_term_f1(
    predictions: Sequence[str], references: Sequence[str], terms: Sequence[str] | None = None
) -> dict[str, float | None]:
    kept = None if terms is None else frozenset(word.lower() for word in terms)
    found = [medical_term_f1(a, b, kept) for a, b in zip(predictions, references, strict=True)]
    defined = [value for value in found if value is not None]
    return {"medical_term_f1": sum(defined) / len(defined) if defined else None}


def _bleu(predictions: Sequence[str], references: Sequence[str], max_order: int = 4) -> dict[str, float]:
    return {f"bleu_{max_order}": texts.bleu(predictions, references, max_order=max_order)}


def _rouge(predictions: Sequence[str], references: Sequence[str]) -> dict[str, float]:
    found = [texts.rouge(a, b) for a, b in zip(predictions, references, strict=True)]
    return {
        name: sum(values) / len(found)
        for name, values in zip(texts.Rouge._fields, zip(*found, strict=True), strict=True)
    }


def _meteor(predictions: Sequence[str], references: Sequence[str]) -> dict[str, float]:
    """With synonyms where WordNet is on this machine, else under the other name."""
    wordnet = texts.find_wordnet()
    score = functools.partial(texts.meteor, wordnet=wordnet)
    return {"meteor_exact_stem" if wordnet is None else "meteor": _mean(score, predictions, references)}


def _calibration_error(
    predictions: Sequence[Sequence[float]],
    references: Sequence[int],
    num_bins: int = calibration.NUM_BINS,
) -> dict[str, float]:
    sure, right = _confidence(predictions, references)
    error = functools.partial(calibration.expected_calibration_error, sure, right, num_bins=num_bins)
    return {"ece_equal_width": error(), "ece_equal_mass": error(binning="equal_mass")}


def _brier(predictions: Sequence[Sequence[float]], references: Sequence[int]) -> dict[str, float]:
    return {"brier": calibration.brier_score(predictions, references)}


def _aurc(predictions: Sequence[Sequence[float]], references: Sequence[int]) -> dict[str, float]:
    return {"aurc": calibration.aurc(*_confidence(predictions, references))}


MODULES: dict[str, Module] = {
    "accuracy": Module("labels", _accuracy, "Share of labels that are right.", "-"),
    "macro_f1": Module("labels", _macro_f1, "Mean F1 over the labels of the references.", "-"),
    "kappa": Module("labels", _kappa, "Agreement beyond chance.", "Cohen (1960)"),
    "exact_match": Module(
        "texts", _exact_match, "Share of equal texts, normalised.", "Rajpurkar et al. (2016)"
    ),
    "token_f1": Module("texts", _token_f1, "Mean F1 of shared words.", "Rajpurkar et al. (2016)"),
    "medical_term_f1": Module(
        "texts",
        _medical_term_f1,
        "Mean F1 of shared medical words; `terms` in place of the list.",
        "medalign",
    ),
    "bleu": Module("texts", _bleu, "Corpus BLEU up to `max_order`.", "Papineni et al. (2002); Post (2018)"),
    "rouge": Module("texts", _rouge, "Mean ROUGE-1, -2 and -L.", "Lin (2004)"),
    "meteor": Module("texts", _meteor, "Mean METEOR.", "Lavie and Agarwal (2007)"),
    "expected_calibration_error": Module(
        "probabilities",
        _calibration_error,
        "Expected calibration error in `num_bins` bins.",
        "Guo et al. (2017)",
    ),
    "brier": Module("probabilities", _brier, "Brier score over all options, 0 to 2.", "Brier (1950)"),
    "aurc": Module("probabilities", _aurc, "Area under the risk-coverage curve.", "Geifman et al. (2019)"),
}


def load(name: str, **options: Any) -> Any:
    """A metric as an `evaluate.Metric`.

    Args:
        options: As `evaluate.Metric` takes them; by default nothing is written to disk (`keep_in_memory`).

    Raises:
        ConfigError: There is no such metric.
    """
    if name not in MODULES:
        close = get_close_matches(name, MODULES, n=1)
        remedy = f"did you mean {close[0]}?" if close else f"use one of {', '.join(MODULES)}"
        raise ConfigError(f"{name}: not a metric; {remedy}")
    if options.get("num_process", 1) == 1:
        options = {"keep_in_memory": True, **options}
    return _class_of(name)(**options)


@functools.cache
def _class_of(name: str) -> Any:
    import datasets
    import evaluate

    module = MODULES[name]
    text = datasets.Value("string")
    features: dict[str, Any] = {"predictions": text, "references": text}
    if module.kind == "probabilities":
        options = datasets.List(datasets.Value("float64"))
        features = {"predictions": options, "references": datasets.Value("int64")}

    def info(self: Any) -> Any:
        return evaluate.MetricInfo(
            description=module.description,
            citation=module.citation,
            inputs_description=f"{module.description} predictions and references: {module.kind}.",
            features=datasets.Features(features),
        )

    def compute(self: Any, predictions: Any, references: Any, **options: Any) -> dict[str, float | None]:
        return dict(module.compute(predictions, references, **options))

    title = "".join(part.capitalize() for part in name.split("_"))
    return type(title, (evaluate.Metric,), {"_info": info, "_compute": compute, "__module__": __name__})


def _confidence(
    predictions: Sequence[Sequence[float]], references: Sequence[int]
) -> tuple[list[float], list[bool]]:
    """Probability of the likeliest option, the first of equals, and whether it is the right one."""
    chosen = [metrics.choose_raw(options) for options in predictions]
    sure = [options[index] for options, index in zip(predictions, chosen, strict=True)]
    return sure, [index == right for index, right in zip(chosen, references, strict=True)]


def _mean(score: Callable[[str, str], float], texts: Sequence[str], references: Sequence[str]) -> float:
    values = [float(score(text, reference)) for text, reference in zip(texts, references, strict=True)]
    return sum(values) / len(values)
