"""The records that pass between the packages: frozen, keyword-only, picklable, free of heavy imports."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

Kind = Literal["choice", "decision", "free_text"]
Split = Literal["train", "validation", "test"]
Stage = Literal["search", "refit"]
Status = Literal["completed", "stopped", "failed"]

KINDS: tuple[Kind, ...] = ("choice", "decision", "free_text")
DECISIONS: tuple[str, ...] = ("yes", "no", "maybe")
BASE = "base"
# Metric of a trial that ran out of memory and came to its end with less of its batch in memory at once.
OUT_OF_MEMORY_RETRIES = "out_of_memory_retries"
# Below a comparison's folder: written by its trials, removed by its driver.
CHECKPOINTS_FOLDER = "checkpoints"


@dataclass(frozen=True, kw_only=True, slots=True)
class Question:
    """One medical question, whatever source it came from.

    Attributes:
        id: Unique within a comparison; starts with the source's name.
        source: Name of the source (`embedded`, `pubmed_qa`, ...).
        kind: `choice` (one of several options), `decision` (yes, no or maybe on an evidence
            passage) or `free_text` (a short written answer).
        text: The question alone, without passage and options.
        answer: The right answer in words; for `choice` and `decision` equal to one option.
        options: What may be answered, in the order shown; empty for `free_text`.
        context: Evidence passage, or empty.
        rationale: Why the answer is right, or empty.
        distractors: Wrong answers of the same form, for preference pairs on free text.
        specialty: Medical specialty or subject.
        group: Questions of one group (same fact, abstract or case) never cross splits.
        split: The source's official split, or None where it has none.
        aliases: Other wordings of a free-text answer that are as right.
        must_have: Statements that a written answer must make to be complete.
        nice_to_have: Statements that it may make.
        image: Path or name of an image without which the question cannot be answered, or empty.
        is_harmful: The question asks for something harmful, and the answer is a refusal.
    """

    id: str
    source: str
    kind: Kind
    text: str
    answer: str
    options: tuple[str, ...] = ()
    context: str = ""
    rationale: str = ""
    distractors: tuple[str, ...] = ()
    specialty: str = "unspecified"
    group: str = ""
    split: Split | None = None
    aliases: tuple[str, ...] = ()
    must_have: tuple[str, ...] = ()
    nice_to_have: tuple[str, ...] = ()
    image: str = ""
    is_harmful: bool = False

    @property
    def answer_index(self) -> int | None:
        """Position of the right answer among the options; None for free text."""
        return self.options.index(self.answer) if self.options else None

    @property
    def is_scored(self) -> bool:
        """Whether accuracy is defined: the question offers options to choose from."""
        return bool(self.options)


@dataclass(frozen=True, kw_only=True, slots=True)
class PreferencePair:
    """A chosen and a rejected answer to the same training question, of the same form.

    Attributes:
        question_id: The training question that both answer.
        chosen: The right answer, with the rationale where the question has one.
        rejected: A wrong answer in the same form and of like length.
        origin: How the rejected answer was made (`option`, `decision`, `distractor`, `other_answer`; `sampled`
            where the base model wrote it; `ready` for a pair that a file gave, `graded` for two answers that
            people judged).
    """

    question_id: str
    chosen: str
    rejected: str
    origin: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Prediction:
    """What one predictor said to one question, with all that the metrics need.

    Attributes:
        option_logprobs: Summed log-probability (nats) of each option given the prompt; empty for free text.
        option_chars: Length in characters of each option, the divisor of the length-normalised score.
        chosen_raw: Option with the largest log-probability (`acc` of lm-evaluation-harness); None for free text.
        chosen_normalised: Option with the largest log-probability per character (`acc_norm` there).
        chosen: The one of these two that counts under the comparison's scoring rule; None for free text.
        said: The chosen option in words, or the generated answer.
        correct: Whether the chosen option is right; None for free text.
        token_f1: Token-level F1 of the generated answer against the reference or the alias that fits best; None where
            nothing was generated.
        exact_match: Whether the generated answer equals one of these after normalisation; None likewise.
        demonstrated: Answers of the worked examples in its prompt, in their order; empty without any.
    """

    question_id: str
    source: str
    kind: Kind
    specialty: str
    group: str
    answer: str
    answer_index: int | None = None
    option_logprobs: tuple[float, ...] = ()
    option_chars: tuple[int, ...] = ()
    chosen_raw: int | None = None
    chosen_normalised: int | None = None
    chosen: int | None = None
    said: str = ""
    correct: bool | None = None
    token_f1: float | None = None
    exact_match: bool | None = None
    demonstrated: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Cost:
    """What a trial used. Adding two costs adds what adds up and keeps the larger peak.

    Attributes:
        wall_seconds: From the start of the trial to its end.
        device_seconds: For which the trial held a GPU, times the share of it that its slot is; 0 without one.
        train_seconds: Spent in optimisation steps.
        score_seconds: Spent in scoring and generating, on any split.
        cpu_seconds: User and system time of the trial's process.
        tokens_trained: Tokens that went forward and backward, every epoch counted.
        tokens_scored: Tokens that went forward in scoring.
        tokens_generated: Tokens written.
        train_flops: Floating-point operations of training, counted from shapes (modeling/flops.py).
        score_flops: Likewise of scoring and generating.
        energy_joules: Of the device, its slot's share; None where no driver tells it.
        device_flops: Operations that the whole device does a second by its maker's data sheet (dense, 16 bits); None
            for a device that is not known.
        peak_gib: Largest memory held during the trial: the device's where there is one, else
            the process's resident set.
    """

    wall_seconds: float = 0.0
    device_seconds: float = 0.0
    train_seconds: float = 0.0
    score_seconds: float = 0.0
    cpu_seconds: float = 0.0
    tokens_trained: int = 0
    tokens_scored: int = 0
    tokens_generated: int = 0
    train_flops: float = 0.0
    score_flops: float = 0.0
    energy_joules: float | None = None
    device_flops: float | None = None
    peak_gib: float = 0.0

    @property
    def train_tokens_per_second(self) -> float | None:
        return (
            self.tokens_trained / self.train_seconds if self.train_seconds and self.tokens_trained else None
        )

    @property
    def train_flops_utilisation(self) -> float | None:
        """Share of the whole device's arithmetic that training used while it ran; other slots use it too."""
        if not (self.device_flops and self.train_seconds):
            return None
        return self.train_flops / self.train_seconds / self.device_flops

    def __add__(self, other: Cost) -> Cost:
        sums = {name: getattr(self, name) + getattr(other, name) for name in _ADDED}
        told = [joules for joules in (self.energy_joules, other.energy_joules) if joules is not None]
        return Cost(
            **sums,
            energy_joules=sum(told) if told else None,
            device_flops=self.device_flops or other.device_flops,
            peak_gib=max(self.peak_gib, other.peak_gib),
        )

    def __sub__(self, part: Cost) -> Cost:
        """Without a part that is accounted for elsewhere; the peak stays."""
        left = {name: max(getattr(self, name) - getattr(part, name), 0) for name in _ADDED}
        joules = self.energy_joules
        if joules is not None and part.energy_joules is not None:
            joules = max(joules - part.energy_joules, 0.0)
        return Cost(**left, energy_joules=joules, device_flops=self.device_flops, peak_gib=self.peak_gib)


_ADDED = tuple(
    field.name
    for field in dataclasses.fields(Cost)
    if field.name not in ("energy_joules", "device_flops", "peak_gib")
)


@dataclass(frozen=True, kw_only=True, slots=True)
class TrialSpec:
    """One setting of one method to be run.

    Attributes:
        trial_id: Unique within the comparison and stable when it is continued, e.g. `sft-search-000`.
        stage: `search` sees train and validation; `refit` trains the chosen setting and answers the test split.
        setting: Values out of the method's search space; empty for `base`.
        seed: Seeds everything random in the trial.
        number: Position within the method and stage, from 0.
    """

    trial_id: str
    method: str
    stage: Stage
    setting: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0
    number: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Progress:
    """One report of a running trial.

    Attributes:
        budget_share: Share of the trial's own budget that is spent, in (0, 1]; the time unit of early stopping.
        score: Validation accuracy so far; what search maximises.
        metrics: Further numbers for the tracker (loss, validation log-likelihood, ...).
        question_scores: Probability of the right option for each scored validation question, in their order, for
            paired tests between trials; empty where nothing was scored.
    """

    budget_share: float
    score: float
    metrics: Mapping[str, float] = field(default_factory=dict)
    cost: Cost = field(default_factory=Cost)
    question_scores: tuple[float, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class TrialResult:
    """How a trial ended.

    Attributes:
        score: Validation accuracy; None if the trial failed before it had one.
        tie_break: Mean probability of the right option on validation, to order equal scores.
        metrics: Final numbers; those of the test split start with `test_`.
        history: Every Progress, oldest first.
        learning_curve: (share of the budget, training loss) for every optimisation step; empty where nothing trains.
        reason: Why it was stopped or failed, else empty.
        remedy: What would do, else empty.
        folder: Where its predictions and adapter lie, relative to the comparison's folder; empty if it left none.
        shared: Work whose result every trial of the comparison may use, by name: what this trial spent on it, which
            is not in `cost`, or an empty Cost where it found the work done.
    """

    spec: TrialSpec
    status: Status
    score: float | None = None
    tie_break: float | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    cost: Cost = field(default_factory=Cost)
    history: tuple[Progress, ...] = ()
    learning_curve: tuple[tuple[float, float], ...] = ()
    reason: str = ""
    remedy: str = ""
    folder: str = ""
    shared: Mapping[str, Cost] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class ArmResult:
    """A method with its best setting, refitted over seeds, as it enters the final comparison.

    Attributes:
        arm: Name in the table; the method's name.
        predictions: For each seed the predictions on the test split, in the order of the questions.
        cost: Of the refits alone, summed over seeds.
        search_cost: Of all search trials of the method, stopped and failed ones included.
        validation_score: Of the best search trial; None for `base` when nothing was searched.
    """

    arm: str
    setting: Mapping[str, Any]
    seeds: tuple[int, ...]
    predictions: tuple[tuple[Prediction, ...], ...]
    cost: Cost
    search_cost: Cost
    validation_score: float | None = None
    num_trials: int = 0
    num_stopped: int = 0
    num_failed: int = 0


class Interval(NamedTuple):
    """A closed interval with its confidence level."""

    low: float
    high: float
    level: float = 0.95


class Spent(NamedTuple):
    """What a trial, or one attempt at it, had used when it failed."""

    cost: Cost
    shared: Mapping[str, Cost]

    def and_then(self, later: Spent) -> Spent:
        """Both together: what an attempt and the next one used."""
        names = {**self.shared, **later.shared}
        shared = {name: self.shared.get(name, Cost()) + later.shared.get(name, Cost()) for name in names}
        return Spent(self.cost + later.cost, shared)


def note_spent(error: BaseException, spent: Spent) -> None:
    """Ties to the error that ended a trial what the trial had used by then."""
    error.__dict__["_medalign_spent"] = spent


def spent_until(error: BaseException) -> Spent | None:
    """What was tied to an error by `note_spent`."""
    found = error.__dict__.get("_medalign_spent")
    return found if isinstance(found, Spent) else None


def trial_result_to_json(result: TrialResult) -> dict[str, Any]:
    """A trial's result as plain values that `json` can write."""
    return dataclasses.asdict(result)


def progress_from_json(raw: Mapping[str, Any]) -> Progress:
    """The inverse of `dataclasses.asdict` for one report."""
    question_scores = tuple(float(score) for score in raw.get("question_scores", ()))
    return Progress(**{**raw, "cost": Cost(**raw["cost"]), "question_scores": question_scores})


def trial_result_from_json(raw: Mapping[str, Any]) -> TrialResult:
    """The inverse of `trial_result_to_json`."""
    history = tuple(progress_from_json(progress) for progress in raw["history"])
    curve = tuple((float(share), float(loss)) for share, loss in raw["learning_curve"])
    return TrialResult(
        **{
            **raw,
            "spec": TrialSpec(**raw["spec"]),
            "cost": Cost(**raw["cost"]),
            "history": history,
            "learning_curve": curve,
            "shared": {name: Cost(**cost) for name, cost in raw.get("shared", {}).items()},
        }
    )
