"""Training a LoRA adapter with TRL: the one module that knows TRL's trainers.

TRL's SFTTrainer and DPOTrainer make the adapter and drive the optimisation. What they compute in a step is
replaced by the same loss over `Row`s (modeling/rows.py): logits only where an answer's token is
predicted, a shared prompt once, rows of like length together. Tests hold each loss equal to that of
the stock trainer.
Every default in which the two trainers differ (learning rate, dropout, truncation, accumulation,
checkpointing; trl/trainer/{sft,dpo}_config.py) is set here, once, for both.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import math
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from medalign.config.disk import disk_faults
from medalign.errors import ConfigError, MedalignError
from medalign.methods.base import AdaptedModel, MethodRun
from medalign.methods.curriculum import StagedOrder
from medalign.modeling.held_weights import held_weights
from medalign.modeling.lora import (
    attached_lora,
    lean_lora,
    lora_config,
    recomputed_activations,
    trainable_weights,
)
from medalign.modeling.memory_plan import LOGITS_AT_ONCE, Tuning, plan_memory, row_length
from medalign.modeling.predictor import Predictor
from medalign.modeling.rows import (
    Row,
    RowBatch,
    batches_by_length,
    collate,
    continuation_logprobs,
    token_logprobs,
)

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, Trainer


ADAPTERS = ("lora", "rslora", "dora", "full")
# Names of the optimisers in transformers' words.
OPTIMIZERS = {
    "adamw": "adamw_torch_fused",
    "adamw_8bit": "adamw_bnb_8bit",
    "paged_adamw": "paged_adamw_32bit",
    "paged_adamw_8bit": "paged_adamw_8bit",
}
CPU_TOKENS_AT_ONCE = 512  # more is no faster on a CPU and holds more memory


@dataclass(frozen=True, kw_only=True, slots=True)
class LoraSettings:
    """What SFT and DPO share: the adapter and its optimisation. Equal defaults, so that the arms are equal.

    Attributes:
        adapter: `lora`, `rslora` or `dora` on the frozen base; `full` trains all weights instead.
        learning_rate: Peak of AdamW's learning rate, above 0.
        lora_rank: Rank r of the adapter.
        lora_alpha_ratio: alpha / r, the scale of the adapter's output.
        lora_dropout: Share of the adapter's inputs dropped in training, in [0, 1).
        lora_targets: `attention` (its projections) or `all_linear` (every linear layer but the output).
        epochs: Passes over the training questions.
        batch_size: Questions in an optimisation step.
        optimizer: AdamW with its state in 32 bits or, through bitsandbytes, in 8; `paged` lets it move to the host's
            memory when the GPU's is short.
        tokens_at_once: Tokens, padding included, that go forward and backward at once; less needs less memory and
            leaves the result as it is. None is what the slot has room for.
        checkpointing: Whether activations are computed again in the backward pass; None where the slot asks for it.
        held_gib: GPU memory for 4-bit weights that are held unpacked as well; None for what the slot has left.
        warmup_share: Share of the steps over which the learning rate rises; it then falls linearly to 0.
        max_grad_norm: The gradient is clipped to this norm.
    """

    adapter: Literal["lora", "rslora", "dora", "full"] = "lora"
    learning_rate: float = 5e-4
    lora_rank: int = 16
    lora_alpha_ratio: float = 2.0
    lora_dropout: float = 0.0
    lora_targets: Literal["attention", "all_linear"] = "attention"
    epochs: int = 1
    batch_size: int = 8
    optimizer: Literal["adamw", "adamw_8bit", "paged_adamw", "paged_adamw_8bit"] = "adamw"
    tokens_at_once: int | None = None
    checkpointing: bool | None = None
    held_gib: float | None = None
    warmup_share: float = 0.1
    weight_decay: float = 0.0
    max_grad_norm: float = 1.0

    def __post_init__(self) -> None:
        rules = {
            "adapter": (self.adapter in ADAPTERS, " or ".join(ADAPTERS)),
            "learning_rate": (self.learning_rate > 0, "above 0"),
            "lora_rank": (self.lora_rank >= 1, "1 or more"),
            "lora_alpha_ratio": (self.lora_alpha_ratio > 0, "above 0"),
            "lora_dropout": (0 <= self.lora_dropout < 1, "within 0 and below 1"),
            "lora_targets": (self.lora_targets in ("attention", "all_linear"), "attention or all_linear"),
            "epochs": (self.epochs >= 1, "1 or more"),
            "batch_size": (self.batch_size >= 1, "1 or more"),
            "optimizer": (self.optimizer in OPTIMIZERS, " or ".join(OPTIMIZERS)),
            "tokens_at_once": (self.tokens_at_once is None or self.tokens_at_once >= 1, "1 or more"),
            "checkpointing": (self.checkpointing in (True, False, None), "true or false"),
            "held_gib": (self.held_gib is None or self.held_gib >= 0, "0 or more"),
            "warmup_share": (0 <= self.warmup_share <= 1, "within 0 and 1"),
            "weight_decay": (self.weight_decay >= 0, "0 or more"),
            "max_grad_norm": (self.max_grad_norm > 0, "above 0"),
        }
        faults = [
            f"{name}: {getattr(self, name)} is not {rule}" for name, (kept, rule) in rules.items() if not kept
        ]
        if faults:
            raise ConfigError(*faults)


class TrainingDivergedError(MedalignError, FloatingPointError):
    """The training loss is not a finite number; the trial ends as a failed one with a remedy."""


MakeTrainer = Callable[[str], "Trainer"]
"""Makes a trainer that writes, if anything, into the given folder."""


def planned(run: MethodRun, settings: Any, rows: Sequence[Row]) -> Any:
    """The settings with everything that is left to the slot decided: how a step is cut, and what is computed twice.

    A run that ran out of memory before is cut into halves, and activations are computed again; the batch stays.

    Raises:
        SlotTooSmallError: Nothing fits the slot.
    """
    decided = _planned_for_slot(run, settings, rows)
    if not run.has_run_out:
        return decided
    tokens = max(1, (decided.tokens_at_once or 1) // 2)
    return dataclasses.replace(decided, tokens_at_once=tokens, checkpointing=True, held_gib=0.0)


def _planned_for_slot(run: MethodRun, settings: Any, rows: Sequence[Row]) -> Any:
    if run.base.device.type == "cpu":
        tokens = settings.tokens_at_once or CPU_TOKENS_AT_ONCE
        return dataclasses.replace(
            settings,
            tokens_at_once=tokens,
            checkpointing=bool(settings.checkpointing),
            held_gib=settings.held_gib or 0.0,
        )
    plan = plan_memory(
        run.base.shape,
        [row_length(row) for row in rows],
        precision=run.base.precision,
        batch_size=settings.batch_size,
        slot_gib=run.base.slot_gib,
        tuning=tuning(settings),
        tokens_at_once=settings.tokens_at_once,
        checkpointing=settings.checkpointing,
        held_gib=settings.held_gib,
    )
    return dataclasses.replace(
        settings,
        tokens_at_once=plan.tokens_at_once,
        checkpointing=plan.checkpointing,
        held_gib=plan.parts.held,
    )


def tuning(settings: LoraSettings) -> Tuning:
    """What the memory plan must know of the settings."""
    return Tuning(
        rank=None if settings.adapter == "full" else settings.lora_rank,
        targets=settings.lora_targets,
        magnitudes=settings.adapter == "dora",
        optimiser_bytes=2.0 if settings.optimizer.endswith("8bit") else 8.0,
    )


@contextlib.contextmanager
def trained_adapter(
    run: MethodRun, settings: LoraSettings, make_trainer: MakeTrainer
) -> Iterator[AdaptedModel]:
    """Train an adapter, or all weights, hand out the adapted model, and leave the base as it was.

    Args:
        settings: After `planned`.
    """
    whole = trainable_weights(run.base) if settings.adapter == "full" else contextlib.nullcontext()
    scratch_folder = run.kept.scratch() if run.kept else tempfile.TemporaryDirectory(prefix="medalign-")
    with scratch_folder as scratch, attached_lora(run.base), whole:
        trainer = make_trainer(scratch)
        _keep_masters_in_fp32(trainer.model)
        predictor = Predictor(run.base, run.meter, max_new_tokens=run.max_new_tokens)
        _replace_callbacks(trainer, _checkpoint_callback(run, predictor))
        held = held_weights(run.base.model, run.base.dtype, settings.held_gib or 0.0)
        with lean_lora(trainer.model), held:
            start = run.kept.restore() if run.kept else None
            recomputed = recomputed_activations(run.base.model, active=bool(settings.checkpointing))
            with run.meter.during("train"), recomputed, disk_faults(Path(scratch).parent):
                trainer.train(resume_from_checkpoint=str(start) if start else None)
            run.checkpoint(1.0, predictor)
            yield AdaptedModel(predictor=predictor, save_adapter=trainer.model.save_pretrained)


def _keep_masters_in_fp32(model: PreTrainedModel) -> None:
    """TRL rounds the adapter of a quantised base to bf16, in which small updates are lost."""
    import torch

    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.to(torch.float32)


def sft_trainer(run: MethodRun, settings: LoraSettings, rows: Sequence[Row]) -> MakeTrainer:
    """A maker of TRL's SFTTrainer over rows of one continuation each."""

    def make(scratch: str) -> Trainer:
        from trl import SFTConfig, SFTTrainer

        config = SFTConfig(
            **_trainer_arguments(run, settings, scratch),
            dataset_kwargs={"skip_prepare_dataset": True},
            packing=False,
            completion_only_loss=None,
        )
        return _row_trainer(SFTTrainer, run, _sft_share)(
            model=run.base.model,
            args=config,
            train_dataset=_dataset(rows),
            data_collator=_collator(run, settings, rows),
            processing_class=run.base.tokenizer,
            peft_config=_lora_config(run, settings),
        )

    return make


def dpo_trainer(
    run: MethodRun, settings: Any, rows: Sequence[Row], reference: Sequence[tuple[float, float]]
) -> MakeTrainer:
    """A maker of TRL's DPOTrainer over rows of a chosen and a rejected continuation.

    Args:
        settings: `DpoSettings`.
        reference: For each row the base model's log-probabilities of chosen and rejected.
    """

    def make(scratch: str) -> Trainer:
        from trl import DPOConfig, DPOTrainer

        config = DPOConfig(
            **_trainer_arguments(run, settings, scratch),
            beta=settings.beta,
            loss_type=["sigmoid"],
            disable_dropout=False,
            # The reference is a table of ours; otherwise TRL would load a second model where there is no adapter.
            precompute_ref_log_probs=settings.adapter == "full",
            padding_free=False,
        )
        share = functools.partial(_dpo_share, beta=settings.beta)
        return _row_trainer(DPOTrainer, run, share)(
            model=run.base.model,
            args=config,
            train_dataset=_dataset(rows),
            data_collator=_collator(run, settings, rows, reference),
            processing_class=run.base.tokenizer,
            peft_config=_lora_config(run, settings),
        )

    return make


class Part(NamedTuple):
    """Rows of an optimisation step that are computed at once, with what the whole step needs to weigh them.

    Attributes:
        reference_R2: Reference log-probabilities (nats) of chosen and rejected, for DPO.
        step_tokens: Answer tokens of the whole step.
        step_rows: Rows of the whole step.
    """

    batch: RowBatch
    reference_R2: torch.Tensor | None
    step_tokens: int
    step_rows: int


def _sft_share(model: PreTrainedModel, part: Part) -> torch.Tensor:
    """The part's share of the step's loss: the mean negative log-likelihood of all its answer tokens."""
    return -token_logprobs(model, part.batch, logits_at_once=_pieces(part)).sum() / part.step_tokens


def _dpo_share(model: PreTrainedModel, part: Part, *, beta: float) -> torch.Tensor:
    """The part's share of the step's loss: the mean of `dpo_loss` over all its pairs."""
    assert part.reference_R2 is not None
    policy_R2 = continuation_logprobs(model, part.batch, logits_at_once=_pieces(part)).view(-1, 2)
    return dpo_loss(policy_R2, part.reference_R2, beta=beta) * (len(policy_R2) / part.step_rows)


def _pieces(part: Part) -> int | None:
    """How many logits are computed at a time: on a CPU all, since parts are small there."""
    return LOGITS_AT_ONCE if part.batch.tokens_BT.is_cuda else None


def _row_trainer(
    trainer_class: Any, run: MethodRun, loss_share: Callable[[PreTrainedModel, Part], torch.Tensor]
) -> Any:
    """TRL's trainer with a step that adds up the gradients of its parts.

    The effective batch, and so the mathematics, does not depend on how a step is cut into parts.
    """

    class RowTrainer(trainer_class):
        def training_step(self, model, inputs, num_items_in_batch=None):  # type: ignore[no-untyped-def]
            # Going through all modules takes as long as two layers on a GPU. The wrapper around the base begins in
            # training mode, the base itself does not.
            if not (model.training and run.base.model.training):
                model.train()
            total: Any = 0.0
            with run.base.attending(training=True):
                for part in inputs["parts"]:
                    with run.base.computing(training=True):
                        loss = loss_share(run.base.model, part)
                    self.accelerator.backward(loss)  # scales it where the arithmetic is fp16
                    total = total + loss.detach()
                    rows, width = part.batch.tokens_BT.shape
                    run.meter.trained(
                        run.base.model,
                        rows=rows,
                        width=width,
                        tokens=part.batch.num_tokens,
                        logits=part.batch.num_logits,
                    )
            return total

        def _prepare_dataset(self, dataset, *args, **kwargs):  # type: ignore[no-untyped-def]
            return dataset

        def _get_train_sampler(self, train_dataset=None):  # type: ignore[no-untyped-def]
            if len(run.data.stages) < 2:
                return super()._get_train_sampler(train_dataset)
            return StagedOrder(run.data.stages, epochs=int(self.args.num_train_epochs), seed=run.seed)

        def _precompute_ref_logps(self, dataset, name, batch_size):  # type: ignore[no-untyped-def]
            return dataset

        def save_model(self, output_dir=None, _internal_call=False):  # type: ignore[no-untyped-def]
            self.model.save_pretrained(output_dir)  # a checkpoint needs no second copy of the tokenizer

        def create_model_card(self, *args, **kwargs):  # type: ignore[no-untyped-def]
            """Nothing: nobody reads the card of a checkpoint."""

        def log(self, logs, start_time=None):  # type: ignore[no-untyped-def]
            self._metrics["train"].clear()  # TRL averages what its own loss would have gathered
            super().log(logs, start_time)

    return RowTrainer


def dpo_loss(policy_R2: torch.Tensor, reference_R2: torch.Tensor, *, beta: float) -> torch.Tensor:
    """The mean DPO loss: -log sigmoid(beta * ((c - c_ref) - (r - r_ref))), Rafailov et al. 2023, eq. 7.

    Args:
        policy_R2: Log-probabilities (nats) of chosen and rejected answers under the trained model, R pairs.
        reference_R2: The same under the reference.
    """
    import torch.nn.functional as F

    gain_R2 = policy_R2 - reference_R2
    return -F.logsigmoid(beta * (gain_R2[:, 0] - gain_R2[:, 1])).mean()


def _trainer_arguments(run: MethodRun, settings: LoraSettings, scratch: str) -> dict[str, Any]:
    """Arguments that both trainers are given; all that TRL sets differently for SFT and DPO is among them."""
    steps = math.ceil(len(run.data.questions) / settings.batch_size) * settings.epochs
    return {
        "output_dir": scratch,
        "learning_rate": settings.learning_rate,
        "lr_scheduler_type": "linear",
        "warmup_steps": math.ceil(settings.warmup_share * steps),
        "weight_decay": settings.weight_decay,
        "max_grad_norm": settings.max_grad_norm,
        "optim": OPTIMIZERS[settings.optimizer],
        "num_train_epochs": settings.epochs,
        "per_device_train_batch_size": settings.batch_size,
        "gradient_accumulation_steps": 1,
        _checkpointing_argument(): False,
        "max_length": None,
        "remove_unused_columns": False,
        "bf16": False,
        "fp16": str(run.base.dtype) == "torch.float16",
        "use_cpu": run.base.device.type == "cpu",
        "seed": run.seed,
        "data_seed": run.seed,
        "save_strategy": "no",
        "logging_steps": 1,
        "logging_nan_inf_filter": False,
        "report_to": "none",
        "disable_tqdm": True,
        "dataloader_pin_memory": run.base.device.type == "cuda",
    }


def _checkpointing_argument() -> str:
    """transformers renamed it between 5.17 and 5.23."""
    from transformers import TrainingArguments

    renamed = "activation_checkpointing" in TrainingArguments.__dataclass_fields__
    return "activation_checkpointing" if renamed else "gradient_checkpointing"


def _lora_config(run: MethodRun, settings: LoraSettings) -> Any:
    if settings.adapter == "full":
        return None
    return lora_config(
        run.base.model,
        rank=settings.lora_rank,
        alpha=settings.lora_alpha_ratio * settings.lora_rank,
        dropout=settings.lora_dropout,
        targets=settings.lora_targets,
        kind=settings.adapter,
    )


def _dataset(rows: Sequence[Row]) -> Any:
    """Token ids and labels as the trainers expect them, and the number of each row for the collator."""
    from datasets import Dataset

    return Dataset.from_dict(
        {
            "input_ids": [[*row.prompt, *row.continuations[0]] for row in rows],
            "labels": [[-100] * len(row.prompt) + [*row.continuations[0]] for row in rows],
            "row": list(range(len(rows))),
        }
    )


def _collator(
    run: MethodRun,
    settings: LoraSettings,
    rows: Sequence[Row],
    reference: Sequence[tuple[float, float]] | None = None,
) -> Callable[[list[dict[str, Any]]], dict[str, Any]]:
    """Cuts the rows of a step into parts of like length, so that little is computed for padding."""
    import torch

    def part_of(numbers: list[int], step_tokens: int, step_rows: int) -> Part:
        batch = collate(
            [rows[n] for n in numbers],
            pad_token_id=run.base.tokenizer.pad_token_id,
            dtype=run.base.dtype,
            device=run.base.device,
        )
        table = None if reference is None else torch.tensor([reference[n] for n in numbers])
        return Part(batch, None if table is None else table.to(run.base.device), step_tokens, step_rows)

    def collated(examples: list[dict[str, Any]]) -> dict[str, Any]:
        numbers = [example["row"] for example in examples]
        lengths = [rows[n].num_tokens for n in numbers]
        parts = batches_by_length(lengths, max_tokens=settings.tokens_at_once or 1, max_rows=len(numbers))
        step_tokens = sum(len(c) for n in numbers for c in rows[n].continuations)
        return {
            "parts": _Untouched(
                part_of([numbers[i] for i in part], step_tokens, len(numbers)) for part in parts
            )
        }

    return collated


class _Untouched:
    """Hides what it holds from accelerate, which would take tuples apart to move them between devices."""

    def __init__(self, held: Iterable[Part]) -> None:
        self._held = tuple(held)

    def __iter__(self) -> Iterator[Part]:
        return iter(self._held)


def _replace_callbacks(trainer: Trainer, callback: Any) -> None:
    from transformers import PrinterCallback

    trainer.remove_callback(PrinterCallback)
    trainer.add_callback(callback)


def _checkpoint_callback(run: MethodRun, predictor: Predictor) -> Any:
    """Records the loss of every step, calls `checkpoint` at the shares where it is due, and keeps checkpoints.

    One is kept after every report, and between two of them when it is due.
    """
    from transformers import TrainerCallback

    due = list(run.checkpoints)

    class Steps(TrainerCallback):
        begun = 0.0

        def on_train_begin(self, args, state, control, **kwargs):  # type: ignore[no-untyped-def]
            while due and due[0] <= state.global_step / state.max_steps:
                due.pop(0)  # reported before the checkpoint that this goes on from

        # Called after every step, once its loss is known: a diverged model is not scored.
        def on_log(self, args, state, control, logs=None, model=None, **kwargs):  # type: ignore[no-untyped-def]
            if logs is None or "loss" not in logs:
                return None
            if not math.isfinite(logs["loss"]):
                raise TrainingDivergedError(
                    f"the training loss is {logs['loss']} at step {state.global_step}"
                )
            share = state.global_step / state.max_steps
            run.learning_curve.append((share, float(logs["loss"])))
            reports = bool(due and due[0] <= share < 1)
            if reports:
                while due and due[0] <= share:
                    due.pop(0)
                run.checkpoint(share, predictor)
                model.train()
            if run.kept is not None and (reports or run.kept.is_due()):
                self.begun = time.monotonic()
                control.should_save = True
            return control

        def on_save(self, args, state, control, **kwargs):  # type: ignore[no-untyped-def]
            if run.kept is not None:
                written = Path(args.output_dir) / f"checkpoint-{state.global_step}"
                run.kept.keep(written, state.global_step, self.begun)

    return Steps()
