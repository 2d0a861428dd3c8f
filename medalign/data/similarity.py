"""How alike questions are: by equal words, by runs of words, by telling words and by letters.

Everything is computed for many pairs at once, on sparse matrices; questions are named by their place in
the list that was given.
"""

# Q = questions, W = words, R = runs of words, O = options, P = pairs

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from medalign.data.question_words import QuestionWords, unit_rows
from medalign.records import Question

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

LARGEST_RUN_SHARE = 0.5
LARGEST_WORD_COSINE = 0.7
LARGEST_LETTER_COSINE = 0.8
# Below these cosines of words, runs and letters do not count.
LEAST_COSINE_FOR_RUNS = 0.6
NOMINATED = 0.5
# Of a question's unit vector, the part of the least telling words that is left out where candidates are sought.
_SLACK = 0.25
_ROWS_AT_ONCE = 512
_PAIRS_AT_ONCE = 20_000


class NearPair(NamedTuple):
    """Two questions that are nearly the same.

    Attributes:
        first: Place of one.
        second: Place of the other.
        measure: Which measure says so: `same words`, `runs of words`, `telling words` or `letters`.
        score: Its value, at most 1.
    """

    first: int
    second: int
    measure: str
    score: float


class Similarity:
    """Compares questions with each other, their passages included.

    Two questions are nearly the same if one of these holds:

    - same words: passage, question and options have the same words in the same order;
    - runs of words: they share at least half of the 8-word runs of the shorter one, and at least half of runs
      and options together (a text of fewer than 8 words must be equal), and the cosine below is at least 0.6;
    - telling words: the cosine of their words, weighted by `word_weights`, is at least 0.7;
    - letters: the cosine of their letter triples, weighted by the words that hold them, is at least 0.8 (and that of
      words at least 0.5), which finds other spellings and endings.

    A question with a passage is compared with one without both with and without its passage. A passage that two
    questions of one source share word for word is left out: whether they belong together is told by their groups.
    The thresholds were set on known pairs (`benchmarks/leak_check.py`). What neither words nor spellings show,
    such as one case retold, is not found.
    """

    def __init__(self, questions: Sequence[Question]) -> None:
        self._texts = QuestionWords(questions)

    def near_pairs(self, rows: Sequence[int], others: Sequence[int]) -> list[NearPair]:
        """Every pair of one of `rows` with another one of `others` that is nearly the same.

        Returns:
            Sorted by place; a pair that can be had both ways round is given once, the smaller place first.
        """
        import numpy as np

        asked, compared = np.unique(np.asarray(rows, np.int64)), np.unique(np.asarray(others, np.int64))
        both = set(asked.tolist()) & set(compared.tolist())
        found: dict[tuple[int, int], NearPair] = {}
        for pair in itertools.chain(*(_near_in(view, asked, compared) for view in self._views())):
            places = (pair.first, pair.second)
            key = (min(places), max(places)) if both.issuperset(places) else places
            if pair.first != pair.second and (key not in found or found[key].score < pair.score):
                found[key] = pair._replace(first=key[0], second=key[1])
        return [found[key] for key in sorted(found)]

    def _views(self) -> Iterator[_View]:
        """With passages; and, if there are any, without."""
        yield self._with_passages
        if self._texts.has_passage.any():
            yield self._without_passages

    @functools.cached_property
    def _with_passages(self) -> _View:
        return _View(self._texts, with_passages=True)

    @functools.cached_property
    def _without_passages(self) -> _View:
        return _View(self._texts, with_passages=False)


class _View:
    """The questions' texts as matrices: one way of looking at them, with passages or without.

    Attributes:
        words: [Q, W] telling words, rows of length 1.
        runs: [Q, R] which run occurs where; runs of one question alone are left out.
        num_runs: [Q] different runs of each question, those left out too.
        whole: [Q] a hash of the words in their order.
        options: [Q, O] which option is offered where.
    """

    def __init__(self, texts: QuestionWords, *, with_passages: bool) -> None:
        self._texts = texts
        self._with_passages = with_passages
        self.words = unit_rows(texts.weighted_words(with_passages=with_passages))
        self.runs, self.num_runs, self.whole = texts.runs(with_passages=with_passages)
        self.options = texts.options

    def allows(self, first: NDArray[np.int64], second: NDArray[np.int64]) -> NDArray[np.bool_]:
        """[P] whether the pair is to be compared in this view."""
        held, passages, sources = self._texts.has_passage, self._texts.passages, self._texts.sources
        shared = held[first] & (passages[first] == passages[second]) & (sources[first] == sources[second])
        return ~shared if self._with_passages else shared | (held[first] != held[second])

    def letter_cosines(self, first: NDArray[np.int64], second: NDArray[np.int64]) -> NDArray[np.float64]:
        """[P] cosine of the letter triples."""
        import numpy as np

        rows, places = np.unique(np.concatenate([first, second]), return_inverse=True)
        letters = unit_rows(self.words[rows] @ self._texts.letters)
        return _row_products(letters, places[: len(first)], letters, places[len(first) :])


def _near_in(view: _View, asked: NDArray[np.int64], compared: NDArray[np.int64]) -> Iterator[NearPair]:
    words, runs = view.words[compared].T.tocsr(), view.runs[compared].T.tocsr()
    for start in range(0, len(asked), _ROWS_AT_ONCE):
        rows = asked[start : start + _ROWS_AT_ONCE]
        first, second = _candidates(view, rows, words, runs)
        yield from _near_among(view, rows[first], compared[second])


def _candidates(
    view: _View, rows: NDArray[np.int64], words: Any, runs: Any
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Places in `rows` and in what is compared of pairs that may be near: none that is near is missing.

    Args:
        words: [W, compared].
        runs: [R, compared].
    """
    import numpy as np

    # By Cauchy and Schwarz the words left out add at most _SLACK to a cosine.
    dots = (_most_telling(view.words[rows]) @ words).tocoo()
    likely = dots.data >= NOMINATED - _SLACK
    shared = (view.runs[rows] @ runs).tocoo()
    first = np.concatenate([dots.row[likely], shared.row]).astype(np.int64)
    second = np.concatenate([dots.col[likely], shared.col]).astype(np.int64)
    width = max(1, words.shape[1])
    pairs = np.unique(first * width + second)
    return pairs // width, pairs % width


def _near_among(view: _View, first: NDArray[np.int64], second: NDArray[np.int64]) -> Iterator[NearPair]:
    import numpy as np

    kept = view.allows(first, second)
    first, second = first[kept], second[kept]
    words = _row_products(view.words, first, view.words, second)
    kept = words >= NOMINATED
    first, second, words = first[kept], second[kept], words[kept]
    runs = np.where(words >= LEAST_COSINE_FOR_RUNS, _run_shares(view, first, second), 0.0)
    letters = np.zeros(len(first))
    unsure = np.flatnonzero((words < LARGEST_WORD_COSINE) & (runs < LARGEST_RUN_SHARE))
    if len(unsure):
        letters[unsure] = view.letter_cosines(first[unsure], second[unsure])
    same = (view.whole[first] == view.whole[second]) & (words > 1 - 1e-5)
    measures = (
        ("same words", same.astype(float), 1.0),
        ("telling words", words, LARGEST_WORD_COSINE),
        ("runs of words", runs, LARGEST_RUN_SHARE),
        ("letters", letters, LARGEST_LETTER_COSINE),
    )
    done = np.zeros(len(first), bool)
    for measure, scores, least in measures:
        for place in np.flatnonzero((scores >= least) & ~done):
            done[place] = True
            score = min(1.0, round(float(scores[place]), 4))
            yield NearPair(int(first[place]), int(second[place]), measure, score)


def _most_telling(words: Any) -> Any:
    """The rows without their lightest entries, as many as have together no more than _SLACK of the length."""
    import numpy as np

    rows = np.repeat(np.arange(words.shape[0]), np.diff(words.indptr))
    order = np.lexsort((words.data, rows))
    squares = np.cumsum(words.data[order].astype(np.float64) ** 2)
    before = np.concatenate([[0.0], squares])[words.indptr[:-1]]
    kept = np.zeros(len(rows), bool)
    kept[order] = squares - np.repeat(before, np.diff(words.indptr)) > _SLACK**2
    pruned = words.copy()
    pruned.data = np.where(kept, words.data, 0).astype(words.dtype)
    pruned.eliminate_zeros()
    return pruned


def _run_shares(view: _View, first: NDArray[np.int64], second: NDArray[np.int64]) -> NDArray[np.float64]:
    """[P] the smaller of two shares: of the runs of the shorter question, and of its runs and options together."""
    import numpy as np

    shared = _row_products(view.runs, first, view.runs, second)
    options = _row_products(view.options, first, view.options, second)
    fewest_runs = np.maximum(1, np.minimum(view.num_runs[first], view.num_runs[second]))
    num_options = np.diff(view.options.indptr)
    fewest = fewest_runs + np.minimum(num_options[first], num_options[second])
    return np.minimum(shared / fewest_runs, (shared + options) / fewest)


def _row_products(
    one: Any, rows: NDArray[np.int64], other: Any, columns: NDArray[np.int64]
) -> NDArray[np.float64]:
    """[P] the product of row `rows[p]` of the one with row `columns[p]` of the other."""
    import numpy as np

    parts = [
        np.asarray(
            one[rows[at : at + _PAIRS_AT_ONCE]].multiply(other[columns[at : at + _PAIRS_AT_ONCE]]).sum(1)
        )
        for at in range(0, len(rows), _PAIRS_AT_ONCE)
    ]
    return np.concatenate([part.ravel() for part in parts]).astype(np.float64) if parts else np.zeros(0)
