"""What is particular about a question, so that errors can be looked at by it."""

from __future__ import annotations

import re

from medalign.records import Prediction, Question

# Those that need no more than a prediction, and those that need the question's text.
FEATURES = ("specialty", "source", "kind", "length", "negation", "numbers")

_NEGATION = re.compile(
    r"\b(not|no|never|none|neither|nor|without|except|excluding|least|false|incorrect|inappropriate|unlikely|"
    r"contraindicated|cannot|avoid(?:ed)?)\b|n't\b",
    re.IGNORECASE,
)
_NUMBER = re.compile(r"\d")
_LENGTHS = ((20, "up to 20 words"), (60, "21 to 60 words"), (150, "61 to 150 words"))
_LONGEST = "over 150 words"


def question_features(prediction: Prediction, question: Question | None = None) -> dict[str, str]:
    """The value of each feature.

    `length` counts the words of the question with its passage, `negation` and `numbers` look at the question
    itself: a number in a passage is no difficulty of its own. Negation is found by words ("not", "except",
    "least", "contraindicated", ...), which is a screen: "not only" counts too.

    Args:
        question: None leaves out what needs its text.
    """
    found = {"specialty": prediction.specialty, "source": prediction.source, "kind": prediction.kind}
    if question is not None:
        num_words = len(question.text.split()) + len(question.context.split())
        found["length"] = next((name for limit, name in _LENGTHS if num_words <= limit), _LONGEST)
        found["negation"] = "with negation" if _NEGATION.search(question.text) else "without negation"
        found["numbers"] = "with numbers" if _NUMBER.search(question.text) else "without numbers"
    return found
