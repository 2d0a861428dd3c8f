"""The plots of a report that show how it was found: the search, what mattered in it, and the training."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

from medalign.records import TrialResult
from medalign.reporting import wording
from medalign.reporting.drawing import WIDE_INCHES, Canvas, Look, Plot, plot, style
from medalign.reporting.report_data import ReportData

_MAX_POINTS = 150  # of one loss curve
_ALL_POINTS = 9000  # of all loss curves, so that the page stays small however many trials there are


def course_plots(data: ReportData, looks: Mapping[str, Look]) -> list[Plot]:
    """All of them for which there is something to show."""
    searched = [trial for trial in data.trials if trial.spec.stage == "search" and _curve(trial)]
    trained = [trial for trial in data.trials if trial.learning_curve]
    plots = []
    if searched:
        plots += [history_plot(searched, looks), search_plot(searched, looks)]
    if any(found.shares for found in data.importances.values()):
        plots.append(importance_plot(data, looks))
    if trained:
        plots.append(learning_plot(trained, looks))
    return plots


def history_plot(trials: Sequence[TrialResult], looks: Mapping[str, Look]) -> Plot:
    """Validation accuracy of the search trials in their order, and the best so far, one panel a method."""
    methods = list(dict.fromkeys(trial.spec.method for trial in trials))

    def draw(canvas: Canvas) -> None:
        panels = canvas.figure.subplots(1, len(methods), sharey=True, squeeze=False)[0]
        for axes, method in zip(panels, methods, strict=True):
            style(axes, grid="y")
            look = looks[method]
            of_method = sorted((t for t in trials if t.spec.method == method), key=lambda t: t.spec.number)
            for trial in of_method:
                score = _curve(trial)[-1][1]
                tip = f"{trial.spec.trial_id}: {score:.1f}%, {trial.status}; {wording.setting(trial.spec.setting)}"
                shape = look.shape if trial.status == "completed" else "X"
                filled = look.colour if trial.status != "failed" else "none"
                drawn = axes.plot(
                    trial.spec.number + 1,
                    score,
                    shape,
                    color=look.colour,
                    markerfacecolor=filled,
                    markersize=6.5,
                )
                canvas.mark(drawn, arm=method, tip=tip)
            full = [t for t in of_method if t.status == "completed" and t.score is not None]
            if full:
                best = list(itertools.accumulate((100 * (t.score or 0.0) for t in full), max))
                axes.step([t.spec.number + 1 for t in full], best, where="post", color=look.colour, alpha=0.6)
            axes.set_title(method, loc="left", fontsize=10.5, fontweight="bold")
            axes.set_xlim(0.4, max(t.spec.number for t in of_method) + 1.6)
            axes.xaxis.get_major_locator().set_params(integer=True)
        panels[0].set_ylabel("validation accuracy, percent")
        canvas.figure.supxlabel("trial", fontsize=10.5)

    caption = (
        "Every setting in the order in which it was tried; the line is the best so far. Crosses were stopped early, "
        "open marks failed. A line that still rises at its end says that a longer search might find better."
    )
    return plot("history", "Search history", caption, draw, 2.9, width=WIDE_INCHES)


def search_plot(trials: Sequence[TrialResult], looks: Mapping[str, Look]) -> Plot:
    """Validation accuracy over the budget of every search trial, one panel a method."""
    methods = list(dict.fromkeys(trial.spec.method for trial in trials))

    def draw(canvas: Canvas) -> None:
        panels = canvas.figure.subplots(len(methods), 1, sharex=True, sharey=True, squeeze=False)[:, 0]
        for axes, method in zip(panels, methods, strict=True):
            style(axes, grid="y")
            for trial in (trial for trial in trials if trial.spec.method == method):
                look, curve = looks[method], _curve(trial)
                shares, scores = zip(*curve, strict=True)
                drawn = axes.plot(
                    shares, scores, color=look.colour, alpha=0.75, linewidth=1.6, marker=".", markersize=5
                )
                end = {"completed": look.shape, "stopped": "X", "failed": "o"}[trial.status]
                fill = "none" if trial.status == "failed" else look.colour
                drawn += axes.plot(
                    shares[-1], scores[-1], end, color=look.colour, markerfacecolor=fill, markersize=7
                )
                tip = f"{trial.spec.trial_id}: {scores[-1]:.1f}% after {shares[-1]:.0%} of its budget, {trial.status}"
                canvas.mark(drawn, arm=method, tip=tip)
            axes.set_title(method, loc="left", fontsize=10.5, fontweight="bold")
            axes.set_xlim(0, 1.06)
        panels[len(methods) // 2].set_ylabel("validation accuracy, percent")
        panels[-1].set_xlabel("share of the trial's budget")

    caption = (
        "Every setting that was searched, as its budget was spent. A line that ends early was stopped (cross) or "
        "failed (open circle). Settings were chosen on these validation questions, so these numbers are too hopeful."
    )
    return plot("search", "Validation accuracy over the budget", caption, draw, 0.7 + 1.5 * len(methods))


def importance_plot(data: ReportData, looks: Mapping[str, Look]) -> Plot:
    """How much of the spread in validation accuracy each searched setting explains."""
    found = {method: item for method, item in data.importances.items() if item.shares}
    bars = [(method, name, share) for method, item in found.items() for name, share in item.shares.items()]

    def draw(canvas: Canvas) -> None:
        axes = canvas.axes()
        for place, (method, name, share) in enumerate(reversed(bars)):
            drawn = axes.barh(place, 100 * share, color=looks[method].colour, height=0.62)
            canvas.mark(list(drawn), arm=method, tip=f"{method}, {name}: {share:.0%}")
            axes.annotate(
                f"{share:.0%}", (100 * share, place), (4, 0), textcoords="offset points", va="center"
            )
        axes.set_yticks(range(len(bars)), [f"{method}: {name}" for method, name, _ in reversed(bars)])
        axes.set_xlim(0, 112)
        axes.set_xlabel("share of the spread in validation accuracy, percent")

    rests = ", ".join(f"{method} {item.num_trials}" for method, item in found.items())
    caption = (
        f"By functional ANOVA over completed trials ({rests}). With few trials the order of like bars means little, "
        "and a setting that was searched over a narrow range looks unimportant."
    )
    return plot("importance", "Which settings mattered", caption, draw, 0.9 + 0.36 * len(bars))


def learning_plot(trials: Sequence[TrialResult], looks: Mapping[str, Look]) -> Plot:
    """Training loss of every trial and refit, one panel a method, since their losses are not comparable."""
    methods = list(dict.fromkeys(trial.spec.method for trial in trials))
    most = max(8, min(_MAX_POINTS, _ALL_POINTS // len(trials)))

    def draw(canvas: Canvas) -> None:
        panels = canvas.figure.subplots(1, len(methods), squeeze=False)[0]
        for axes, method in zip(panels, methods, strict=True):
            style(axes, grid="y")
            for trial in (trial for trial in trials if trial.spec.method == method):
                shares, losses = zip(*_smoothed(trial.learning_curve, most), strict=True)
                is_refit = trial.spec.stage == "refit"
                drawn = axes.plot(
                    shares,
                    losses,
                    color=looks[method].colour,
                    alpha=0.95 if is_refit else 0.45,
                    linewidth=1.9 if is_refit else 1.1,
                    linestyle="-" if is_refit else "--",
                )
                canvas.mark(
                    drawn, arm=method, tip=f"{trial.spec.trial_id}: loss {losses[0]:.3g} to {losses[-1]:.3g}"
                )
            axes.set_title(method, loc="left", fontsize=10.5, fontweight="bold")
            axes.set_xlim(0, 1.02)
        panels[0].set_ylabel("training loss, nats")
        canvas.figure.supxlabel("share of the trial's budget", fontsize=10.5)

    caption = (
        "Training loss, smoothed; solid lines are the refits that answered the test, dashed ones the search. A loss "
        "that falls while validation does not rise is learning by heart. Methods have losses of different kinds."
    )
    return plot("learning", "Learning curves", caption, draw, 2.8, width=WIDE_INCHES)


def _curve(trial: TrialResult) -> list[tuple[float, float]]:
    points = [(progress.budget_share, 100 * progress.score) for progress in trial.history]
    if not points and trial.score is not None:
        points = [(1.0, 100 * trial.score)]
    return points


def _smoothed(curve: Sequence[tuple[float, float]], most: int) -> list[tuple[float, float]]:
    """An exponential mean with the start's bias taken out, thinned to what can be seen."""
    keep = 0.0 if len(curve) < 5 else 1 - min(0.5, 12 / len(curve))
    mean, weight, points = 0.0, 0.0, []
    for share, loss in curve:
        mean, weight = keep * mean + (1 - keep) * loss, keep * weight + (1 - keep)
        points.append((share, mean / weight))
    stride = max(1, len(points) // most)
    return points[:-1:stride] + points[-1:]
