"""The contract that every method keeps, and the untouched base model as the simplest one.

A method is given a loaded base model, the training data and one setting. It calls `checkpoint` as
its budget is spent, which scores the validation questions and lets a scheduler stop it, and ends
with a predictor. What is asked, how an answer is scored and what counts as right is the same for
all methods and lies outside them.
"""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from medalign.methods.checkpoints import Checkpoints
from medalign.modeling.base_models import BaseModel
from medalign.modeling.metering import Meter
from medalign.modeling.predictor import Predictor
from medalign.records import BASE, PreferencePair, Question

Checkpoint = Callable[[float, Predictor], None]
"""Called with the share of the budget spent, in (0, 1], and the predictor as it is now; raises TrialStopped."""


@dataclass(frozen=True, kw_only=True)
class TrainingData:
    """What a method may learn from: the same questions for every method.

    Attributes:
        questions: The training questions: targets of SFT, demonstration pool of ICL.
        pairs: A preference pair for every training question, in the same order, for DPO.
        stages: How many questions each stage of a curriculum has, in their order: what is trained goes through one
            after the other. Empty, or one stage, for questions in any order.
        reference_logprobs: For each pair the base model's log-probabilities (nats) of the chosen and the
            rejected answer; computed when first asked for and kept for all trials of a comparison.
    """

    questions: tuple[Question, ...]
    pairs: tuple[PreferencePair, ...] = ()
    stages: tuple[int, ...] = ()
    reference_logprobs: Callable[[BaseModel, Meter], tuple[tuple[float, float], ...]] | None = None

    def __post_init__(self) -> None:
        assert not self.stages or sum(self.stages) == len(self.questions)


@dataclass(frozen=True, kw_only=True)
class MethodRun:
    """What is particular to one run of a method.

    Attributes:
        checkpoints: Shares of the budget, ascending and below 1, at which `checkpoint` is due.
        learning_curve: Filled by training methods: (share of the budget, training loss) for each step.
        kept: Checkpoints to go on from after the process has died; None keeps none.
        has_run_out: Whether the same run was tried before and needed more memory than there is.
    """

    base: BaseModel
    data: TrainingData
    setting: Mapping[str, Any]
    seed: int
    meter: Meter
    checkpoint: Checkpoint
    checkpoints: tuple[float, ...] = ()
    max_new_tokens: int = 24
    learning_curve: list[tuple[float, float]] = field(default_factory=list)
    kept: Checkpoints | None = None
    has_run_out: bool = False


class Method(ABC):
    """One way of adapting a base model.

    Attributes:
        name: As written on the command line.
        settings_class: A frozen dataclass; its fields are what a search space may name, its defaults the first trial.
        relative_cost: Orders methods by how long a trial takes; longer ones are started first.
        learns_from_pairs: Whether the preference pairs are what it trains on.
    """

    name: ClassVar[str]
    settings_class: ClassVar[type]
    relative_cost: ClassVar[float] = 1.0
    learns_from_pairs: ClassVar[bool] = False

    def settings(self, setting: Mapping[str, Any]) -> Any:
        """The setting as the method's own settings, checked.

        Raises:
            ConfigError: A value is out of its range.
            TypeError: A key is no setting of the method; search spaces are checked before.
        """
        return self.settings_class(**setting)

    def depends_on_seed(self, setting: Mapping[str, Any]) -> bool:
        """Whether two seeds can give different answers under this setting."""
        return True

    @abstractmethod
    def adapted(self, run: MethodRun) -> contextlib.AbstractContextManager[AdaptedModel]:
        """Adapt the base model within a context; leaving it gives the base model back untouched."""


@dataclass(frozen=True, kw_only=True)
class AdaptedModel:
    """What adapting ends with: a predictor, and how to keep what was learnt (None where nothing was)."""

    predictor: Predictor
    save_adapter: Callable[[str], None] | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class BaseSettings:
    """The base model has nothing to set."""


class Base(Method):
    """The untouched base model, asked without any demonstration: what every method has to beat."""

    name = BASE
    settings_class = BaseSettings

    def depends_on_seed(self, setting: Mapping[str, Any]) -> bool:
        return False

    @contextlib.contextmanager
    def adapted(self, run: MethodRun) -> Iterator[AdaptedModel]:
        predictor = Predictor(run.base, run.meter, max_new_tokens=run.max_new_tokens)
        run.checkpoint(1.0, predictor)
        yield AdaptedModel(predictor=predictor)
