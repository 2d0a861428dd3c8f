"""Parts of a command line that several commands read alike."""

from __future__ import annotations

import argparse
from difflib import get_close_matches
from typing import Any, NoReturn

from medalign.errors import ConfigError


class Parser(argparse.ArgumentParser):
    """An argument parser whose faults are one line that names the nearest valid option.

    Descriptions are printed as they stand, and an option must be written out.

    Raises:
        ConfigError: In place of argparse's usage text and exit.
    """

    def __init__(self, *args: Any, **settings: Any) -> None:
        usual = {"formatter_class": argparse.RawDescriptionHelpFormatter, "allow_abbrev": False}
        super().__init__(*args, **{**usual, **settings})

    def error(self, message: str) -> NoReturn:
        first, _, rest = message.partition(": ")
        unknown = rest.split()[0] if first == "unrecognized arguments" else ""
        close = get_close_matches(unknown.partition("=")[0], self._option_string_actions, n=1)
        if close:
            raise ConfigError(f"{unknown}: not an option; did you mean {close[0]}?")
        if unknown:
            raise ConfigError(f"{unknown}: not an option; `{self.prog} --help` lists them")
        raise ConfigError(f"{message.removeprefix('argument ')}; see `{self.prog} --help`")


def number_or_text(text: str) -> int | float | str:
    """A number where the text is one, else the text, which is then a fault of the setting it was given for."""
    for number in (int, float):
        try:
            return number(text)
        except ValueError:
            continue
    return text


def comma_list(text: str) -> list[str]:
    """`a, b` as two words; an empty text as none."""
    return [part.strip() for part in text.split(",")] if text.strip() else []
