"""How a plot is drawn: matplotlib without any shared state, in the page's own colours.

Each plot is an SVG for the page, whose text and lines take the page's colours (so that it can be read in dark mode),
and stands by itself as an SVG and a PNG for slides and papers. Marks may carry a tip, which the page shows
when they are pointed at or focused, and the name of their arm, by which the page lets arms stand out.
"""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import TYPE_CHECKING, Any, NamedTuple

from medalign.records import BASE

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's palette (https://jfly.uni-koeln.de/color/), in an order that keeps 3:1 contrast on white and on
# near-black; every arm has a shape of its own besides.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00")
SHAPES = ("o", "s", "^", "D", "v", "P")
BASE_COLOUR = "#808080"
# Stand for the page's colours: nothing else in a plot has these values.
INK = "#1b1c1d"
LINE = "#c9cacb"
WIDTH_INCHES = 5.6
WIDE_INCHES = 7.4
_PNG_DPI = 200


class Plot(NamedTuple):
    """One drawn plot.

    Attributes:
        svg: An `svg` element to be put into a page, without any address in it.
        caption: What is to be seen, and how to read it.
        file: The same as an SVG file of its own.
    """

    name: str
    title: str
    caption: str
    svg: str
    png: bytes
    file: str = ""


@dataclass(frozen=True)
class Look:
    """How one arm is drawn, in every plot."""

    colour: str
    shape: str


@dataclass
class Canvas:
    """A figure that is being drawn, with what its marks say.

    Attributes:
        tips: For the id of a mark, the name of its arm (or nothing) and its tip (or nothing).
    """

    figure: Figure
    tips: dict[str, tuple[str, str]] = field(default_factory=dict)

    def axes(self, grid: Any = "x") -> Axes:
        axes = self.figure.add_subplot()
        style(axes, grid)
        return axes

    def mark(self, artists: Sequence[Artist], *, arm: str = "", tip: str = "") -> None:
        """Names the arm of what was drawn, and what is to be said where it is pointed at."""
        for each in artists:
            gid = f"mark{len(self.tips)}"
            each.set_gid(gid)
            self.tips[gid] = (arm, tip)


def make_looks(names: Sequence[str]) -> dict[str, Look]:
    """A colour and a shape for each arm; the base is grey."""
    looks = {BASE: Look(BASE_COLOUR, "o")}
    for number, name in enumerate(name for name in dict.fromkeys(names) if name != BASE):
        looks[name] = Look(COLOURS[number % len(COLOURS)], SHAPES[(number + 1) % len(SHAPES)])
    return looks


def style(axes: Axes, grid: Any) -> None:
    """Light lines, no frame."""
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(length=0)
    axes.grid(axis=grid, color=LINE, linewidth=0.8)
    axes.set_axisbelow(True)


def plot(
    name: str,
    title: str,
    caption: str,
    draw: Callable[[Canvas], None],
    height: float,
    *,
    width: float = WIDTH_INCHES,
) -> Plot:
    """Draws a plot once and renders it for the page, as an SVG file and as a PNG."""
    with blank_figure(name, (width, height), ink=INK, font_size=10.5) as figure:
        canvas = Canvas(figure)
        draw(canvas)
        svg, png = io.StringIO(), io.BytesIO()
        figure.savefig(svg, format="svg", transparent=True, metadata={"Date": None})
        figure.savefig(png, format="png", dpi=_PNG_DPI, facecolor="white")
    label = f"{title}. {caption}"
    return Plot(
        name=name,
        title=title,
        caption=caption,
        svg=_embedded(svg.getvalue(), name, label, canvas.tips),
        png=png.getvalue(),
        file=svg.getvalue(),
    )


@contextlib.contextmanager
def blank_figure(name: str, size: tuple[float, float], *, ink: str, font_size: float) -> Iterator[Figure]:
    """A figure to be drawn on and saved within the block, the same each time.

    Args:
        name: The ids within its SVG are made from it.
        size: In inches.
        font_size: In points.
    """
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    coloured = ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color")
    settings = {
        "font.size": font_size,
        "svg.fonttype": "none",
        "svg.hashsalt": name,
        **dict.fromkeys(coloured, ink),
    }
    with matplotlib.rc_context(settings):
        figure = Figure(figsize=size, layout="constrained")
        FigureCanvasAgg(figure)
        yield figure


def _embedded(svg: str, name: str, label: str, tips: dict[str, tuple[str, str]]) -> str:
    """The svg element alone, with ids of its own, the page's colours and no address."""
    element = re.sub(r"<metadata>.*?</metadata>", "", svg[svg.index("<svg") :], flags=re.DOTALL)
    element = re.sub(r'\sxmlns(:xlink)?="[^"]*"', "", element).replace("xlink:href", "href")
    element = re.sub(r'<g id="(mark\d+)">', lambda found: _marked(found[1], tips), element)
    element = re.sub(r'\bid="', f'id="{name}-', element)
    element = element.replace('href="#', f'href="#{name}-').replace("url(#", f"url(#{name}-")
    element = re.sub(INK, "currentColor", element, flags=re.IGNORECASE)
    element = re.sub(LINE, "var(--line)", element, flags=re.IGNORECASE)
    # The size comes from the page; the view box keeps the proportions.
    element = re.sub(r'(<svg[^>]*?)\s(?:width|height)="[^"]*"', r"\1", element, count=1)
    element = re.sub(r'(<svg[^>]*?)\s(?:width|height)="[^"]*"', r"\1", element, count=1)
    return element.replace("<svg", f'<svg role="img" aria-label="{escape(label)}"', 1)


def _marked(gid: str, tips: dict[str, tuple[str, str]]) -> str:
    arm, tip = tips[gid]
    attributes = f' data-arm="{escape(arm)}"' if arm else ""
    attributes += f' data-tip="{escape(tip)}"' if tip else ""
    return f'<g id="{gid}"{attributes}>'
