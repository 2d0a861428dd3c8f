from __future__ import annotations

import pytest

from medalign.commands.exit_codes import guarded
from medalign.errors import StorageError


def _raise(error: Exception) -> int:
    raise error


def test_an_error_is_one_line_without_the_secrets_in_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "planted-secret")
    code = guarded(lambda: _raise(StorageError("http://me:other-secret@host refused\nplanted-secret")))
    assert code == 2
    assert capsys.readouterr().err == "medalign: http://me:***@host refused ***\n"


def test_a_bug_keeps_its_traceback_without_the_secrets_in_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "planted-secret")
    assert guarded(lambda: _raise(KeyError("planted-secret"))) == 1
    said = capsys.readouterr().err
    assert said.startswith("Traceback") and "KeyError: '***'" in said
    assert "planted-secret" not in said
