"""Questions that belong together, told by what they share: passages, documents, or whole sentences of a case."""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence

from medalign.records import Question

# A shorter sentence ("Her temperature is 37.0 C.") stands in cases that have nothing else in common.
SENTENCE_WORDS = 8
# In CasiMedicos and MEDEC the pairs of texts fall into two heaps: below 0.2 the cases differ, above 0.25 they are one.
LEAST_SHARE = 0.25
# A sentence of so many cases is a phrase of the trade and joins none.
COMMON = 50
_SENTENCE_END = re.compile(r"(?<=[.!?:])\s+|\n")


def with_groups(questions: Sequence[Question], keys: Mapping[str, Iterable[Hashable]]) -> list[Question]:
    """The questions with a group each: those that share a key, directly or through others, have the same.

    A group is named by its first question's old group, so that a question that is added at the end renames none.

    Args:
        keys: Question id -> what it shares with others.
    """
    groups = _Joined()
    for question in questions:
        for key in keys.get(question.id, ()):
            groups.join(("question", question.id), ("key", key))
    name_of: dict[Hashable, str] = {}
    for question in questions:
        name_of.setdefault(groups.find(("question", question.id)), question.group or question.id)
    return [
        dataclasses.replace(question, group=name_of[groups.find(("question", question.id))])
        for question in questions
    ]


def case_keys(texts: Mapping[str, str]) -> dict[str, list[Hashable]]:
    """Keys for `with_groups`: one for each pair of texts that share a quarter of the shorter one's sentences.

    Sentences are compared whole, case aside, and weighed by their words; those of fewer than 8 words do not count.

    Args:
        texts: Question id -> the case that it asks about.
    """
    sentences = {name: _sentences(text) for name, text in texts.items()}
    words = {name: sum(held.values()) for name, held in sentences.items()}
    names_by_sentence: dict[str, list[str]] = {}
    for name, held in sentences.items():
        for sentence in held:
            names_by_sentence.setdefault(sentence, []).append(name)
    shared: Counter[tuple[str, str]] = Counter()
    for sentence, names in names_by_sentence.items():
        if len(names) <= COMMON:
            for place, name in enumerate(names):
                for other in names[:place]:
                    shared[other, name] += sentences[name][sentence]
    keys: dict[str, list[Hashable]] = {}
    for pair, num_words in shared.items():
        if num_words >= LEAST_SHARE * min(words[name] for name in pair):
            for name in pair:
                keys.setdefault(name, []).append(pair)
    return keys


def _sentences(text: str) -> dict[str, int]:
    """Number of words by sentence."""
    found = {" ".join(sentence.casefold().split()) for sentence in _SENTENCE_END.split(text)}
    return {
        sentence: num_words for sentence in found if (num_words := len(sentence.split())) >= SENTENCE_WORDS
    }


class _Joined:
    """Which things belong together (union-find)."""

    def __init__(self) -> None:
        self._parent: dict[Hashable, Hashable] = {}

    def find(self, thing: Hashable) -> Hashable:
        root = thing
        while (above := self._parent.get(root, root)) != root:
            root = above
        while thing != root:
            self._parent[thing], thing = root, self._parent.get(thing, thing)
        return root

    def join(self, one: Hashable, other: Hashable) -> None:
        self._parent[self.find(other)] = self.find(one)
