"""What must not be seen: passwords and tokens, kept out of files, logs, the tracker and error texts.

A password given in an address is moved to the variable from which the library behind it reads one, so that the address
alone goes on through settings, results and messages. Whatever is shown or kept as text passes `redacted` all the same.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, MutableMapping
from urllib.parse import quote, unquote, urlsplit, urlunsplit

from medalign.errors import ConfigError

HIDDEN = "***"
_SECRET_NAMES = re.compile(r"(PASSWORD|PASSWD|PASS|TOKEN|SECRET|SECRET_KEY|ACCESS_KEY|API_KEY|CREDENTIALS)$")
# Shorter values would turn up in innocent words.
_MIN_CHARS = 6
_USER_INFO = re.compile(r"(?<=://)([^/\s:@'\"]*):([^\s'\"]+)@")
_OPTION = re.compile(r"(?i)\b(password|passwd|token|secret|secret_key|api_key|access_key)=([^&\s'\"]+)")
# Where the library behind an address looks for user and password.
_VARIABLES = {
    "http": ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"),
    "https": ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"),
    "postgresql": ("PGUSER", "PGPASSWORD"),
    "s3": ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"),
}


def redacted(text: str) -> str:
    """The text with every secret that it holds replaced by stars.

    Secrets are the passwords in addresses, the values of options called `password`, `token` and the like, and the
    values of environment variables whose names end so.
    """
    for secret in _known_secrets():
        text = text.replace(secret, HIDDEN)
    text = _USER_INFO.sub(rf"\1:{HIDDEN}@", text)
    return _OPTION.sub(rf"\1={HIDDEN}", text)


def without_secrets(uri: str, field: str, environment: MutableMapping[str, str] | None = None) -> str:
    """The address without its password, which goes to the environment of this process.

    Args:
        field: Of the setting, for the error.
        environment: Of this process by default.

    Raises:
        ConfigError: Nothing else would read the password of such an address.
    """
    environment = os.environ if environment is None else environment
    parts = urlsplit(uri)
    if "@" not in parts.netloc:
        return uri
    info, _, host = parts.netloc.rpartition("@")
    user, colon, password = info.partition(":")
    if not colon:
        return uri
    kind = parts.scheme.partition("+")[0]
    if kind not in _VARIABLES:
        raise ConfigError(
            f"{field}: {redacted(uri)} holds a password, which would be kept with the results; leave it out and give "
            "it where its library looks for one"
        )
    user_variable, password_variable = _VARIABLES[kind]
    environment[password_variable] = unquote(password)
    environment[user_variable] = unquote(user)
    # A database takes its user from the address; the others take both from the environment or neither.
    netloc = f"{quote(unquote(user))}@{host}" if kind == "postgresql" and user else host
    return urlunsplit(parts._replace(netloc=netloc))


def _known_secrets() -> Iterator[str]:
    """The longest first, so that none hides a part of another."""
    values = {value for name, value in os.environ.items() if _SECRET_NAMES.search(name)}
    found = {value for value in values if len(value) >= _MIN_CHARS}
    found |= {quote(value, safe="") for value in found}
    yield from sorted(found, key=len, reverse=True)
