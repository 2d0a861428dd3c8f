"""What a plain script does with TRL and transformers, at their own defaults: the other side of every ratio in gpu.py.

Token ids are handed in, so that no tokenizer is timed. The effective batch is 8, as TRL's default batch of a device.
"""

from __future__ import annotations

import itertools
import tempfile
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

from medalign.modeling.base_models import BaseModel
from medalign.modeling.rows import Row

ATTENTION = ["q_proj", "k_proj", "v_proj", "o_proj"]
BATCH_SIZE = 8


class Steps(NamedTuple):
    """Measured optimisation steps.

    Attributes:
        seconds: Of each step but the first two.
        losses: Of every step.
        peak_gib: Reserved by torch.
        adapter: Trained weights by name, in fp32 on the CPU.
        times: When each step had ended, on a clock that all processes share.
    """

    seconds: list[float]
    losses: list[float]
    peak_gib: float
    adapter: dict[str, Any]
    times: list[float]


def train(method: str, base: BaseModel, rows: Sequence[Row], num_steps: int, **changes: Any) -> Steps:
    """TRL's SFTTrainer or DPOTrainer on a LoRA adapter of rank 16 on the attention.

    Args:
        changes: To TRL's configuration; none where speed is measured.
    """
    import torch
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import PrinterCallback, TrainerCallback
    from trl import DPOConfig, DPOTrainer, SFTConfig, SFTTrainer

    times: list[float] = []

    class Clock(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):  # type: ignore[no-untyped-def]
            torch.cuda.synchronize() if base.device.type == "cuda" else None
            times.append(time.perf_counter())

    class TokenisedDpo(DPOTrainer):
        def _prepare_dataset(self, dataset, *args, **kwargs):  # type: ignore[no-untyped-def]
            return dataset

    arguments = {"max_steps": num_steps, "report_to": "none", "save_strategy": "no", "disable_tqdm": True}
    arguments |= {"per_device_train_batch_size": BATCH_SIZE, "logging_steps": 1} | changes
    adapter = LoraConfig(
        r=16, lora_alpha=32, target_modules=ATTENTION, lora_dropout=0.0, task_type="CAUSAL_LM"
    )
    reset_peak()
    with tempfile.TemporaryDirectory() as folder:
        if method == "sft":
            trainer: Any = SFTTrainer(
                model=base.model,
                args=SFTConfig(output_dir=folder, completion_only_loss=True, **arguments),
                train_dataset=Dataset.from_list([_sft_example(row) for row in rows]),
                processing_class=base.tokenizer,
                peft_config=adapter,
            )
        else:
            trainer = TokenisedDpo(
                model=base.model,
                args=DPOConfig(output_dir=folder, **arguments),
                train_dataset=Dataset.from_list([_dpo_example(row) for row in rows]),
                processing_class=base.tokenizer,
                peft_config=adapter,
            )
        trainer.remove_callback(PrinterCallback)
        trainer.add_callback(Clock())
        trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    trained = {
        name.removeprefix("base_model.model."): tensor.detach().float().cpu()
        for name, tensor in trainer.model.state_dict().items()
        if "lora_" in name
    }
    return Steps(differences(times), losses, peak_gib(), trained, times)


def _sft_example(row: Row) -> dict[str, list[int]]:
    (answer,) = row.continuations
    return {
        "input_ids": [*row.prompt, *answer],
        "completion_mask": [0] * len(row.prompt) + [1] * len(answer),
    }


def _dpo_example(row: Row) -> dict[str, list[int]]:
    chosen, rejected = row.continuations
    return {"prompt_ids": list(row.prompt), "chosen_ids": list(chosen), "rejected_ids": list(rejected)}


def score(base: BaseModel, rows: Sequence[Row]) -> list[list[float]]:
    """A sequence for every option with its whole prompt, in batches of 8, as evaluation scripts do it."""
    import torch

    flat = [(i, row.prompt, option) for i, row in enumerate(rows) for option in row.continuations]
    found: list[list[float]] = [[] for _ in rows]
    with torch.inference_mode():
        for start in range(0, len(flat), BATCH_SIZE):
            part = flat[start : start + BATCH_SIZE]
            width = max(len(prompt) + len(option) for _, prompt, option in part)
            ids = torch.zeros(len(part), width, dtype=torch.long)
            mask = torch.zeros_like(ids)
            for n, (_, prompt, option) in enumerate(part):
                tokens = torch.tensor([*prompt, *option])
                ids[n, : len(tokens)], mask[n, : len(tokens)] = tokens, 1
            logits = base.model(ids.to(base.device), attention_mask=mask.to(base.device)).logits
            for n, (i, prompt, option) in enumerate(part):
                logprobs = logits[n, len(prompt) - 1 : len(prompt) + len(option) - 1].float().log_softmax(-1)
                chosen = logprobs.gather(1, torch.tensor(option, device=base.device)[:, None])
                found[i].append(float(chosen.sum()))
    return found


def write(base: BaseModel, prompts: Sequence[tuple[int, ...]], max_new_tokens: int) -> int:
    """`generate` in batches of 8; returns the number of tokens written."""
    import torch

    written = 0
    with torch.inference_mode():
        for start in range(0, len(prompts), BATCH_SIZE):
            ids = torch.tensor(prompts[start : start + BATCH_SIZE], device=base.device)
            out = base.model.generate(
                input_ids=ids,
                attention_mask=torch.ones_like(ids),
                max_new_tokens=max_new_tokens,
                min_new_tokens=max_new_tokens,
                do_sample=False,
                pad_token_id=0,
            )
            written += out[:, ids.shape[1] :].numel()
    return written


def differences(times: Sequence[float]) -> list[float]:
    """Seconds between moments, without the first two."""
    return [later - earlier for earlier, later in itertools.pairwise(times[1:])]


def reset_peak() -> None:
    import gc

    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def peak_gib() -> float:
    import torch

    return torch.cuda.max_memory_reserved() / 2**30 if torch.cuda.is_available() else 0.0
