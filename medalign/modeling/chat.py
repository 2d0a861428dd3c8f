"""From a question and its demonstrations to token ids, through the model's own chat template.

A model without a chat template gets the plain form `Question: ... / Answer: ...`. Prompt and
continuation are tokenised apart and joined, in training and in scoring alike, so that a
continuation has the same tokens everywhere.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from medalign.data.prompts import SYSTEM_TEXT, answer_text, option_texts, prompt_text
from medalign.modeling.rows import Row
from medalign.records import PreferencePair, Question

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_PROBE = "medalign-probe"
_TOKENIZER_FILE = re.compile(r"tokeni[sz]er|special_tokens|added_tokens|chat_template|vocab|merges|spiece")


class Demonstration(NamedTuple):
    """A worked example: what is asked and what is to be answered."""

    prompt: str
    answer: str


def tokenizer_digest(folder: Path) -> str:
    """A hash of the tokenizer in a model's folder, its chat template and this module: what row lengths depend on."""
    digest = hashlib.sha256(Path(__file__).read_bytes())
    for path in sorted(folder.iterdir()):
        if path.is_file() and _TOKENIZER_FILE.match(path.name):
            digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()


def demonstration(question: Question, *, with_rationale: bool) -> Demonstration:
    """A training question as a worked example."""
    return Demonstration(prompt_text(question), answer_text(question, with_rationale=with_rationale))


class Chat:
    """Renders questions for one tokenizer; the same for every method (part of the contract)."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._tokenizer = tokenizer
        self._templated = bool(tokenizer.chat_template)
        self._system_allowed = self._templated and self._accepts_system()
        self._end = self._end_of_answer()

    def prompt_string(self, question: Question, demonstrations: Sequence[Demonstration] = ()) -> str:
        """The text of a prompt, up to where the answer begins."""
        return self._render([*demonstrations], prompt_text(question))

    def continuation_string(self, text: str) -> str:
        """The text of an answer as it follows the prompt; the plain form puts a blank before it."""
        return text if self._templated else f" {text}"

    def prompt_ids(self, question: Question, demonstrations: Sequence[Demonstration] = ()) -> tuple[int, ...]:
        """Token ids of a prompt, up to where the answer begins."""
        return self._encode(self.prompt_string(question, demonstrations), start=not self._templated)

    def answer_ids(self, text: str) -> tuple[int, ...]:
        """Token ids of an answer that is trained on, its end-of-turn token included."""
        return (*self.option_ids(text), self._end)

    def option_ids(self, text: str) -> tuple[int, ...]:
        """Token ids of a text that is scored as the beginning of an answer."""
        return self._encode(self.continuation_string(text))

    def all_option_ids(self, question: Question) -> tuple[tuple[int, ...], ...]:
        """Token ids of every option of a question, in its order."""
        return tuple(self.option_ids(text) for text in option_texts(question))

    def scoring_row(self, question: Question, demonstrations: Sequence[Demonstration] = ()) -> Row:
        """Prompt and one continuation for each option."""
        return Row(self.prompt_ids(question, demonstrations), self.all_option_ids(question))

    def training_row(self, question: Question) -> Row:
        """Prompt and the right answer with its rationale: the target of fine-tuning."""
        return Row(self.prompt_ids(question), (self.answer_ids(answer_text(question)),))

    def preference_row(self, question: Question, pair: PreferencePair) -> Row:
        """Prompt, chosen and rejected answer, in this order."""
        return Row(self.prompt_ids(question), (self.answer_ids(pair.chosen), self.answer_ids(pair.rejected)))

    def longest_row_tokens(self, question: Question, *, written_tokens: int) -> int:
        """The most tokens that a question ever takes up.

        With its answer and rationale; with all its options side by side, or, where it has none, with a written
        answer of that many tokens.
        """
        trained = self.training_row(question)
        scored = self.scoring_row(question).num_tokens if question.is_scored else 0
        written = 0 if question.is_scored else len(trained.prompt) + written_tokens
        return max(trained.num_tokens, scored, written)

    def line_end_ids(self) -> tuple[int, ...]:
        """Ids at which a generated one-line answer ends: the turn's end and every token with a line break."""
        tokenizer = self._tokenizer
        breaks = {i for piece, i in tokenizer.get_vocab().items() if _has_line_break(piece)}
        return tuple(sorted({self._end, tokenizer.eos_token_id, *breaks}))

    def answer_end_ids(self) -> tuple[int, ...]:
        """Ids at which a generated answer of several lines ends.

        A model without a chat template is ended at the line: it would go on with questions of its own.
        """
        if not self._templated:
            return self.line_end_ids()
        return tuple(sorted({self._end, self._tokenizer.eos_token_id}))

    def _encode(self, text: str, *, start: bool = False) -> tuple[int, ...]:
        return tuple(self._tokenizer(text, add_special_tokens=start).input_ids)

    def _render(self, demonstrations: list[Demonstration], prompt: str) -> str:
        if not self._templated:
            turns = [f"Question: {d.prompt}\nAnswer: {d.answer}\n\n" for d in demonstrations]
            return f"{SYSTEM_TEXT}\n\n{''.join(turns)}Question: {prompt}\nAnswer:"
        messages = []
        for asked, answered in demonstrations:
            messages += [{"role": "user", "content": asked}, {"role": "assistant", "content": answered}]
        messages.append({"role": "user", "content": prompt})
        return str(
            self._tokenizer.apply_chat_template(
                self._with_system(messages), tokenize=False, add_generation_prompt=True
            )
        )

    def _with_system(self, messages: list[dict[str, str]]) -> list[dict[str, str]]:
        if self._system_allowed:
            return [{"role": "system", "content": SYSTEM_TEXT}, *messages]
        first = {**messages[0], "content": f"{SYSTEM_TEXT}\n{messages[0]['content']}"}
        return [first, *messages[1:]]

    def _accepts_system(self) -> bool:
        """Some templates raise on a system turn, others leave it out: both mean that there is none."""
        messages = [{"role": "system", "content": _PROBE}, {"role": "user", "content": "x"}]
        try:
            return _PROBE in self._tokenizer.apply_chat_template(messages, tokenize=False)
        except Exception:  # jinja2's own errors, whose home is the tokenizer
            return False

    def _end_of_answer(self) -> int:
        """The token that closes an answer in the template, which need not be the end of the text."""
        if not self._templated:
            return int(self._tokenizer.eos_token_id)
        messages = [{"role": "user", "content": "x"}, {"role": "assistant", "content": _PROBE}]
        rendered = self._tokenizer.apply_chat_template(messages, tokenize=False)
        after = self._encode(rendered.rpartition(_PROBE)[2])
        special = set(self._tokenizer.all_special_ids)
        return next((i for i in after if i in special), int(self._tokenizer.eos_token_id))


def _has_line_break(piece: str) -> bool:
    """Byte-level vocabularies write a line break as U+010A, byte-fallback ones as <0x0A>."""
    return "\n" in piece or "\u010a" in piece or piece == "<0x0A>"
