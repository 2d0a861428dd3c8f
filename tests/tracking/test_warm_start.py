from __future__ import annotations

from pathlib import Path

import pytest

from medalign.config.experiment import load_experiment
from medalign.errors import StorageError
from medalign.records import Stage, Status, TrialResult, TrialSpec
from medalign.tracking.folder import ComparisonFolder
from medalign.tracking.warm_start import WarmStart, find_warm_start

CONTRACT = {
    "base": {"model": "tiny", "weights": "aa"},
    "questions": {"train": "1", "validation": "2"},
    "prompt": "p",
    "decoding": {"max_new_tokens": 24},
    "scoring": {"rule": "raw"},
    "libraries": {"torch": "2.12"},
}


def _result(
    method: str, number: int, score: float | None, *, status: Status = "completed", stage: Stage = "search"
) -> TrialResult:
    spec = TrialSpec(
        trial_id=f"{method}-{stage}-{number:03d}",
        method=method,
        stage=stage,
        setting={"x": number / 10},
        number=number,
    )
    return TrialResult(spec=spec, status=status, score=score)


@pytest.fixture
def earlier(tmp_path: Path) -> ComparisonFolder:
    experiment = load_experiment(None, {"results_folder": str(tmp_path / "results")})
    folder = ComparisonFolder.create(experiment, "made by a test")
    folder.write_contract(CONTRACT)
    for result in (
        _result("sft", 0, 0.4),
        _result("sft", 1, 0.9, status="stopped"),
        _result("sft", 2, 0.6),
        _result("sft", 3, None, status="failed"),
        _result("sft", 0, 0.99, stage="refit"),
        _result("icl", 0, 0.3),
        _result("dpo", 0, None, status="failed"),
    ):
        folder.write_result(result)
    return folder


def test_the_best_setting_that_ran_to_its_end_comes_first(earlier: ComparisonFolder) -> None:
    found = find_warm_start(str(earlier.path), Path("nowhere"), ["sft", "icl"], CONTRACT)
    assert [result.spec.number for result in found.trials["sft"]] == [2, 0, 1]
    assert set(found.trials) == {"sft", "icl"}
    assert found.comparison_id == earlier.id


def test_it_is_found_by_its_id_in_the_results_folder(earlier: ComparisonFolder) -> None:
    assert find_warm_start(earlier.id, earlier.path.parent, ["icl"], CONTRACT).comparison_id == earlier.id


@pytest.mark.parametrize(
    ("changes", "is_comparable"),
    [
        ({}, True),
        ({"libraries": {"torch": "2.13"}}, True),
        ({"questions": {"train": "1", "validation": "3"}}, False),
        ({"base": {"model": "tiny", "weights": "bb"}}, False),
        ({"scoring": {"rule": "normalised"}}, False),
    ],
)
def test_scores_are_comparable_where_they_mean_the_same(
    earlier: ComparisonFolder, changes: dict[str, object], is_comparable: bool
) -> None:
    found = find_warm_start(earlier.id, earlier.path.parent, ["sft"], {**CONTRACT, **changes})
    assert found.is_comparable == is_comparable


def test_a_method_without_a_scored_trial_is_refused(earlier: ComparisonFolder) -> None:
    with pytest.raises(
        StorageError, match=r"^warm_start: \S+ holds no scored trial of dpo; compare the methods"
    ):
        find_warm_start(earlier.id, earlier.path.parent, ["sft", "dpo"], CONTRACT)


def test_what_is_no_comparison_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        StorageError, match=r"^warm_start: 'nope' is no comparison's folder, nor the id of one in"
    ):
        find_warm_start("nope", tmp_path, ["sft"], CONTRACT)


def test_a_comparison_keeps_what_it_was_started_from(earlier: ComparisonFolder, tmp_path: Path) -> None:
    found = find_warm_start(earlier.id, earlier.path.parent, ["sft", "icl"], CONTRACT)
    assert WarmStart.kept_in(tmp_path) is None
    found.write(tmp_path)
    assert WarmStart.kept_in(tmp_path) == found
