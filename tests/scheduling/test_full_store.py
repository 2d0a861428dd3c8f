"""A full disk below Optuna's store is one line, whatever Optuna makes of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import sqlalchemy

from medalign.config.search_space import SearchSpace
from medalign.errors import StorageError
from medalign.scheduling.stored_study import StoredStudy, open_store


def test_a_full_disk_is_told_as_such(tmp_path: Path) -> None:
    store = open_store(tmp_path)

    @sqlalchemy.event.listens_for(store.engine, "connect")
    def no_room(connection: Any, record: object) -> None:
        connection.execute("PRAGMA max_page_count = 1")  # no smaller than the file is: it cannot grow

    store.engine.dispose()
    space = SearchSpace.model_validate(
        {"method": "sft", "space": {"learning_rate": {"type": "float", "low": 0.001, "high": 0.1}}}
    )
    study = StoredStudy(store, space)
    with pytest.raises(StorageError, match=r"^\S+: the disk is full; .* --resume$"):
        for number in range(1000):
            study.start(f"sft-search-{number:03}", {"learning_rate": 0.01})
