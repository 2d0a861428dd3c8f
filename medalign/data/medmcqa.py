"""MedMCQA: four-option questions of Indian medical entrance exams (Pal et al. 2022, arXiv:2203.14371)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import ClassVar

from medalign.data.files import Row
from medalign.data.hub import HubPart
from medalign.data.record_source import RecordSource
from medalign.data.sources import Service
from medalign.records import Question, Split

HUB = "openlifescienceai/medmcqa"

LETTERS = "abcd"
UNNAMED = re.compile(r"^(?:unknown)?$")

# A lead with the letter of the right option: "Ans. is 'a' i.e., ", "Answer- B. ", "Ans: C (", "B i.e. ".
_LEAD = re.compile(
    r"""^\W*(?:
        ans(?:wer)?s?\b\W*(?:is|are)?\W*(?:option\W*)?[\"'(`\[]*[a-d1-4]\b   # Ans. is 'a'
        | ans(?:wer)?s?\W*[:.\-]\W*[a-d](?=[.)\-:(\s])                        # Ans.a.
        | ans(?:wer)?s?\W*(?-i:[A-D](?=[A-Z][a-z]))                          # Answer- DThyrotoxic crisis
        | (?:the\s+)?(?:correct|right)\s+(?:answer|option)\s*(?:is)?\W*[a-d]\b
        | [\"'(`]*[a-d][\"')`]*\s+i\.?\s?e\b
    )\W*(?:i\.?\s?e\b\W*)?""",
    re.IGNORECASE | re.VERBOSE,
)
# "(Ref: Harrison 18/e p364)": says where the reason stands, not what it is.
_BOOK = re.compile(r"^\W*\(Re[fj]\b[^()]*\)\W*", re.IGNORECASE)
# Any other mention of an option by its letter or number: "option C", "Ans is b", "(Option `d')".
_MENTION = re.compile(
    r"\b(?:options?|choices?|ans(?:wer)?s?)\b(?:\s+(?:is|are))?[^\w\n]{0,4}(?:[a-d]|[1-4])\b"
    r"|^\W*[a-d]\s*[-.:)]\s"
    r"|\b[a-d]\s+i\.?e\b",
    re.IGNORECASE,
)


class MedMCQASource(RecordSource):
    """MedMCQA, single-best-answer form.

    The labels of its official test part are hidden, so everybody reports on its validation part: a
    `train` file gives training questions (our validation is drawn from them), a `validation` file gives
    test questions. A `test` file is read as test too; without labels its questions are dropped and counted.
    """

    name = "medmcqa"
    description = (
        "Four-option questions of Indian medical entrance exams, with the subject and often an explanation."
    )
    licence = "MIT"
    citation = "Pal et al. 2022, MedMCQA: A Large-scale Multi-Subject Multi-Choice Dataset, CHIL, PMLR 174"
    origin = f"Hub: {HUB}; or medmcqa:LOCATION, a file or folder with the same fields"
    serves: ClassVar[tuple[Service, ...]] = ("choice", "rationale")
    known_faults: ClassVar[tuple[str, ...]] = (
        "The labels of the test part are hidden: everybody reports on the validation part, and so do we.",
        "Some 700 questions have two options with the same text; they are dropped.",
        "Letters are missing in places (poal for portal); many explanations are null or speak of option letters.",
        "Questions marked multi ask which of several statements hold, mostly by letters that stand in the text.",
    )
    hub: ClassVar[tuple[HubPart, ...]] = (
        HubPart(dataset=HUB, split="train"),
        HubPart(dataset=HUB, name="validation", split="test"),
    )
    split_names: ClassVar[Mapping[str, Split]] = {
        "train": "train",
        "validation": "test",
        "dev": "test",
        "val": "test",
        "test": "test",
    }

    def entries(self, row: Row, split: Split | None) -> Iterator[Question]:
        options = tuple(row.text(f"op{letter}").strip() for letter in LETTERS)
        index = _answer_index(row)
        answer = "" if index is None else options[index]
        number = row.text("id").strip()
        yield Question(
            id=f"{self.name}-{number}",
            source=self.name,
            kind="choice",
            text=row.text("question"),
            answer=answer,
            options=options,
            rationale=_rationale(row.text("exp"), answer),
            specialty=UNNAMED.sub("unspecified", row.text("subject_name").strip().lower()),
            group=number,
            split=split,
        )


def without_option_letters(explanation: str) -> str:
    """The explanation without the lead that names the right option by its letter.

    Option letters mean nothing to a model that is shown the options in words. An explanation that goes
    on to speak of options by letter is of no use without them and gives an empty string.
    """
    text = _LEAD.sub("", explanation.strip(), count=1).strip()
    return "" if _MENTION.search(text) else text


def _answer_index(row: Row) -> int | None:
    """Position of the right option; None where the label is hidden (-1 on the Hub, or null)."""
    held = row.value("cop")
    try:
        index = -1 if held is None or held == "" else int(held)
    except (TypeError, ValueError):
        index = 99
    if isinstance(held, bool) or (isinstance(held, float) and held != index) or not -1 <= index <= 3:
        raise row.fault(f"cop: holds {held!r}; 0 to 3 is wanted (the original release counts from 1)")
    return None if index < 0 else index


def _rationale(explanation: str, answer: str) -> str:
    text = without_option_letters(explanation)
    # The lead is mostly followed by the answer itself, often run together with the next sentence, and a book.
    if answer and text != explanation.strip() and text.lower().startswith(answer.lower()):
        text = text[len(answer) :].lstrip(" .:;,)")
    return _BOOK.sub("", text, count=1)
