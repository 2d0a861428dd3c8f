"""Direct preference optimisation: a LoRA adapter learns to prefer the right answer to a wrong one of the same form.

The reference is the base model itself, with the adapter off, so the first loss is ln 2. Its
log-probabilities depend on base and data alone: they are computed once a comparison and shared by
all trials. The prompt that chosen and rejected answer share goes through the model once.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

from medalign.errors import ConfigError
from medalign.methods.base import AdaptedModel, Method, MethodRun
from medalign.methods.training import LoraSettings, dpo_trainer, planned, trained_adapter
from medalign.modeling.chat import Chat
from medalign.modeling.predictor import Predictor


@dataclass(frozen=True, kw_only=True, slots=True)
class DpoSettings(LoraSettings):
    """Settings of DPO.

    Attributes:
        beta: Strength of the pull towards the reference, above 0 (Rafailov et al. 2023, eq. 7).
    """

    beta: float = 0.1

    def __post_init__(self) -> None:
        LoraSettings.__post_init__(self)
        if not self.beta > 0:
            raise ConfigError(f"dpo.beta: {self.beta} is not above 0")


class Dpo(Method):
    """DPO with the sigmoid loss (Rafailov et al. 2023, eq. 7) on a LoRA adapter."""

    name = "dpo"
    settings_class = DpoSettings
    relative_cost = 3.0
    learns_from_pairs = True

    @contextlib.contextmanager
    def adapted(self, run: MethodRun) -> Iterator[AdaptedModel]:
        settings: DpoSettings = self.settings(run.setting)
        chat = Chat(run.base.tokenizer)
        by_id = {question.id: question for question in run.data.questions}
        rows = [chat.preference_row(by_id[pair.question_id], pair) for pair in run.data.pairs]
        compute = run.data.reference_logprobs
        if compute is not None:
            reference = compute(run.base, run.meter)
        else:
            reference = tuple(
                (c, r) for c, r in Predictor(run.base, run.meter).score_rows(rows, as_in_training=True)
            )
        settings = planned(run, settings, rows)
        with trained_adapter(run, settings, dpo_trainer(run, settings, rows, reference)) as adapted:
            yield adapted
