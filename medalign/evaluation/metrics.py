"""Definitions of the metrics: what is chosen, and how good choices and written answers are."""

from __future__ import annotations

import math
import re
import string
from collections import Counter
from collections.abc import Sequence

from medalign.records import DECISIONS, Question

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_WITHOUT_PUNCTUATION = str.maketrans("", "", string.punctuation)


def choose_raw(option_logprobs: Sequence[float]) -> int:
    """Position of the largest summed log-probability, the first of equals.

    Source: `acc` of lm-evaluation-harness (`ConfigurableTask.process_results`, multiple choice).
    """
    return max(range(len(option_logprobs)), key=lambda index: option_logprobs[index])


def choose_normalised(option_logprobs: Sequence[float], option_chars: Sequence[int]) -> int:
    """Position of the largest log-probability per character, the first of equals.

    Among short words of unlike length, such as yes, no and maybe, this favours the longest.

    Args:
        option_chars: Length of each option in characters, at least 1.

    Source: `acc_norm` of lm-evaluation-harness, which divides by `len(option)` likewise.
    """
    return choose_raw([logprob / chars for logprob, chars in zip(option_logprobs, option_chars, strict=True)])


def accuracy(correct: Sequence[bool]) -> float:
    """Share of right answers.

    Raises:
        ValueError: There are none.
    """
    if not correct:
        raise ValueError("accuracy is undefined without scored questions")
    return sum(correct) / len(correct)


def macro_f1(gold: Sequence[str], predicted: Sequence[str]) -> float:
    """Unweighted mean of F1 over the classes that occur among the right answers.

    A class that is only ever predicted costs the others precision but is not averaged in. As
    scikit-learn's `f1_score(average="macro", labels=<classes of gold>, zero_division=0)`.

    Raises:
        ValueError: There are no answers, or the two differ in number.
    """
    if not gold or len(gold) != len(predicted):
        raise ValueError(
            f"macro-F1 needs as many predictions as right answers, got {len(predicted)} for {len(gold)}"
        )
    num_gold, num_predicted = Counter(gold), Counter(predicted)
    num_right = Counter(right for right, found in zip(gold, predicted, strict=True) if right == found)
    # F1 is 2 TP / (2 TP + FP + FN), and the denominator is what is gold plus what is predicted.
    scores = [2 * num_right[label] / (num_gold[label] + num_predicted[label]) for label in num_gold]
    return sum(scores) / len(scores)


def gold_probability(option_logprobs: Sequence[float], answer_index: int) -> float:
    """Probability of the right option when the model must take one of them: a softmax over the options."""
    highest = max(option_logprobs)
    weights = [math.exp(logprob - highest) for logprob in option_logprobs]
    return weights[answer_index] / sum(weights)


def normalise_answer(text: str) -> str:
    """Lower case without punctuation, articles and needless blanks.

    Source: `normalize_answer` of the SQuAD evaluation script, Rajpurkar et al. (2016), arXiv:1606.05250.
    """
    without_punctuation = text.lower().translate(_WITHOUT_PUNCTUATION)
    return " ".join(_ARTICLES.sub(" ", without_punctuation).split())


def token_f1(text: str, reference: str) -> float:
    """F1 of the words that a written answer shares with the reference, both normalised.

    Two answers without any word are equal (1), as in SQuAD 2.0; an empty one against words is 0.

    Source: Rajpurkar et al. (2016), arXiv:1606.05250; (2018), arXiv:1806.03822 for empty answers.
    """
    words, reference_words = normalise_answer(text).split(), normalise_answer(reference).split()
    if not words or not reference_words:
        return float(words == reference_words)
    num_shared = (Counter(words) & Counter(reference_words)).total()
    return 2 * num_shared / (len(words) + len(reference_words))


def exact_match(text: str, reference: str) -> bool:
    """Whether a written answer equals the reference once both are normalised (Rajpurkar et al., 2016)."""
    return normalise_answer(text) == normalise_answer(reference)


def majority_baseline(train: Sequence[Question], test: Sequence[Question]) -> float | None:
    """Accuracy of always answering what was most frequent in training.

    That is the most frequent label for yes/no/maybe, and the most frequent position for
    other choices; of equals the first. A question that does not offer it counts with chance, 1 / options.

    Returns:
        None if no test question has options.
    """
    scored = [question for question in test if question.is_scored]
    if not scored:
        return None
    labels = Counter(question.answer for question in train if question.kind == "decision")
    positions = Counter(question.answer_index for question in train if question.kind == "choice")
    label = max(DECISIONS, key=lambda decision: labels[decision]) if labels else None
    position = min(positions, key=lambda index: (-positions[index], index or 0)) if positions else None
    return sum(_majority_score(question, label, position) for question in scored) / len(scored)


def _majority_score(question: Question, label: str | None, position: int | None) -> float:
    if question.kind == "decision" and label in question.options:
        return float(question.answer == label)
    if question.kind == "choice" and position is not None and position < len(question.options):
        return float(question.answer_index == position)
    return 1 / len(question.options)
