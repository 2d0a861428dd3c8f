"""Supervised fine-tuning: a LoRA adapter learns the right answer and its rationale to each training question.

The loss is the mean negative log-likelihood of the answer's tokens, end of turn included; the
prompt's tokens are never trained on.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

from medalign.methods.base import AdaptedModel, Method, MethodRun
from medalign.methods.training import LoraSettings, planned, sft_trainer, trained_adapter
from medalign.modeling.chat import Chat


@dataclass(frozen=True, kw_only=True, slots=True)
class SftSettings(LoraSettings):
    """Settings of supervised fine-tuning: those of the adapter and its optimisation."""


class Sft(Method):
    """LoRA fine-tuning on right answers (Hu et al. 2022; with nf4 QLoRA, Dettmers et al. 2023)."""

    name = "sft"
    settings_class = SftSettings
    relative_cost = 2.0

    @contextlib.contextmanager
    def adapted(self, run: MethodRun) -> Iterator[AdaptedModel]:
        settings: SftSettings = self.settings(run.setting)
        chat = Chat(run.base.tokenizer)
        rows = [chat.training_row(question) for question in run.data.questions]
        settings = planned(run, settings, rows)
        with trained_adapter(run, settings, sft_trainer(run, settings, rows)) as adapted:
            yield adapted
