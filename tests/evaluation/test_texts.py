"""BLEU, ROUGE and METEOR against slow definitions of their own and against what their packages say."""

from __future__ import annotations

import functools
import itertools
import math
import random
from collections import Counter

import pytest

from medalign.evaluation.texts import bleu, find_wordnet, meteor, rouge

WORDS = ["oral", "iron", "tablets", "tablet", "daily", "the", "dose", "doses", "of", "5", "mg", "is", "given"]


def made(number: int, seed: int, longest: int = 9) -> list[tuple[str, str]]:
    rng = random.Random(seed)
    return [
        tuple(" ".join(rng.choices(WORDS, k=rng.randint(1, longest))) for _ in range(2))  # type: ignore[misc]
        for _ in range(number)
    ]


def ngrams(words: list[str], order: int) -> Counter[tuple[str, ...]]:
    return Counter(tuple(words[i : i + order]) for i in range(len(words) - order + 1))


def slow_bleu(pairs: list[tuple[str, str]], max_order: int) -> float:
    """Papineni's formula with exponential smoothing; these words are their own tokens."""
    logs, smooth = 0.0, 1.0
    for order in range(1, max_order + 1):
        shared = total = 0
        for text, reference in pairs:
            found = ngrams(text.split(), order)
            shared += sum((found & ngrams(reference.split(), order)).values())
            total += sum(found.values())
        if shared == 0:
            smooth *= 2
            logs += math.log(1 / (smooth * total))
        else:
            logs += math.log(shared / total)
    long, needed = (sum(len(pair[side].split()) for pair in pairs) for side in (0, 1))
    return math.exp(min(0.0, 1 - needed / long)) * math.exp(logs / max_order)


@pytest.mark.parametrize("max_order", [1, 2, 3, 4])
def test_bleu_equals_its_slow_definition(max_order: int) -> None:
    for seed in range(5):
        pairs = made(20, seed)
        found = bleu([text for text, _ in pairs], [reference for _, reference in pairs], max_order=max_order)
        assert found == pytest.approx(slow_bleu(pairs, max_order), abs=1e-9)


def test_bleu_equals_nltk_on_a_corpus() -> None:
    from nltk.translate.bleu_score import corpus_bleu

    pairs = [(f"{start} {reference}", reference) for start, reference in made(60, 7, longest=6)]
    expected = corpus_bleu(
        [[reference.split()] for _, reference in pairs], [text.split() for text, _ in pairs]
    )
    assert expected > 0.2
    assert bleu(*map(list, zip(*pairs, strict=True))) == pytest.approx(expected, abs=1e-9)


def test_bleu_is_undefined_where_no_text_is_long_enough() -> None:
    assert bleu(["oral iron"], ["oral iron"], max_order=2) == pytest.approx(1)
    with pytest.raises(ValueError, match="BLEU-3 is undefined: no text has 3 tokens"):
        bleu(["oral iron"], ["oral iron tablets"], max_order=3)
    with pytest.raises(ValueError, match="a reference a text is needed, got 1 for 0 texts"):
        bleu([], ["iron"])
    with pytest.raises(ValueError, match="max_order must be 1 to 4, got 5"):
        bleu(["iron"], ["iron"], max_order=5)


def slow_f(found: int, of_text: int, of_reference: int) -> float:
    return 2 * found / (of_text + of_reference) if found else 0.0


def slow_rouge(text: str, reference: str) -> tuple[float, float, float]:
    from nltk.stem.porter import PorterStemmer

    stem = PorterStemmer().stem
    a, b = ([stem(w) if len(w) > 3 else w for w in side.split()] for side in (text, reference))

    @functools.cache
    def common(i: int, j: int) -> int:
        if i == len(a) or j == len(b):
            return 0
        return 1 + common(i + 1, j + 1) if a[i] == b[j] else max(common(i + 1, j), common(i, j + 1))

    scores = []
    for order in (1, 2):
        one, other = ngrams(a, order), ngrams(b, order)
        scores.append(slow_f(sum((one & other).values()), sum(one.values()), sum(other.values())))
    return scores[0], scores[1], slow_f(common(0, 0), len(a), len(b))


def test_rouge_equals_its_slow_definition() -> None:
    for text, reference in made(100, 8):
        assert tuple(rouge(text, reference)) == pytest.approx(slow_rouge(text, reference), abs=1e-12)


def test_rouge_of_nothing_is_nothing() -> None:
    assert tuple(rouge("", "iron")) == (0, 0, 0)
    assert tuple(rouge("\u00b5\u00df", "iron")) == (0, 0, 0)


class Synonyms:
    """A WordNet of two words."""

    class _Lemma:
        def __init__(self, name: str) -> None:
            self._name = name

        def name(self) -> str:
            return self._name

    class _Synset:
        def __init__(self, names: tuple[str, ...]) -> None:
            self._names = names

        def lemmas(self) -> list[Synonyms._Lemma]:
            return [Synonyms._Lemma(name) for name in self._names]

    def synsets(self, word: str) -> list[Synonyms._Synset]:
        same = ("physician", "doctor", "family_doctor")
        return [Synonyms._Synset(same)] if word in same else []


def slow_meteor(text: str, reference: str) -> float:
    """Stages exact and stem; each word of the text, from its end, takes the last free match of the reference."""
    from nltk.stem.porter import PorterStemmer

    words, expected = text.split(), reference.split()
    pairs: dict[int, int] = {}
    for form in (str, PorterStemmer().stem):
        free = {j for j in range(len(expected)) if j not in pairs.values()}
        for i in reversed(range(len(words))):
            match = [j for j in free if form(expected[j]) == form(words[i])]
            if i not in pairs and match:
                pairs[i] = max(match)
                free.discard(max(match))
    if not pairs:
        return 0.0
    precision, recall = len(pairs) / len(words), len(pairs) / len(expected)
    mean = precision * recall / (0.9 * precision + 0.1 * recall)
    aligned = sorted(pairs.items())
    chunks = 1 + sum(b != (a[0] + 1, a[1] + 1) for a, b in itertools.pairwise(aligned))
    return mean * (1 - 0.5 * (chunks / len(pairs)) ** 3)


def test_meteor_without_synonyms_equals_its_slow_definition() -> None:
    for text, reference in made(200, 9):
        assert meteor(text, reference) == pytest.approx(slow_meteor(text, reference), abs=1e-12)


def test_meteor_with_synonyms_matches_what_wordnet_holds_to_be_one() -> None:
    alone = meteor("a physician came", "a doctor came")
    assert alone == pytest.approx(slow_meteor("a physician came", "a doctor came"))
    assert meteor("a physician came", "a doctor came", wordnet=Synonyms()) == pytest.approx(
        meteor("a doctor came", "a doctor came")
    )
    assert alone < meteor("a physician came", "a doctor came", wordnet=Synonyms())


def test_meteor_of_nothing_is_nothing() -> None:
    assert meteor("", "iron") == meteor("iron", "") == meteor("zinc", "iron") == 0


def test_meteor_equals_nltk_with_the_same_wordnet() -> None:
    from nltk.translate.meteor_score import meteor_score

    for wordnet in (Synonyms(), find_wordnet()):
        if wordnet is not None:
            for text, reference in made(50, 10):
                expected = meteor_score([reference.split()], text.split(), wordnet=wordnet)
                assert meteor(text, reference, wordnet=wordnet) == pytest.approx(expected, abs=1e-12)
