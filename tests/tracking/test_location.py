from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from medalign.errors import StorageError
from medalign.tracking import location


def test_default_store_is_an_absolute_path_whose_folder_exists(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    uri = location.default_uri(Path("."))
    assert uri == f"sqlite:///{tmp_path.resolve()}/mlruns/mlflow.db"
    assert (tmp_path / "mlruns").is_dir()
    assert location.default_artifact_root(uri) == tmp_path.resolve() / "mlruns" / "artifacts"


def test_server_keeps_its_own_artifacts():
    assert location.default_artifact_root("http://localhost:5000") is None


def test_browse_command_is_short_inside_the_working_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    uri = location.default_uri(tmp_path)
    assert location.browse_command(uri) == "mlflow ui --backend-store-uri sqlite:///mlruns/mlflow.db"
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path / "other")
    assert location.browse_command(uri) == f"mlflow ui --backend-store-uri {uri}"


def test_browse_command_can_be_pasted_where_the_path_has_blanks(tmp_path):
    uri = location.default_uri(tmp_path / "two words")
    assert location.browse_command(uri) == f"mlflow ui --backend-store-uri '{uri}'"


def test_password_of_a_server_is_never_shown():
    assert location.browse_command("https://me:secret@host:80/x") == "open https://host:80/x in a browser"


def test_file_store_is_refused_before_mlflow_sees_it(tmp_path):
    with pytest.raises(StorageError, match="use sqlite:///FILE"):
        location.check_store(str(tmp_path / "mlruns"), None)


def test_file_that_is_no_database_is_one_line(tmp_path):
    (tmp_path / "x.db").write_text("no database" * 100)
    with pytest.raises(StorageError, match=r"x\.db cannot be used \(file is not a database\)"):
        location.check_store(f"sqlite:///{tmp_path}/x.db", None)


def test_folder_that_cannot_be_made_is_one_line(tmp_path):
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(StorageError, match="taken/mlruns cannot be made"):
        location.default_uri(tmp_path / "taken")


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_folder_that_cannot_be_written_is_one_line(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(StorageError, match="cannot be"):
        location.default_uri(tmp_path)


def test_check_leaves_a_database_as_it_was(tmp_path):
    path = tmp_path / "x.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE kept (number)")
    location.check_store(f"sqlite:///{path}", tmp_path / "artifacts")
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT name FROM sqlite_master").fetchall() == [("kept",)]
    assert (tmp_path / "artifacts").is_dir()
