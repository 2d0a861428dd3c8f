"""The table of the arms for a terminal, a README, a spreadsheet and a program."""

from __future__ import annotations

import csv
import io
import json
import math
import shutil
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from medalign.reporting import wording
from medalign.reporting.rows import Row

# Shown where at least one arm has them.
_OPTIONAL = {"macro_f1": "macro-F1", "token_f1": "token-F1"}
# Narrower than this and the settings go below the table, where a line is theirs alone.
_WIDTH_WITH_SETTINGS = 130
# Narrower than this and only what answers the question is shown, without lines.
_WIDTH_WITH_LINES = 100
_PLAIN_WIDTH = 160
# A cell that begins with one of these is run as a formula by spreadsheets.
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


def render_text(rows: Sequence[Row], *, is_terminal: bool | None = None, width: int | None = None) -> str:
    """The arms as a table of text.

    Args:
        rows: From `rows.arm_rows`.
        is_terminal: Whether lines and colours may be used; by default whether standard output is one.
        width: In characters; by default that of the terminal.
    """
    from rich import box
    from rich.console import Console
    from rich.table import Table

    terminal = sys.stdout.isatty() if is_terminal is None else is_terminal
    wide = width or (shutil.get_terminal_size((_PLAIN_WIDTH, 24)).columns if terminal else _PLAIN_WIDTH)
    with_settings = wide >= _WIDTH_WITH_SETTINGS
    optional = _optional(rows) if wide >= _WIDTH_WITH_LINES else []
    # Letters outside ASCII would fail on a terminal that is set to none of the Unicode encodings.
    lines = box.ASCII2 if wide >= _WIDTH_WITH_LINES else None
    table = Table(
        box=lines, pad_edge=False, show_edge=False, padding=(0, 1, 0, 0) if lines is None else (0, 1)
    )
    for number, header in enumerate(_headers(rows, optional)):
        table.add_column(header, justify="left" if number == 0 else "right", no_wrap=True)
    if with_settings:
        table.add_column("best setting", overflow="fold")
    for row in rows:
        cells = _cells(row, optional) + ([_setting(row)] if with_settings else [])
        table.add_row(*map(_literal, cells), style="bold" if terminal and _is_better(row) else None)
    out = io.StringIO()
    console = Console(file=out, width=wide, force_terminal=terminal, highlight=False, legacy_windows=False)
    console.print(table)
    if not with_settings:
        for row in rows:
            console.print(f"best setting of {row['arm']}: {_setting(row)}", markup=False, soft_wrap=True)
    return "\n".join(line.rstrip() for line in out.getvalue().rstrip().splitlines()) + "\n"


def to_markdown(rows: Sequence[Row]) -> str:
    """The arms as a Markdown table, for a README."""
    optional = _optional(rows)
    header = [*_headers(rows, optional), "best setting"]
    lines = ["| " + " | ".join(header) + " |", "| --- |" + " ---: |" * (len(header) - 2) + " --- |"]
    for row in rows:
        cells = [
            cell.replace("|", "\\|").replace("\n", " ") for cell in [*_cells(row, optional), _setting(row)]
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def to_csv(rows: Sequence[Row], *, text_columns: Sequence[str] = ()) -> str:
    """Rows of equal columns as CSV; undefined cells are empty.

    Args:
        text_columns: Columns with text that others wrote. Where such a text would be run as a formula by a
            spreadsheet, an apostrophe goes before it.
    """
    if not rows:
        return ""
    out = io.StringIO()
    writer = csv.DictWriter(out, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    for row in rows:
        guarded = {name: _harmless(row[name]) for name in text_columns if isinstance(row.get(name), str)}
        writer.writerow({**row, **guarded})
    return out.getvalue()


def to_json(content: Mapping[str, Any]) -> str:
    """Plain values as JSON that any program reads: what is not a finite number becomes null."""
    return json.dumps(_finite(content), indent=2, allow_nan=False, default=str) + "\n"


def flat_flips(rows: Sequence[Row]) -> list[Row]:
    """The rows of `rows.flip_rows` with one pair of columns for each arm."""
    flat = []
    for row in rows:
        cells: Row = {name: row[name] for name in row if name not in ("arms", "spread", "options")}
        cells["options"] = " | ".join(row["options"])
        for arm, said in row["arms"].items():
            cells[f"{arm}_said"] = " | ".join(said["answers"])
            cells[f"{arm}_share_right"] = said["share_right"]
        flat.append(cells)
    return flat


def _optional(rows: Sequence[Row]) -> list[str]:
    return [name for name in _OPTIONAL if any(row[name] is not None for row in rows)]


def _headers(rows: Sequence[Row], optional: Sequence[str]) -> list[str]:
    level = f"{rows[0]['level']:.0%}" if rows else "interval"
    fixed = ["arm", f"accuracy [{level}]", f"vs base [{level}]", "p (Holm)", "train s", "tokens", "peak GiB"]
    return fixed + [_OPTIONAL[name] for name in optional]


def _cells(row: Row, optional: Sequence[str]) -> list[str]:
    accuracy = f"{wording.percent(row['accuracy'])} {wording.percent_range(row['accuracy_low'], row['accuracy_high'])}"
    difference = wording.points(row["difference_to_base"])
    interval = wording.points_range(row["difference_low"], row["difference_high"])
    return [
        str(row["arm"]),
        accuracy,
        f"{difference} {interval}".strip(),
        wording.p_value(row["p_corrected"]),
        wording.seconds(row["train_seconds"]),
        wording.count(row["tokens_trained"]),
        wording.gib(row["peak_gib"]),
        *(wording.decimals(row[key]) for key in optional),
    ]


def _setting(row: Row) -> str:
    return wording.setting(json.loads(row["best_setting"]))


def _is_better(row: Row) -> bool:
    return row["verdict"] == "better"


def _literal(text: str) -> str:
    """Square brackets are markup to rich."""
    return text.replace("[", "\\[")


def _harmless(text: str) -> str:
    return f"'{text}" if text.startswith(_FORMULA_STARTS) else text


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
