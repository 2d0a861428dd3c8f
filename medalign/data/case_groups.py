"""Questions that belong together, told by what they share: a passage, a document, or the words of a case."""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence

from medalign.records import Question

RUN_WORDS = 4
# Pairs of texts in CasiMedicos and MEDEC fall into two heaps: below 0.25 the cases differ, above 0.45 they are one,
# mostly in another wording; next to nothing lies between (docs/data_sources.md).
LEAST_SHARE = 0.4
# A run of words that stands in more texts is a phrase of the trade ("which of the following") and joins none.
COMMON = 50
_WORD = re.compile(r"\w+")


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
    """Keys for `with_groups`: one for each pair of texts that share 0.4 of the shorter one's distinct 4-word runs.

    Whole sentences would not do: the same case comes back with every sentence reworded a little.

    Args:
        texts: Question id -> the case that it asks about.
    """
    runs = {name: _runs(text) for name, text in texts.items()}
    names_by_run: dict[str, list[str]] = {}
    for name, held in runs.items():
        for run in held:
            names_by_run.setdefault(run, []).append(name)
    num_shared: Counter[tuple[str, str]] = Counter()
    for names in names_by_run.values():
        if len(names) <= COMMON:
            num_shared.update(itertools.combinations(names, 2))
    keys: dict[str, list[Hashable]] = {}
    for pair, count in num_shared.items():
        if count >= LEAST_SHARE * min(len(runs[name]) for name in pair):
            for name in pair:
                keys.setdefault(name, []).append(pair)
    return keys


def _runs(text: str) -> frozenset[str]:
    words = _WORD.findall(text.casefold())
    return frozenset(
        " ".join(words[start : start + RUN_WORDS]) for start in range(max(1, len(words) - RUN_WORDS + 1))
    )


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
