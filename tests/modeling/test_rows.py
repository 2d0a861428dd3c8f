"""Rows with several continuations against one stock forward pass for each continuation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medalign.modeling.base_models import BaseModel, Precision
from medalign.modeling.lora import attached_lora, lora_config
from medalign.modeling.rows import (
    PrefixCache,
    Row,
    batches_by_length,
    collate,
    compute_prefix,
    continuation_logprobs,
    token_logprobs,
)
from tests.modeling.conftest import TinyBase
from tests.modeling.examples import stock_logprob, stock_token_logprobs
from tests.tiny_models import ARCHITECTURES, Architecture

if TYPE_CHECKING:
    import torch

CLOSE = 1e-4  # nats, in fp32


def random_tokens(generator: np.random.Generator, number: int) -> tuple[int, ...]:
    return tuple(int(i) for i in generator.integers(5, 290, size=number))


def random_rows(
    shape: Sequence[tuple[int, tuple[int, ...]]] = (
        (9, (3, 1, 6)),
        (4, (2,)),
        (15, (5, 5)),
        (1, (1, 7, 2, 4)),
    ),
) -> list[Row]:
    """Rows of given lengths: tokens of the prompt, tokens of each continuation."""
    generator = np.random.default_rng(7)
    return [
        Row(random_tokens(generator, prompt), tuple(random_tokens(generator, n) for n in continuations))
        for prompt, continuations in shape
    ]


def logprobs(base: BaseModel, rows: Sequence[Row], prefix: PrefixCache | None = None) -> list[float]:
    import torch

    with torch.no_grad():
        batch = batch_of(base, rows, prefix)
        return continuation_logprobs(base.model, batch, prefix).tolist()


def batch_of(base: BaseModel, rows: Sequence[Row], prefix: PrefixCache | None = None):  # type: ignore[no-untyped-def]
    return collate(
        rows,
        pad_token_id=base.tokenizer.pad_token_id,
        dtype=base.dtype,
        prefix_tokens=prefix.num_tokens if prefix else 0,
    )


def stock_logprobs(base: BaseModel, rows: Sequence[Row], prefix: Sequence[int] = ()) -> list[float]:
    return [stock_logprob(base.model, (*prefix, *row.prompt), c) for row in rows for c in row.continuations]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("prefix_tokens", [0, 1, 23])
def test_continuations_side_by_side_score_as_each_does_alone(
    tiny_base: TinyBase, architecture: Architecture, prefix_tokens: int
) -> None:
    base, rows = tiny_base(architecture), random_rows()
    shared = random_tokens(np.random.default_rng(1), prefix_tokens)
    prefix = compute_prefix(base.model, shared) if shared else None
    found, expected = logprobs(base, rows, prefix), stock_logprobs(base, rows, shared)
    assert found == pytest.approx(expected, abs=CLOSE)
    assert np.std(expected) > 1  # so that the equality says something


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_token_has_the_logprob_that_it_has_alone(
    tiny_base: TinyBase, architecture: Architecture
) -> None:
    import torch

    base, rows = tiny_base(architecture), random_rows()
    with torch.no_grad():
        found = token_logprobs(base.model, batch_of(base, rows)).tolist()
    expected = [
        logprob
        for row in rows
        for continuation in row.continuations
        for logprob in stock_token_logprobs(base.model, row.prompt, continuation)
    ]
    assert found == pytest.approx(expected, abs=CLOSE)


def test_what_stands_in_the_padding_changes_nothing(tiny_base: TinyBase) -> None:
    base, rows = tiny_base(), random_rows()
    together = logprobs(base, rows)
    base.tokenizer.pad_token_id = 77
    assert logprobs(base, rows) == together
    alone = [score for row in rows for score in logprobs(base, [row])]
    assert alone == pytest.approx(together, abs=CLOSE)


def test_the_order_of_continuations_and_rows_is_kept(tiny_base: TinyBase) -> None:
    base, rows = tiny_base(), random_rows(((6, (3, 1, 4)), (2, (5, 2))))
    turned = [Row(row.prompt, row.continuations[::-1]) for row in rows[::-1]]
    assert logprobs(base, turned) == pytest.approx(logprobs(base, rows)[::-1], abs=CLOSE)


def test_a_prefix_serves_several_batches_and_is_not_changed_by_them(tiny_base: TinyBase) -> None:
    base, rows = tiny_base(), random_rows()
    prefix = compute_prefix(base.model, random_tokens(np.random.default_rng(2), 11))
    first = logprobs(base, rows, prefix)
    assert logprobs(base, rows[::-1], prefix) != first
    assert logprobs(base, rows, prefix) == first
    assert {keys.shape[2] for keys, _ in prefix.layers} == {11}


def test_logits_are_computed_only_where_a_continuation_is_predicted(tiny_base: TinyBase) -> None:
    base, rows = tiny_base(), random_rows(((9, (3, 1, 6)), (4, (2,))))
    shapes = []
    hook = base.model.get_output_embeddings().register_forward_hook(
        lambda module, args, output: shapes.append(tuple(output.shape))
    )
    logprobs(base, rows)
    hook.remove()
    # The first token of all continuations of a row is predicted at one place, the last one of its prompt.
    assert [shape[:2] for shape in shapes] == [(1, (1 + 2 + 0 + 5) + (1 + 1))]


def test_the_model_gives_all_logits_again_after_a_failure(
    tiny_base: TinyBase, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    base, rows = tiny_base(), random_rows()
    bad = batch_of(base, rows)._replace(tokens_BT=torch.tensor([[10**6]]))
    with pytest.raises(IndexError, match="out of range"):
        continuation_logprobs(base.model, bad)
    assert base.model(torch.tensor([[5, 6, 7]])).logits.shape[:2] == (1, 3)


def lora_gradients(base: BaseModel, loss: Callable[[], torch.Tensor]) -> dict[str, torch.Tensor]:
    """Gradients of a loss at a LoRA adapter with random, non-zero weights."""
    import torch
    from peft import get_peft_model

    with attached_lora(base):
        config = lora_config(base.model, rank=4, alpha=8, dropout=0.0, targets="attention")
        adapted = get_peft_model(base.model, config)
        generator = torch.Generator().manual_seed(3)
        trained = {name: p for name, p in adapted.named_parameters() if p.requires_grad}
        for parameter in trained.values():
            parameter.data = 0.1 * torch.randn(parameter.shape, generator=generator)
        loss().backward()
        return {name: parameter.grad for name, parameter in trained.items() if parameter.grad is not None}


def assert_equal_gradients(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    import torch

    assert found.keys() == expected.keys()
    assert len(found) >= 4
    for name, gradient in expected.items():
        assert gradient.abs().max() > 1e-4, name
        torch.testing.assert_close(found[name], gradient, rtol=1e-3, atol=1e-5, msg=name)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_training_gradient_is_that_of_the_stock_cross_entropy(
    tiny_base: TinyBase, architecture: Architecture
) -> None:
    import torch

    base, rows = tiny_base(architecture), random_rows(((9, (3,)), (4, (7,)), (12, (1,))))

    def stock() -> torch.Tensor:
        whole = [[*row.prompt, *row.continuations[0]] for row in rows]
        width = max(map(len, whole))
        ids, labels, mask = [], [], []
        for row, tokens in zip(rows, whole, strict=True):
            spare = width - len(tokens)
            ids.append(tokens + [0] * spare)
            labels.append([-100] * len(row.prompt) + [*row.continuations[0]] + [-100] * spare)
            mask.append([1] * len(tokens) + [0] * spare)
        return base.model(
            input_ids=torch.tensor(ids), attention_mask=torch.tensor(mask), labels=torch.tensor(labels)
        ).loss

    def ours() -> torch.Tensor:
        return -token_logprobs(base.model, batch_of(base, rows)).mean()

    assert_equal_gradients(lora_gradients(base, ours), lora_gradients(base, stock))


@pytest.mark.parametrize("precision", ["fp32", "int8", "nf4"])
def test_scoring_in_between_does_not_change_the_gradient(tiny_base: TinyBase, precision: Precision) -> None:
    """bitsandbytes repacks 4-bit weights when a CPU first scores with them; what is repacked has no backward pass."""
    base, rows = tiny_base("llama", precision), random_rows()

    def gradients() -> dict[str, torch.Tensor]:
        base.model.train()
        return lora_gradients(base, lambda: -token_logprobs(base.model, batch_of(base, rows)).mean())

    before = gradients()
    base.model.eval()
    logprobs(base, rows)
    assert_equal_gradients(gradients(), before)


def test_the_gradient_of_a_preference_is_that_of_two_separate_passes(tiny_base: TinyBase) -> None:
    import torch

    base, (row,) = tiny_base(), random_rows(((9, (4, 6)),))

    def separate() -> torch.Tensor:
        chosen, rejected = (
            -base.model(
                torch.tensor([[*row.prompt, *c]]), labels=torch.tensor([[-100] * len(row.prompt) + [*c]])
            ).loss
            * len(c)
            for c in row.continuations
        )
        return -torch.nn.functional.logsigmoid(0.1 * (chosen - rejected))

    def ours() -> torch.Tensor:
        chosen, rejected = continuation_logprobs(base.model, batch_of(base, [row]))
        return -torch.nn.functional.logsigmoid(0.1 * (chosen - rejected))

    assert_equal_gradients(lora_gradients(base, ours), lora_gradients(base, separate))


@pytest.mark.parametrize("row", [Row((), ((1,),)), Row((1,), ((),)), Row((1,), ((2, 3), ()))])
@pytest.mark.parametrize("prefix_tokens", [0, 4])
def test_an_empty_prompt_or_continuation_is_refused(row: Row, prefix_tokens: int) -> None:
    import torch

    rows = [Row((1, 2), ((3,),)), row]
    with pytest.raises(ValueError, match="a row needs a prompt and continuations of at least one token each"):
        collate(rows, pad_token_id=0, dtype=torch.float32, prefix_tokens=prefix_tokens)


def test_tokens_are_counted_without_padding(tiny_base: TinyBase) -> None:
    assert batch_of(tiny_base(), random_rows(((9, (3, 1)), (2, (2,))))).num_tokens == 13 + 4


@settings(deadline=None)
@given(
    lengths=st.lists(st.integers(1, 60), max_size=40),
    max_tokens=st.integers(1, 200),
    max_rows=st.integers(1, 8),
)
def test_batches_hold_each_row_once_and_keep_their_limits(
    lengths: list[int], max_tokens: int, max_rows: int
) -> None:
    batches = batches_by_length(lengths, max_tokens=max_tokens, max_rows=max_rows)
    assert sorted(i for batch in batches for i in batch) == list(range(len(lengths)))
    for batch in batches:
        longest = max(lengths[i] for i in batch)
        assert 1 <= len(batch) <= max_rows
        assert len(batch) == 1 or longest * len(batch) <= max_tokens


@settings(deadline=None)
@given(lengths=st.lists(st.integers(1, 60), min_size=1, max_size=40), max_rows=st.integers(1, 8))
def test_rows_of_like_length_share_a_batch(lengths: list[int], max_rows: int) -> None:
    batches = batches_by_length(lengths, max_tokens=10**6, max_rows=max_rows)
    assert len(batches) == -(-len(lengths) // max_rows)
    in_order = [lengths[i] for batch in batches for i in batch]
    assert in_order == sorted(lengths, reverse=True)
