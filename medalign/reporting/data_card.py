"""The card of a prepared data set as one HTML page that needs no network and runs no script."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from medalign.errors import StorageError
from medalign.reporting.card_plots import draw_card_plots
from medalign.reporting.files import write_whole
from medalign.reporting.rows import card_table


def render_card(name: str, card: Mapping[str, Any]) -> str:
    """The whole page as text; everything that comes from outside is escaped.

    Args:
        name: Of the experiment.
    """
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("medalign.reporting", package_path=""),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
    )
    plain = {split: _plain(counts) for split, counts in card["splits"].items()}
    names, rows = card_table({"splits": plain})
    return environment.get_template("data_card.html.j2").render(
        name=name, card=card, splits=names, rows=rows, plots=draw_card_plots(card)
    )


def write_card(folder: Path, name: str, card: Mapping[str, Any]) -> Path:
    """Writes `card.html`, whole or not at all.

    Raises:
        StorageError: The folder cannot be written, or its disk is full.
    """
    path = folder / "card.html"
    try:
        write_whole(path, render_card(name, card))
    except OSError as error:
        raise StorageError(f"{folder}: cannot be written ({error.strerror}); name another folder") from error
    return path


def _plain(counts: Mapping[str, Any]) -> dict[str, Any]:
    """Without the counts by specialty, of which there can be hundreds: a plot shows them."""
    return {name: value for name, value in counts.items() if name != "specialty"}
