"""Prompts and answers as token ids: templates with and without a system turn, and none."""

from __future__ import annotations

from pathlib import Path

import pytest

from medalign.data.prompts import SYSTEM_TEXT, prompt_text
from medalign.modeling.base_models import load_tokenizer
from medalign.modeling.chat import Chat, Demonstration, demonstration
from medalign.records import PreferencePair
from tests.modeling.conftest import TinyFolder
from tests.modeling.examples import choice, decision, free_text
from tests.tiny_models import ARCHITECTURES, Architecture

TEMPLATED: tuple[Architecture, ...] = ("llama", "mistral", "qwen2")
PLAIN: tuple[Architecture, ...] = ("phi", "gpt2")
ENDS_OF_TURN = {
    "llama": "<|eot_id|>",
    "mistral": "</s>",
    "qwen2": "<|im_end|>",
    "phi": "<|endoftext|>",
    "gpt2": "<|endoftext|>",
}


def tokenizer_of(tiny_folder: TinyFolder, architecture: Architecture):  # type: ignore[no-untyped-def]
    return load_tokenizer(tiny_folder(architecture))


def demonstrations() -> list[Demonstration]:
    return [demonstration(choice(n), with_rationale=n == 11) for n in (10, 11)]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_instruction_question_and_demonstrations_stand_in_the_prompt_once_and_in_order(
    tiny_folder: TinyFolder, architecture: Architecture
) -> None:
    shown = demonstrations()
    text = Chat(tokenizer_of(tiny_folder, architecture)).prompt_string(choice(1), shown)
    pieces = [SYSTEM_TEXT, *(part for each in shown for part in each), prompt_text(choice(1))]
    places = [text.find(piece) for piece in pieces]
    assert places == sorted(places)
    assert all(text.count(piece) == 1 for piece in (SYSTEM_TEXT, *(d.prompt for d in shown), pieces[-1]))


def test_a_system_turn_is_used_where_the_template_has_one(tiny_folder: TinyFolder) -> None:
    text = Chat(tokenizer_of(tiny_folder, "qwen2")).prompt_string(choice(0))
    assert text == (
        f"<|im_start|>system\n{SYSTEM_TEXT}<|im_end|>\n"
        f"<|im_start|>user\n{prompt_text(choice(0))}<|im_end|>\n<|im_start|>assistant\n"
    )


def test_the_instruction_joins_the_first_question_where_a_system_turn_is_refused(
    tiny_folder: TinyFolder,
) -> None:
    chat = Chat(tokenizer_of(tiny_folder, "mistral"))
    shown = demonstration(choice(1), with_rationale=False)
    asked = prompt_text(choice(0))
    assert chat.prompt_string(choice(0)) == f"<s>[INST]{SYSTEM_TEXT}\n{asked}[/INST]"
    assert chat.prompt_string(choice(0), [shown]) == (
        f"<s>[INST]{SYSTEM_TEXT}\n{shown.prompt}[/INST]{shown.answer}</s>[INST]{asked}[/INST]"
    )


def test_the_instruction_joins_the_first_question_where_a_system_turn_is_left_out(
    tiny_folder: TinyFolder,
) -> None:
    tokenizer = tokenizer_of(tiny_folder, "qwen2")
    tokenizer.chat_template = "{% for m in messages if m.role != 'system' %}<{{ m.content }}>{% endfor %}"
    assert Chat(tokenizer).prompt_string(choice(0)) == f"<{SYSTEM_TEXT}\n{prompt_text(choice(0))}>"


@pytest.mark.parametrize("architecture", PLAIN)
def test_a_model_without_template_gets_the_plain_form(
    tiny_folder: TinyFolder, architecture: Architecture
) -> None:
    chat = Chat(tokenizer_of(tiny_folder, architecture))
    assert chat.prompt_string(choice(0), [Demonstration("asked", "answered")]) == (
        f"{SYSTEM_TEXT}\n\nQuestion: asked\nAnswer: answered\n\nQuestion: {prompt_text(choice(0))}\nAnswer:"
    )
    assert chat.continuation_string("iron") == " iron"


@pytest.mark.parametrize("architecture", TEMPLATED)
def test_an_answer_follows_a_template_without_a_blank(
    tiny_folder: TinyFolder, architecture: Architecture
) -> None:
    assert Chat(tokenizer_of(tiny_folder, architecture)).continuation_string("iron") == "iron"


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_ids_decode_to_the_strings(tiny_folder: TinyFolder, architecture: Architecture) -> None:
    tokenizer = tokenizer_of(tiny_folder, architecture)
    chat = Chat(tokenizer)
    assert tokenizer.decode(chat.prompt_ids(choice(0), demonstrations())) == (
        chat.prompt_string(choice(0), demonstrations())
    )
    assert tokenizer.decode(chat.option_ids("iron")) == chat.continuation_string("iron")


def test_a_text_starts_with_one_start_token_whether_the_template_or_the_tokenizer_puts_it(
    tiny_folder: TinyFolder,
) -> None:
    tokenizer = tokenizer_of(tiny_folder, "llama")
    templated = Chat(tokenizer).prompt_ids(choice(0))
    tokenizer.chat_template = None
    plain = Chat(tokenizer).prompt_ids(choice(0))
    for ids in (templated, plain):
        assert ids[0] == tokenizer.bos_token_id
        assert ids.count(tokenizer.bos_token_id) == 1
    assert tokenizer.bos_token_id not in Chat(tokenizer).option_ids("iron")


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_token_that_ends_the_turn_is_trained(tiny_folder: TinyFolder, architecture: Architecture) -> None:
    tokenizer = tokenizer_of(tiny_folder, architecture)
    chat, end = Chat(tokenizer), tokenizer.convert_tokens_to_ids(ENDS_OF_TURN[architecture])
    pair = PreferencePair(question_id="made-0", chosen="vitamin C", rejected="iron", origin="option")
    for row in (chat.training_row(choice(0)), chat.preference_row(choice(0), pair)):
        assert all(c[-1] == end and end not in c[:-1] for c in row.continuations)
    assert end not in chat.scoring_row(choice(0)).continuations[0]


@pytest.mark.parametrize("architecture", TEMPLATED)
def test_a_training_row_is_the_conversation_as_the_template_writes_it(
    tiny_folder: TinyFolder, architecture: Architecture
) -> None:
    tokenizer = tokenizer_of(tiny_folder, architecture)
    prompt, (answer,) = Chat(tokenizer).training_row(choice(0))
    system = [] if architecture == "mistral" else [{"role": "system", "content": SYSTEM_TEXT}]
    asked = prompt_text(choice(0)) if system else f"{SYSTEM_TEXT}\n{prompt_text(choice(0))}"
    told = f"{choice(0).answer}\n{choice(0).rationale}"
    messages = [*system, {"role": "user", "content": asked}, {"role": "assistant", "content": told}]
    whole = tokenizer.apply_chat_template(messages, tokenize=True, return_dict=False)
    # ChatML writes a line break after the end of a turn, which nothing needs to learn.
    assert [*prompt, *answer] == whole[: len(prompt) + len(answer)]
    assert tokenizer.decode(whole[len(prompt) + len(answer) :]).strip() == ""


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_prompts_with_the_same_demonstrations_begin_with_the_same_tokens(
    tiny_folder: TinyFolder, architecture: Architecture
) -> None:
    tokenizer = tokenizer_of(tiny_folder, architecture)
    chat, shown = Chat(tokenizer), demonstrations()
    first, second = (chat.prompt_ids(question, shown) for question in (choice(3), decision(4)))
    shared = next(i for i, (a, b) in enumerate(zip(first, second, strict=False)) if a != b)
    assert shown[-1].answer in tokenizer.decode(first[:shared])


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_demonstration_has_the_tokens_that_its_question_and_answer_have_alone(
    tiny_folder: TinyFolder, architecture: Architecture
) -> None:
    chat = Chat(tokenizer_of(tiny_folder, architecture))
    alone = (*chat.prompt_ids(choice(1)), *chat.option_ids(choice(1).answer))
    shown = chat.prompt_ids(choice(2), [demonstration(choice(1), with_rationale=False)])
    assert shown[: len(alone)] == alone


def test_a_demonstration_shows_its_rationale_only_where_asked() -> None:
    with_it, without = (demonstration(choice(0), with_rationale=wanted) for wanted in (True, False))
    assert with_it == (prompt_text(choice(0)), f"{choice(0).answer}\n{choice(0).rationale}")
    assert without == (prompt_text(choice(0)), choice(0).answer)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_written_line_ends_at_every_token_with_a_line_break_and_at_the_ends_of_turn_and_text(
    tiny_folder: TinyFolder, architecture: Architecture
) -> None:
    tokenizer = tokenizer_of(tiny_folder, architecture)
    breaks = {i for i in range(len(tokenizer)) if "\n" in tokenizer.decode([i])}
    end_of_turn = tokenizer.convert_tokens_to_ids(ENDS_OF_TURN[architecture])
    assert len(breaks) >= 2
    assert set(Chat(tokenizer).line_end_ids()) == breaks | {end_of_turn, tokenizer.eos_token_id}


def test_a_byte_fallback_vocabulary_has_its_line_break_among_the_ends(tiny_folder: TinyFolder) -> None:
    tokenizer = tokenizer_of(tiny_folder, "mistral")
    tokenizer.add_tokens(["<0x0A>"])
    assert tokenizer.convert_tokens_to_ids("<0x0A>") in Chat(tokenizer).line_end_ids()


def test_a_scoring_row_holds_the_options_in_their_order(tiny_folder: TinyFolder) -> None:
    chat = Chat(tokenizer_of(tiny_folder, "llama"))
    row = chat.scoring_row(choice(2), demonstrations())
    assert row.prompt == chat.prompt_ids(choice(2), demonstrations())
    assert row.continuations == tuple(chat.option_ids(option) for option in choice(2).options)


def test_a_preference_row_holds_the_chosen_answer_first(tiny_folder: TinyFolder) -> None:
    chat = Chat(tokenizer_of(tiny_folder, "llama"))
    pair = PreferencePair(question_id="made-0", chosen="vitamin C", rejected="iron", origin="option")
    row = chat.preference_row(choice(0), pair)
    assert row == (chat.prompt_ids(choice(0)), (chat.answer_ids("vitamin C"), chat.answer_ids("iron")))


def test_the_longest_row_of_a_question_is_the_largest_of_all_that_is_done_with_it(
    tiny_folder: TinyFolder,
) -> None:
    chat = Chat(tokenizer_of(tiny_folder, "llama"))
    few_words = choice(0, rationale="")
    assert chat.longest_row_tokens(few_words, written_tokens=999) == chat.scoring_row(few_words).num_tokens
    many_words = choice(0, rationale="Because. " * 40)
    assert chat.longest_row_tokens(many_words, written_tokens=999) == chat.training_row(many_words).num_tokens
    asked = len(chat.prompt_ids(free_text(0)))
    assert chat.longest_row_tokens(free_text(0), written_tokens=999) == asked + 999


def test_the_embedded_model_gets_this_instruction_and_not_its_templates_own(embedded_folder: Path) -> None:
    tokenizer = load_tokenizer(embedded_folder)
    chat = Chat(tokenizer)
    assert chat.prompt_string(choice(0)) == (
        f"<|im_start|>system\n{SYSTEM_TEXT}<|im_end|>\n"
        f"<|im_start|>user\n{prompt_text(choice(0))}<|im_end|>\n<|im_start|>assistant\n"
    )
    assert tokenizer.decode(chat.answer_ids("iron")) == "iron<|im_end|>"
