"""Every metric of one predictor's answers, each with its unit, or with the reason why it is undefined.

`METRICS` is the list of what there is, which `docs/metrics.md` explains; `question_scores` gives the
parts of those that are means over questions, for paired statistics.
"""

# Q = questions

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from medalign.evaluation import calibration, metrics, texts
from medalign.evaluation.agreement import cohen_kappa
from medalign.evaluation.confidence import (
    Temperature,
    confidences,
    option_probabilities,
    scored_only,
    scoring_rule,
)
from medalign.evaluation.medical_terms import medical_term_f1
from medalign.evaluation.predictions import Scoring
from medalign.records import Prediction

Better = Literal["higher", "lower", "neither"]
Scores = dict[str, dict[str, float]]
TextScorer = Callable[[Sequence[str], Sequence[str]], Sequence[tuple[float, float, float]]]
"""From texts and references to precision, recall and F1 of each; `modeling.bertscore.Encoder.score`."""

COVERAGE = 0.8


class MetricInfo(NamedTuple):
    """What a metric is.

    Attributes:
        unit: `fraction` is within 0 and 1.
        over: The answers that it is about.
    """

    title: str
    unit: str
    better: Better
    over: Literal["options", "decisions", "written"]


METRICS: dict[str, MetricInfo] = {
    "accuracy": MetricInfo("accuracy under the scoring rule", "fraction", "higher", "options"),
    "accuracy_raw": MetricInfo("accuracy by log-probability", "fraction", "higher", "options"),
    "accuracy_normalised": MetricInfo(
        "accuracy by log-probability per character", "fraction", "higher", "options"
    ),
    "mean_gold_probability": MetricInfo("probability of the right option", "fraction", "higher", "options"),
    "macro_f1": MetricInfo("macro-F1 over yes, no and maybe", "fraction", "higher", "decisions"),
    "cohen_kappa": MetricInfo("Cohen's kappa over yes, no and maybe", "-1 to 1", "higher", "decisions"),
    "ece_equal_width": MetricInfo("expected calibration error, equal width", "fraction", "lower", "options"),
    "ece_equal_mass": MetricInfo("expected calibration error, equal mass", "fraction", "lower", "options"),
    "brier": MetricInfo("Brier score", "0 to 2", "lower", "options"),
    "aurc": MetricInfo("area under the risk-coverage curve", "fraction", "lower", "options"),
    "accuracy_at_80_coverage": MetricInfo(
        "accuracy on the surest 80% of questions", "fraction", "higher", "options"
    ),
    "temperature": MetricInfo("temperature fitted on validation", "ratio", "neither", "options"),
    "ece_equal_width_scaled": MetricInfo(
        "the same error after temperature scaling", "fraction", "lower", "options"
    ),
    "ece_equal_mass_scaled": MetricInfo(
        "the same error after temperature scaling", "fraction", "lower", "options"
    ),
    "brier_scaled": MetricInfo("Brier score after temperature scaling", "0 to 2", "lower", "options"),
    "exact_match": MetricInfo("exact match", "fraction", "higher", "written"),
    "token_f1": MetricInfo("token F1", "fraction", "higher", "written"),
    "medical_term_f1": MetricInfo("token F1 over medical words", "fraction", "higher", "written"),
    **{f"bleu_{n}": MetricInfo(f"BLEU-{n}", "fraction", "higher", "written") for n in (1, 2, 3, 4)},
    "rouge_1": MetricInfo("ROUGE-1 F", "fraction", "higher", "written"),
    "rouge_2": MetricInfo("ROUGE-2 F", "fraction", "higher", "written"),
    "rouge_l": MetricInfo("ROUGE-L F", "fraction", "higher", "written"),
    "meteor": MetricInfo("METEOR", "fraction", "higher", "written"),
    "meteor_exact_stem": MetricInfo("METEOR without synonyms", "fraction", "higher", "written"),
    "bertscore_precision": MetricInfo("BERTScore, precision", "up to 1", "higher", "written"),
    "bertscore_recall": MetricInfo("BERTScore, recall", "up to 1", "higher", "written"),
    "bertscore_f1": MetricInfo("BERTScore, F1", "up to 1", "higher", "written"),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Measure:
    """One metric of one predictor.

    Attributes:
        value: None where it is undefined.
        num_questions: Answers that it stands on.
        undefined: Why there is no value, else empty.
    """

    name: str
    value: float | None
    num_questions: int
    undefined: str = ""

    @property
    def info(self) -> MetricInfo:
        """What the metric is."""
        return METRICS[self.name]


def measure(
    predictions: Sequence[Prediction],
    *,
    scoring: Scoring | None = None,
    temperature: Temperature | None = None,
    terms: Collection[str] | None = None,
    wordnet: Any = None,
    bertscore: TextScorer | None = None,
) -> list[Measure]:
    """Every metric in the order of `METRICS`; those that these answers do not define say why.

    Args:
        predictions: That `checking.check_predictions` passes.
        scoring: The rule by which options were chosen; found from what was chosen where it is None.
        temperature: Fitted on the same predictor's validation answers.
        terms: Medical words of one's own, in place of the package's.
        wordnet: As `texts.meteor` takes it.
        bertscore: Scores written answers by an encoder.
    """
    rule = scoring or scoring_rule(predictions)
    scores = question_scores(predictions, scoring=rule, terms=terms, wordnet=wordnet, bertscore=bertscore)
    whole = _of_options(predictions, rule, temperature) | _of_decisions(predictions) | _of_texts(predictions)
    missing = _reasons(predictions, temperature, wordnet, bertscore)
    found = []
    for name in METRICS:
        if scores.get(name):
            values = list(scores[name].values())
            found.append(Measure(name=name, value=sum(values) / len(values), num_questions=len(values)))
        else:
            found.append(
                whole.get(name) or Measure(name=name, value=None, num_questions=0, undefined=missing[name])
            )
    return found


def question_scores(
    predictions: Sequence[Prediction],
    *,
    scoring: Scoring | None = None,
    terms: Collection[str] | None = None,
    wordnet: Any = None,
    bertscore: TextScorer | None = None,
) -> Scores:
    """The score of every question for each metric that is a mean over questions: name -> question id -> score.

    A question on which a metric is undefined is not there: `medical_term_f1` needs a medical word in the reference.
    BLEU, F1 over classes, kappa, calibration errors and AURC are no means over questions and are not here.
    """
    scores: Scores = {name: {} for name in METRICS}
    rule = scoring or scoring_rule(predictions)
    for p in scored_only(predictions):
        right = p.answer_index or 0
        probabilities = option_probabilities(p, rule)
        scores["accuracy"][p.question_id] = float(bool(p.correct))
        scores["accuracy_raw"][p.question_id] = float(p.chosen_raw == right)
        scores["accuracy_normalised"][p.question_id] = float(p.chosen_normalised == right)
        scores["mean_gold_probability"][p.question_id] = metrics.gold_probability(p.option_logprobs, right)
        scores["brier"][p.question_id] = calibration.brier_score([probabilities], [right])
    written = [p for p in predictions if p.correct is None]
    for p in written:
        scores["exact_match"][p.question_id] = float(bool(p.exact_match))
        scores["token_f1"][p.question_id] = p.token_f1 or 0.0
        of_terms = medical_term_f1(p.said, p.answer, terms)
        if of_terms is not None:
            scores["medical_term_f1"][p.question_id] = of_terms
        for name, value in texts.rouge(p.said, p.answer)._asdict().items():
            scores[name][p.question_id] = value
        scores["meteor_exact_stem"][p.question_id] = texts.meteor(p.said, p.answer)
        if wordnet is not None:
            scores["meteor"][p.question_id] = texts.meteor(p.said, p.answer, wordnet=wordnet)
    if bertscore is not None and written:
        found = bertscore([p.said for p in written], [p.answer for p in written])
        for p, (precision, recall, f1) in zip(written, found, strict=True):
            scores["bertscore_precision"][p.question_id] = precision
            scores["bertscore_recall"][p.question_id] = recall
            scores["bertscore_f1"][p.question_id] = f1
    return {name: of_questions for name, of_questions in scores.items() if of_questions}


def _of_options(
    predictions: Sequence[Prediction], rule: Scoring, temperature: Temperature | None
) -> dict[str, Measure]:
    """Calibration before and after scaling."""
    scored = scored_only(predictions)
    if not scored:
        return {}
    correct_Q = [bool(p.correct) for p in scored]
    found = calibration_errors(scored, scoring=rule)
    sure_Q = confidences(scored, scoring=rule)
    found["aurc"] = calibration.aurc(sure_Q, correct_Q)
    found["accuracy_at_80_coverage"] = calibration.accuracy_at_coverage(sure_Q, correct_Q, COVERAGE)
    if temperature is not None:
        found["temperature"] = temperature.value
        scaled = calibration_errors(scored, scoring=rule, temperature=temperature.value)
        found |= {f"{name}_scaled": value for name, value in scaled.items()}
    return {name: Measure(name=name, value=value, num_questions=len(scored)) for name, value in found.items()}


def calibration_errors(
    predictions: Sequence[Prediction], *, scoring: Scoring | None = None, temperature: float = 1.0
) -> dict[str, float]:
    """`ece_equal_width`, `ece_equal_mass` and `brier` of the questions with options; empty without any."""
    scored = scored_only(predictions)
    if not scored:
        return {}
    rule = scoring or scoring_rule(scored)
    sure_Q = confidences(scored, scoring=rule, temperature=temperature)
    correct_Q = [bool(p.correct) for p in scored]
    return {
        "ece_equal_width": calibration.expected_calibration_error(sure_Q, correct_Q),
        "ece_equal_mass": calibration.expected_calibration_error(sure_Q, correct_Q, binning="equal_mass"),
        "brier": calibration.brier_score(
            [option_probabilities(p, rule, temperature=temperature) for p in scored],
            [p.answer_index or 0 for p in scored],
        ),
    }


def _of_decisions(predictions: Sequence[Prediction]) -> dict[str, Measure]:
    decisions = [p for p in scored_only(predictions) if p.kind == "decision"]
    if not decisions:
        return {}
    gold, said = [p.answer for p in decisions], [p.said for p in decisions]
    return {
        "macro_f1": _measured("macro_f1", len(decisions), lambda: metrics.macro_f1(gold, said)),
        "cohen_kappa": _measured("cohen_kappa", len(decisions), lambda: cohen_kappa(gold, said)),
    }


def _of_texts(predictions: Sequence[Prediction]) -> dict[str, Measure]:
    written = [p for p in predictions if p.correct is None]
    if not written:
        return {}
    said, answers = [p.said for p in written], [p.answer for p in written]

    def bleu(order: int) -> Measure:
        return _measured(f"bleu_{order}", len(written), lambda: texts.bleu(said, answers, max_order=order))

    return {f"bleu_{order}": bleu(order) for order in (1, 2, 3, 4)}


def _measured(name: str, num_questions: int, compute: Callable[[], float]) -> Measure:
    """The value, or the reason that its function gives for having none."""
    try:
        return Measure(name=name, value=compute(), num_questions=num_questions)
    except ValueError as error:
        return Measure(name=name, value=None, num_questions=num_questions, undefined=str(error))


def _reasons(
    predictions: Sequence[Prediction], temperature: Temperature | None, wordnet: Any, bertscore: Any
) -> Mapping[str, str]:
    """Why a metric without a value has none."""
    missing = {
        "options": "no question has options to choose from",
        "decisions": "there is no yes/no/maybe question",
        "written": "no question is answered in writing",
    }
    reasons = {name: missing[info.over] for name, info in METRICS.items()}
    if scored_only(predictions) and temperature is None:
        scaled = [name for name in METRICS if name == "temperature" or name.endswith("_scaled")]
        reasons |= dict.fromkeys(scaled, "no validation answers were given to fit a temperature on")
    if any(p.correct is None for p in predictions):
        reasons["medical_term_f1"] = "no reference holds a medical word"
        if wordnet is None:
            reasons["meteor"] = "WordNet is not on this machine; run `python -m nltk.downloader wordnet`"
        if bertscore is None:
            names = [name for name in METRICS if name.startswith("bertscore")]
            reasons |= dict.fromkeys(names, "no encoder was given")
    return reasons


def mean_over_seeds(by_seed: Sequence[Sequence[Measure]]) -> list[Measure]:
    """Each metric's mean over seeds; undefined where it is so for any seed.

    Raises:
        ValueError: There is no seed.
    """
    if not by_seed:
        raise ValueError("a mean over seeds needs at least one")
    found = []
    for of_seeds in zip(*by_seed, strict=True):
        values = [m.value for m in of_seeds if m.value is not None]
        undefined = next((m for m in of_seeds if m.value is None), None)
        found.append(undefined or dataclasses.replace(of_seeds[0], value=sum(values) / len(values)))
    return found
