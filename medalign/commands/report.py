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
    parser = Parser(
        prog=prog,
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "results", metavar="RESULTS", help="folder of one comparison, as `compare` names it at its end"
    )
    given = parser.parse_args(argv)

    from medalign.conclusion import conclude
    from medalign.config.locations import shown
    from medalign.reporting.rows import arm_rows
    from medalign.reporting.tables import render_text
    from medalign.reporting.wording import sentence
    from medalign.tracking.folder import ComparisonFolder

    conclusion = conclude(ComparisonFolder.at(Path(given.results)))
    print(render_text(arm_rows(conclusion.summary, conclusion.arms)))
    print(sentence(conclusion.summary.verdict, [arm.arm for arm in conclusion.arms]) + "\n")
    print(f"report     {shown(conclusion.files[0])}")
    return OK
