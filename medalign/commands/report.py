"""Build the report of a comparison again, out of its folder alone.

medalign report results/embedded_smollm2-135m_cpu-20260101-120000-0a1b
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from medalign.commands.exit_codes import OK, guarded
from medalign.commands.parsing import Parser

DESCRIPTION = """\
Builds the statistics and the report of a comparison again from its folder: from the stored predictions and trials,
without a model, without the data and without a network. Of a comparison that is still running it shows the arms
that have answered the test questions so far."""


def main(argv: Sequence[str] | None = None, *, prog: str = "medalign report") -> int:
    """Run `medalign report RESULTS` and return its exit code."""
    return guarded(lambda: _report(prog, argv))


def _report(prog: str, argv: Sequence[str] | None) -> int:
    parser = Parser(prog=prog, description=DESCRIPTION)
    parser.add_argument(
        "results", metavar="RESULTS", help="folder of one comparison, as `compare` names it at its end"
    )
    prices = {
        "device_hour": ("--price-device-hour", "price of a whole GPU for an hour"),
        "core_hour": ("--price-core-hour", "price of one busy CPU core for an hour"),
        "currency": ("--currency", "as it is to be written"),
    }
    for name, (option, text) in prices.items():
        parser.add_argument(
            option,
            dest=name,
            type=str if name == "currency" else _rate,
            metavar="WORD" if name == "currency" else "AMOUNT",
            help=f"{text} (default: the experiment's)",
        )
    given = parser.parse_args(argv)
    price = {name: getattr(given, name) for name in prices if getattr(given, name) is not None}

    from medalign.conclusion import conclude
    from medalign.config.locations import shown
    from medalign.reporting.rows import arm_rows
    from medalign.reporting.tables import render_text
    from medalign.reporting.wording import sentence
    from medalign.tracking.folder import ComparisonFolder

    conclusion = conclude(ComparisonFolder.at(Path(given.results)), price=price)
    print(render_text(arm_rows(conclusion.summary, conclusion.arms)))
    print(sentence(conclusion.summary.verdict, [arm.arm for arm in conclusion.arms]) + "\n")
    print(f"report     {shown(conclusion.files[0])}")
    return OK


def _rate(text: str) -> float:
    try:
        rate = float(text)
    except ValueError:
        rate = -1.0
    if not 0 <= rate < float("inf"):
        raise argparse.ArgumentTypeError(f"'{text}' is no amount of money; write a number such as 1.80")
    return rate
