"""The plots of a data card: pictures in SVG, drawn by matplotlib, with a grey that can be read on white and black."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from medalign.reporting.drawing import blank_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe and Ito's palette (https://jfly.uni-koeln.de/color/): train, validation, test.
_COLOURS = {"train": "#0072b2", "validation": "#e69f00", "test": "#d55e00"}
_INK = "#808488"
_BARS_SHOWN = 24
_LABEL_CHARS = 36


class CardPlot(NamedTuple):
    """One picture.

    Attributes:
        address: A data address that holds the whole picture.
    """

    name: str
    title: str
    caption: str
    address: str


def draw_card_plots(card: Mapping[str, Any]) -> list[CardPlot]:
    """Questions by source, specialty and answer, token lengths, and what was left out: each where there is any."""
    splits = card["splits"]
    plots = [
        _counts(splits, "source", "Questions by source"),
        _counts(splits, "specialty", "Questions by specialty"),
        _counts(splits, "answer", "Questions by answer"),
    ]
    if any(card.get("token_histograms", {}).get("questions", {}).values()):
        plots.append(_tokens(card["token_histograms"]))
    if card["drops"]:
        plots.append(_drops(card["drops"]))
    return plots


def _counts(splits: Mapping[str, Any], what: str, title: str) -> CardPlot:
    totals: dict[str, int] = {}
    for counts in splits.values():
        for name, number in counts[what].items():
            totals[name] = totals.get(name, 0) + number
    names = sorted(totals, key=lambda name: (-totals[name], name))
    shown, rest = names[:_BARS_SHOWN], names[_BARS_SHOWN:]

    def draw(axes: Axes) -> None:
        starts = [0.0] * len(shown)
        for split, counts in splits.items():
            sizes = [counts[what].get(name, 0) for name in shown]
            axes.barh(range(len(shown)), sizes, left=starts, color=_COLOURS.get(split, _INK), label=split)
            starts = [start + size for start, size in zip(starts, sizes, strict=True)]
        _label_bars(axes, shown)
        axes.legend(frameon=False, loc="lower right", fontsize=9, labelcolor=_INK)

    more = f" The {len(rest)} smallest of {len(names)} are not shown." if rest else ""
    return _picture(what, title, f"Number of questions in each split.{more}", draw, 0.9 + 0.26 * len(shown))


def _tokens(histograms: Mapping[str, Any]) -> CardPlot:
    edges = histograms["edges"]

    def draw(axes: Axes) -> None:
        for split, counts in histograms["questions"].items():
            total = max(1, sum(counts))
            shares = [100 * count / total for count in counts]
            axes.stairs(shares, edges, color=_COLOURS.get(split, _INK), linewidth=1.8, label=split)
        axes.set_xlabel("tokens of the longest row that a question takes up")
        axes.set_ylabel("percent of the split")
        axes.legend(frameon=False, fontsize=9, labelcolor=_INK)

    caption = (
        "By the model's own tokenizer; the question with its answer and rationale, or with all its options."
    )
    return _picture("tokens", "Token lengths", caption, draw, 2.9)


def _drops(drops: Mapping[str, int]) -> CardPlot:
    names = list(drops)[:_BARS_SHOWN]

    def draw(axes: Axes) -> None:
        axes.barh(range(len(names)), [drops[name] for name in names], color=_INK)
        _label_bars(axes, names)

    return _picture(
        "drops", "What was left out", "Number of records for each reason.", draw, 0.9 + 0.26 * len(names)
    )


def _label_bars(axes: Axes, names: Sequence[str]) -> None:
    labels = [name if len(name) <= _LABEL_CHARS else f"{name[: _LABEL_CHARS - 3]}..." for name in names]
    # A dollar sign would begin a formula.
    axes.set_yticks(range(len(names)), [label.replace("$", r"\$") for label in labels])
    axes.invert_yaxis()


def _picture(name: str, title: str, caption: str, draw: Callable[[Axes], None], height: float) -> CardPlot:
    with blank_figure(name, (6.2, height), ink=_INK, font_size=9.5) as figure:
        axes = figure.add_subplot()
        axes.spines[["top", "right"]].set_visible(False)
        draw(axes)
        svg = io.StringIO()
        figure.savefig(svg, format="svg", transparent=True, metadata={"Date": None})
    encoded = base64.b64encode(svg.getvalue().encode()).decode()
    return CardPlot(name, title, caption, f"data:image/svg+xml;base64,{encoded}")
