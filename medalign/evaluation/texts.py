"""Overlap of written answers with references: BLEU, ROUGE and METEOR, each by its reference package.

All are fractions in [0, 1] (sacrebleu's points divided by 100). They compare words, not meaning: "not
indicated" shares half of its words with "indicated". Read them beside token F1 and the errors themselves.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple


class Rouge(NamedTuple):
    """F-measures of one answer."""

    rouge_1: float
    rouge_2: float
    rouge_l: float


def bleu(texts: Sequence[str], references: Sequence[str], *, max_order: int = 4) -> float:
    """Corpus BLEU with n-grams up to an order, one reference a text; a fraction.

    Case counts, tokens are those of mteval's 13a, and an order without any match is smoothed exponentially: the
    defaults of sacrebleu (signature `nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp`). It is one number for all
    texts, no mean over them.

    Args:
        max_order: 1 to 4; BLEU-n is the geometric mean of the precisions of orders 1 to n.

    Raises:
        ValueError: There are no texts, the two differ in number, or no text has `max_order` tokens, so that the
            precision of that order is undefined.

    Source: Papineni et al. (2002), ACL; Post (2018), arXiv:1804.08771 (sacrebleu).
    """
    _check(texts, references)
    if not 1 <= max_order <= 4:
        raise ValueError(f"max_order must be 1 to 4, got {max_order}")
    found = _bleu(max_order).corpus_score(list(texts), [list(references)])
    if not found.totals[-1]:
        raise ValueError(f"BLEU-{max_order} is undefined: no text has {max_order} tokens")
    return float(found.score) / 100


def rouge(text: str, reference: str) -> Rouge:
    """ROUGE-1, ROUGE-2 and ROUGE-L of one answer: F-measure over stemmed words; fractions.

    Words are runs of a-z and 0-9 in lower case; other letters are dropped. 0 where either side has no word
    (ROUGE-2: no two words).

    Source: Lin (2004), ROUGE: A package for automatic evaluation of summaries; by rouge-score, with its stemmer.
    """
    found = _rouge_scorer().score(reference, text)
    return Rouge(*(float(found[name].fmeasure) for name in ("rouge1", "rouge2", "rougeL")))


def meteor(text: str, reference: str, *, wordnet: Any = None) -> float:
    """METEOR of one answer: words matched exactly, then by stem, then by WordNet's synonyms where it is given.

    Without WordNet it is stricter than the published metric and is reported under a name of its own,
    `meteor_exact_stem`. alpha 0.9, beta 3, gamma 0.5; tokens are NLTK's, in lower case. 0 where either side is empty.

    Args:
        wordnet: What `find_wordnet` gives, or anything else with `synsets(word)`.

    Source: Banerjee and Lavie (2005), ACL workshop; parameters of Lavie and Agarwal (2007); by NLTK.
    """
    from nltk.translate.meteor_score import single_meteor_score

    words, reference_words = _words(text), _words(reference)
    if not words or not reference_words:
        return 0.0
    found = _NoSynonyms() if wordnet is None else wordnet
    return float(single_meteor_score(reference_words, words, wordnet=found, stemmer=_CachedStemmer()))


def find_wordnet() -> Any:
    """NLTK's WordNet where its data is on this machine (`python -m nltk.downloader wordnet`), else None."""
    from nltk.corpus import wordnet

    try:
        wordnet.ensure_loaded()
    except (LookupError, OSError):
        return None
    return wordnet


class _NoSynonyms:
    """A WordNet without words: METEOR's third stage finds nothing."""

    def synsets(self, word: str) -> list[Any]:
        return []


class _CachedStemmer:
    """NLTK's Porter stemmer, which remembers: METEOR stems the same words again for every answer."""

    def stem(self, word: str) -> str:
        return _stem(word)


@functools.lru_cache(maxsize=65_536)
def _stem(word: str) -> str:
    return str(_porter().stem(word))


@functools.cache
def _porter() -> Any:
    from nltk.stem.porter import PorterStemmer

    return PorterStemmer()


def _words(text: str) -> list[str]:
    from nltk.tokenize import NLTKWordTokenizer

    return [str(word) for word in NLTKWordTokenizer().tokenize(text.lower())]


@functools.cache
def _bleu(max_order: int) -> Any:
    from sacrebleu.metrics import BLEU

    return BLEU(max_ngram_order=max_order)


@functools.cache
def _rouge_scorer() -> Any:
    from rouge_score.rouge_scorer import RougeScorer

    return RougeScorer(["rouge1", "rouge2", "rougeL"], use_stemmer=True)


def _check(texts: Sequence[str], references: Sequence[str]) -> None:
    if not texts or len(texts) != len(references):
        raise ValueError(f"a reference a text is needed, got {len(references)} for {len(texts)} texts")
