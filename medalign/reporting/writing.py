"""All files of a report, each put in place whole or not at all."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medalign.errors import StorageError
from medalign.records import ArmResult
from medalign.reporting import error_rows, latex, ledger, rows, tables
from medalign.reporting.files import write_whole
from medalign.reporting.findings import Findings, derive
from medalign.reporting.html import render_html
from medalign.reporting.plots import draw_plots
from medalign.reporting.report_data import ReportData

if TYPE_CHECKING:
    from medalign.stats.comparison import ComparisonSummary

# Written by the authors of the questions or by a model, not by us.
_FOREIGN_TEXT = ("question", "context", "options", "answer")

# What some tools look for under these names.
_ALIASES = {"accuracy": "model_comparison", "specialties": "specialty_performance"}


def write_report(
    folder: Path, data: ReportData, summary: ComparisonSummary, arms: Sequence[ArmResult]
) -> list[Path]:
    """Writes the report and the same facts as tables for programs, papers and slides.

    report.html; results.json, training_recommendations.json; model_comparison.csv, results.csv, pairs.csv,
    specialty_performance.csv, costs.csv, errors.csv, flips.csv; table.tex; model_comparison.png,
    specialty_performance.png; plots/*.png and plots/*.svg.

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
    findings = derive(data, summary, arms)
    plots = draw_plots(data, findings)
    contents: dict[str, str | bytes] = {
        "report.html": render_html(data, findings, plots),
        **_tables(data, findings),
        **{f"plots/{plot.name}.png": plot.png for plot in plots},
        **{f"plots/{plot.name}.svg": plot.file for plot in plots},
        **{f"{alias}.png": plot.png for plot in plots for alias in [_ALIASES.get(plot.name)] if alias},
    }
    try:
        return [write_whole(folder / name, content) for name, content in contents.items()]
    except OSError as error:
        raise StorageError(f"results: {folder} cannot be written ({error.strerror})") from error


def _tables(data: ReportData, findings: Findings) -> dict[str, str]:
    summary, arms = findings.summary, findings.arms
    arm_rows = rows.arm_rows(summary, arms)
    costs = ledger.arm_rows(findings.ledger)
    flips = tables.flat_flips(findings.flips)
    foreign = [*_FOREIGN_TEXT, *(f"{arm.arm}_said" for arm in arms)]
    table = latex.to_latex(arm_rows, num_questions=summary.num_questions, experiment=data.experiment)
    return {
        "results.csv": tables.to_csv(arm_rows),
        "model_comparison.csv": tables.to_csv(rows.comparison_rows(summary, arms, costs)),
        "pairs.csv": tables.to_csv(rows.pair_rows(summary)),
        "specialty_performance.csv": tables.to_csv(
            rows.specialty_performance(summary), text_columns=["specialty"]
        ),
        "costs.csv": tables.to_csv(ledger.trial_rows(findings.ledger)),
        "errors.csv": tables.to_csv(findings.slices, text_columns=["value"]),
        "flips.csv": tables.to_csv(flips, text_columns=foreign),
        "results.json": tables.to_json(_results(data, findings)),
        "training_recommendations.json": tables.to_json(findings.recommendations),
        "table.tex": table,
    }


def _results(data: ReportData, findings: Findings) -> dict[str, Any]:
    summary, arms = findings.summary, findings.arms
    own = {field.name: getattr(data, field.name) for field in dataclasses.fields(data)}
    left_out = ("trials", "questions", "validation", "importances", "price")
    return {
        **{name: value for name, value in own.items() if name not in left_out},
        "chance": data.chance,
        "verdict": summary.verdict,
        "majority_baseline": summary.majority_baseline,
        "minimum_detectable_difference": summary.minimum_detectable_difference,
        "margin": summary.margin,
        "num_questions": summary.num_questions,
        "questions_needed": [need._asdict() for need in summary.questions_needed],
        "arms": rows.arm_rows(summary, arms),
        "pairs": rows.pair_rows(summary),
        "ranks": [rank._asdict() for rank in summary.ranks],
        "undefined": {arm.arm: dict(arm.undefined) for arm in summary.arms},
        "missing": rows.missing_methods(data.trials, arms),
        "specialties": rows.specialty_rows(summary),
        "trials": rows.trial_rows(data.trials),
        "costs": {
            "axis": findings.ledger.axis,
            "arms": ledger.arm_rows(findings.ledger),
            "trials": ledger.trial_rows(findings.ledger),
            "shared": [dataclasses.asdict(work) for work in findings.ledger.shared],
            "front": list(findings.front),
            "front_probability": dict(findings.front_probability),
        },
        "calibration": [dataclasses.asdict(item) for item in findings.reliability],
        "errors": {
            "patterns": error_rows.pattern_rows(findings.errors),
            "oracle": error_rows.oracle_row(findings.errors),
            "num_confident_errors": dict(findings.errors.num_confident_errors),
        },
        "importances": {
            method: {"shares": dict(item.shares), "num_trials": item.num_trials, "why_not": item.why_not}
            for method, item in data.importances.items()
        },
    }
