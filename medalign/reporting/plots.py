"""The plots of a report, drawn by matplotlib without any shared state.

Each plot is an SVG for the page, whose text and lines take the page's colours (so that it can be read in dark mode),
and a PNG for slides and papers.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from medalign.records import BASE, ArmResult, TrialResult
from medalign.reporting import wording
from medalign.reporting.report_data import ReportData
from medalign.reporting.rows import base_first, pair_rows

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from medalign.stats.comparison import ComparisonSummary

# Okabe and Ito's palette (https://jfly.uni-koeln.de/color/), in an order that keeps 3:1 contrast on white and on
# near-black; every arm has a shape of its own besides.
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00")
_SHAPES = ("o", "s", "^", "D", "v", "P")
_BASE_COLOUR = "#808080"
# Stand for the page's colours: nothing else in a plot has these values.
_INK = "#1b1c1d"
_LINE = "#c9cacb"
_WIDTH_INCHES = 5.6
_PNG_DPI = 200


class Plot(NamedTuple):
    """One drawn plot.

    Attributes:
        svg: An `svg` element to be put into a page, without any address in it.
        caption: What is to be seen, and how to read it.
    """

    name: str
    title: str
    caption: str
    svg: str
    png: bytes


@dataclass(frozen=True)
class _Look:
    colour: str
    shape: str


def draw_plots(data: ReportData, summary: ComparisonSummary, arms: Sequence[ArmResult]) -> list[Plot]:
    """All plots for which there is something to show."""
    looks = _looks([arm.arm for arm in arms] + [trial.spec.method for trial in data.trials])
    plots = [accuracy_plot(data, summary, looks)]
    if summary.pairs:
        plots.insert(0, forest_plot(summary))
    plots.append(cost_plot(summary, arms, looks))
    searched = [trial for trial in data.trials if trial.spec.stage == "search" and _curve(trial)]
    if searched:
        plots.append(search_plot(searched, looks))
    return plots


def forest_plot(summary: ComparisonSummary) -> Plot:
    """The difference of every pair of arms with its interval."""
    rows = pair_rows(summary)

    def draw(figure: Figure) -> None:
        axes = _axes(figure)
        axes.axvline(0, color=_INK, linewidth=1)
        for place, row in enumerate(reversed(rows)):
            clear = row["verdict"] in ("better", "worse")
            colour = _COLOURS[0] if clear else _BASE_COLOUR
            low, middle, high = (
                100 * row[key] for key in ("difference_low", "difference", "difference_high")
            )
            axes.plot([low, high], [place, place], color=colour, linewidth=2.4, solid_capstyle="butt")
            axes.plot(middle, place, marker="o" if clear else "D", color=colour, markersize=7)
            text = f"{wording.points(row['difference'])}, p {_equals(wording.p_value(row['p_corrected']))}"
            axes.annotate(text, (1.02, place), xycoords=axes.get_yaxis_transform(), va="center", fontsize=9.5)
        axes.set_yticks(range(len(rows)), [f"{row['first']} - {row['second']}" for row in reversed(rows)])
        axes.set_ylim(-0.6, len(rows) - 0.3)
        axes.set_xlabel("difference in accuracy, percentage points")

    caption = (
        "Each line is the range of differences that the data allow for that pair alone. Blue circles: a difference "
        "is shown, with Holm's correction for the number of pairs; grey diamonds: which arm is better stays open."
    )
    return _plot("differences", "Differences between arms", caption, draw, 1.1 + 0.55 * len(rows))


def accuracy_plot(data: ReportData, summary: ComparisonSummary, looks: dict[str, _Look]) -> Plot:
    """The accuracy of every arm with its interval, its seeds, and what guessing would score."""
    items = sorted(summary.arms, key=lambda item: item.arm != BASE)

    def draw(figure: Figure) -> None:
        axes = _axes(figure)
        for place, item in enumerate(reversed(items)):
            look = looks[item.arm]
            interval = [100 * item.accuracy_interval.low, 100 * item.accuracy_interval.high]
            axes.plot(interval, [place, place], color=look.colour, linewidth=2.4, solid_capstyle="butt")
            if len(item.accuracy_by_seed) > 1:
                seeds = [100 * share for share in item.accuracy_by_seed]
                axes.plot(seeds, [place] * len(seeds), "|", color=look.colour, markersize=12, alpha=0.8)
            axes.plot(100 * item.accuracy, place, look.shape, color=look.colour, markersize=8)
            label = wording.percent(item.accuracy)
            axes.annotate(
                label, (100 * item.accuracy, place), (0, 9), textcoords="offset points", ha="center"
            )
        _baselines(axes, summary.majority_baseline, data.chance)
        axes.set_yticks(range(len(items)), [item.arm for item in reversed(items)])
        axes.set_ylim(-0.6, len(items) - 0.3)
        axes.set_xlabel("test accuracy, percent")

    caption = (
        "Accuracy on the test questions with its interval; small strokes are single seeds. An arm that does not "
        "clear the majority line has shown no more than a feeling for which answer is frequent."
    )
    return _plot("accuracy", "Accuracy of each arm", caption, draw, 1.5 + 0.55 * len(items))


def _baselines(axes: Axes, majority: float | None, chance: float | None) -> None:
    lines = ((majority, "always the most frequent answer", "--"), (chance, "guessing", ":"))
    drawn = False
    for value, label, style in lines:
        if value is not None:
            text = f"{label} ({wording.percent(value)})"
            axes.axvline(100 * value, color=_INK, linestyle=style, linewidth=1.2, label=text)
            drawn = True
    if drawn:
        axes.legend(loc="lower center", bbox_to_anchor=(0.45, 1.0), ncols=2, frameon=False, fontsize=9)


def cost_plot(summary: ComparisonSummary, arms: Sequence[ArmResult], looks: dict[str, _Look]) -> Plot:
    """Accuracy against the seconds that an arm took to find, train and score."""
    from matplotlib.ticker import LogLocator, NullLocator

    found = {item.arm: item for item in summary.arms}

    def draw(figure: Figure) -> None:
        axes = _axes(figure, grid="both")
        for arm in base_first(arms):
            item, look = found[arm.arm], looks[arm.arm]
            total = arm.cost + arm.search_cost
            # A logarithmic axis has no place for zero.
            seconds = max(total.train_seconds + total.score_seconds, 0.1)
            accuracy = 100 * item.accuracy
            below, above = (
                accuracy - 100 * item.accuracy_interval.low,
                100 * item.accuracy_interval.high - accuracy,
            )
            error = [[max(below, 0.0)], [max(above, 0.0)]]
            axes.errorbar(
                seconds, accuracy, error, fmt=look.shape, color=look.colour, markersize=8, elinewidth=1.6
            )
            axes.annotate(arm.arm, (seconds, accuracy), (9, 5), textcoords="offset points")
        axes.set_xscale("log")
        axes.margins(x=0.2)
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xlabel("seconds of training and scoring, search included (log scale)")
        axes.set_ylabel("test accuracy, percent")

    caption = (
        "Up is more accurate, left is cheaper. Stopped and failed trials are paid for too and counted in."
    )
    return _plot("cost", "Accuracy and cost", caption, draw, 3.4)


def search_plot(trials: Sequence[TrialResult], looks: dict[str, _Look]) -> Plot:
    """Validation accuracy over the budget of every search trial, one panel a method."""
    methods = list(dict.fromkeys(trial.spec.method for trial in trials))

    def draw(figure: Figure) -> None:
        panels = figure.subplots(len(methods), 1, sharex=True, sharey=True, squeeze=False)[:, 0]
        for axes, method in zip(panels, methods, strict=True):
            _style(axes, grid="y")
            for trial in (trial for trial in trials if trial.spec.method == method):
                _draw_curve(axes, trial, looks[method])
            axes.set_title(method, loc="left", fontsize=10.5, fontweight="bold")
            axes.set_xlim(0, 1.06)
        panels[len(methods) // 2].set_ylabel("validation accuracy, percent")
        panels[-1].set_xlabel("share of the trial's budget")

    caption = (
        "Every setting that was searched. A line that ends early was stopped (cross) or failed (open circle). "
        "Settings were chosen on these validation questions, so these numbers are too hopeful; the test is above."
    )
    return _plot("search", "Search", caption, draw, 0.7 + 1.5 * len(methods))


def _draw_curve(axes: Axes, trial: TrialResult, look: _Look) -> None:
    shares, scores = zip(*_curve(trial), strict=True)
    axes.plot(shares, scores, color=look.colour, alpha=0.75, linewidth=1.6, marker=".", markersize=5)
    end = {"completed": look.shape, "stopped": "X", "failed": "o"}[trial.status]
    fill = "none" if trial.status == "failed" else look.colour
    axes.plot(shares[-1], scores[-1], end, color=look.colour, markerfacecolor=fill, markersize=7)


def _curve(trial: TrialResult) -> list[tuple[float, float]]:
    points = [(progress.budget_share, 100 * progress.score) for progress in trial.history]
    if not points and trial.score is not None:
        points = [(1.0, 100 * trial.score)]
    return points


def _looks(names: Sequence[str]) -> dict[str, _Look]:
    looks = {BASE: _Look(_BASE_COLOUR, "o")}
    for number, name in enumerate(name for name in dict.fromkeys(names) if name != BASE):
        looks[name] = _Look(_COLOURS[number % len(_COLOURS)], _SHAPES[(number + 1) % len(_SHAPES)])
    return looks


def _equals(p: str) -> str:
    return p if p.startswith("<") else f"= {p}"


def _axes(figure: Figure, grid: Any = "x") -> Axes:
    axes = figure.add_subplot()
    _style(axes, grid)
    return axes


def _style(axes: Axes, grid: Any) -> None:
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(length=0)
    axes.grid(axis=grid, color=_LINE, linewidth=0.8)
    axes.set_axisbelow(True)


def _plot(name: str, title: str, caption: str, draw: Callable[[Figure], None], height: float) -> Plot:
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    settings = {
        "font.size": 10.5,
        "svg.fonttype": "none",
        "svg.hashsalt": name,
        **dict.fromkeys(
            ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), _INK
        ),
    }
    with matplotlib.rc_context(settings):
        figure = Figure(figsize=(_WIDTH_INCHES, height), layout="constrained")
        FigureCanvasAgg(figure)
        draw(figure)
        svg, png = io.StringIO(), io.BytesIO()
        figure.savefig(svg, format="svg", transparent=True, metadata={"Date": None})
        figure.savefig(png, format="png", dpi=_PNG_DPI, facecolor="white")
    return Plot(name, title, caption, _embedded(svg.getvalue(), name, f"{title}. {caption}"), png.getvalue())


def _embedded(svg: str, name: str, label: str) -> str:
    """The svg element alone, with ids of its own, the page's colours and no address."""
    from html import escape

    element = re.sub(r"<metadata>.*?</metadata>", "", svg[svg.index("<svg") :], flags=re.DOTALL)
    element = re.sub(r'\sxmlns(:xlink)?="[^"]*"', "", element).replace("xlink:href", "href")
    element = re.sub(r'\bid="', f'id="{name}-', element)
    element = element.replace('href="#', f'href="#{name}-').replace("url(#", f"url(#{name}-")
    element = re.sub(_INK, "currentColor", element, flags=re.IGNORECASE)
    element = re.sub(_LINE, "var(--line)", element, flags=re.IGNORECASE)
    # The size comes from the page; the view box keeps the proportions.
    element = re.sub(r'(<svg[^>]*?)\s(?:width|height)="[^"]*"', r"\1", element, count=1)
    element = re.sub(r'(<svg[^>]*?)\s(?:width|height)="[^"]*"', r"\1", element, count=1)
    return element.replace("<svg", f'<svg role="img" aria-label="{escape(label)}"', 1)
