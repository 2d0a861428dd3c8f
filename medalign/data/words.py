"""Texts brought into one form, and their words."""

from __future__ import annotations

import re
import unicodedata

_INVISIBLE = re.compile("[\u00ad\u200b-\u200d\u2060\ufeff\x00-\x08\x0e-\x1f\x7f]")
_WORD = re.compile(r"\w+")


def normalise(text: str) -> str:
    """NFC form, without invisible characters, each run of blanks one space.

    NFKC is not used: it would turn 10 with a superscript 2 into 102.
    """
    if not text.isascii():
        text = unicodedata.normalize("NFC", text)
    return " ".join(_INVISIBLE.sub("", text).split())


def words_of(text: str) -> tuple[str, ...]:
    """Words in lower case without punctuation: what two texts are compared by."""
    return tuple(_WORD.findall(text.casefold()))
