"""The metrics of one predictor on one split."""

from __future__ import annotations

from collections.abc import Sequence

from medalign.evaluation import metrics
from medalign.records import Prediction


def score_split(predictions: Sequence[Prediction]) -> dict[str, float]:
    """Every quick metric that is defined for these predictions, by name; fractions, except for the counts.

    `accuracy` is that of the comparison's scoring rule, `accuracy_raw` and `accuracy_normalised` those of
    both rules. `macro_f1` is over decision questions alone: positions of a four-option question are no
    classes. `mean_gold_probability` is the mean probability of the right option among those offered.
    `ece_equal_width`, `ece_equal_mass` and `brier` say how far confidences can be believed (`calibration.py`).
    `token_f1` and `exact_match` are over written answers, of which `measuring.py` has more metrics.
    `num_scored` and `num_free_text` are always there.
    """
    from medalign.evaluation.measuring import calibration_errors  # loads NumPy, which `--help` must not

    scored = [p for p in predictions if p.correct is not None]
    written = [p for p in predictions if p.token_f1 is not None]
    result = {"num_scored": float(len(scored)), "num_free_text": float(len(predictions) - len(scored))}
    if scored:
        result["accuracy"] = metrics.accuracy([bool(p.correct) for p in scored])
        result["accuracy_raw"] = metrics.accuracy([p.chosen_raw == p.answer_index for p in scored])
        result["accuracy_normalised"] = metrics.accuracy(
            [p.chosen_normalised == p.answer_index for p in scored]
        )
        result["mean_gold_probability"] = _mean(
            [metrics.gold_probability(p.option_logprobs, p.answer_index or 0) for p in scored]
        )
        result |= calibration_errors(scored)
    decisions = [p for p in scored if p.kind == "decision"]
    if decisions:
        result["macro_f1"] = metrics.macro_f1([p.answer for p in decisions], [p.said for p in decisions])
    if written:
        result["token_f1"] = _mean([p.token_f1 or 0.0 for p in written])
        result["exact_match"] = _mean([float(bool(p.exact_match)) for p in written])
    return result


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
