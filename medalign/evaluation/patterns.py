"""Patterns of error: habits of an arm that can be mended, each with a definition, examples and a suggestion.

A pattern is looked for among the answers that could show it, and is counted over all seeds. Each is a
screen by rules that can be read in a line; none needs a model.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from medalign.evaluation.confidence import confidences, scoring_rule
from medalign.evaluation.metrics import normalise_answer
from medalign.records import ArmResult, Prediction, Question

MAX_EXAMPLES = 5

_REFUSAL = re.compile(
    r"\b(i(?:'m| am) (?:sorry|unable|not able|not (?:a )?(?:doctor|physician|medical professional))"
    r"|i (?:cannot|can't|can not|won't|do not have (?:access|enough|the)|don't have (?:access|enough|the))"
    r"|as an? (?:ai|artificial intelligence|language model)"
    r"|(?:please )?(?:consult|contact|see|talk to|speak (?:to|with)) (?:a|your|an?other) "
    r"(?:doctor|physician|health ?care (?:provider|professional)|medical professional|specialist)"
    r"|cannot (?:provide|give|offer) (?:medical )?(?:advice|an answer|information))\b",
    re.IGNORECASE,
)
_SCAFFOLD = re.compile(
    r"<\|?/?[a-z_]+\|?>|\[/?inst\]|\b(?:question|answer|user|assistant|system)\s*:", re.IGNORECASE
)
_LETTER = re.compile(r"^\W*(?:option\s*)?[a-e]\W*$", re.IGNORECASE)
_REPEATED = re.compile(r"\b(\w+(?:\W+\w+){0,4}?)(?:\W+\1\b){2,}", re.IGNORECASE)


class Example(NamedTuple):
    """An answer that shows a pattern.

    Attributes:
        confidence: Probability of the chosen option; None for a written answer.
    """

    question_id: str
    seed: int
    said: str
    answer: str
    confidence: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Pattern:
    """A habit of one arm.

    Attributes:
        name: As in `SUGGESTIONS`.
        definition: When an answer shows it, in a sentence.
        num_found: Answers that show it, every seed counted.
        num_answers: Answers that could show it, every seed counted.
        num_questions: Different questions among these: an interval of the share has at most as many independent
            observations.
        expected: Share that would be found without the habit; None where that is 0.
        examples: Of different questions, confidently wrong ones first, 5 at most.
        suggestion: What to try.
    """

    arm: str
    name: str
    definition: str
    num_found: int
    num_answers: int
    num_questions: int
    expected: float | None
    examples: tuple[Example, ...]
    suggestion: str

    @property
    def share(self) -> float | None:
        """Of the answers that could show it; None if there are none."""
        return self.num_found / self.num_answers if self.num_answers else None


DEFINITIONS = {
    "verbosity": "a written answer has more than twice as many words as the reference, and at least 5 more",
    "refusal": "a written answer to a question that asks for nothing harmful declines, or sends the reader to a doctor",
    "format_error": "a written answer is empty, a bare letter, holds a piece of the prompt's form, or says the same "
    "words three times in a row",
    "option_position_bias": "among choice questions whose right answer stands elsewhere, the favoured position is "
    "taken",
    "label_bias": "among yes/no/maybe questions with another right answer, the favoured label is taken",
    "longest_option_bias": "among choice questions whose right answer is not the longest option, the longest is taken",
    "copied_demonstration": "a wrong answer to a choice or written question is the answer of a demonstration in its "
    "prompt",
}
SUGGESTIONS = {
    "verbosity": "train on references without rationale, or show short answers as demonstrations",
    "refusal": "add answered medical questions to the training data, and read what was refused before doing so: some "
    "refusals are right",
    "format_error": "train on the very form that is scored (one line, no labels), and look at the end-of-turn token",
    "option_position_bias": "shuffle the options of training questions and demonstrations, and score every question "
    "under several orders",
    "label_bias": "balance the labels of training questions and demonstrations, or score against the label's "
    "probability without a question (contextual calibration)",
    "longest_option_bias": "compare raw with per-character scoring, and choose distractors of like length for "
    "preference pairs",
    "copied_demonstration": "show fewer or more diverse demonstrations, picked for being unlike the question",
}


class _Answer(NamedTuple):
    prediction: Prediction
    seed: int
    confidence: float | None


class _Finding(NamedTuple):
    candidates: list[_Answer]
    found: list[_Answer]
    expected: float | None = None


def find_patterns(arm: ArmResult, questions: Mapping[str, Question] | None = None) -> list[Pattern]:
    """Every pattern of an arm, in the order of `DEFINITIONS`, also those that nothing shows.

    Patterns that are about written answers have no candidates where nothing was written: options are scored, so
    that a choice cannot have a wrong form. `longest_option_bias` and `option_position_bias` need choice questions,
    `label_bias` decisions, and `copied_demonstration` prompts with demonstrations.

    Args:
        arm: With predictions that `checking.check_arms` passes.
        questions: By id; a written answer that repeats the question's own words is found only with them.
    """
    answers = _answers(arm)
    return [_pattern(arm.arm, name, finding(answers, questions or {})) for name, finding in _FINDINGS.items()]


def _answers(arm: ArmResult) -> list[_Answer]:
    found = []
    for seed, predictions in zip(arm.seeds, arm.predictions, strict=True):
        sure = iter(confidences(predictions, scoring=scoring_rule(predictions)).tolist())
        found += [_Answer(p, seed, None if p.correct is None else next(sure)) for p in predictions]
    return found


def _pattern(arm: str, name: str, finding: _Finding) -> Pattern:
    shown: dict[str, _Answer] = {}  # a question once, at its surest
    for answer in sorted(
        finding.found, key=lambda a: (-(a.confidence or 0), a.prediction.question_id, a.seed)
    ):
        shown.setdefault(answer.prediction.question_id, answer)
    return Pattern(
        arm=arm,
        name=name,
        definition=DEFINITIONS[name],
        num_found=len(finding.found),
        num_answers=len(finding.candidates),
        num_questions=len({a.prediction.question_id for a in finding.candidates}),
        expected=finding.expected,
        examples=tuple(
            Example(a.prediction.question_id, a.seed, a.prediction.said, a.prediction.answer, a.confidence)
            for a in list(shown.values())[:MAX_EXAMPLES]
        ),
        suggestion=SUGGESTIONS[name],
    )


def is_verbose(text: str, reference: str) -> bool:
    """Whether an answer has more than twice the reference's words, and at least 5 more."""
    num_words, num_reference = len(text.split()), len(reference.split())
    return num_words > 2 * num_reference and num_words >= num_reference + 5


def is_refusal(text: str) -> bool:
    """Whether an answer declines or only sends the reader to a doctor, by stock phrases of English chat models."""
    return bool(_REFUSAL.search(text.replace("\u2019", "'")))


def is_format_error(text: str, question: Question | None = None) -> bool:
    """Whether an answer is none by its form: empty, a letter, the prompt's scaffold, a loop, or the question again."""
    if not text.strip() or _LETTER.match(text) or _SCAFFOLD.search(text) or _REPEATED.search(text):
        return True
    words = normalise_answer(question.text) if question else ""
    return len(words.split()) >= 4 and normalise_answer(text).startswith(words)


def _written(test: Callable[[Prediction, Question | None], bool]) -> Callable[..., _Finding]:
    def finding(answers: Sequence[_Answer], questions: Mapping[str, Question]) -> _Finding:
        written = [a for a in answers if a.prediction.correct is None]
        shown = [a for a in written if test(a.prediction, questions.get(a.prediction.question_id))]
        return _Finding(written, shown)

    return finding


def _refused(answers: Sequence[_Answer], questions: Mapping[str, Question]) -> _Finding:
    """Among written answers to questions that ask for nothing harmful: there a refusal is the right answer."""
    harmful = {name for name, question in questions.items() if question.is_harmful}
    asked = [a for a in answers if a.prediction.question_id not in harmful]
    return _written(lambda p, _: is_refusal(p.said))(asked, questions)


def _favoured(kind: str) -> Callable[..., _Finding]:
    """The option (by position, or by label) that is taken most beyond how often it is right."""

    def option(prediction: Prediction, *, right: bool) -> int | str:
        if kind == "decision":
            return prediction.answer if right else prediction.said
        return (prediction.answer_index if right else prediction.chosen) or 0

    def finding(answers: Sequence[_Answer], questions: Mapping[str, Question]) -> _Finding:
        asked = [a for a in answers if a.prediction.kind == kind and a.prediction.correct is not None]
        if not asked:
            return _Finding([], [])
        excess = Counter(option(a.prediction, right=False) for a in asked)
        excess.subtract(option(a.prediction, right=True) for a in asked)
        favoured = min(excess, key=lambda o: (-excess[o], str(o)))
        elsewhere = [a for a in asked if option(a.prediction, right=True) != favoured]
        found = [a for a in elsewhere if option(a.prediction, right=False) == favoured]
        return _Finding(elsewhere, found, _share_by_chance(elsewhere))

    return finding


def _longest(answers: Sequence[_Answer], questions: Mapping[str, Question]) -> _Finding:
    """Questions whose longest option is one, and is wrong."""
    could, found = [], []
    for answer in answers:
        prediction = answer.prediction
        longest = max(prediction.option_chars, default=0)
        if prediction.kind != "choice" or prediction.option_chars.count(longest) != 1:
            continue
        position = prediction.option_chars.index(longest)
        if position != prediction.answer_index:
            could.append(answer)
            found += [answer] if prediction.chosen == position else []
    return _Finding(could, found, _share_by_chance(could))


def _share_by_chance(answers: Sequence[_Answer]) -> float | None:
    """Share that would take one given wrong option if errors fell on all wrong options alike."""
    shares = [
        0.0 if a.prediction.correct else 1 / (len(a.prediction.option_logprobs) - 1)
        for a in answers
        if len(a.prediction.option_logprobs) > 1
    ]
    return sum(shares) / len(shares) if shares else None


def _copied(answers: Sequence[_Answer], questions: Mapping[str, Question]) -> _Finding:
    asked = [a for a in answers if a.prediction.demonstrated and a.prediction.kind != "decision"]
    return _Finding(asked, [a for a in asked if is_copied(a.prediction)])


def is_copied(prediction: Prediction) -> bool:
    """Whether an answer that is not right is one of the answers shown in its prompt."""
    said, right = normalise_answer(prediction.said), normalise_answer(prediction.answer)
    shown = {normalise_answer(answer) for answer in prediction.demonstrated}
    return bool(said) and said != right and said in shown


_FINDINGS: dict[str, Callable[..., _Finding]] = {
    "verbosity": _written(lambda p, _: is_verbose(p.said, p.answer)),
    "refusal": _refused,
    "format_error": _written(lambda p, question: is_format_error(p.said, question)),
    "option_position_bias": _favoured("choice"),
    "label_bias": _favoured("decision"),
    "longest_option_bias": _longest,
    "copied_demonstration": _copied,
}
