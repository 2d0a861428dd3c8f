from __future__ import annotations

import dataclasses
import json
import pickle
from pathlib import Path

import pytest

from medalign.config.experiment import DataSettings
from medalign.data import store
from medalign.data.preparation import PreparedData, prepare
from medalign.data.store import cached, input_key, needs_reading, open_prepared, read_prepared, write_prepared
from medalign.errors import DataError
from medalign.records import Question

FIXTURES = Path(__file__).parent / "fixtures"


@pytest.fixture(scope="module")
def data() -> PreparedData:
    return prepare(("embedded",), train_size=30, validation_size=12, test_size=24, seed=0)


def test_what_is_written_is_read_back_equal(data: PreparedData, tmp_path: Path) -> None:
    write_prepared(data, tmp_path / "set")
    again = read_prepared(tmp_path / "set")
    assert dataclasses.replace(again, pool=tuple(again.pool)) == data
    assert len(again.pool) == len(data.pool) and pickle.loads(pickle.dumps(again)) == again
    write_prepared(again, tmp_path / "copy")
    assert read_prepared(tmp_path / "copy") == again
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["copy", "set"]


def test_a_folder_that_holds_something_else_is_left_alone(data: PreparedData, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("x")
    with pytest.raises(DataError, match="mine: is there and holds no prepared data; name a new folder"):
        write_prepared(data, tmp_path / "mine")
    assert (tmp_path / "mine" / "thesis.tex").read_text() == "x"
    write_prepared(data, tmp_path / "set")
    write_prepared(data, tmp_path / "set")


def test_the_cache_makes_once_and_again_if_a_file_is_broken(
    data: PreparedData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEDALIGN_CACHE", str(tmp_path))
    made = []

    def make() -> PreparedData:
        made.append(1)
        return data

    for _ in range(3):
        assert cached("key", make).fingerprint == data.fingerprint
    assert len(made) == 1
    (tmp_path / "prepared" / "key" / "train.parquet").write_bytes(b"PAR1 broken")
    assert cached("key", make).train == data.train and len(made) == 2
    assert cached("key", make).train == data.train and len(made) == 2


def test_a_cache_that_cannot_be_written_is_done_without(
    data: PreparedData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MEDALIGN_CACHE", str(tmp_path / "file"))
    assert cached("key", lambda: data) is data


def test_the_key_follows_files_settings_seed_and_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "train.jsonl"
    file.write_text('{"a": 1}\n')
    settings = DataSettings(sources=(f"medmcqa:{tmp_path}",))

    def key(settings: DataSettings = settings, seed: int = 0) -> str:
        return input_key(settings, seed=seed, loaded=None, limit="9")

    first = key()
    assert first == key() and not needs_reading(settings)
    assert len({first, key(seed=1), key(settings.model_copy(update={"train_size": 9}))}) == 3
    file.write_text('{"a": 2}\n')
    second = key()
    assert second != first
    monkeypatch.setattr(store, "_code_digest", lambda: "another")
    assert key() != second


def test_a_source_from_elsewhere_must_be_read_before_its_key_is_known() -> None:
    settings = DataSettings(sources=("medmcqa",))
    assert needs_reading(settings)
    with pytest.raises(ValueError, match="medmcqa must be read"):
        input_key(settings, seed=0, loaded=None)


def rewrite(folder: Path, split: str, questions: tuple[Question, ...]) -> None:
    store._write(questions, folder / f"{split}.parquet", Question)


def test_a_planted_leak_is_refused_with_the_pair_named(data: PreparedData, tmp_path: Path) -> None:
    write_prepared(data, tmp_path / "set")
    assert open_prepared(str(tmp_path / "set")).fingerprint == data.fingerprint
    planted = dataclasses.replace(
        data.test[0], id=data.train[3].id, group="planted", text=f"Please tell: {data.test[0].text}"
    )
    rewrite(tmp_path / "set", "train", (*data.train[:3], planted, *data.train[4:]))
    with pytest.raises(
        DataError, match=rf"{data.test[0].id} \(test\) and {planted.id} \(train\) are nearly the same"
    ):
        open_prepared(str(tmp_path / "set"))


def test_a_prepared_folder_must_be_whole(data: PreparedData, tmp_path: Path) -> None:
    folder = tmp_path / "set"
    with pytest.raises(DataError, match="holds no prepared data; write it with `medalign prepare`"):
        open_prepared(str(folder))
    write_prepared(data, folder)
    rewrite(folder, "validation", ())
    with pytest.raises(DataError, match="has no validation question; prepare it again"):
        open_prepared(str(folder))
    rewrite(folder, "validation", data.validation)
    rewrite(folder, "train", data.train[1:])
    with pytest.raises(DataError, match=r"the pairs in .* are not those of its training questions"):
        open_prepared(str(folder))
    (folder / "train.parquet").write_bytes((folder / "pairs.parquet").read_bytes())
    with pytest.raises(DataError, match=r"train.parquet: holds the fields question_id, .* are wanted"):
        open_prepared(str(folder))
    (folder / "manifest.json").write_text(json.dumps({"form": 0}))
    with pytest.raises(DataError, match="written by another version; prepare it again"):
        open_prepared(str(folder))
