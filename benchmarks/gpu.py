"""Speed and memory on a GPU: training, scoring and writing against plain TRL and transformers, side by side in one run.

    python benchmarks/gpu.py [--only sft,dpo,icl,write,optimizers,slots,peaks,equal] [--json FILE]

A random model of a true shape (LLaMA-3.1-8B in NF4 by default; speed and memory do not depend on what weights are)
in a process that may take no more than a slot of 24 GiB. Ratios are of questions or pairs a second: the work is the
same on both sides. A figure that misses its target is printed like every other.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import multiprocessing
import os
import statistics
import sys
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).resolve().parents[1])]
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
os.environ.setdefault("PYTORCH_ALLOC_CONF", "expandable_segments:True")  # as a slot's process has it

from benchmarks import plain_scripts as plain  # noqa: E402
from benchmarks.random_models import FIRST_WORD, random_base  # noqa: E402
from medalign.modeling.model_cards import CARDS, ModelShape  # noqa: E402
from medalign.modeling.rows import Row  # noqa: E402

PROMPT, ANSWER = 300, 100
DEMONSTRATIONS, QUESTION, OPTION, NUM_OPTIONS = 1000, 80, 8, 4
WRITTEN = 32
OPTIMIZERS = ("adamw", "paged_adamw", "adamw_8bit", "paged_adamw_8bit")
TARGETS = {"sft": 3.5, "dpo": 2.5, "slots": 4.5, "icl": 4.0, "write": 8.0, "gpus": 1.9}
PARTS = ("limits", "sft", "dpo", "icl", "write", "optimizers", "slots", "peaks", "equal")


class Report:
    """What was measured, printed and written as soon as it is known."""

    def __init__(self, file: str | None) -> None:
        self._file = file
        self.found: dict[str, Any] = {}

    def add(self, title: str, **numbers: Any) -> None:
        shown = {k: round(v, 3) if isinstance(v, float) else v for k, v in numbers.items()}
        self.found[title] = shown
        print(title, json.dumps(shown), flush=True)
        if self._file:
            Path(self._file).write_text(json.dumps(self.found, indent=1), encoding="utf-8")


def main() -> None:
    given = arguments()
    quieten()
    report = Report(given.json)
    parts = given.only.split(",") if given.only else PARTS
    card = CARDS[given.model]
    describe_machine(report)
    if "limits" in parts:
        measure_limits(report)
    if {"sft", "dpo", "icl", "write"} & set(parts):
        one_process(report, card.shape, given, parts)
        plain.reset_peak()  # what it held is for the processes that follow
    if "optimizers" in parts:
        compare_optimizers(report, given)
    if "slots" in parts:
        measure_slots(report, given)
    if "peaks" in parts:
        measure_peaks(report, given)
    if "equal" in parts:
        from benchmarks.gpu_equality import measure_equality

        measure_equality(report)
    print_table(report)


def quieten() -> None:
    warnings.filterwarnings("ignore")
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # a line for every product in 8 bits


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="llama-3.1-8b", choices=sorted(CARDS))
    parser.add_argument("--precision", default="nf4")
    parser.add_argument("--slot-gib", type=float, default=24.0)
    parser.add_argument("--slots", type=int, default=3, help="processes at once on each GPU")
    parser.add_argument("--gpus", type=int, default=1)
    parser.add_argument(
        "--sharing",
        default="turns,overlap",
        help="how processes share a GPU: turns, overlap (NVIDIA MPS) or both",
    )
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--only", help=f"comma list of {', '.join(PARTS)}")
    parser.add_argument("--json", help="file for the figures, written as they come")
    return parser.parse_args()


def describe_machine(report: Report) -> None:
    import peft
    import torch
    import transformers
    import trl

    gpu = torch.cuda.get_device_properties(0) if torch.cuda.is_available() else None
    report.add(
        "machine",
        gpu=gpu.name if gpu else "none",
        gib=gpu.total_memory / 2**30 if gpu else 0.0,
        torch=torch.__version__,
        transformers=transformers.__version__,
        peft=peft.__version__,
        trl=trl.__version__,
    )


def measure_limits(report: Report) -> None:
    import torch

    size, repeats = 8192, 20
    a, b = (torch.randn(size, size, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    seconds = timed(lambda: a @ b, repeats)
    source = torch.randn(2**30, device="cuda", dtype=torch.bfloat16)
    target = torch.empty_like(source)
    copy = timed(lambda: target.copy_(source), repeats)
    report.add("limits", tflops=2 * size**3 / seconds / 1e12, tb_per_second=4 * 2**30 / copy / 1e12)


def timed(action: Any, repeats: int) -> float:
    import torch

    for _ in range(3):
        action()
    torch.cuda.synchronize()
    start = time.perf_counter()
    for _ in range(repeats):
        action()
    torch.cuda.synchronize()
    return (time.perf_counter() - start) / repeats


def hold_to_slot(slot_gib: float) -> None:
    """After the model is built: the cap is for what a trial does with it."""
    import torch

    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(0).total_memory / 2**30
    torch.cuda.set_per_process_memory_fraction(min(1.0, slot_gib / total))


def words(generator: Any, number: int, vocabulary: int) -> tuple[int, ...]:
    return tuple(int(i) for i in generator.integers(FIRST_WORD, vocabulary, size=number))


def training_rows(
    shape: ModelShape, method: str, number: int, *, prompt: int = PROMPT, answer: int = ANSWER, seed: int = 0
) -> list[Row]:
    import numpy as np

    generator = np.random.default_rng(seed)
    answers = 1 if method == "sft" else 2
    return [
        Row(
            words(generator, prompt, shape.vocabulary),
            tuple(words(generator, answer, shape.vocabulary) for _ in range(answers)),
        )
        for _ in range(number)
    ]


def one_process(report: Report, shape: ModelShape, given: argparse.Namespace, parts: Sequence[str]) -> None:
    """Each part first as a plain script, then as it is here, on one model."""
    from medalign.modeling.lean_layers import lean_blocks

    start = time.perf_counter()
    base = random_base(shape, given.precision, "cuda")
    report.add("model", name=given.model, precision=given.precision, seconds=time.perf_counter() - start)
    hold_to_slot(given.slot_gib)
    icl, prompts = scoring_rows(shape), [row.prompt for row in training_rows(shape, "sft", 512)]
    for method in ("sft", "dpo"):
        if method in parts:
            rows = training_rows(shape, method, 8 * given.steps)
            found = plain.train(method, base, rows, 6)
            note_steps(report, f"{method}_plain", found, method, shape)
            restore(base)
            halves = {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 2}
            found = plain.train(method, base, rows, 5, **halves)
            note_steps(report, f"{method}_plain_4x2", found, method, shape)
            restore(base)
    if "icl" in parts:
        score_plainly(report, base, icl)
    if "write" in parts:
        seconds = stopwatch(lambda: plain.write(base, prompts[:16], WRITTEN))
        report.add("write_plain", answers_per_second=16 / seconds, tokens_per_second=16 * WRITTEN / seconds)
    lean_blocks(base.model)
    for method in ("sft", "dpo"):
        if method in parts:
            found = train(method, base, training_rows(shape, method, 8 * given.steps))
            note_steps(report, f"{method}_lean", found, method, shape)
    if "icl" in parts:
        score_leanly(report, base, icl)
    if "write" in parts:
        predictor = make_predictor(base)
        ends = [1]
        predictor.continue_prompts(prompts[:8], ends=ends)
        plain.reset_peak()
        seconds = stopwatch(lambda: predictor.continue_prompts(prompts, ends=ends))
        report.add(
            "write_lean",
            answers_per_second=len(prompts) / seconds,
            tokens_per_second=len(prompts) * WRITTEN / seconds,
            peak_gib=plain.peak_gib(),
        )


def compare_optimizers(report: Report, given: argparse.Namespace) -> None:
    """Each optimiser for the same steps, in a process of its own: what a paged one takes it keeps until the end."""
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    process = context.Process(target=optimizer_process, args=(results, vars(given)))
    process.start()
    losses: dict[str, list[float]] = {}
    for _ in OPTIMIZERS:
        name, found, left_gib = results.get(timeout=200)
        losses[name] = found.losses
        report.add(
            f"optimizer_{name}",
            step_seconds=statistics.median(found.seconds),
            peak_gib=found.peak_gib,
            left_behind_gib=left_gib,
            last_loss=found.losses[-1],
            loss_difference=max(abs(a - b) for a, b in zip(found.losses, losses["adamw"], strict=True)),
        )
    process.join()


def optimizer_process(results: Any, given: dict[str, Any]) -> None:
    import torch

    base, shape = slot_base(given)
    before = torch.cuda.memory_allocated()
    for name in OPTIMIZERS:
        # Of rank 64: bitsandbytes keeps matrices of fewer weights in 32 bits and unpaged.
        found = train("sft", base, training_rows(shape, "sft", 8 * 8), optimizer=name, lora_rank=64)
        plain.reset_peak()
        left_gib = (torch.cuda.memory_allocated() - before) / 2**30
        results.put((name, found._replace(adapter={}), left_gib))


def restore(base: Any) -> None:
    """Take out what TRL put into the model, so that the next part starts from the same."""
    from medalign.modeling.lora import _detach

    _detach(base.model)
    for name in ("forward", "peft_config", "_hf_peft_config_loaded"):
        base.model.__dict__.pop(name, None)
    with contextlib.suppress(AttributeError):
        base.model.disable_input_require_grads()
    for switch in ("activation_checkpointing_disable", "gradient_checkpointing_disable"):
        if hasattr(base.model, switch):
            getattr(base.model, switch)()
            break
    base.model.requires_grad_(False).eval()
    base.model.config.use_cache = True


def stopwatch(action: Any) -> float:
    import torch

    torch.cuda.synchronize()
    start = time.perf_counter()
    action()
    torch.cuda.synchronize()
    return time.perf_counter() - start


class _Stamps(list):  # type: ignore[type-arg]
    """A learning curve that notes when each of its points came, which is after the step's work is done."""

    def __init__(self) -> None:
        super().__init__()
        self.times: list[float] = []

    def append(self, item: Any) -> None:
        self.times.append(time.perf_counter())
        super().append(item)


def train(method: str, base: Any, rows: Sequence[Row], **changes: Any) -> plain.Steps:
    """Rows through this package's own training, the reference of DPO taken from its table."""
    from medalign.methods.base import MethodRun, TrainingData
    from medalign.methods.catalog import method_named
    from medalign.methods.training import dpo_trainer, planned, sft_trainer, trained_adapter
    from medalign.modeling.metering import Meter
    from medalign.modeling.predictor import Predictor
    from medalign.records import Question

    asked = tuple(
        Question(id=str(i), source="random", kind="free_text", text="-", answer="-") for i in range(len(rows))
    )
    curve = _Stamps()
    run = MethodRun(
        base=base,
        data=TrainingData(questions=asked),
        setting={},
        seed=0,
        meter=Meter(),
        checkpoint=lambda share, predictor: None,
        learning_curve=curve,
    )
    plain.reset_peak()
    settings = planned(run, method_named(method).settings(changes), rows)
    if method == "sft":
        maker = sft_trainer(run, settings, rows)
    else:
        table = [(c, r) for c, r in Predictor(base, Meter()).score_rows(rows, as_in_training=True)]
        plain.reset_peak()
        maker = dpo_trainer(run, settings, rows, table)
    with trained_adapter(run, settings, maker):
        adapter = {
            name: tensor.detach().float().cpu()
            for name, tensor in base.model.state_dict().items()
            if "lora_" in name
        }
    peak = plain.peak_gib()
    losses = [loss for _, loss in curve]
    return plain.Steps(plain.differences(curve.times), losses, peak, adapter, curve.times)


def note_steps(report: Report, name: str, found: plain.Steps, method: str, shape: ModelShape) -> None:
    seconds = statistics.median(found.seconds)
    tokens = (PROMPT + ANSWER) * (1 if method == "sft" else 2)
    computed = PROMPT + ANSWER * (1 if method == "sft" else 2) if name.endswith("lean") else tokens
    rate = plain.BATCH_SIZE / seconds
    report.add(
        name,
        step_seconds=seconds,
        rows_per_second=rate,
        tokens_per_second=rate * tokens,
        # Two operations a weight forward and two backward: what a frozen base needs; nothing computed twice counts.
        tflops=rate * computed * 4 * shape.layer_params / 1e12,
        peak_gib=found.peak_gib,
        first_loss=found.losses[0],
        spread=(max(found.seconds) - min(found.seconds)) / seconds,
    )


def scoring_rows(shape: ModelShape, number: int = 256) -> list[Row]:
    import numpy as np

    generator = np.random.default_rng(1)
    shared = words(generator, DEMONSTRATIONS, shape.vocabulary)
    return [
        Row(
            (*shared, *words(generator, QUESTION, shape.vocabulary)),
            tuple(words(generator, OPTION, shape.vocabulary) for _ in range(NUM_OPTIONS)),
        )
        for _ in range(number)
    ]


def make_predictor(base: Any) -> Any:
    from medalign.modeling.metering import Meter
    from medalign.modeling.predictor import Predictor

    return Predictor(base, Meter(), max_new_tokens=WRITTEN)


def score_plainly(report: Report, base: Any, rows: Sequence[Row]) -> None:
    plain.score(base, rows[:4])
    seconds = stopwatch(lambda: plain.score(base, rows[:16]))
    report.add("icl_plain", questions_per_second=16 / seconds)
    predictor = make_predictor(base)
    predictor.score_rows(rows[:8], as_in_training=True)
    seconds = stopwatch(lambda: predictor.score_rows(rows[:64], as_in_training=True))
    report.add("icl_uncached", questions_per_second=64 / seconds)


def score_leanly(report: Report, base: Any, rows: Sequence[Row]) -> None:
    import numpy as np

    predictor = make_predictor(base)
    predictor.score_rows(rows)
    plain.reset_peak()
    seconds = stopwatch(lambda: predictor.score_rows(rows))
    peak = plain.peak_gib()
    cached, whole = predictor.score_rows(rows[:16]), predictor.score_rows(rows[:16], as_in_training=True)
    report.add(
        "icl_cached",
        questions_per_second=len(rows) / seconds,
        peak_gib=peak,
        largest_difference_nats=float(np.abs(np.array(cached) - np.array(whole)).max()),
    )


def measure_slots(report: Report, given: argparse.Namespace) -> None:
    """Processes at once, each held to its slot, each training the same: in turns, and overlapping on their GPU."""
    from medalign.errors import ConfigError
    from medalign.scheduling.gpu_sharing import overlapping_processes

    sharing = {"turns": contextlib.nullcontext, "overlap": overlapping_processes}
    for num_gpus in sorted({1, given.gpus}):
        for way in given.sharing.split(","):
            name = f"slots_{num_gpus}x{given.slots}_{way}"
            try:
                with sharing[way]():
                    report.add(name, **rate_of_slots(num_gpus, given))
            except ConfigError as error:
                report.add(name, skipped=str(error))


def rate_of_slots(num_gpus: int, given: argparse.Namespace) -> dict[str, float]:
    context = multiprocessing.get_context("spawn")
    total = num_gpus * given.slots
    ready, results = context.Barrier(total), context.Queue()
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    processes = []
    for number in range(total):
        os.environ["CUDA_VISIBLE_DEVICES"] = str(number % num_gpus)
        process = context.Process(target=slot_process, args=(ready, results, vars(given)))
        process.start()
        processes.append(process)
    os.environ.pop("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = visible
    found = [results.get(timeout=400) for _ in processes]
    for process in processes:
        process.join()
    # While all are at work: from when the last has begun until the first has ended.
    begin, end = max(times[1] for times, _ in found), min(times[-1] for times, _ in found)
    steps = sum(begin < moment <= end for times, _ in found for moment in times)
    rate = steps * plain.BATCH_SIZE / (end - begin)
    return {
        "rows_per_second": rate,
        "tokens_per_second": rate * (PROMPT + ANSWER),
        "tflops": rate * (PROMPT + ANSWER) * 4 * CARDS[given.model].shape.layer_params / 1e12,
        "seconds_together": end - begin,
        "peak_gib": max(peak for _, peak in found),
    }


def slot_base(given: dict[str, Any]) -> tuple[Any, ModelShape]:
    """A model in a process of its own, held to a slot."""
    import torch

    from medalign.modeling.lean_layers import lean_blocks

    quieten()
    torch.set_num_threads(2)
    shape = CARDS[given["model"]].shape
    base = random_base(shape, given["precision"], "cuda")
    hold_to_slot(given["slot_gib"])
    lean_blocks(base.model)
    return base, shape


def slot_process(ready: Any, results: Any, given: dict[str, Any]) -> None:
    base, shape = slot_base(given)
    rows = training_rows(shape, "sft", 8 * 3 * given["steps"])
    train("sft", base, rows[:16])
    ready.wait(timeout=300)
    found = train("sft", base, rows)
    results.put((found.times, found.peak_gib))


def measure_peaks(report: Report, given: argparse.Namespace) -> None:
    from benchmarks.gpu_peaks import measure

    measure(report, given.slot_gib)


def print_table(report: Report) -> None:
    found = report.found
    slots = [name for name in found if name.startswith("slots_") and "rows_per_second" in found[name]]
    rows, questions, answers = "rows_per_second", "questions_per_second", "answers_per_second"
    pairs = [
        ("sft", "SFT, against batch 4 x 2", "sft_plain_4x2", "sft_lean", rows),
        ("", "SFT, against batch 8 x 1", "sft_plain", "sft_lean", rows),
        ("dpo", "DPO, against batch 4 x 2", "dpo_plain_4x2", "dpo_lean", rows),
        ("", "DPO, against batch 8 x 1", "dpo_plain", "dpo_lean", rows),
        *[
            (key, f"{name}, against {title}", before, name, rows)
            for name in slots
            for key, title, before in (("slots", "4 x 2", "sft_plain_4x2"), ("", "8 x 1", "sft_plain"))
        ],
        ("icl", "ICL, against uncached", "icl_uncached", "icl_cached", questions),
        ("", "ICL, a sequence an option", "icl_plain", "icl_cached", questions),
        ("write", "writing, against batch 8", "write_plain", "write_lean", answers),
        *[
            ("gpus", f"{more}, against {one}", one, more, rows)
            for one in slots
            for more in slots
            if more > one and one.startswith("slots_1x") and more.split("_")[2] == one.split("_")[2]
        ],
    ]
    print(f"\n{'':<40}{'plain /s':>10}{'here /s':>10}{'ratio':>8}{'target':>8}")
    for key, title, before, after, unit in pairs:
        if before in found and after in found:
            a, b = found[before][unit], found[after][unit]
            print(f"{title:<40}{a:>10.2f}{b:>10.2f}{b / a:>8.2f}{TARGETS.get(key, ''):>8}")
    errors = [
        abs(point["error"]) for name, point in found.items() if name.startswith("peak_") and "error" in point
    ]
    if errors:
        print(f"predicted peaks: {len(errors)} shapes, largest error {max(errors):.1%}")


if __name__ == "__main__":
    main()
