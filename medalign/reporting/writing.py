"""All files of a report, each put in place whole or not at all."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medalign.errors import StorageError
from medalign.records import ArmResult
from medalign.reporting import rows, tables
from medalign.reporting.files import write_whole
from medalign.reporting.html import render_html
from medalign.reporting.plots import draw_plots
from medalign.reporting.report_data import ReportData

if TYPE_CHECKING:
    from medalign.stats.comparison import ComparisonSummary

# Written by the authors of the questions or by a model, not by us.
_FOREIGN_TEXT = ("question", "context", "options", "answer")


def write_report(
    folder: Path, data: ReportData, summary: ComparisonSummary, arms: Sequence[ArmResult]
) -> list[Path]:
    """Writes report.html, results.csv, pairs.csv, results.json, flips.csv and plots/*.png.

    Args:
        folder: Of the comparison; it is made where it is missing.
        data: What surrounds the numbers.
        summary: Of the statistics.
        arms: With their predictions on the test split.

    Returns:
        The files, the report first.

    Raises:
        StorageError: The folder cannot be written.
    """
    plots = draw_plots(data, summary, arms)
    flips = tables.flat_flips(rows.flip_rows(data, arms))
    foreign = [*_FOREIGN_TEXT, *(f"{arm.arm}_said" for arm in arms)]
    contents: dict[str, str | bytes] = {
        "report.html": render_html(data, summary, arms, plots),
        "results.csv": tables.to_csv(rows.arm_rows(summary, arms)),
        "pairs.csv": tables.to_csv(rows.pair_rows(summary)),
        "results.json": tables.to_json(_results(data, summary, arms)),
        "flips.csv": tables.to_csv(flips, text_columns=foreign),
        **{f"plots/{plot.name}.png": plot.png for plot in plots},
    }
    try:
        return [write_whole(folder / name, content) for name, content in contents.items()]
    except OSError as error:
        raise StorageError(f"results: {folder} cannot be written ({error.strerror})") from error


def _results(data: ReportData, summary: ComparisonSummary, arms: Sequence[ArmResult]) -> dict[str, Any]:
    own = {field.name: getattr(data, field.name) for field in dataclasses.fields(data)}
    kept = {name: value for name, value in own.items() if name not in ("trials", "questions")}
    return {
        **kept,
        "chance": data.chance,
        "verdict": summary.verdict,
        "majority_baseline": summary.majority_baseline,
        "minimum_detectable_difference": summary.minimum_detectable_difference,
        "num_questions": summary.num_questions,
        "arms": rows.arm_rows(summary, arms),
        "pairs": rows.pair_rows(summary),
        "missing": rows.missing_methods(data.trials, arms),
        "specialties": rows.specialty_rows(summary),
        "trials": rows.trial_rows(data.trials),
    }
