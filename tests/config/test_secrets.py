from __future__ import annotations

import pytest

from medalign.config.secrets import redacted, without_secrets
from medalign.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("http://me:hunter22@host:5000/x", "http://me:***@host:5000/x"),
        ("postgresql://me:p%40ss/word@db/mlflow failed", "postgresql://me:***@db/mlflow failed"),
        ("s3://bucket/a?access_key=AKIA1&secret_key=abc", "s3://bucket/a?access_key=***&secret_key=***"),
        ("--tracking-uri http://host:5000 --trials 3", "--tracking-uri http://host:5000 --trials 3"),
        ("ray://host:10001", "ray://host:10001"),
        ("accuracy 0.41 at http://a/b and c@d", "accuracy 0.41 at http://a/b and c@d"),
    ],
)
def test_passwords_in_addresses_and_options_are_hidden(text: str, shown: str) -> None:
    assert redacted(text) == shown


def test_values_of_secret_variables_are_hidden_wherever_they_turn_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "correct horse")
    monkeypatch.setenv("HF_TOKEN", "hf_abcdefgh")
    monkeypatch.setenv("SOME_PASSWORD", "abc")
    monkeypatch.setenv("PATH_TO_IT", "innocent words")
    said = redacted("401 for correct horse, correct%20horse and hf_abcdefgh; abc innocent words")
    assert said == "401 for ***, *** and ***; abc innocent words"


@pytest.mark.parametrize(
    ("uri", "kept", "variables"),
    [
        (
            "https://me:p%40ss@host:5000/x",
            "https://host:5000/x",
            {"MLFLOW_TRACKING_USERNAME": "me", "MLFLOW_TRACKING_PASSWORD": "p@ss"},
        ),
        (
            "postgresql+psycopg://me:secret@db:5432/mlflow",
            "postgresql+psycopg://me@db:5432/mlflow",
            {"PGUSER": "me", "PGPASSWORD": "secret"},
        ),
        (
            "s3://KEY:SECRET@bucket/prefix?region=eu-west-1",
            "s3://bucket/prefix?region=eu-west-1",
            {"AWS_ACCESS_KEY_ID": "KEY", "AWS_SECRET_ACCESS_KEY": "SECRET"},
        ),
        ("http://host:5000", "http://host:5000", {}),
        ("sqlite:////home/me/mlruns/mlflow.db", "sqlite:////home/me/mlruns/mlflow.db", {}),
        ("/shared/results", "/shared/results", {}),
        ("auto", "auto", {}),
    ],
)
def test_a_password_moves_from_the_address_to_the_environment(
    uri: str, kept: str, variables: dict[str, str]
) -> None:
    environment: dict[str, str] = {}
    assert without_secrets(uri, "tracking_uri", environment) == kept
    assert environment == variables


def test_a_password_that_nobody_would_find_again_is_refused_without_being_shown() -> None:
    with pytest.raises(
        ConfigError, match=r"^tracking_uri: mysql://me:\*\*\*@db/x holds a password"
    ) as raised:
        without_secrets("mysql://me:hunter22@db/x", "tracking_uri", {})
    assert "hunter22" not in str(raised.value)
