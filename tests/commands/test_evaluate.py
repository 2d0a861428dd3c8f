"""`medalign evaluate`: what it prints and writes, and what it refuses."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from medalign.commands.evaluate import main
from medalign.data.variants import permuted
from medalign.evaluation.predictions import write_parquet
from medalign.records import Prediction
from tests.evaluation.samples import choice, decision, random_predictions, say, take, written
from tests.tiny_models import make_tiny


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Predictions of two arms, one of them over two seeds."""
    write_parquet(tmp_path / "base.parquet", random_predictions(60, 1))
    better = [take_right(p) if index % 3 else p for index, p in enumerate(random_predictions(60, 1))]
    write_parquet(tmp_path / "sft1.parquet", better)
    write_parquet(tmp_path / "sft2.parquet", list(reversed(better)))
    return tmp_path


def take_right(prediction: Prediction) -> Prediction:
    right = prediction.answer_index
    return dataclasses.replace(
        prediction, chosen=right, chosen_raw=right, said=prediction.answer, correct=True
    )


def test_one_file_gives_every_metric_or_the_reason_why_it_is_undefined(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--predictions", str(folder / "base.parquet")]) == 0
    shown = capsys.readouterr().out
    assert "cohen_kappa" in shown and "ece_equal_mass" in shown
    assert "undefined: exact_match, token_f1" in shown and ": no question is answered in writing" in shown
    assert "base: " in shown and "answers confidently wrong" in shown


def test_several_files_are_set_side_by_side(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    named = [f"base={folder / 'base.parquet'}", *(f"sft={folder / f'sft{n}.parquet'}" for n in (1, 2))]
    assert main(["--predictions", *named, "--json", str(folder / "found.json")]) == 0
    shown = capsys.readouterr().out
    assert "sft against base: fixes" in shown and "breaks 0" in shown
    content = json.loads((folder / "found.json").read_text())
    accuracy = {row["arm"]: row["value"] for row in content["metrics"] if row["metric"] == "accuracy"}
    assert accuracy["sft"] > accuracy["base"]
    assert set(content["errors"]) == {"pairs", "slices", "patterns", "oracle", "confident_errors"}
    assert content["errors"]["oracle"]["best_arm"] == "sft"
    kinds = {row["value"]: row for row in content["errors"]["slices"] if row["feature"] == "kind"}
    assert kinds["choice"]["low"] > 0 and kinds["choice"]["undefined"] == ""


def test_the_folder_of_a_comparison_stands_for_its_refits(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for trial, file in (("base-refit-000", "base"), ("sft-refit-000", "sft1"), ("sft-refit-001", "sft2")):
        (folder / "trials" / trial).mkdir(parents=True)
        (folder / f"{file}.parquet").rename(folder / "trials" / trial / "predictions.parquet")
    assert main(["--predictions", str(folder)]) == 0
    assert "sft against base: fixes" in capsys.readouterr().out


def test_calibration_is_shown_after_a_temperature(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    others = [dataclasses.replace(p, question_id=f"v-{p.question_id}") for p in random_predictions(80, 9)]
    write_parquet(folder / "validation.parquet", others)
    given = [
        "--predictions",
        str(folder / "base.parquet"),
        "--validation",
        str(folder / "validation.parquet"),
    ]
    assert main(given) == 0
    assert "brier_scaled" in capsys.readouterr().out.partition("undefined:")[0]


def test_written_answers_and_terms_of_ones_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    predictions = [say(written("a"), "oral iron"), say(written("b"), "give zorp")]
    write_parquet(tmp_path / "p.parquet", predictions)
    (tmp_path / "terms.txt").write_text("oral\n")
    given = ["--predictions", str(tmp_path / "p.parquet"), "--bertscore", "none"]
    assert main([*given, "--terms", str(tmp_path / "terms.txt")]) == 0
    shown = capsys.readouterr().out
    assert "medical_term_f1" in shown.partition("undefined:")[0]
    assert "bertscore_f1: no encoder was given" in shown
    assert "against" not in shown


def test_consistency_over_variants(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    questions = [choice("a"), choice("b")]
    write_parquet(tmp_path / "p.parquet", [take(q, 0) for q in questions])
    write_parquet(tmp_path / "v.parquet", [take(permuted(q), 0) for q in questions])
    given = ["--predictions", str(tmp_path / "p.parquet"), "--variants", str(tmp_path / "v.parquet")]
    assert main(given) == 0
    assert (
        "consistency: 2 variants of 2 questions; the same answer in 0.0% of them" in capsys.readouterr().out
    )


def refused(capsys: pytest.CaptureFixture[str], *given: str) -> str:
    assert main(list(given)) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    return lines[0]


def test_bad_predictions_are_refused_in_one_line(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base = str(folder / "base.parquet")
    assert "gone.parquet: no predictions can be read" in refused(capsys, "--predictions", "gone.parquet")
    write_parquet(folder / "twice.parquet", random_predictions(5, 1) * 2)
    assert "questions 'q0', 'q1', 'q2' and 2 more answered more than once" in refused(
        capsys, "--predictions", str(folder / "twice.parquet")
    )
    write_parquet(folder / "one.parquet", random_predictions(1, 1))
    assert "nothing can be said of fewer than 2" in refused(
        capsys, "--predictions", str(folder / "one.parquet")
    )
    nan = dataclasses.replace(random_predictions(2, 1)[1], option_logprobs=(float("nan"), -1.0, -1.0))
    write_parquet(folder / "nan.parquet", [random_predictions(1, 1)[0], nan])
    assert "question 'q1': a score is nan" in refused(capsys, "--predictions", str(folder / "nan.parquet"))
    write_parquet(folder / "other.parquet", [take(decision(name, "no"), 0) for name in ("q1", "x")])
    assert "arm 'other', seed 0: questions 'q0', 'q10', 'q11' and 56 more not answered" in refused(
        capsys, "--predictions", base, str(folder / "other.parquet")
    )


def test_options_that_do_not_fit_are_refused_in_one_line(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base, sft = str(folder / "base.parquet"), str(folder / "sft1.parquet")
    assert "holds no trials/*-refit-*" in refused(capsys, "--predictions", str(folder))
    assert "--validation: belongs to one arm" in refused(
        capsys, "--predictions", base, sft, "--validation", base
    )
    assert "--variants: belongs to one file" in refused(
        capsys, "--predictions", base, sft, "--variants", base
    )
    assert "--data: embedded holds none of the 60 questions" in refused(
        capsys, "--predictions", base, "--data", "embedded"
    )
    assert "--prediction: not an option; did you mean --predictions?" in refused(
        capsys, "--predictions", base, "--prediction", base
    )
    assert "answers 60 of the questions that are judged, such as 'q0'" in refused(
        capsys, "--predictions", base, "--validation", sft
    )
    write_parquet(folder / "text.parquet", [say(written(name), "iron") for name in "ab"])
    assert "holds no question with options" in refused(
        capsys, "--predictions", base, "--validation", str(folder / "text.parquet")
    )
    assert "--json: " in refused(capsys, "--predictions", base, "--json", str(folder / "gone" / "x.json"))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([], "--predictions: none is given; name a file, or a model"),
        (["--write", "x", "--text", "y"], "--text, --write: needs a model"),
        (["--model", "m"], "--model: nothing to do"),
        (["--model", "m", "--write", "x"], "--write: there is nothing to answer; name questions with --data"),
        (
            ["--model", "m", "--write", "x", "--data", "embedded", "--predictions", "p"],
            "--write: answers anew",
        ),
        (["--model", "m", "--write", "x", "--data", "embedded", "--limit", "1"], "--limit: 1 is too small"),
        (["--model", "m", "--text", "gone.txt"], "--text: gone.txt cannot be read"),
    ],
)
def test_options_that_do_not_go_together_are_refused_before_a_model_is_loaded(
    given: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert message in refused(capsys, *given)


def test_a_model_answers_first_and_reads_a_text(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = make_tiny(tmp_path / "model", "llama")
    (tmp_path / "text.txt").write_text("the iron tablets\n\nare given to the patient\n")
    given = ["--model", str(model), "--precision", "fp32", "--text", str(tmp_path / "text.txt")]
    given += ["--data", "embedded", "--limit", "12", "--orders", "1", "--write", str(tmp_path / "answers")]
    assert main([*given, "--bertscore", "none", "--json", str(tmp_path / "found.json")]) == 0
    shown = capsys.readouterr().out
    assert "perplexity of " in shown and "per word" in shown
    assert "12 questions answered" in shown or "left out as too long" in shown
    assert "consistency: " in shown and "accuracy_raw" in shown
    assert json.loads((tmp_path / "found.json").read_text())["consistency"]["num_variants"] >= 12
    assert sorted(path.name for path in (tmp_path / "answers").iterdir()) == [
        "predictions.parquet",
        "variants.parquet",
    ]
