"""The arms as a LaTeX table for a paper; it needs the package booktabs alone."""

from __future__ import annotations

from collections.abc import Sequence

from medalign.reporting import wording
from medalign.reporting.rows import Row

_SPECIAL = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
}


def to_latex(rows: Sequence[Row], *, num_questions: int, experiment: str) -> str:
    """A table with accuracy, difference to the base, p, macro-F1 and cost of every arm.

    Args:
        rows: From `rows.arm_rows`.
    """
    level = f"{rows[0]['level']:.0%}" if rows else "95%"
    with_f1 = any(row["macro_f1"] is not None for row in rows)
    head = ["Arm", f"Accuracy [{level} CI]", f"$\\Delta$ base [{level} CI]", "$p$"]
    head += ["Macro-F1"] if with_f1 else []
    head += ["Training (s)"]
    lines = [
        r"\begin{table}",
        r"\centering",
        rf"\begin{{tabular}}{{l{'r' * (len(head) - 1)}}}",
        r"\toprule",
        " & ".join(cell.replace("%", r"\%") for cell in head) + r" \\",
        r"\midrule",
    ]
    lines += [" & ".join(_cells(row, with_f1)) + r" \\" for row in rows]
    caption = (
        f"Accuracy on {num_questions} test questions ({escape(experiment)}). Differences are in percentage points and "
        r"paired by question; $p$ is two-sided and Holm-corrected over all pairs of arms."
    )
    lines += [r"\bottomrule", r"\end{tabular}", rf"\caption{{{caption}}}", r"\end{table}"]
    return "\n".join(lines) + "\n"


def escape(text: str) -> str:
    """Text in which LaTeX sees nothing but letters."""
    return "".join(_SPECIAL.get(letter, letter) for letter in text)


def _cells(row: Row, with_f1: bool) -> list[str]:
    accuracy = (
        f"{100 * row['accuracy']:.1f} [{100 * row['accuracy_low']:.1f}, {100 * row['accuracy_high']:.1f}]"
    )
    if row["difference_to_base"] is None:
        difference = p = "--"
    else:
        interval = wording.points_range(row["difference_low"], row["difference_high"])
        difference = _math_signs(f"{wording.points(row['difference_to_base'])} {interval}")
        p = wording.p_value(row["p_corrected"])
        p = f"${p}$" if p.startswith("<") else p
    cells = [escape(row["arm"]), accuracy, difference, p]
    cells += [wording.decimals(row["macro_f1"])] if with_f1 else []
    return [*cells, wording.seconds(row["train_seconds"]).replace(",", "{,}")]


def _math_signs(text: str) -> str:
    """Signs as LaTeX sets them in mathematics, so that a minus is no hyphen."""
    return text.replace("-", "$-$").replace("+", "$+$")
