"""Finding questions that repeat another one but for a word or a letter, in one pass over all of them.

Candidates share a band of MinHash values (Broder 1997, "On the resemblance and containment of documents"; bands
as in Leskovec, Rajaraman and Ullman, "Mining of Massive Datasets", section 3.4), computed for all questions at once on
the sparse matrix of their words; each candidate is then compared word by word.
"""

# Q = questions, W = words, B = bands, P = pairs

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from medalign.data.question_words import QuestionWords, mixed
from medalign.data.words import words_of
from medalign.records import Question

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

LARGEST_SHARE = 0.85
# A question of fewer different words, options included, repeats another one only if it equals it.
LEAST_WORDS = 5
# Of two questions that share 85 % of their words, 99.7 % have a band in common; of two that share half, 27 %.
_BANDS, _ROWS_IN_BAND = 10, 5
_PAIRS_AT_ONCE = 100_000

# Words that turn a question into another one: nothing that differs in them is a repeat.
_DECIDING = re.compile(
    r"\d|^(?:not?|non|nor|never|none|without|except|excepting|false|true|incorrect|correct|least|most|un\w+|in\w+"
    r"|hypo\w*|hyper\w*|anti\w*|increas\w*|decreas\w*|raise[sd]?|lower\w*|higher|upper|left|right|before|after"
    r"|first|second|third|mild|severe|acute|chronic|male|female|man|woman|boy|girl|positive|negative)$"
)
_SIGNS = re.compile(r"[<>=+\u2264\u2265\u2191\u2193]")


def near_repeats(questions: Sequence[Question]) -> Iterator[tuple[int, int]]:
    """Pairs of places of questions of which one repeats the other, the smaller place first, sorted.

    Both have at least five different words (passage, question and options) and share at least 85 % of them (Jaccard),
    agree in every number, sign and word that can turn a question around, have the same kind, and have the same answer.
    """
    import numpy as np

    words = QuestionWords(questions).counted_words()
    first, second = _candidates(words)
    kept = np.concatenate(
        [
            _jaccard(words, first[at : at + _PAIRS_AT_ONCE], second[at : at + _PAIRS_AT_ONCE])
            >= LARGEST_SHARE
            for at in range(0, len(first), _PAIRS_AT_ONCE)
        ]
        or [np.zeros(0, bool)]
    )
    for one, other in zip(first[kept].tolist(), second[kept].tolist(), strict=True):
        if _says_the_same(questions[one], questions[other]):
            yield one, other


def _says_the_same(one: Question, other: Question) -> bool:
    same_form = one.kind == other.kind and bool(one.context) == bool(other.context)
    same_answer = words_of(one.answer) == words_of(other.answer)
    return same_form and same_answer and _deciding(one) == _deciding(other)


def _deciding(question: Question) -> list[str]:
    asked, offered = f"{question.context} {question.text}", "\n".join(question.options)
    told = [word for word in words_of(asked) if _DECIDING.search(word)]
    # Options may stand in another order.
    told += sorted(word for word in words_of(offered) if _DECIDING.search(word))
    return told + _SIGNS.findall(asked) + sorted(_SIGNS.findall(offered))


def _candidates(words: Any) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pairs that share a band; of many alike, each with the one before it and with the first."""
    import numpy as np

    num_questions = words.shape[0]
    filled = np.flatnonzero(np.diff(words.indptr) >= LEAST_WORDS)
    found = [np.zeros(0, np.int64)]
    if not len(filled):
        return found[0], found[0]
    for band in range(_BANDS):
        bands = _band_hashes(words, filled, band)
        order = np.lexsort((filled, bands))
        bands, rows = bands[order], filled[order]
        starts = np.flatnonzero(np.concatenate([[True], bands[1:] != bands[:-1]]))
        leaders = np.repeat(rows[starts], np.diff(np.append(starts, len(rows))))
        same = np.flatnonzero(bands[1:] == bands[:-1])
        found += [rows[same] * num_questions + rows[same + 1], leaders * num_questions + rows]
    pairs = np.unique(np.concatenate(found))
    first, second = pairs // max(1, num_questions), pairs % max(1, num_questions)
    return first[first != second], second[first != second]


def _band_hashes(words: Any, filled: NDArray[np.int64], band: int) -> NDArray[np.uint64]:
    """One number for the smallest hashes of each question's words under the band's hash functions."""
    import numpy as np

    numbers = np.arange(words.shape[1], dtype=np.int32)
    bands = np.zeros(len(filled), np.uint64)
    for row in range(band * _ROWS_IN_BAND, (band + 1) * _ROWS_IN_BAND):
        hashes = mixed(np.full(len(numbers), row + 1, np.uint64), numbers)
        smallest = np.minimum.reduceat(hashes[words.indices], words.indptr[filled])
        bands = bands * np.uint64(0x9E3779B97F4A7C15) + smallest
    return bands


def _jaccard(words: Any, first: NDArray[np.int64], second: NDArray[np.int64]) -> NDArray[np.float64]:
    """[P] shared different words over all different words of both."""
    import numpy as np

    sizes = np.diff(words.indptr)
    shared = np.diff((words[first] * words[second]).tocsr().indptr)
    return shared / np.maximum(1, sizes[first] + sizes[second] - shared)
