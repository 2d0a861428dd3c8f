"""What a report needs beside the statistics and the arms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from medalign.records import Question, TrialResult


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
    majority_baseline: float | None = None
    scoring: Literal["raw", "normalised"] = "normalised"
    stated_detectable_difference: float | None = None

    @property
    def chance(self) -> float | None:
        """Expected accuracy of blind guessing on the test questions; None if none has options."""
        shares = [1 / len(question.options) for question in self.questions.values() if question.options]
        return sum(shares) / len(shares) if shares else None
