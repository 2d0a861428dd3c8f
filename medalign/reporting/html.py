"""The report as one HTML file that needs no network: styles, script and plots are in it."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from importlib import resources
from typing import Any

from medalign.records import BASE, Question
from medalign.reporting import error_rows, ledger, wording
from medalign.reporting import rows as table_rows
from medalign.reporting.drawing import Plot, make_looks
from medalign.reporting.findings import Findings
from medalign.reporting.plain_words import explain
from medalign.reporting.plots import AXIS_WORDS, cost_text
from medalign.reporting.report_data import ReportData

FLIPS_SHOWN = 150
FLIPS_CHARS = (
    1_200_000  # of all flips shown, so that the page stays under 5 MiB whatever the passages' length
)
MISTAKES_SHOWN = 10
_LIST_ITEMS = 20
_COST_UNITS = {"price": "{currency}", "device_seconds": "GPU time", "cpu_seconds": "CPU time"}


def render_html(data: ReportData, findings: Findings, plots: Sequence[Plot]) -> str:
    """The whole page as text; everything that comes from outside is escaped."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("medalign.reporting", package_path=""),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
    )
    filters: dict[str, Callable[[Any], str]] = {
        "percent": wording.percent,
        "points": lambda fraction: _minus(wording.points(fraction)),
        "minus": _minus,
        "tag": _tag,
    }
    environment.filters |= filters
    return environment.get_template("report.html.j2").render(_content(data, findings, plots))


def _content(data: ReportData, findings: Findings, plots: Sequence[Plot]) -> Mapping[str, Any]:
    summary, arms = findings.summary, findings.arms
    arm_rows = table_rows.arm_rows(summary, arms)
    flips = _within(findings.flips, FLIPS_SHOWN, FLIPS_CHARS)
    splits, split_rows = table_rows.card_table(data.card)
    script = resources.files("medalign.reporting").joinpath("report.js").read_text(encoding="utf-8").strip()
    style = resources.files("medalign.reporting").joinpath("report.css").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    looks = make_looks([arm.arm for arm in arms] + [trial.spec.method for trial in data.trials])
    return {
        "data": data,
        "summary": summary,
        "findings": findings,
        "wording": wording,
        "base": BASE,
        "verdict": wording.sentence(summary.verdict, [arm.arm for arm in arms]),
        "sentences": explain(data, findings, arm_rows),
        "missing": table_rows.missing_methods(data.trials, arms),
        "arm_rows": arm_rows,
        "found": {arm.arm: arm for arm in summary.arms},
        "colours": {name: look.colour for name, look in looks.items()},
        "bars": _bars(arm_rows, summary.majority_baseline),
        "settings": {row["arm"]: wording.setting(json.loads(row["best_setting"])) for row in arm_rows},
        "has": {name: any(row[name] is not None for row in arm_rows) for name in ("macro_f1", "token_f1")},
        "level": f"{arm_rows[0]['level']:.0%}" if arm_rows else "",
        "num_seeds": max((row["num_seeds"] for row in arm_rows), default=0),
        "trials_a_method": max((row["num_trials"] for row in arm_rows), default=0),
        "pair_rows": table_rows.pair_rows(summary),
        "places": {rank.arm: rank for rank in summary.ranks},
        "plots": plots,
        "source_names": [str(source).partition(":")[0] for source in data.card.get("sources", ())],
        "ledger": findings.ledger,
        "cost_rows": ledger.arm_rows(findings.ledger),
        "cost_trials": ledger.trial_rows(findings.ledger),
        "cost_unit": _COST_UNITS[findings.ledger.axis].format(currency=findings.ledger.price.currency),
        "cost_short": lambda value: _short_cost(findings.ledger, value),
        "cost_text": lambda value: cost_text(findings.ledger, value),
        "axis": AXIS_WORDS[findings.ledger.axis].format(currency=findings.ledger.price.currency),
        "cost_has": _cost_columns(findings.ledger),
        "splits": splits,
        "split_rows": split_rows,
        "card_rest": {name: value for name, value in data.card.items() if name != "splits" or not splits},
        "trial_rows": table_rows.trial_rows(data.trials),
        "specialty_rows": table_rows.specialty_rows(summary),
        "few": table_rows.FEW_QUESTIONS,
        "mixed_specialties": _mixed_specialties(data),
        "base_gap": _base_gap(arm_rows),
        "error_pairs": sorted(findings.errors.pairs, key=lambda pair: pair.second != BASE),
        "slices": [row for row in findings.slices if row["second"] == BASE and not row["undefined"]],
        "patterns": [row for row in error_rows.pattern_rows(findings.errors) if not row["undefined"]],
        "mistakes": _sure_mistakes(data, findings),
        "oracle": error_rows.oracle_row(findings.errors),
        "flips": flips,
        "num_flips": len(findings.flips),
        "flip_specialties": sorted({flip["specialty"] for flip in flips}),
        "num_questions": summary.num_questions,
        "list_items": _LIST_ITEMS,
        "style": style,
        "script": script,
        "script_hash": f"sha256-{digest}",
    }


def _mixed_specialties(data: ReportData) -> list[str]:
    """Which kinds of questions the specialties hold, where these are not all alike; else nothing."""
    kinds: dict[str, set[str]] = {}
    for question in data.questions.values():
        if question.is_scored:
            kinds.setdefault(question.specialty, set()).add(_kind_words(question))
    if len({frozenset(held) for held in kinds.values()}) < 2:
        return []
    return sorted(set().union(*kinds.values()))


def _kind_words(question: Question) -> str:
    if question.kind == "decision":
        return "yes, no or maybe" if "maybe" in question.options else "yes or no"
    return f"{len(question.options)} options"


def _base_gap(rows: Sequence[table_rows.Row]) -> float | None:
    """Validation less test accuracy of the untouched model."""
    for row in rows:
        if row["arm"] == BASE and row["validation_accuracy"] is not None:
            return float(row["validation_accuracy"] - row["accuracy"])
    return None


def _bars(rows: Sequence[table_rows.Row], majority: float | None) -> Mapping[str, Any]:
    """Where on a common scale each arm's interval and mark lie, in percent of the bar's width."""
    values = [row[key] for row in rows for key in ("accuracy_low", "accuracy_high")]
    values += [majority] if majority is not None else []
    if not values:
        return {}
    low, high = min(values), max(values)
    pad = max((high - low) * 0.06, 0.005)
    low, span = max(0.0, low - pad), max(min(1.0, high + pad) - max(0.0, low - pad), 1e-9)

    def place(value: float) -> float:
        return round(100 * (value - low) / span, 2)

    return {
        "majority": None if majority is None else place(majority),
        **{
            row["arm"]: {
                "low": place(row["accuracy_low"]),
                "width": round(place(row["accuracy_high"]) - place(row["accuracy_low"]), 2),
                "at": place(row["accuracy"]),
            }
            for row in rows
        },
    }


def _sure_mistakes(data: ReportData, findings: Findings) -> list[table_rows.Row]:
    """The questions with the surest wrong answers, each with what its arms said; an arm once, at its surest."""
    rows: dict[str, table_rows.Row] = {}
    for row in error_rows.confident_error_rows(findings.errors):
        question = data.questions.get(row["question_id"])
        held = rows.setdefault(
            row["question_id"], {**row, "question": question.text if question else "", "arms": {}}
        )
        held["arms"].setdefault(row["arm"], (row["said"], row["confidence"]))
    return list(rows.values())[:MISTAKES_SHOWN]


def _cost_columns(book: ledger.Ledger) -> Mapping[str, bool]:
    total = book.grand_total
    return {
        "device": total.device_seconds > 0,
        "flops": total.train_flops + total.score_flops > 0,
        "energy": total.energy_joules is not None,
        "price": book.price.is_given,
        "shared": bool(book.shared),
    }


def _within(rows: Sequence[table_rows.Row], number: int, characters: int) -> list[table_rows.Row]:
    kept: list[table_rows.Row] = []
    for row in rows[:number]:
        characters -= len(row["question"]) + len(row["context"]) + sum(map(len, row["options"])) + 1500
        if characters < 0:
            break
        kept.append(row)
    return kept


def _short_cost(book: ledger.Ledger, value: float) -> str:
    return wording.amount(value) if book.axis == "price" else wording.duration(value)


def _minus(text: str) -> str:
    """The typographic minus, as wide as a plus, before digits."""
    return text.replace("-", "\u2212") if any(letter.isdigit() for letter in text) else text


def _tag(verdict: str | None) -> str:
    """The class of a verdict's label."""
    if verdict and verdict.startswith("equivalent"):
        return "same"
    return verdict if verdict in ("better", "worse") else ""
