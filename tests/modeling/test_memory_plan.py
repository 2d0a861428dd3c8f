"""Plans of memory: what they promise of each other, and that they know the models that they speak of."""

from __future__ import annotations

import json
import pickle

import pytest

from medalign.errors import ModelError
from medalign.modeling.memory_plan import (
    OUTSIDE_GIB,
    RowLength,
    SlotTooSmallError,
    Tuning,
    plan_memory,
    row_length,
    scoring_rows_at_once,
    trained_params,
    weights_gib,
    writing_rows_at_once,
)
from medalign.modeling.model_cards import CARDS, ModelShape, describe_model, described_by
from medalign.modeling.rows import Row
from tests.modeling.conftest import TinyBase, TinyFolder
from tests.tiny_models import ARCHITECTURES, Architecture

EIGHT = CARDS["llama-3.1-8b"].shape
# Parameters as their makers count them (model cards on the Hub), in units of 10^9.
COUNTED = {
    "llama-3.2-3b": 3.21,
    "llama-2-7b": 6.74,
    "llama-3.1-8b": 8.03,
    "llama-2-13b": 13.02,
    "mistral-7b": 7.25,
    "phi-2": 2.78,
    "smollm2-135m": 0.135,
    "distilgpt2": 0.082,
}


@pytest.mark.parametrize(("name", "billions"), COUNTED.items())
def test_a_card_has_as_many_weights_as_the_model(name: str, billions: float) -> None:
    assert CARDS[name].shape.num_params / 1e9 == pytest.approx(billions, rel=0.015)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_shape_read_from_a_configuration_counts_the_models_linear_layers(
    tiny_base: TinyBase, tiny_folder: TinyFolder, architecture: Architecture
) -> None:
    described = describe_model(str(tiny_folder(architecture)))
    assert described.assumptions == ()
    model = tiny_base(architecture).model
    inner = [
        module.weight.numel()
        for module in model.modules()
        if type(module).__name__ in ("Linear", "Conv1D") and module is not model.get_output_embeddings()
    ]
    assert described.shape.layer_params == sum(inner)


@pytest.mark.parametrize("targets", ["attention", "all_linear"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_trained_weights_are_counted_as_peft_makes_them(
    tiny_base: TinyBase, architecture: Architecture, targets: str
) -> None:
    from peft import get_peft_model

    from medalign.modeling.lora import attached_lora, lora_config

    base = tiny_base(architecture)
    for kind in ("lora", "dora"):
        with attached_lora(base):
            config = lora_config(base.model, rank=4, alpha=8, dropout=0.0, targets=targets, kind=kind)  # type: ignore[arg-type]
            model = get_peft_model(base.model, config)
            number = sum(p.numel() for p in model.parameters() if p.requires_grad)
        tuning = Tuning(rank=4, targets=targets, magnitudes=kind == "dora")
        assert trained_params(base.shape, tuning) == number


def test_an_unknown_family_is_planned_by_a_rule_that_says_what_it_assumes() -> None:
    described = described_by(
        {
            "model_type": "falcon_h",
            "hidden_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "vocab_size": 99,
        }
    )
    assert described.shape.intermediate == 256
    assert (
        "'falcon_h' is a family without a card; assumed: a gated feed-forward layer"
        in described.assumptions[0]
    )


def test_a_configuration_without_sizes_is_one_line() -> None:
    with pytest.raises(
        ModelError, match=r"the configuration of this model does not say hidden, num_heads; name a"
    ):
        described_by({"model_type": "llama", "num_hidden_layers": 2, "vocab_size": 99})


@pytest.mark.parametrize("name", ["llama-3.1-9b", "./nowhere", "a/b/c"])
def test_a_name_without_card_is_answered_with_the_cards(name: str) -> None:
    with pytest.raises(
        ModelError, match=r"has no card and is no folder or Hub id; .*use one of llama-3.2-3b"
    ):
        describe_model(name)


def test_a_broken_configuration_names_the_file(tmp_path) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "config.json").write_text(json.dumps([1]))
    with pytest.raises(ModelError, match=r"config.json holds no configuration; name a folder"):
        describe_model(str(tmp_path))


def test_a_hub_id_is_found_by_its_card_without_the_network() -> None:
    assert describe_model("Meta-Llama/Llama-3.1-8B-Instruct").shape == EIGHT


def rows(tokens: int, answers: int = 1) -> list[RowLength]:
    return [RowLength(tokens, 100 * answers, answers), RowLength(tokens // 2, 50, answers)]


def test_a_row_is_measured() -> None:
    assert row_length(Row((1, 2, 3), ((4, 5), (6,)))) == RowLength(6, 3, 2)


@pytest.mark.parametrize("answers", [1, 2])
@pytest.mark.parametrize("tokens", [256, 512, 1024, 2048])
@pytest.mark.parametrize("slot", [12.0, 16.0, 24.0, 48.0, 80.0])
def test_a_plan_keeps_to_the_slot_and_a_larger_slot_never_cuts_finer(
    slot: float, tokens: int, answers: int
) -> None:
    plan = plan_memory(EIGHT, rows(tokens, answers), precision="nf4", batch_size=8, slot_gib=slot)
    larger = plan_memory(EIGHT, rows(tokens, answers), precision="nf4", batch_size=8, slot_gib=2 * slot)
    assert plan.peak_gib == sum(plan.parts) <= slot - OUTSIDE_GIB
    assert plan.tokens_at_once == plan.rows_at_once * tokens
    assert (plan.checkpointing, -plan.rows_at_once) >= (larger.checkpointing, -larger.rows_at_once)


@pytest.mark.parametrize(
    "changes", [{"tokens_at_once": 600}, {"checkpointing": True}, {"checkpointing": False}]
)
def test_what_the_user_sets_is_kept(changes: dict) -> None:  # type: ignore[type-arg]
    plan = plan_memory(EIGHT, rows(512), precision="nf4", batch_size=8, slot_gib=24, **changes)
    if "tokens_at_once" in changes:
        assert plan.rows_at_once == 1
    else:
        assert plan.checkpointing is changes["checkpointing"]


def test_a_slot_that_is_too_small_is_one_line_that_says_how_much_is_needed() -> None:
    shape = CARDS["llama-2-13b"].shape
    with pytest.raises(
        SlotTooSmallError, match=r"slot_gib: 24; .*needs about 2[5-9] GiB; use precision nf4, "
    ) as raised:
        plan_memory(shape, rows(512), precision="bf16", batch_size=8, slot_gib=24)
    again = pickle.loads(pickle.dumps(raised.value))
    assert (str(again), again.needed_gib) == (str(raised.value), raised.value.needed_gib)
    plan_memory(shape, rows(512), precision="bf16", batch_size=8, slot_gib=raised.value.needed_gib + 0.01)
    with pytest.raises(SlotTooSmallError, match=r"an adapter instead of all weights"):
        plan_memory(EIGHT, rows(512), precision="bf16", batch_size=8, slot_gib=24, tuning=Tuning(rank=None))


def test_more_of_anything_needs_more(shape: ModelShape = EIGHT) -> None:
    def peak(precision: str = "nf4", tokens: int = 512, **tuning: object) -> float:
        plan = plan_memory(
            shape,
            rows(tokens),
            precision=precision,
            batch_size=1,
            slot_gib=999,
            held_gib=0.0,
            tuning=Tuning(**tuning),  # type: ignore[arg-type]
        )
        return plan.peak_gib

    assert peak() < peak("int8") < peak("bf16") < peak("fp32")
    assert peak() < peak(tokens=1024)
    assert peak(optimiser_bytes=2.0) < peak() < peak(rank=64) < peak(rank=64, targets="all_linear")
    assert peak() < peak(magnitudes=True)


@pytest.mark.parametrize("tokens", [128, 512, 2048])
def test_4_bit_weights_are_held_unpacked_in_what_the_slot_has_left_and_no_others(tokens: int) -> None:
    def held(precision: str = "nf4", slot: float = 24.0, given: float | None = None) -> float:
        plan = plan_memory(
            EIGHT, rows(tokens), precision=precision, batch_size=8, slot_gib=slot, held_gib=given
        )
        assert plan.peak_gib == sum(plan.parts) <= slot - OUTSIDE_GIB
        return plan.parts.held

    assert 0 <= held() <= held(slot=40.0) <= held(slot=80.0)
    assert held(slot=80.0) == 2 * EIGHT.layer_params / 2**30  # all of them
    assert held(given=0.0) == held("bf16", slot=80.0) == held("int8", slot=80.0) == 0
    assert held(given=0.25) == 0.25


def test_weights_are_as_large_as_bitsandbytes_makes_them(tiny_base: TinyBase) -> None:
    """Bytes of what a 4-bit layer holds: packed weights, scales in 8 bits, and their own scales."""
    model = tiny_base("llama", "nf4").model
    layer = model.get_submodule("model.layers.0.mlp.up_proj")
    state = layer.weight.quant_state
    held = layer.weight.numel() + state.absmax.numel() + 4 * state.state2.absmax.numel()
    assert held / (64 * 128) == pytest.approx(0.5 + 1 / 64 + 4 / (64 * 256), rel=0.01)
    assert weights_gib(EIGHT, "nf4") < 0.4 * weights_gib(EIGHT, "bf16")


def test_more_free_memory_scores_and_writes_more_rows_but_always_one() -> None:
    scored = [
        scoring_rows_at_once(EIGHT, free_gib=gib, row_tokens=200, prefix_tokens=1000)
        for gib in (0.0, 4.0, 8.0)
    ]
    written = [writing_rows_at_once(EIGHT, free_gib=gib, row_tokens=300) for gib in (0.0, 4.0, 8.0)]
    for numbers in (scored, written):
        assert numbers[0] == 1
        assert numbers[1] < numbers[2] <= 2 * numbers[1] + 1
