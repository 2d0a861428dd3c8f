"""What an earlier comparison found, for the searches of a new one to start from."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medalign.config.disk import write_whole
from medalign.errors import StorageError
from medalign.records import TrialResult, trial_result_from_json, trial_result_to_json
from medalign.tracking.folder import ComparisonFolder

# Parts of the contract that decide what a score means.
_SCORE_PARTS = ("base", "questions", "prompt", "decoding", "scoring")
_FILE = "warm_start.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class WarmStart:
    """The search trials of an earlier comparison.

    Attributes:
        comparison_id: Its id.
        trials: For each method those that ended with a score, the best one first.
        is_comparable: Whether its scores mean the same as the new comparison's: same base, questions, prompt and
            scoring. Where they do not, only its best settings are of use.
    """

    comparison_id: str
    trials: Mapping[str, tuple[TrialResult, ...]]
    is_comparable: bool

    def write(self, folder: Path) -> None:
        """Keeps it in the new comparison's folder, which can then go on without the earlier one."""
        content = {
            "comparison_id": self.comparison_id,
            "is_comparable": self.is_comparable,
            "trials": {
                method: [trial_result_to_json(result) for result in results]
                for method, results in self.trials.items()
            },
        }
        write_whole(folder / _FILE, json.dumps(content, indent=2) + "\n")

    @classmethod
    def kept_in(cls, folder: Path) -> WarmStart | None:
        """What the comparison in that folder was started from; None if from nothing."""
        file = folder / _FILE
        if not file.is_file():
            return None
        try:
            raw = json.loads(file.read_text(encoding="utf-8"))
            trials = {
                method: tuple(trial_result_from_json(result) for result in results)
                for method, results in raw["trials"].items()
            }
            return cls(
                comparison_id=raw["comparison_id"], trials=trials, is_comparable=bool(raw["is_comparable"])
            )
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise StorageError(
                f"{file}: cannot be read ({error}); restore it or start a new comparison"
            ) from error


def find_warm_start(
    named: str, results_folder: Path, methods: Sequence[str], contract: Mapping[str, Any]
) -> WarmStart:
    """The searches of the earlier comparison that is named.

    Args:
        named: Its folder, or its id in the results folder.
        methods: Each of which must have been searched there, so that none gets a better start than the others.
        contract: Of the new comparison.

    Raises:
        StorageError: There is no such comparison, or one of the methods has no trial with a score there.
    """
    folder = next(
        (path for path in (Path(named), results_folder / named) if (path / "state.json").is_file()), None
    )
    if folder is None:
        raise StorageError(
            f"warm_start: '{named}' is no comparison's folder, nor the id of one in {results_folder}; "
            "name one, as with --warm-start results/ID"
        )
    earlier = ComparisonFolder(folder)
    by_method: defaultdict[str, list[TrialResult]] = defaultdict(list)
    for result in earlier.results():
        if result.spec.stage == "search" and result.status != "failed" and result.score is not None:
            by_method[result.spec.method].append(result)
    missing = [method for method in methods if method not in by_method]
    if missing:
        raise StorageError(
            f"warm_start: {earlier.id} holds no scored trial of {', '.join(missing)}; compare the methods that it "
            "has, or start without it"
        )
    kept = earlier.contract or {}
    return WarmStart(
        comparison_id=earlier.id,
        trials={method: tuple(sorted(by_method[method], key=_rank, reverse=True)) for method in methods},
        is_comparable=all(kept.get(part) == contract.get(part) for part in _SCORE_PARTS),
    )


def _rank(result: TrialResult) -> tuple[bool, float, float, int]:
    assert result.score is not None
    tie_break = result.tie_break if result.tie_break is not None else float("-inf")
    return result.status == "completed", result.score, tie_break, -result.spec.number
