"""What a report needs beside the statistics and the arms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from medalign.records import Prediction, Question, TrialResult
from medalign.reporting.ledger import Price


class Explained(Protocol):
    """How much of the spread in validation scores each searched setting explains; see `scheduling.importance`."""

    @property
    def shares(self) -> Mapping[str, float]: ...

    @property
    def num_trials(self) -> int: ...

    @property
    def why_not(self) -> str: ...


@dataclass(frozen=True, kw_only=True)
class ReportData:
    """Everything around the numbers.

    Attributes:
        comparison_id: Names the comparison and its folder.
        experiment: Name of the experiment.
        command: The command line that reproduces the comparison.
        date: Day, and time where wanted, in ISO form.
        contract: What all arms shared, as plain values, nested as it likes.
        card: What the questions are: counts for each split under `splits`, and whatever else is to be shown.
        environment: Versions and the machine, as plain values.
        trials: Every trial and refit, failed ones included.
        questions: The test questions by id.
        method_names: What was compared, the base first; methods without an arm are among them.
        settings: Every setting of the experiment, as plain values.
        validation: For an arm what the search trial with its setting answered to the validation questions.
        importances: For a method what its searched settings explain of the spread in validation accuracy.
        price: Rates for machine time.
        is_finished: Whether all trials have ended; else the report is of the arms so far.
        majority_baseline: Accuracy on the test of always answering what was most frequent in training.
        scoring: Which of a prediction's two choices counts.
        stated_detectable_difference: The minimum detectable difference, a fraction, that was stated before the
            search; None if none was.
    """

    comparison_id: str
    experiment: str
    command: str
    date: str
    contract: Mapping[str, Any] = field(default_factory=dict)
    card: Mapping[str, Any] = field(default_factory=dict)
    environment: Mapping[str, Any] = field(default_factory=dict)
    trials: Sequence[TrialResult] = ()
    questions: Mapping[str, Question] = field(default_factory=dict)
    method_names: Sequence[str] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    validation: Mapping[str, Sequence[Prediction]] = field(default_factory=dict)
    importances: Mapping[str, Explained] = field(default_factory=dict)
    price: Price = field(default_factory=Price)
    is_finished: bool = True
    majority_baseline: float | None = None
    scoring: Literal["raw", "normalised"] = "normalised"
    stated_detectable_difference: float | None = None

    @property
    def chance(self) -> float | None:
        """Expected accuracy of blind guessing on the test questions; None if none has options."""
        shares = [1 / len(question.options) for question in self.questions.values() if question.options]
        return sum(shares) / len(shares) if shares else None
