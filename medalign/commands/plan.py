"""What fits a slot: how a training step of a model is cut, and the memory that it takes; nothing is loaded.

medalign plan --model llama-3.1-8b --slot-gib 24
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence

from medalign.commands.exit_codes import OK, guarded
from medalign.commands.parsing import Parser, comma_list
from medalign.errors import ConfigError
from medalign.modeling.memory_plan import (
    BYTES,
    MemoryPlan,
    RowLength,
    SlotTooSmallError,
    Tuning,
    plan_memory,
    weights_gib,
)
from medalign.modeling.model_cards import CARDS, Described, describe_model

ARMS = {"sft": 1, "dpo": 2}
USUAL = ("llama-3.2-3b", "llama-2-7b", "llama-3.1-8b", "llama-2-13b", "mistral-7b", "phi-2")
HEADINGS = ("model", "precision", "weights", "arm", "tokens", "rows at once", "recompute", "held", "peak GiB")


def main(argv: Sequence[str] | None = None, *, prog: str = "medalign plan") -> int:
    """Run `medalign plan` and return its exit code."""
    return guarded(lambda: _plan(_parser(prog).parse_args(argv)))


def _parser(prog: str) -> Parser:
    parser = Parser(
        prog=prog,
        description="Print how a training step is cut to fit a slot, and the memory that it takes. No weights are "
        "fetched or loaded: sizes come from a card or from the model's config.json.",
        epilog=f"cards: {', '.join(CARDS)}",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add("--model", action="append", help="card, Hub id or local folder; repeat it (default: the usual ones)")
    add("--slot-gib", type=float, default=24.0, metavar="GIB", help="device memory that one trial may use")
    add("--precision", type=comma_list, default=["nf4", "int8", "bf16"], metavar="LIST", help="of the base")
    add("--tokens", type=comma_list, default=["512", "1024", "2048"], metavar="LIST", help="of a whole row")
    add("--answer-tokens", type=int, default=128, metavar="N", help="tokens of an answer within it")
    add(
        "--batch-size",
        type=int,
        default=8,
        metavar="N",
        help="questions of a step; the plan leaves it as it is",
    )
    add("--lora-rank", type=int, default=16, metavar="N", help="rank of the adapter; 0 trains all weights")
    add("--lora-targets", choices=("attention", "all_linear"), default="attention", help="what is adapted")
    return parser


def _plan(given: argparse.Namespace) -> int:
    lengths = _checked(given)
    models = {name: describe_model(name) for name in given.model or USUAL}
    rows = [row for name, model in models.items() for row in _rows(name, model, given, lengths)]
    table = [HEADINGS, *rows]
    widths = [max(len(row[i]) for row in table) for i in range(len(HEADINGS))]
    print(
        f"steps of {given.batch_size} questions in a slot of {given.slot_gib:g} GiB; a dpo row has two answers of "
        f"{given.answer_tokens} tokens behind one prompt"
    )
    for row in table:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    for model in models.values():
        for line in model.assumptions:
            print(line)
    return OK


def _checked(given: argparse.Namespace) -> list[int]:
    """The lengths as numbers.

    Raises:
        ConfigError: With a line for every option that cannot be used.
    """
    faults = [
        f"--precision: '{name}'; use {', '.join(BYTES)}" for name in given.precision if name not in BYTES
    ]
    faults += [f"--tokens: '{text}' is not a number above 1" for text in given.tokens if not _above_1(text)]
    for option, low in (("slot_gib", 1e-9), ("answer_tokens", 1), ("batch_size", 1), ("lora_rank", 0)):
        if not getattr(given, option) >= low:
            name = "--" + option.replace("_", "-")
            faults.append(
                f"{name}: {getattr(given, option)}; use {'0 or more' if low == 0 else 'more than 0'}"
            )
    if faults:
        raise ConfigError(*faults)
    lengths = [int(text) for text in given.tokens]
    if 2 * given.answer_tokens >= min(lengths, default=0):
        raise ConfigError(f"--answer-tokens: {given.answer_tokens}; two answers must leave room in --tokens")
    return lengths


def _above_1(text: str) -> bool:
    return text.isdigit() and int(text) > 1


def _rows(
    name: str, model: Described, given: argparse.Namespace, lengths: Sequence[int]
) -> Iterator[tuple[str, ...]]:
    for precision in given.precision:
        weights = f"{weights_gib(model.shape, precision):.1f}"
        for arm, num_answers in ARMS.items():
            for tokens in lengths:
                found = _fitted(model, precision, tokens, num_answers, given)
                yield (name, precision, weights, arm, str(tokens), *found)


def _fitted(
    model: Described, precision: str, tokens: int, num_answers: int, given: argparse.Namespace
) -> tuple[str, str, str, str]:
    try:
        plan: MemoryPlan = plan_memory(
            model.shape,
            [RowLength(tokens, num_answers * given.answer_tokens, num_answers)],
            precision=precision,
            batch_size=given.batch_size,
            slot_gib=given.slot_gib,
            tuning=Tuning(rank=given.lora_rank or None, targets=given.lora_targets),
        )
    except SlotTooSmallError as error:
        return "does not fit", "", "", f"needs {error.needed_gib:.0f}"
    again = "yes" if plan.checkpointing else "no"
    return str(plan.rows_at_once), again, f"{plan.parts.held:.1f}", f"{plan.peak_gib:.1f}"
