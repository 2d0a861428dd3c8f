"""The script that one would write without medalign: trial after trial with TRL, scored with Hugging Face evaluate.

    python benchmarks/plain_script.py JOB.json RESULT.json

`against_plain_script.py` writes the job (the base model, every trial's setting, prompts and answers as chat messages)
and reads what comes out: for each trial its accuracies. Activation checkpointing, on by default in TRL, is
off unless the job asks for it; everything else that medalign does not set has TRL's default. A question's options go
through the model as one batch.
"""

from __future__ import annotations

import gc
import json
import sys
import time
from pathlib import Path
from typing import Any

import datasets
import evaluate
import torch
from peft import LoraConfig
from transformers import AutoModelForCausalLM, AutoTokenizer, set_seed
from trl import DPOConfig, DPOTrainer, SFTConfig, SFTTrainer


class Accuracy(evaluate.Metric):
    """The metric `accuracy` of evaluate, which `evaluate.load` would fetch from the Hub."""

    def _info(self) -> Any:
        features = datasets.Features(
            {"predictions": datasets.Value("int32"), "references": datasets.Value("int32")}
        )
        return evaluate.MetricInfo(description="accuracy", citation="", features=features)

    def _compute(self, predictions: list[int], references: list[int]) -> dict[str, float]:
        right = sum(p == r for p, r in zip(predictions, references, strict=True))
        return {"accuracy": right / len(references)}


def main(job_file: str, result_file: str) -> None:
    job = json.loads(Path(job_file).read_text())
    tokenizer = AutoTokenizer.from_pretrained(job["model"])
    results = {}
    for trial in job["trials"]:
        start = time.perf_counter()
        set_seed(trial["seed"])
        model = AutoModelForCausalLM.from_pretrained(job["model"], dtype=getattr(torch, job["dtype"]))
        if trial["method"] in ("sft", "dpo"):
            model = train(model, tokenizer, trial, job)
        train_seconds = time.perf_counter() - start
        accuracies = {
            split: answer_all(model, tokenizer, trial["questions"][split], job["max_new_tokens"])
            for split in trial["questions"]
        }
        seconds = time.perf_counter() - start
        results[trial["id"]] = {"accuracy": accuracies, "seconds": seconds, "train_seconds": train_seconds}
        print(f"{trial['id']}: {seconds:.1f} s, {accuracies}", flush=True)
        del model
        gc.collect()
    Path(result_file).write_text(json.dumps(results))


def train(model: Any, tokenizer: Any, trial: dict[str, Any], job: dict[str, Any]) -> Any:
    setting = trial["setting"]
    shared = {
        "output_dir": job["folder"],
        "num_train_epochs": setting["epochs"],
        "per_device_train_batch_size": setting["batch_size"],
        "learning_rate": setting["learning_rate"],
        "lr_scheduler_type": "linear",
        "warmup_steps": trial["warmup_steps"],
        "weight_decay": setting["weight_decay"],
        "max_grad_norm": setting["max_grad_norm"],
        "max_length": None,
        "activation_checkpointing": job["activation_checkpointing"],
        "bf16": job["dtype"] == "bfloat16",
        "use_cpu": not torch.cuda.is_available(),
        "seed": trial["seed"],
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
    }
    lora = LoraConfig(
        r=setting["lora_rank"],
        lora_alpha=setting["lora_alpha_ratio"] * setting["lora_rank"],
        lora_dropout=setting["lora_dropout"],
        target_modules=["q_proj", "k_proj", "v_proj", "o_proj"],
        task_type="CAUSAL_LM",
    )
    rows = datasets.Dataset.from_list(trial["rows"])
    given = {"model": model, "train_dataset": rows, "processing_class": tokenizer, "peft_config": lora}
    if trial["method"] == "sft":
        trainer = SFTTrainer(args=SFTConfig(**shared, completion_only_loss=True), **given)
    else:
        trainer = DPOTrainer(args=DPOConfig(**shared, beta=setting["beta"]), **given)
    trainer.train()
    return trainer.model


@torch.inference_mode()
def answer_all(model: Any, tokenizer: Any, questions: list[dict[str, Any]], max_new_tokens: int) -> float:
    """Accuracy on the questions with options; the others are answered in writing."""
    model.eval()
    accuracy = Accuracy()
    for question in questions:
        prompt = tokenizer.apply_chat_template(
            question["messages"], tokenize=False, add_generation_prompt=True
        )
        if question["options"]:
            chosen = choose(model, tokenizer, prompt, question)
            accuracy.add(prediction=chosen, reference=question["answer"])
        else:
            ids = tokenizer(prompt, add_special_tokens=False, return_tensors="pt").to(model.device)
            model.generate(**ids, max_new_tokens=max_new_tokens, do_sample=False)
    return float(accuracy.compute()["accuracy"])


def choose(model: Any, tokenizer: Any, prompt: str, question: dict[str, Any]) -> int:
    """The option with the largest log-probability, per character where the question asks for that."""
    start = tokenizer(prompt, add_special_tokens=False).input_ids
    ends = [tokenizer(option, add_special_tokens=False).input_ids for option in question["options"]]
    batch = tokenizer.pad(
        {"input_ids": [start + end for end in ends]}, padding_side="right", return_tensors="pt"
    )
    logprobs = model(**batch.to(model.device)).logits.float().log_softmax(dim=-1)
    scores = []
    for row, end in enumerate(ends):
        places = torch.arange(len(start) - 1, len(start) + len(end) - 1)
        total = logprobs[row, places, torch.tensor(end)].sum().item()
        scores.append(total / len(question["options"][row]) if question["per_character"] else total)
    return max(range(len(scores)), key=scores.__getitem__)


if __name__ == "__main__":
    main(*sys.argv[1:])
