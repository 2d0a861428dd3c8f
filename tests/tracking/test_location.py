from __future__ import annotations

import base64
import http.server
import os
import sqlite3
import threading
from collections.abc import Iterator
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


class _Refusing(http.server.BaseHTTPRequestHandler):
    """A server that wants a password, or is none of MLflow's."""

    def do_GET(self) -> None:
        wanted = "Basic " + base64.b64encode(b"me:right").decode()
        is_mlflow = not self.path.startswith("/wiki")
        is_right = self.headers.get("Authorization") == wanted
        self.send_response(200 if is_right or not is_mlflow else 401)
        self.end_headers()
        self.wfile.write(b'{"experiments": []}' if is_mlflow and is_right else b"<html>")

    def log_message(self, *arguments: object) -> None:
        """Nothing."""


@pytest.fixture
def server() -> Iterator[str]:
    with http.server.HTTPServer(("127.0.0.1", 0), _Refusing) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_a_server_is_asked_with_the_user_of_the_environment(
    server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "me")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "right")
    location.check_store(server, None)


def test_a_wrong_password_is_told_in_one_line_without_it(
    server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "me")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "wrong-password")
    with pytest.raises(
        StorageError, match=r"^tracking_uri: http\S+ cannot be used: it refuses this user"
    ) as raised:
        location.check_store(server, None)
    assert "wrong-password" not in str(raised.value)


def test_a_server_of_others_and_no_server_are_told_in_one_line(server: str) -> None:
    with pytest.raises(StorageError, match="what answers is no MLflow server"):
        location.check_store(f"{server}/wiki", None)
    with pytest.raises(StorageError, match="nothing answers there"):
        location.check_store("http://127.0.0.1:9", None)


def test_a_database_that_cannot_be_reached_is_told_without_its_password() -> None:
    with pytest.raises(StorageError, match=r"^tracking_uri: postgresql\S+ cannot be used") as raised:
        location.check_store("postgresql://me:hunter22@127.0.0.1:9/mlflow", None)
    assert "hunter22" not in str(raised.value)
