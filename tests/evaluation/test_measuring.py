"""All metrics of a predictor: which are defined, on how many questions, and why others are not."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from sklearn.metrics import accuracy_score, cohen_kappa_score

from medalign.evaluation.confidence import fit_temperature
from medalign.evaluation.measuring import METRICS, Measure, mean_over_seeds, measure, question_scores
from medalign.evaluation.summary import score_split
from medalign.evaluation.texts import bleu, rouge
from medalign.records import Prediction
from tests.evaluation.samples import decision, random_predictions, say, take, written

DOCS = Path(__file__).parents[2] / "docs" / "metrics.md"
TEXTS = [
    say(written("w1", "oral iron tablets for two months"), "iron tablets for two months"),
    say(written("w2", "stop the metoprolol now"), "continue metoprolol now"),
    say(written("w3", "after two days"), "after four days"),
]


def found(predictions: list[Prediction], **options) -> dict[str, Measure]:  # type: ignore[no-untyped-def]
    return {m.name: m for m in measure(predictions, **options)}


def test_every_metric_is_there_in_its_order_with_a_value_or_a_reason() -> None:
    for predictions in (random_predictions(30, 1), TEXTS, [*random_predictions(30, 1), *TEXTS]):
        measures = measure(predictions)
        assert [m.name for m in measures] == list(METRICS)
        assert all((m.value is None) == bool(m.undefined) for m in measures)


def test_metrics_of_options_agree_with_the_summary_and_with_scikit_learn() -> None:
    predictions = random_predictions(90, 2)
    measures, summary = found(predictions), score_split(predictions)
    for name in set(summary) & set(METRICS):
        assert measures[name].value == pytest.approx(summary[name], abs=1e-12)
    assert measures["accuracy"].value == accuracy_score(
        [p.answer_index for p in predictions], [p.chosen for p in predictions]
    )
    decisions = [p for p in predictions if p.kind == "decision"]
    expected = cohen_kappa_score([p.answer for p in decisions], [p.said for p in decisions])
    assert measures["cohen_kappa"].value == pytest.approx(expected, abs=1e-12)
    assert (measures["cohen_kappa"].num_questions, measures["accuracy"].num_questions) == (30, 90)
    assert measures["rouge_l"].undefined == "no question is answered in writing"


def test_metrics_of_texts_are_means_but_for_bleu() -> None:
    measures = found(TEXTS)
    pairs = [(p.said, p.answer) for p in TEXTS]
    assert measures["rouge_l"].value == pytest.approx(sum(rouge(*pair).rouge_l for pair in pairs) / 3)
    assert measures["bleu_2"].value == bleu(*map(list, zip(*pairs, strict=True)), max_order=2)
    assert measures["medical_term_f1"].num_questions == 2
    assert measures["accuracy"].undefined == "no question has options to choose from"
    assert measures["bertscore_f1"].undefined == "no encoder was given"
    assert measures["meteor"].undefined.startswith("WordNet is not on this machine")
    assert found([TEXTS[2]])["medical_term_f1"].undefined == "no reference holds a medical word"


def test_an_encoder_is_given_all_texts_at_once() -> None:
    asked = []

    def scorer(texts, references):  # type: ignore[no-untyped-def]
        asked.append((texts, references))
        return [(0.1, 0.2, 0.3 + number) for number in range(len(texts))]

    measures = found([*random_predictions(3, 3), *TEXTS], bertscore=scorer)
    assert asked == [([p.said for p in TEXTS], [p.answer for p in TEXTS])]
    assert measures["bertscore_f1"].value == pytest.approx(1.3)


def test_what_a_metric_says_of_itself_is_shown_where_it_is_undefined() -> None:
    same = [take(decision(str(index), "yes"), 0) for index in range(3)]
    assert "one label ('yes')" in found(same)["cohen_kappa"].undefined
    assert found([say(written("a"), "iron"), say(written("b"), "iron")])["bleu_2"].undefined == (
        "BLEU-2 is undefined: no text has 2 tokens"
    )


def test_a_temperature_changes_calibration_and_no_choice() -> None:
    validation, test = random_predictions(200, 4), random_predictions(200, 5)
    temperature = fit_temperature(validation)
    measures = found(test, temperature=temperature)
    assert measures["temperature"].value == temperature.value
    assert measures["brier_scaled"].value < measures["brier"].value
    assert "no validation answers" in found(test)["brier_scaled"].undefined


def test_question_scores_are_what_the_means_are_made_of() -> None:
    predictions = [*random_predictions(30, 6), *TEXTS]
    scores, measures = question_scores(predictions), found(predictions)
    assert {"accuracy", "brier", "token_f1", "rouge_1", "meteor_exact_stem"} <= set(scores)
    assert not {"bleu_4", "macro_f1", "cohen_kappa", "ece_equal_mass", "aurc"} & set(scores)
    for name, of_questions in scores.items():
        assert measures[name].value == pytest.approx(sum(of_questions.values()) / len(of_questions))
        assert set(of_questions) <= {p.question_id for p in predictions}


def test_means_over_seeds_are_undefined_where_one_seed_is() -> None:
    one, other = measure(random_predictions(30, 7)), measure(random_predictions(30, 8))
    means = {m.name: m for m in mean_over_seeds([one, other])}
    accuracies = [next(m.value for m in side if m.name == "accuracy") for side in (one, other)]
    assert means["accuracy"].value == pytest.approx(sum(accuracies) / 2)
    constant = measure([take(decision(str(index), "yes"), 0) for index in range(3)])
    kappa = next(m for m in mean_over_seeds([one, constant]) if m.name == "cohen_kappa")
    assert kappa.value is None and "one label" in kappa.undefined
    with pytest.raises(ValueError, match="needs at least one"):
        mean_over_seeds([])


def test_every_metric_is_explained_in_the_documentation() -> None:
    explained = set(re.findall(r"`([a-z0-9_]+)`", DOCS.read_text(encoding="utf-8")))
    assert set(METRICS) <= explained
