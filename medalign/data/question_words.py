"""The words of questions as numbers, for comparisons of many questions at once."""

# Q = questions, W = words, R = runs of words, G = groups of three letters

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from medalign.data.word_weights import RARE_WORD, word_weights
from medalign.data.words import words_of
from medalign.records import Question

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

RUN_WORDS = 8


class QuestionWords:
    """The words of questions as numbers, in one flat array for each part.

    Attributes:
        has_passage: [Q] whether there is a passage.
        passages: [Q] a hash of the passage.
        sources: [Q] a number for each source.
        options: [Q, O] which option is offered where.
    """

    def __init__(self, questions: Sequence[Question]) -> None:
        import numpy as np

        self.vocabulary: dict[str, int] = {}
        self._passages = self._numbered(question.context for question in questions)
        self._asked = self._numbered(question.text for question in questions)
        # Yes, no and maybe are the same for every decision question and tell nothing.
        offered = [question.options if question.kind == "choice" else () for question in questions]
        self._offered = self._numbered("\n".join(options) for options in offered)
        self.has_passage = np.fromiter((bool(question.context) for question in questions), bool)
        self.passages = hashes_of_all(self._passages)
        names: dict[str, int] = {}
        self.sources = np.fromiter(
            (names.setdefault(question.source, len(names)) for question in questions), np.int64
        )
        self.options = _indicators([[option.casefold() for option in options] for options in offered])

    @functools.cached_property
    def letters(self) -> Any:
        """[W, G] the letter triples of every word, its ends marked; rows of length 1."""
        words = [f"<{word}>" for word in self.vocabulary]
        return unit_rows(
            _indicators([[word[at : at + 3] for at in range(max(1, len(word) - 2))] for word in words])
        )

    def weighted_words(self, *, with_passages: bool) -> Any:
        """[Q, W] (1 + ln count) times the word's weight."""
        import numpy as np

        counts = self.counted_words(with_passages=with_passages)
        known = word_weights()
        weights = np.fromiter((known.get(word, RARE_WORD) for word in self.vocabulary), np.float32)
        counts.data = (1 + np.log(counts.data)) * weights[counts.indices]
        return counts

    def counted_words(self, *, with_passages: bool = True) -> Any:
        """[Q, W] how often each word stands in passage, question and options."""
        import numpy as np
        from scipy import sparse

        parts = [self._asked, self._offered] + ([self._passages] if with_passages else [])
        words = np.concatenate([part.words for part in parts])
        rows = np.concatenate([part.rows() for part in parts])
        shape = (len(self.has_passage), max(1, len(self.vocabulary)))
        return sparse.coo_array((np.ones(len(words), np.float32), (rows, words)), shape).tocsr()

    def runs(self, *, with_passages: bool) -> tuple[Any, NDArray[np.int64], NDArray[np.uint64]]:
        """[Q, R] the runs that several questions have, [Q] the number of runs, [Q] a hash of the whole text."""
        import numpy as np
        from scipy import sparse

        text = _joined(self._passages, self._asked) if with_passages else self._asked
        num_questions = len(self.has_passage)
        whole = hashes_of_all(_joined(text, self._offered))
        rows, hashes = _hashed_runs(text)
        order = np.lexsort((hashes, rows))
        rows, hashes = rows[order], hashes[order]
        is_first = np.ones(len(rows), bool)
        is_first[1:] = (rows[1:] != rows[:-1]) | (hashes[1:] != hashes[:-1])
        rows, hashes = rows[is_first], hashes[is_first]
        num_runs = np.bincount(rows, minlength=num_questions)
        _, runs, num_holders = np.unique(hashes, return_inverse=True, return_counts=True)
        several = num_holders[runs] > 1
        columns = np.unique(runs[several], return_inverse=True)[1]
        shape = (num_questions, int(columns.max(initial=0)) + 1)
        held = (np.ones(len(columns), np.float32), (rows[several], columns))
        return sparse.coo_array(held, shape).tocsr(), num_runs, whole

    def _numbered(self, texts: Iterator[str]) -> _Words:
        import numpy as np

        vocabulary = self.vocabulary
        numbers: list[int] = []
        ends = [0]
        for text in texts:
            numbers += [vocabulary.setdefault(word, len(vocabulary)) for word in words_of(text)]
            ends.append(len(numbers))
        return _Words(np.asarray(numbers, np.int32), np.asarray(ends, np.int64))


class _Words(NamedTuple):
    """The words of one part of every question, one after the other.

    Attributes:
        words: Numbers in the vocabulary.
        ends: [Q + 1] where each question's words begin, and where the last one's end.
    """

    words: NDArray[np.int32]
    ends: NDArray[np.int64]

    def rows(self) -> NDArray[np.int64]:
        """The question of each word."""
        import numpy as np

        return np.repeat(np.arange(len(self.ends) - 1), np.diff(self.ends))


def _joined(first: _Words, second: _Words) -> _Words:
    """Question by question the words of the first part, then those of the second."""
    import numpy as np

    rows = np.concatenate([first.rows(), second.rows()])
    order = np.argsort(rows, kind="stable")
    return _Words(np.concatenate([first.words, second.words])[order], first.ends + second.ends)


def _hashed_runs(text: _Words) -> tuple[NDArray[np.int64], NDArray[np.uint64]]:
    """The question and the hash of every run; a text of fewer words than a run is one run."""
    import numpy as np

    lengths = np.diff(text.ends)
    rows = text.rows()
    starts = np.flatnonzero(np.arange(len(rows)) + RUN_WORDS <= text.ends[rows + 1])
    hashes = np.zeros(len(starts), np.uint64)
    for place in range(RUN_WORDS):
        hashes = mixed(hashes, text.words[starts + place])
    short = np.flatnonzero(lengths < RUN_WORDS)
    return (
        np.concatenate([rows[starts], short]),
        np.concatenate([hashes, hashes_of_all(text)[short]]),
    )


def hashes_of_all(text: _Words) -> NDArray[np.uint64]:
    """[Q] a hash of each question's words in their order."""
    import numpy as np

    places = np.arange(len(text.words), dtype=np.uint64) - text.ends[text.rows()].astype(np.uint64)
    parts = mixed(places, text.words)
    sums = np.concatenate([np.zeros(1, np.uint64), np.cumsum(parts, dtype=np.uint64)])
    return sums[text.ends[1:]] - sums[text.ends[:-1]]


def mixed(hashes: NDArray[np.uint64], words: NDArray[np.int32]) -> NDArray[np.uint64]:
    """The next hash of each: the finaliser of SplitMix64 (Steele et al. 2014) over hash and word."""
    import numpy as np

    mixed = hashes * np.uint64(0x9E3779B97F4A7C15) + words.astype(np.uint64) + np.uint64(1)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))


def _indicators(members: Sequence[Sequence[str]]) -> Any:
    """[Q, members] 1 where a row has a member, each counted once."""
    import numpy as np
    from scipy import sparse

    numbers: dict[str, int] = {}
    columns = [numbers.setdefault(member, len(numbers)) for held in members for member in dict.fromkeys(held)]
    sizes = [len(set(held)) for held in members]
    pointers = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    shape = (len(members), max(1, len(numbers)))
    matrix = sparse.csr_array(
        (np.ones(len(columns), np.float32), np.asarray(columns, np.int64), pointers), shape
    )
    matrix.sort_indices()
    return matrix


def unit_rows(matrix: Any) -> Any:
    """The same rows of length 1; empty ones stay empty."""
    import numpy as np
    from scipy import sparse

    lengths = np.sqrt(np.asarray(matrix.multiply(matrix).sum(1)).ravel())
    scale = sparse.diags_array(1 / np.where(lengths > 0, lengths, 1)).astype(np.float32)
    return (scale @ matrix).tocsr()
