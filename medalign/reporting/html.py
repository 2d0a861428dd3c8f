"""The report as one HTML file that needs no network: styles, script and plots are in it."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from medalign.records import ArmResult
from medalign.reporting import rows as table_rows
from medalign.reporting import wording
from medalign.reporting.plain_words import explain
from medalign.reporting.plots import Plot
from medalign.reporting.report_data import ReportData

if TYPE_CHECKING:
    from medalign.stats.comparison import ComparisonSummary

FLIPS_SHOWN = 40
_LIST_ITEMS = 20

# Sorts a table by the column whose heading is pressed. The page's security policy lets this text run and no
# other, so nothing that a question smuggles in can.
_SCRIPT = """
for (const button of document.querySelectorAll("table.sortable th button")) {
  button.addEventListener("click", () => {
    const heading = button.closest("th"), table = button.closest("table"), body = table.tBodies[0];
    const column = [...heading.parentNode.children].indexOf(heading), isNumber = button.dataset.sort === "number";
    const up = isNumber ? heading.ariaSort === "descending" : heading.ariaSort !== "ascending";
    for (const other of heading.parentNode.children) other.removeAttribute("aria-sort");
    heading.setAttribute("aria-sort", up ? "ascending" : "descending");
    const key = (row) => {
      const cell = row.children[column];
      if (!isNumber) return cell.textContent.trim();
      return cell.dataset.value === "" ? null : Number(cell.dataset.value);
    };
    const order = (a, b) => {
      const x = key(a), y = key(b);
      if (x === null || y === null) return (x === null) - (y === null);
      return (isNumber ? x - y : x.localeCompare(y)) * (up ? 1 : -1);
    };
    body.append(...[...body.rows].sort(order));
  });
}
""".strip()


def render_html(
    data: ReportData, summary: ComparisonSummary, arms: Sequence[ArmResult], plots: Sequence[Plot]
) -> str:
    """The whole page as text; everything that comes from outside is escaped."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("medalign.reporting", package_path=""),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters |= {
        "percent": wording.percent,
        "points": lambda fraction: _minus(wording.points(fraction)),
        "minus": _minus,
    }
    return environment.get_template("report.html.j2").render(_content(data, summary, arms, plots))


def _content(
    data: ReportData, summary: ComparisonSummary, arms: Sequence[ArmResult], plots: Sequence[Plot]
) -> Mapping[str, Any]:
    arm_rows = table_rows.arm_rows(summary, arms)
    flips = table_rows.flip_rows(data, arms)
    splits, split_rows = table_rows.card_table(data.card)
    digest = base64.b64encode(hashlib.sha256(_SCRIPT.encode()).digest()).decode()
    return {
        "data": data,
        "summary": summary,
        "wording": wording,
        "verdict": wording.sentence(summary.verdict, [arm.arm for arm in arms]),
        "sentences": explain(data, summary, arm_rows),
        "missing": table_rows.missing_methods(data.trials, arms),
        "arm_rows": arm_rows,
        "settings": {row["arm"]: wording.setting(json.loads(row["best_setting"])) for row in arm_rows},
        "has": {name: any(row[name] is not None for row in arm_rows) for name in ("macro_f1", "token_f1")},
        "level": f"{arm_rows[0]['level']:.0%}" if arm_rows else "",
        "num_seeds": max((row["num_seeds"] for row in arm_rows), default=0),
        "trials_a_method": max((row["num_trials"] for row in arm_rows), default=0),
        "pair_rows": table_rows.pair_rows(summary),
        "plots": plots,
        "splits": splits,
        "split_rows": split_rows,
        "card_rest": {name: value for name, value in data.card.items() if name != "splits" or not splits},
        "trial_rows": table_rows.trial_rows(data.trials),
        "specialty_rows": table_rows.specialty_rows(summary),
        "few": table_rows.FEW_QUESTIONS,
        "flips": flips[:FLIPS_SHOWN],
        "num_flips": len(flips),
        "num_questions": summary.num_questions,
        "list_items": _LIST_ITEMS,
        "script": _SCRIPT,
        "script_hash": f"sha256-{digest}",
    }


def _minus(text: str) -> str:
    """The typographic minus, as wide as a plus, before digits."""
    return text.replace("-", "\u2212") if any(letter.isdigit() for letter in text) else text
