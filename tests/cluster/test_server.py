"""A comparison that is kept by an MLflow server with users, on PostgreSQL; and no password in anything it leaves."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.cluster.servers import ROOT, mlflow_server, postgres
from tests.markers import cluster
from tests.tiny_models import make_tiny

SETTINGS = (
    *(
        "--name",
        "tiny",
        "--model",
        "model",
        "--train-size",
        "8",
        "--validation-size",
        "4",
        "--test-size",
        "8",
    ),
    *("--methods", "icl", "--trials", "1", "--seeds", "1", "--slots", "1", "--precision", "fp32"),
)


class Servers(NamedTuple):
    """Addresses without passwords, and the passwords."""

    database: str
    database_password: str
    uri: str
    password: str
    folder: Path


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    folder = tmp_path_factory.mktemp("server") / "mlflow"
    with (
        postgres() as (database, database_password),
        mlflow_server(database, database_password, folder) as (uri, password),
    ):
        yield Servers(database, database_password, uri, password, folder)


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("workplace")
    make_tiny(folder / "model", "llama", window=1024)
    return folder


def _compare(workplace: Path, *options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "medalign.compare", *SETTINGS, *options],
        cwd=workplace,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        timeout=1800,
        check=False,
    )


def _everything_in(database: str, password: str) -> str:
    """All text of all tables."""
    import sqlalchemy

    engine = sqlalchemy.create_engine(database, connect_args={"password": password})
    tables = sqlalchemy.MetaData()
    tables.reflect(engine)
    with engine.connect() as connection:
        rows = [row for table in tables.sorted_tables for row in connection.execute(sqlalchemy.select(table))]
    engine.dispose()
    assert any("tiny" in str(row) for row in rows)
    return "\n".join(map(str, rows))


@cluster
def test_a_comparison_is_kept_by_the_server_and_no_password_by_anything(
    servers: Servers, workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    named = servers.uri.replace("//", f"//admin:{servers.password}@")
    done = _compare(workplace, "--tracking-uri", named)
    assert done.returncode == 0, done.stdout + done.stderr

    from mlflow import MlflowClient

    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "admin")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", servers.password)
    client = MlflowClient(tracking_uri=servers.uri)
    experiment = client.get_experiment_by_name("tiny")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id])
    assert {run.info.run_name for run in runs} >= {"base", "icl", "icl-search-000", "icl-refit-000"}
    assert {run.info.status for run in runs} == {"FINISHED"}

    left = [path for folder in (workplace, servers.folder) for path in folder.rglob("*") if path.is_file()]
    texts = {str(path): path.read_bytes() for path in left if path.name not in ("users.db", "auth.ini")}
    assert len(texts) > 10
    holders = [name for name, content in texts.items() if servers.password.encode() in content]
    said = {"out": done.stdout, "err": done.stderr}
    said["database"] = _everything_in(servers.database, servers.database_password)
    holders += [name for name, text in said.items() if servers.password in text]
    assert holders == []


@cluster
@pytest.mark.parametrize("password", ["not-the-planted-one"])
def test_a_wrong_password_is_one_line_before_a_trial_is_spent(
    servers: Servers, workplace: Path, password: str
) -> None:
    before = set(workplace.glob("results/*"))
    done = _compare(workplace, "--tracking-uri", servers.uri.replace("//", f"//admin:{password}@"))
    assert done.returncode == 2
    lines = done.stderr.splitlines()
    assert len(lines) == 1
    assert f"tracking_uri: {servers.uri} cannot be used: it refuses this user or password" in lines[0]
    assert password not in done.stdout + done.stderr
    assert set(workplace.glob("results/*")) == before


@cluster
def test_a_wrong_password_of_the_database_is_one_line_and_a_right_one_is_not_kept(
    servers: Servers, workplace: Path
) -> None:
    wrong = servers.database.replace("mlflow@", "mlflow:not-the-planted-one@")
    done = _compare(workplace, "--tracking-uri", wrong)
    assert done.returncode == 2, done.stdout + done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert "password authentication failed" in done.stderr
    assert "not-the-planted-one" not in done.stderr
    right = servers.database.replace("mlflow@", f"mlflow:{servers.database_password}@")
    done = _compare(workplace, "--tracking-uri", right)
    assert done.returncode == 0, done.stdout + done.stderr
    assert servers.database_password not in done.stdout + done.stderr
    held = [path for path in workplace.rglob("*") if path.is_file()]
    assert not [path for path in held if servers.database_password.encode() in path.read_bytes()]
