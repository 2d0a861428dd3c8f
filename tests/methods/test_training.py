"""Training against the stock trainers of TRL, and what it promises by itself."""

from __future__ import annotations

import math
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch

from medalign.data.preferences import build_pairs
from medalign.data.prompts import SYSTEM_TEXT, answer_text, prompt_text
from medalign.errors import ConfigError
from medalign.methods.catalog import method_named
from medalign.methods.dpo import DpoSettings
from medalign.methods.sft import SftSettings
from medalign.methods.training import TrainingDivergedError, dpo_loss
from medalign.modeling.base_models import BaseModel
from medalign.records import Question
from tests.methods.examples import make_run, mixed, quick_setting, tiny_base
from tests.tiny_models import Architecture, make_tiny

# 24 questions in batches of 5 and four epochs: 20 steps, the last of each epoch a smaller one.
QUESTIONS = mixed(24)
SETTING: dict[str, Any] = {
    "epochs": 4,
    "batch_size": 5,
    "learning_rate": 2e-3,
    "lora_rank": 4,
    "lora_alpha_ratio": 2.0,
    "warmup_share": 0.2,
    "weight_decay": 0.01,
    "max_grad_norm": 0.5,
}
NUM_STEPS = 20
SEED = 11
BETA = 0.3
# Its prompts end in a special token, behind which nothing can be merged: the peers tokenise prompt and answer at once.
TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}"
    "{{ '<|start_header_id|>' + m.role + '<|end_header_id|>' + m.content + '<|eot_id|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>' }}{% endif %}"
)
ATTENTION = {"llama": ["q_proj", "k_proj", "v_proj", "o_proj"], "gpt2": ["c_attn", "attn.c_proj"]}
TRAINING = ("sft", "dpo")


class Trained(NamedTuple):
    """The loss of each step, and the adapter's weights by name."""

    losses: list[float]
    weights: dict[str, torch.Tensor]


def trained(method: str, base: BaseModel, setting: dict[str, Any], **changes: Any) -> Trained:
    run = make_run(base, QUESTIONS, setting, **{"seed": SEED, **changes})
    with method_named(method).adapted(run):
        weights = adapter_weights(base.model)
    return Trained([loss for _, loss in run.learning_curve], weights)


def adapter_weights(model: Any) -> dict[str, torch.Tensor]:
    return {
        name.removeprefix("base_model.model."): tensor.clone()
        for name, tensor in model.state_dict().items()
        if "lora_" in name
    }


def distance(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> float:
    """The largest relative difference (Frobenius norm) of a weight."""
    assert sorted(a) == sorted(b)
    return max(float((a[name] - b[name]).norm() / b[name].norm()) for name in b)


class TestAgainstStockTrainers:
    """The peers get the questions as text and do everything after that by themselves."""

    @pytest.fixture(params=["llama", "gpt2"])
    def architecture(self, request: pytest.FixtureRequest) -> Architecture:
        """One with a chat template and one without, whose layers hold their weights transposed."""
        return request.param

    @pytest.fixture
    def load(self, architecture: Architecture, tmp_path: Path) -> Callable[[], BaseModel]:
        folder = make_tiny(tmp_path / "model", architecture)

        def loaded() -> BaseModel:
            base = tiny_base(folder)
            if base.tokenizer.chat_template:
                base.tokenizer.chat_template = TEMPLATE
            return base

        return loaded

    def test_sft_is_that_of_the_stock_trainer(
        self, architecture: Architecture, load: Callable[[], BaseModel], tmp_path: Path
    ) -> None:
        from trl import SFTConfig, SFTTrainer

        config = SFTConfig(**stock_arguments(tmp_path), packing=False, completion_only_loss=True)
        rows = [sft_text(architecture, question) for question in QUESTIONS]
        peer = stock(SFTTrainer, config, rows, load(), architecture)
        for ours in (
            trained("sft", load(), SETTING),
            trained("sft", lean(load()), SETTING | {"checkpointing": True}),
        ):
            assert len(peer.losses) == NUM_STEPS
            assert ours.losses == pytest.approx(peer.losses, abs=1e-4)
            assert distance(ours.weights, peer.weights) < 1e-3

    def test_dpo_is_that_of_the_stock_trainer(
        self, architecture: Architecture, load: Callable[[], BaseModel], tmp_path: Path
    ) -> None:
        from trl import DPOConfig, DPOTrainer

        config = DPOConfig(**stock_arguments(tmp_path), beta=BETA, loss_type=["sigmoid"])
        rows = [dpo_text(architecture, question) for question in QUESTIONS]
        peer = stock(DPOTrainer, config, rows, load(), architecture)
        setting = SETTING | {"beta": BETA}
        for ours in (
            trained("dpo", load(), setting),
            trained("dpo", lean(load()), setting | {"checkpointing": True}),
        ):
            assert len(peer.losses) == NUM_STEPS
            assert ours.losses == pytest.approx(peer.losses, abs=1e-4)
            assert distance(ours.weights, peer.weights) < 1e-3


def lean(base: BaseModel) -> BaseModel:
    """As a base is on a GPU, but for its kernels."""
    from medalign.modeling.lean_layers import lean_blocks

    assert lean_blocks(base.model) > 0
    return base


def stock_arguments(folder: Path) -> dict[str, Any]:
    """`SETTING` in the words of TRL's configurations."""
    return {
        "output_dir": str(folder / "stock"),
        "num_train_epochs": 4,
        "per_device_train_batch_size": 5,
        "gradient_accumulation_steps": 1,
        "learning_rate": 2e-3,
        "lr_scheduler_type": "linear",
        "warmup_steps": 4,
        "weight_decay": 0.01,
        "max_grad_norm": 0.5,
        "optim": "adamw_torch",
        "max_length": None,
        "activation_checkpointing": False,
        "bf16": False,
        "use_cpu": True,
        "seed": SEED,
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
    }


def stock(
    trainer_class: Any, config: Any, rows: list[dict[str, Any]], base: BaseModel, architecture: Architecture
) -> Trained:
    from datasets import Dataset
    from peft import LoraConfig

    trainer = trainer_class(
        model=base.model,
        args=config,
        train_dataset=Dataset.from_list(rows),
        processing_class=base.tokenizer,
        peft_config=LoraConfig(
            r=4, lora_alpha=8, lora_dropout=0.0, target_modules=ATTENTION[architecture], task_type="CAUSAL_LM"
        ),
    )
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    return Trained(losses, adapter_weights(trainer.model))


def asked(architecture: Architecture, question: Question) -> Any:
    """The prompt as TRL takes it: turns where the model has a chat template, else a text."""
    if architecture == "gpt2":
        return f"{SYSTEM_TEXT}\n\nQuestion: {prompt_text(question)}\nAnswer:"
    return [{"role": "system", "content": SYSTEM_TEXT}, {"role": "user", "content": prompt_text(question)}]


def answered(architecture: Architecture, text: str) -> Any:
    return f" {text}" if architecture == "gpt2" else [{"role": "assistant", "content": text}]


def sft_text(architecture: Architecture, question: Question) -> dict[str, Any]:
    completion = answered(architecture, answer_text(question))
    return {"prompt": asked(architecture, question), "completion": completion}


def dpo_text(architecture: Architecture, question: Question) -> dict[str, Any]:
    pair = next(p for p in build_pairs(QUESTIONS, seed=0) if p.question_id == question.id)
    return {
        "prompt": asked(architecture, question),
        "chosen": answered(architecture, pair.chosen),
        "rejected": answered(architecture, pair.rejected),
    }


@pytest.mark.parametrize("method", TRAINING)
def test_how_a_step_is_cut_into_parts_does_not_change_the_result(method: str, llama_folder: Path) -> None:
    whole, halves, single = (
        trained(method, tiny_base(llama_folder), SETTING | {"epochs": 2, "tokens_at_once": tokens})
        for tokens in (100_000, 512, 1)
    )
    assert halves.losses == pytest.approx(whole.losses, abs=1e-5)
    assert single.losses == pytest.approx(whole.losses, abs=1e-5)
    assert distance(halves.weights, whole.weights) < 1e-4
    assert distance(single.weights, whole.weights) < 1e-4


@pytest.mark.parametrize("method", TRAINING)
def test_every_module_is_in_training_mode_and_recomputes_where_asked(method: str, base: BaseModel) -> None:
    """Dropout and recomputation are silently off in a module that is not in training mode."""
    calls = {}
    for checkpointing in (False, True):
        seen: list[bool] = []
        attention = base.model.model.layers[1].self_attn
        hook = attention.register_forward_pre_hook(
            lambda module, args, seen=seen: seen.append(module.training)
        )
        setting = SETTING | {"epochs": 1, "checkpointing": checkpointing}
        with method_named(method).adapted(make_run(base, QUESTIONS[:5], setting)):
            hook.remove()
        calls[checkpointing] = seen.count(True)
    assert calls[True] == 2 * calls[False] > 0


def test_logits_in_pieces_do_not_change_the_result(
    llama_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from medalign.methods import training

    whole = trained("sft", tiny_base(llama_folder), SETTING)
    monkeypatch.setattr(training, "_pieces", lambda part: 7)
    pieces = trained("sft", tiny_base(llama_folder), SETTING)
    assert pieces.losses == pytest.approx(whole.losses, abs=1e-5)
    assert distance(pieces.weights, whole.weights) < 1e-4


@pytest.mark.parametrize("method", TRAINING)
@pytest.mark.parametrize("adapter", ["rslora", "dora", "full"])
def test_every_kind_of_training_learns_and_leaves_the_base_as_it_was(
    method: str, adapter: str, base: BaseModel
) -> None:
    before = {name: value.clone() for name, value in base.model.state_dict().items()}
    setting = SETTING | {"adapter": adapter, "learning_rate": 5e-3, "lora_rank": 8}
    losses = trained(method, base, setting).losses
    assert sum(losses[-5:]) < 0.9 * sum(losses[:5])
    assert all(torch.equal(value, before[name]) for name, value in base.model.state_dict().items())
    assert list(base.model.state_dict()) == list(before)


@pytest.mark.parametrize("optimizer", ["adamw_8bit"])
def test_an_optimiser_in_8_bits_learns_alike(optimizer: str, llama_folder: Path) -> None:
    usual = trained("sft", tiny_base(llama_folder), SETTING)
    small = trained("sft", tiny_base(llama_folder), SETTING | {"optimizer": optimizer})
    assert small.losses == pytest.approx(usual.losses, rel=0.05)


def test_all_weights_are_saved_as_a_checkpoint_that_transformers_loads(
    base: BaseModel, tmp_path: Path
) -> None:
    from transformers import AutoModelForCausalLM

    run = make_run(base, QUESTIONS, SETTING | {"adapter": "full", "epochs": 1})
    with method_named("sft").adapted(run) as adapted:
        assert adapted.save_adapter is not None
        adapted.save_adapter(str(tmp_path))
        weight = base.model.get_input_embeddings().weight.detach().clone()
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path).get_input_embeddings().weight
    assert torch.equal(loaded, weight)
    assert not torch.equal(loaded, base.model.get_input_embeddings().weight)


@pytest.mark.parametrize("method", TRAINING)
def test_every_trained_token_is_counted(method: str, base: BaseModel) -> None:
    from medalign.modeling.chat import Chat

    run = make_run(base, QUESTIONS, quick_setting(method, epochs=3))
    with method_named(method).adapted(run):
        pass
    chat = Chat(base.tokenizer)
    rows = (
        [chat.training_row(question) for question in QUESTIONS]
        if method == "sft"
        else [chat.preference_row(q, p) for q, p in zip(QUESTIONS, run.data.pairs, strict=True)]
    )
    assert run.meter.tokens_trained == 3 * sum(row.num_tokens for row in rows)


@pytest.mark.parametrize("method", TRAINING)
def test_the_learning_curve_has_every_step_and_ends_at_1(method: str, base: BaseModel) -> None:
    run = make_run(base, QUESTIONS, SETTING)
    with method_named(method).adapted(run):
        pass
    shares = [share for share, _ in run.learning_curve]
    assert shares == pytest.approx([step / NUM_STEPS for step in range(1, NUM_STEPS + 1)])


def test_sft_trains_on_the_answer_and_its_end_and_on_no_token_of_the_prompt(base: BaseModel) -> None:
    """The gradient of the loss with respect to the logits is zero wherever no token of the answer is predicted."""
    targets: list[int] = []
    predicted_from: list[int] = []

    def watched(model: Any, args: Any, output: torch.Tensor) -> None:
        if output.requires_grad:
            output.register_hook(lambda gradient: note(gradient.flatten(0, 1)))

    def note(gradient: torch.Tensor) -> None:
        # Of the logits of a token only the target's falls: its gradient, probability less 1, is the negative one.
        trained_on = gradient.abs().sum(dim=-1) > 0
        targets.extend(gradient[trained_on].argmin(dim=-1).tolist())
        predicted_from.append(int(trained_on.sum()))

    question = QUESTIONS[0]
    handle = base.model.get_output_embeddings().register_forward_hook(watched)
    with method_named("sft").adapted(make_run(base, [question], {"epochs": 1})):
        handle.remove()
    tokenizer = base.tokenizer
    answer = tokenizer(answer_text(question), add_special_tokens=False).input_ids
    assert targets == [*answer, tokenizer.convert_tokens_to_ids("<|eot_id|>")]


def test_the_first_dpo_loss_is_ln_2(llama_folder: Path) -> None:
    base = tiny_base(llama_folder)
    assert trained("dpo", base, SETTING).losses[0] == pytest.approx(math.log(2), abs=1e-5)


def test_the_first_dpo_loss_is_ln_2_on_the_embedded_model(embedded_base: BaseModel) -> None:
    """In bf16 the reference must come from the same arithmetic as the policy."""
    run = make_run(embedded_base, QUESTIONS[:4], {"batch_size": 4, "beta": 0.5})
    with method_named("dpo").adapted(run):
        pass
    assert run.learning_curve[0][1] == pytest.approx(math.log(2), abs=0.01)


def test_a_given_reference_takes_the_place_of_the_base_model(base: BaseModel) -> None:
    def reference(model: BaseModel, meter: Any) -> tuple[tuple[float, float], ...]:
        assert model is base
        return tuple((-1e6, 0.0) for _ in QUESTIONS)

    run = make_run(base, QUESTIONS, SETTING)
    data = type(run.data)(questions=run.data.questions, pairs=run.data.pairs, reference_logprobs=reference)
    assert trained("dpo", base, SETTING, data=data).losses[0] == pytest.approx(0.0, abs=1e-6)


def test_the_dpo_loss_is_its_definition() -> None:
    policy = torch.tensor([[-3.0, -5.0], [-2.0, -1.0]])
    reference = torch.tensor([[-4.0, -4.5], [-2.5, -2.0]])
    margins = ((-3.0 + 4.0) - (-5.0 + 4.5), (-2.0 + 2.5) - (-1.0 + 2.0))
    expected = sum(math.log(1 + math.exp(-0.2 * margin)) for margin in margins) / 2
    assert float(dpo_loss(policy, reference, beta=0.2)) == pytest.approx(expected, abs=1e-6)
    assert float(dpo_loss(reference, reference, beta=0.2)) == pytest.approx(math.log(2), abs=1e-6)


@pytest.mark.parametrize("method", TRAINING)
def test_the_loss_falls(method: str, base: BaseModel) -> None:
    losses = trained(method, base, SETTING | {"epochs": 6, "learning_rate": 1e-2}).losses
    assert sum(losses[-5:]) < 0.9 * sum(losses[:5])


def test_the_sft_loss_falls_on_the_embedded_model(embedded_base: BaseModel) -> None:
    run = make_run(embedded_base, QUESTIONS[:4], {"epochs": 5, "batch_size": 4, "learning_rate": 2e-3})
    with method_named("sft").adapted(run):
        pass
    losses = [loss for _, loss in run.learning_curve]
    assert losses[-1] < 0.7 * losses[0]


@pytest.mark.parametrize("method", TRAINING)
def test_a_weight_that_is_no_number_ends_training(method: str, base: BaseModel) -> None:
    with torch.no_grad():
        base.model.get_output_embeddings().weight[7] = math.nan
    with pytest.raises(TrainingDivergedError, match="the training loss is nan at step 1"):
        trained(method, base, SETTING)
    assert not [name for name, _ in base.model.named_modules() if "lora" in name]


@pytest.mark.parametrize("method", TRAINING)
def test_a_learning_rate_that_is_far_too_large_ends_training(method: str, base: BaseModel) -> None:
    with pytest.raises(TrainingDivergedError, match=r"the training loss is (nan|inf) at step \d+"):
        trained(method, base, SETTING | {"learning_rate": 1e30})


def test_that_training_diverged_survives_the_way_between_processes() -> None:
    error = pickle.loads(pickle.dumps(TrainingDivergedError("the training loss is nan at step 3")))
    assert isinstance(error, FloatingPointError)
    assert str(error) == "the training loss is nan at step 3"


@pytest.mark.parametrize("settings", [SftSettings, DpoSettings])
@pytest.mark.parametrize(
    ("name", "value", "rule"),
    [
        ("learning_rate", 0.0, "above 0"),
        ("learning_rate", math.nan, "above 0"),
        ("adapter", "prefix", "lora or rslora or dora or full"),
        ("optimizer", "sgd", "adamw or adamw_8bit or paged_adamw or paged_adamw_8bit"),
        ("checkpointing", "auto", "true or false"),
        ("lora_rank", 0, "1 or more"),
        ("lora_alpha_ratio", 0.0, "above 0"),
        ("lora_dropout", -0.1, "within 0 and below 1"),
        ("lora_dropout", 1.0, "within 0 and below 1"),
        ("lora_targets", "mlp", "attention or all_linear"),
        ("epochs", 0, "1 or more"),
        ("batch_size", 0, "1 or more"),
        ("tokens_at_once", 0, "1 or more"),
        ("warmup_share", 1.01, "within 0 and 1"),
        ("weight_decay", -1e-9, "0 or more"),
        ("max_grad_norm", 0.0, "above 0"),
    ],
)
def test_a_setting_out_of_its_range_is_refused(
    settings: Callable[..., Any], name: str, value: Any, rule: str
) -> None:
    with pytest.raises(ConfigError, match=f"{name}: {value} is not {rule}"):
        settings(**{name: value})


@pytest.mark.parametrize("beta", [0.0, -0.1, math.nan])
def test_a_beta_out_of_its_range_is_refused(beta: float) -> None:
    with pytest.raises(ConfigError, match=rf"dpo.beta: {beta} is not above 0"):
        DpoSettings(beta=beta)


def test_all_settings_out_of_range_are_named_at_once() -> None:
    with pytest.raises(ConfigError, match=r"epochs: 0 (?s:.)*batch_size: -1 ") as error:
        SftSettings(epochs=0, batch_size=-1)
    assert len(error.value.faults) == 2


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [("lora_dropout", 0.0, 0.99), ("warmup_share", 0.0, 1.0), ("weight_decay", 0.0, 9.0)],
)
def test_bounds_are_included(name: str, low: float, high: float) -> None:
    for bound in (low, high):
        setting: dict[str, Any] = {name: bound}
        assert getattr(SftSettings(**setting), name) == bound


def test_settings_cannot_be_changed_past_their_checks() -> None:
    with pytest.raises(AttributeError, match=r"cannot assign|can't set"):
        SftSettings().epochs = 0  # type: ignore[misc]


@pytest.mark.parametrize("targets", ["attention", "all_linear"])
def test_the_adapter_sits_where_the_setting_says(targets: str, base: BaseModel) -> None:
    weights = trained("sft", base, SETTING | {"epochs": 1, "lora_targets": targets}).weights
    places = {name.split(".lora_")[0].rpartition(".")[2] for name in weights}
    attention = {"q_proj", "k_proj", "v_proj", "o_proj"}
    assert places == (
        attention if targets == "attention" else attention | {"gate_proj", "up_proj", "down_proj"}
    )
    assert {tensor.shape[0] for name, tensor in weights.items() if "lora_A" in name} == {4}
