"""Operations counted from shapes, against torch's own counter, which looks at every product as it runs."""

from __future__ import annotations

import pytest

from medalign.modeling.flops import ModelShape, shape_of
from medalign.modeling.lora import attached_lora, lora_config
from medalign.modeling.metering import Meter
from medalign.modeling.predictor import Predictor
from medalign.modeling.rows import Row, collate, token_logprobs
from tests.modeling.conftest import TinyBase
from tests.modeling.examples import choice, decision, free_text
from tests.tiny_models import ARCHITECTURES, Architecture

ROWS = [
    Row(tuple(range(3, 23)), ((5, 6, 7), (8, 9))),
    Row(tuple(range(3, 13)), ((5, 6), (8, 9, 10, 11))),
]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_forward_pass_counts_as_torch_counts_it(tiny_base: TinyBase, architecture: Architecture) -> None:
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    base = tiny_base(architecture)
    batch = collate(ROWS, pad_token_id=0, dtype=base.dtype)
    # Plain attention: torch's counter knows not every fused one on a CPU.
    base.model.set_attn_implementation("eager")
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        token_logprobs(base.model, batch)
    rows, width = batch.tokens_BT.shape
    counted = shape_of(base.model).forward_flops(rows, width, logits=batch.num_logits)
    # Llama's rotary angles are a matrix product too, of (head size / 2) x 1 by 1 x T.
    assert counted <= counter.get_total_flops() <= counted * 1.002


def test_a_training_pass_counts_as_torch_counts_it_but_for_what_lies_below_the_first_adapter(
    tiny_base: TinyBase,
) -> None:
    from peft import get_peft_model
    from torch.utils.flop_counter import FlopCounterMode

    base = tiny_base("llama")
    batch = collate(ROWS, pad_token_id=0, dtype=base.dtype)
    with attached_lora(base):
        get_peft_model(base.model, lora_config(base.model, rank=4, alpha=8, dropout=0, targets="attention"))
        shape = shape_of(base.model)
        base.model.set_attn_implementation("eager")
        with FlopCounterMode(display=False) as counter:
            token_logprobs(base.model, batch).sum().backward()
        first = base.model.model.layers[0].self_attn
        spared = sum(
            projection.in_features * projection.out_features + projection.lora_A["default"].weight.numel()
            for projection in (first.q_proj, first.k_proj, first.v_proj)
        )
    rows, width = batch.tokens_BT.shape
    counted = shape.training_flops(rows, width, logits=batch.num_logits) - 2 * spared * rows * width
    assert shape.trained_weights > 0
    assert counted <= counter.get_total_flops() <= counted * 1.002


def test_packed_weights_count_as_what_they_stand_for() -> None:
    from types import SimpleNamespace

    from medalign.modeling.flops import _matrix_size

    packed = SimpleNamespace(in_features=64, out_features=32, weight=SimpleNamespace(shape=(1024, 1)))
    assert _matrix_size(packed) == 2048  # type: ignore[arg-type]


def test_recomputation_costs_a_forward_pass_without_logits() -> None:
    shape = ModelShape(
        frozen_weights=1000, trained_weights=10, output_weights=500, attention_width=16, layers=2
    )
    again = shape.training_flops(3, 7, logits=5, recomputed=True) - shape.training_flops(3, 7, logits=5)
    assert again == shape.forward_flops(3, 7, logits=0)


def test_a_shared_prefix_is_cheaper_than_its_repetition_and_counted_once(tiny_base: TinyBase) -> None:
    base = tiny_base("llama")
    questions = [choice(1, text=f"Which agent is meant by the one entry {n}?") for n in range(4)]
    together, apart = Meter(), Meter()
    Predictor(base, together).score_options(questions)
    for question in questions:
        Predictor(base, apart).score_options([question])
    assert 0 < together.cost().score_flops < apart.cost().score_flops
    assert together.cost().tokens_scored < apart.cost().tokens_scored


def test_written_answers_count_prompts_and_what_is_written(tiny_base: TinyBase) -> None:
    base = tiny_base("llama")
    meter = Meter()
    Predictor(base, meter, max_new_tokens=4).write([free_text(1), free_text(2)])
    cost = meter.cost()
    assert cost.tokens_generated > 0 and cost.score_flops > 0
    assert cost.train_flops == 0 and cost.tokens_trained == 0


def test_more_questions_cost_more(tiny_base: TinyBase) -> None:
    base = tiny_base("gpt2")
    few, many = Meter(), Meter()
    Predictor(base, few).score_options([choice(1)])
    Predictor(base, many).score_options([choice(1), decision(2)])
    assert 0 < few.cost().score_flops < many.cost().score_flops
