from __future__ import annotations

import base64
import re
from pathlib import Path

import pytest

from medalign.config.experiment import DataSettings
from medalign.data.preparation import PreparedData, prepare_data, read_sources
from medalign.errors import StorageError
from medalign.reporting.data_card import render_card, write_card

HOSTILE = "<script>alert(1)</script>{{ 7 * 7 }}$x$"


@pytest.fixture(scope="module")
def data() -> PreparedData:
    settings = DataSettings(train_size=30, validation_size=12, test_size=24)
    return prepare_data(
        read_sources(settings), settings, seed=0, count_tokens=lambda question: len(question.text) // 4
    )


def test_the_page_stands_alone_and_shows_counts_leaks_pairs_and_sources(data: PreparedData) -> None:
    page = render_card("mine", data.card)
    assert "http" not in re.sub(r'src="data:[^"]*"', "", page).replace("http-equiv", "")
    assert "default-src 'none'" in page and "<script" not in page
    for part in ("Data card: mine", data.fingerprint, "AUC of length", "CC-BY-4.0", "0 pair(s) found"):
        assert part in page
    assert page.count("<figure>") == 4


def test_the_pictures_are_svg_with_text(data: PreparedData) -> None:
    pictures = re.findall(r'src="data:image/svg\+xml;base64,([^"]+)"', render_card("mine", data.card))
    drawn = [base64.b64decode(picture).decode() for picture in pictures]
    assert all("<svg" in svg for svg in drawn) and "cardiology" in drawn[1]


def test_text_from_data_is_escaped_wherever_it_stands(data: PreparedData) -> None:
    example = {
        "id": HOSTILE,
        "text": HOSTILE,
        "like_id": HOSTILE,
        "like_text": HOSTILE,
        "measure": HOSTILE,
        "score": 1.0,
    }
    leak = {"measure": HOSTILE, "score": 1.0, "id": HOSTILE, "split": "test", "text": HOSTILE}
    leak |= {"kept_out_id": HOSTILE, "kept_out_text": HOSTILE}
    train = {**data.card["splits"]["train"], "source": {HOSTILE: 30}, "specialty": {HOSTILE: 30}}
    card = {
        **data.card,
        "sources": [HOSTILE],
        "drops": {HOSTILE: 1},
        "drop_examples": {HOSTILE: [example]},
        "leaks": {**data.card["leaks"], "examples": [leak]},
        "skipped_files": [HOSTILE],
        "splits": {**data.card["splits"], "train": train},
    }
    page = render_card(HOSTILE, card)
    assert "<script" not in page and "{{ 7 * 7 }}" in page and "49" not in re.findall(r"\}\}(\d+)", page)


def test_the_card_is_written_whole_or_told(data: PreparedData, tmp_path: Path) -> None:
    assert write_card(tmp_path / "new", "mine", data.card).name == "card.html"
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["card.html"]
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot be written"):
        write_card(tmp_path / "file", "mine", data.card)
