"""The plots of a report that show what was found: differences, accuracies, cost, specialties, calibration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from medalign.records import BASE
from medalign.reporting import wording
from medalign.reporting.course_plots import course_plots
from medalign.reporting.drawing import (
    BASE_COLOUR,
    COLOURS,
    INK,
    WIDE_INCHES,
    WIDTH_INCHES,
    Canvas,
    Look,
    Plot,
    make_looks,
    plot,
    style,
)
from medalign.reporting.findings import Findings
from medalign.reporting.ledger import Ledger
from medalign.reporting.report_data import ReportData
from medalign.reporting.rows import base_first, pair_rows

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from medalign.reporting.reliability import ArmReliability
    from medalign.stats.comparison import ComparisonSummary

MAX_SPECIALTIES = 24
LEAST_COVERAGE = 0.05  # of the questions; what lies left of it is a handful of answers


def draw_plots(data: ReportData, findings: Findings) -> list[Plot]:
    """All plots for which there is something to show."""
    summary, arms = findings.summary, findings.arms
    looks = make_looks([arm.arm for arm in arms] + [trial.spec.method for trial in data.trials])
    plots = [forest_plot(summary)] if summary.pairs else []
    plots += [accuracy_plot(data, summary, looks), cost_plot(findings, looks)]
    if findings.reliability:
        plots.append(reliability_plot(findings.reliability, looks))
        plots.append(coverage_plot(findings.reliability, looks))
    if any(len(arm.by_specialty) > 1 for arm in summary.arms):
        plots.append(specialty_plot(summary, looks))
    return plots + course_plots(data, looks)


def forest_plot(summary: ComparisonSummary) -> Plot:
    """The difference of every pair of arms with its interval."""
    rows = pair_rows(summary)
    margin = 100 * summary.margin

    def draw(canvas: Canvas) -> None:
        axes = canvas.axes()
        axes.axvspan(-margin, margin, color=BASE_COLOUR, alpha=0.14, linewidth=0)
        axes.axvline(0, color=INK, linewidth=1)
        for place, row in enumerate(reversed(rows)):
            clear = row["verdict"] in ("better", "worse")
            alike = row["verdict"].startswith("equivalent")
            colour = COLOURS[0] if clear else COLOURS[2] if alike else BASE_COLOUR
            low, middle, high = (
                100 * row[key] for key in ("difference_low", "difference", "difference_high")
            )
            text = f"{wording.points(row['difference'])}, p {equals(wording.p_value(row['p_corrected']))}"
            tip = (
                f"{row['first']} less {row['second']}: {wording.points(row['difference'])} points "
                f"{wording.points_range(row['difference_low'], row['difference_high'])}, "
                f"corrected p {equals(wording.p_value(row['p_corrected']))}: {row['verdict']}"
            )
            line = axes.plot([low, high], [place, place], color=colour, linewidth=2.4, solid_capstyle="butt")
            shape = "o" if clear else "s" if alike else "D"
            line += axes.plot(middle, place, marker=shape, color=colour, markersize=7)
            canvas.mark(line, tip=tip)
            axes.annotate(text, (1.02, place), xycoords=axes.get_yaxis_transform(), va="center", fontsize=9.5)
        axes.set_yticks(range(len(rows)), [f"{row['first']} - {row['second']}" for row in reversed(rows)])
        axes.set_ylim(-0.6, len(rows) - 0.3)
        axes.set_xlabel("difference in accuracy, percentage points")

    caption = (
        "Each line is the range of differences that the data allow for that pair alone. Blue circles: a difference "
        "is shown, with Holm's correction for the number of pairs; green squares: shown to be too small to matter "
        f"(within {margin:g} points, the grey band); grey diamonds: not enough data to say."
    )
    return plot("differences", "Differences between arms", caption, draw, 1.1 + 0.5 * len(rows))


def accuracy_plot(data: ReportData, summary: ComparisonSummary, looks: Mapping[str, Look]) -> Plot:
    """The accuracy of every arm with its interval, its seeds, and what guessing would score."""
    items = sorted(summary.arms, key=lambda item: item.arm != BASE)

    def draw(canvas: Canvas) -> None:
        axes = canvas.axes()
        for place, item in enumerate(reversed(items)):
            look = looks[item.arm]
            low, high = item.accuracy_interval.low, item.accuracy_interval.high
            seeds = [100 * share for share in item.accuracy_by_seed]
            drawn = axes.plot(
                [100 * low, 100 * high],
                [place, place],
                color=look.colour,
                linewidth=2.4,
                solid_capstyle="butt",
            )
            if len(seeds) > 1:
                drawn += axes.plot(
                    seeds, [place] * len(seeds), "|", color=look.colour, markersize=12, alpha=0.8
                )
            drawn += axes.plot(100 * item.accuracy, place, look.shape, color=look.colour, markersize=8)
            tip = f"{item.arm}: {wording.percent(item.accuracy)} {wording.percent_range(low, high)}"
            if len(seeds) > 1:
                tip += "; seeds " + ", ".join(f"{share:.1f}" for share in seeds)
            canvas.mark(drawn, arm=item.arm, tip=tip)
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
    return plot("accuracy", "Accuracy of each arm", caption, draw, 1.5 + 0.55 * len(items))


def _baselines(axes: Axes, majority: float | None, chance: float | None) -> None:
    lines = ((majority, "always the most frequent answer", "--"), (chance, "guessing", ":"))
    drawn = False
    for value, label, line_style in lines:
        if value is not None:
            text = f"{label} ({wording.percent(value)})"
            axes.axvline(100 * value, color=INK, linestyle=line_style, linewidth=1.2, label=text)
            drawn = True
    if drawn:
        axes.legend(loc="lower center", bbox_to_anchor=(0.45, 1.0), ncols=2, frameon=False, fontsize=9)


def cost_plot(findings: Findings, looks: Mapping[str, Look]) -> Plot:
    """Accuracy against the whole cost of each arm, with the Pareto front."""
    summary, ledger = findings.summary, findings.ledger
    found = {item.arm: item for item in summary.arms}
    exact = {arm: ledger.on_axis(ledger.arms[arm].total) for arm in found}
    # A logarithmic axis has no place for zero: it stands well below the cheapest.
    floor = min((value for value in exact.values() if value > 0), default=1.0) / 10
    cost = {arm: value or floor for arm, value in exact.items()}
    by_cost = sorted(cost, key=lambda arm: cost[arm])

    def draw(canvas: Canvas) -> None:
        axes = canvas.axes(grid="both")
        front = sorted((cost[arm], 100 * found[arm].accuracy) for arm in findings.front)
        if front:
            steps = [(x, y) for x, y in front] + [(max(cost.values()) * 1.6, front[-1][1])]
            xs, ys = zip(*steps, strict=True)
            axes.step(xs, ys, where="post", color=INK, linewidth=1.1, linestyle="--", alpha=0.7)
        for arm in base_first(findings.arms):
            item, look = found[arm.arm], looks[arm.arm]
            x, y = cost[arm.arm], 100 * item.accuracy
            low, high = 100 * item.accuracy_interval.low, 100 * item.accuracy_interval.high
            on_front = arm.arm in findings.front
            drawn = axes.plot([x, x], [low, high], color=look.colour, linewidth=1.6)
            drawn += axes.plot(
                x,
                y,
                look.shape,
                color=look.colour,
                markersize=9,
                markerfacecolor=look.colour if on_front else "none",
                markeredgewidth=1.6,
            )
            share = findings.front_probability.get(arm.arm)
            tip = f"{arm.arm}: {wording.percent(item.accuracy)} for {cost_text(ledger, exact[arm.arm])}"
            tip += f"; on the front in {share:.0%} of redraws of the questions" if share is not None else ""
            canvas.mark(drawn, arm=arm.arm, tip=tip)
            # Up and down in turn, so that the names of arms of like cost and accuracy do not lie on each other.
            place = (9, 5) if by_cost.index(arm.arm) % 2 == 0 else (9, -13)
            axes.annotate(arm.arm, (x, y), place, textcoords="offset points")
        _log_axis(axes)
        axes.set_xlabel(f"{AXIS_WORDS[ledger.axis].format(currency=ledger.price.currency)} (log scale)")
        axes.set_ylabel("test accuracy, percent")

    caption = (
        "Up is more accurate, left is cheaper; search, refits over all seeds, stopped and failed trials and shared "
        "work are all paid for. Filled marks and the dashed line are the Pareto front: nothing here is both cheaper "
        "and better. Where intervals overlap, another set of questions could move an arm on or off it."
    )
    return plot("cost", "Accuracy and cost", caption, draw, 3.4)


AXIS_WORDS = {
    "price": "price of the whole arm, {currency}",
    "device_seconds": "GPU seconds of the whole arm",
    "cpu_seconds": "CPU core seconds of the whole arm",
}


def cost_text(ledger: Ledger, value: float) -> str:
    """A cost on the ledger's axis in words."""
    if ledger.axis == "price":
        return wording.money(value, ledger.price.currency)
    return wording.duration(value) + (" of GPU" if ledger.axis == "device_seconds" else " of one CPU core")


def _log_axis(axes: Axes) -> None:
    from matplotlib.ticker import LogLocator, NullLocator

    axes.set_xscale("log")
    axes.margins(x=0.2)
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=8))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.10g}")
    axes.xaxis.set_minor_locator(NullLocator())


def reliability_plot(reliability: Sequence[ArmReliability], looks: Mapping[str, Look]) -> Plot:
    """Confidence against accuracy, one panel an arm."""
    columns = len(reliability) if len(reliability) <= 4 else 3
    lines = -(-len(reliability) // columns)
    least = min(part.confidence for item in reliability for part in item.bins)
    start = max(0, 10 * int(10 * least) - 5)

    def draw(canvas: Canvas) -> None:
        panels = canvas.figure.subplots(lines, columns, sharex=True, sharey=True, squeeze=False)
        for axes, item in zip(panels.flat, reliability, strict=False):
            style(axes, grid="both")
            look = looks[item.arm]
            axes.plot([0, 100], [0, 100], color=INK, linewidth=1, linestyle=":")
            for part in item.bins:
                x, y = 100 * part.confidence, 100 * part.accuracy
                tip = (
                    f"{item.arm}: said {x:.0f}% sure, right {y:.0f}% {wording.percent_range(part.low, part.high)} "
                    f"({part.num_questions} answers)"
                )
                drawn = axes.plot(
                    [x, x], [100 * part.low, 100 * part.high], color=look.colour, linewidth=1.4, alpha=0.7
                )
                drawn += axes.plot(x, y, look.shape, color=look.colour, markersize=6)
                canvas.mark(drawn, arm=item.arm, tip=tip)
            axes.set_title(f"{item.arm}, ECE {item.ece:.2f}", loc="left", fontsize=10, fontweight="bold")
            axes.set_xlim(start, 102)
            axes.set_ylim(-2, 102)
        for axes in panels.flat[len(reliability) :]:
            axes.set_visible(False)
        canvas.figure.supxlabel("confidence in the chosen answer, percent", fontsize=10.5)
        canvas.figure.supylabel("answered correctly, percent", fontsize=10.5)

    caption = (
        "Each mark holds about as many answers; its line is a 95% interval. On the dotted line an arm is right as "
        "often as it is sure; below it, it is surer than it should be. ECE, the expected calibration error, is the "
        "mean distance from the line; it cannot fall to 0 with so few answers a mark."
    )
    height = 0.7 + lines * (1.7 if columns == 4 else 2.2)
    width = WIDE_INCHES if columns > 2 else WIDTH_INCHES
    return plot("reliability", "Confidence against correctness", caption, draw, height, width=width)


def coverage_plot(reliability: Sequence[ArmReliability], looks: Mapping[str, Look]) -> Plot:
    """Accuracy among the answers that an arm is surest of."""

    def draw(canvas: Canvas) -> None:
        axes = canvas.axes(grid="both")
        ends: list[tuple[float, str]] = []
        for item in reliability:
            look = looks[item.arm]
            points = [point for point in item.coverage if point[0] >= LEAST_COVERAGE]
            xs = [100 * coverage for coverage, _ in points]
            ys = [100 * (1 - risk) for _, risk in points]
            canvas.mark(axes.plot(xs, ys, color=look.colour, linewidth=1.8, label=item.arm), arm=item.arm)
            ends.append((ys[-1], item.arm))
        low, high = axes.get_ylim()
        for y, arm in _apart(sorted(ends), (high - low) / 14):
            axes.annotate(arm, (101.5, y), va="center", color=looks[arm].colour, fontsize=9.5)
        axes.set_xlim(0, 112)
        axes.set_xlabel("answers given, the surest first, percent of the questions")
        axes.set_ylabel("of these correct, percent")

    caption = (
        "If an arm answered only where it is surest and left the rest to a person. A line that falls from left to "
        "right belongs to a confidence that means something. The far left rests on few questions."
    )
    return plot("coverage", "What abstaining would gain", caption, draw, 3.0)


def _apart(ends: Sequence[tuple[float, str]], gap: float) -> list[tuple[float, str]]:
    """Labels moved up as far as they would lie on each other; from the lowest to the highest."""
    placed: list[tuple[float, str]] = []
    for y, text in ends:
        placed.append((max(y, placed[-1][0] + gap) if placed else y, text))
    return placed


def specialty_plot(summary: ComparisonSummary, looks: Mapping[str, Look]) -> Plot:
    """Partially pooled accuracy of each arm in each specialty."""
    arms = sorted(summary.arms, key=lambda item: item.arm != BASE)
    sizes = arms[0].by_specialty
    names = sorted(sizes, key=lambda name: (-sizes[name].num_questions, name))[:MAX_SPECIALTIES]
    step = 0.8 / max(len(arms), 1)

    def draw(canvas: Canvas) -> None:
        axes = canvas.axes()
        for number, item in enumerate(arms):
            look = looks[item.arm]
            overall = axes.axvline(100 * item.accuracy, color=look.colour, linewidth=0.9, alpha=0.6)
            canvas.mark([overall], arm=item.arm)
            for place, name in enumerate(reversed(names)):
                pooled = item.pooled_specialties.get(name)
                if pooled is None:
                    continue
                y = place + 0.4 - step * (number + 0.5)
                drawn = axes.plot(
                    [100 * pooled.interval.low, 100 * pooled.interval.high],
                    [y, y],
                    color=look.colour,
                    linewidth=1.6,
                    solid_capstyle="butt",
                )
                label = item.arm if place == 0 else None
                drawn += axes.plot(
                    100 * pooled.mean,
                    y,
                    look.shape,
                    color=look.colour,
                    markersize=4.5,
                    label=label,
                    linestyle="none",
                )
                tip = (
                    f"{item.arm} in {name}: {wording.percent(pooled.mean)} "
                    f"{wording.percent_range(pooled.interval.low, pooled.interval.high)} pooled, "
                    f"{wording.percent(item.by_specialty[name].accuracy)} by itself "
                    f"({item.by_specialty[name].num_questions} questions)"
                )
                canvas.mark(drawn, arm=item.arm, tip=tip)
        labels = [f"{wording.clipped(name, 30)} ({sizes[name].num_questions})" for name in reversed(names)]
        axes.set_yticks(range(len(names)), labels)
        axes.set_ylim(-0.6, len(names) - 0.4)
        axes.set_xlabel("test accuracy, percent")
        axes.legend(
            loc="lower center", bbox_to_anchor=(0.4, 1.0), ncols=min(6, len(arms)), frameon=False, fontsize=9
        )

    rest = len(sizes) - len(names)
    caption = (
        "Accuracy in each specialty (number of questions in brackets), each drawn towards the arm's overall accuracy "
        "(upright line) the more, the fewer questions it has. An interval that holds the upright line shows neither "
        "a strength nor a weakness."
    )
    caption += f" The {len(names)} largest; {rest} more are in the table." if rest else ""
    height = 1.2 + max(0.34, 0.13 * len(arms) + 0.1) * len(names)
    return plot("specialties", "By specialty, partially pooled", caption, draw, height, width=WIDE_INCHES)


def equals(p: str) -> str:
    """`= 0.034` and `< 0.001`, as they stand after a p."""
    return p if p.startswith("<") else f"= {p}"
