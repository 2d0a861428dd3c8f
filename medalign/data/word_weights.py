"""How telling a word is, by counts over real medical questions that are kept with the package.

The weights are fixed, so that how alike two questions are depends on these two alone: adding a question to a
data set never changes what is found about the others. `benchmarks/word_weights.py` counts them anew.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from importlib import resources

# Of a word that fewer than 10 of the 34,602 questions hold.
RARE_WORD = 9.0


@functools.cache
def word_weights() -> Mapping[str, float]:
    """ln(questions / questions that hold the word), for every word that is not rare."""
    text = (resources.files("medalign.data") / "word_weights.txt").read_text(encoding="utf-8")
    weights = {}
    for line in text.splitlines():
        weight, *words = line.split(" ")
        weights.update(dict.fromkeys(words, float(weight)))
    return weights
