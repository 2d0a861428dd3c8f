"""Tiny random models of the true architectures, as ordinary checkpoints with a tokenizer trained on the spot.

    folder = make_tiny(tmp_path / "llama", "llama")
    base = load_base(str(folder), "fp32", "cpu")

A model has two layers and some 300 tokens, is made in a fraction of a second, and is the same every time. Its
weights are large enough that every token that it may see changes what it says.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

Architecture = Literal["llama", "mistral", "phi", "gpt2", "qwen2"]
ARCHITECTURES: tuple[Architecture, ...] = ("llama", "mistral", "phi", "gpt2", "qwen2")

_PAD = "<pad>"
_WORDS_AND_BREAKS = r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_LINES = (
    "Answer the medical question.",
    "Question: Which vitamin prevents scurvy?\n- vitamin C\n- vitamin D\n- vitamin K\nAnswer: vitamin C\n\n",
    "Which agent is meant by this entry? The one named right, not the other, wrong or false one.",
    "Does the drug lower blood pressure? (yes, no or maybe)\nyes\nBecause the trial says so.\n\n\n",
    "user assistant system",
)


class _Words(NamedTuple):
    """A family's special tokens and its chat template, in the form that its real models have them.

    Attributes:
        start: Put before a text that is tokenised with special tokens; empty where the family has none.
        end: End of a text. The end of a turn may be another token.
        marks: Further special tokens of the template.
        template: Empty where the family has none.
    """

    start: str
    end: str
    marks: tuple[str, ...] = ()
    template: str = ""


_CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
_LLAMA = (
    "{{ bos_token }}{% for m in messages %}"
    "{{ '<|start_header_id|>' + m.role + '<|end_header_id|>\n\n' + m.content + '<|eot_id|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)
_MISTRAL = (
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}{{ '[INST]' + m.content + '[/INST]' }}"
    "{% elif m.role == 'assistant' %}{{ m.content + eos_token }}"
    "{% else %}{{ raise_exception('Only user and assistant roles are supported!') }}{% endif %}{% endfor %}"
)
_FAMILIES: dict[Architecture, _Words] = {
    "llama": _Words(
        start="<|begin_of_text|>",
        end="<|end_of_text|>",
        marks=("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
        template=_LLAMA,
    ),
    "mistral": _Words(start="<s>", end="</s>", marks=("[INST]", "[/INST]"), template=_MISTRAL),
    "phi": _Words(start="", end="<|endoftext|>"),
    "gpt2": _Words(start="", end="<|endoftext|>"),
    "qwen2": _Words(start="", end="<|endoftext|>", marks=("<|im_start|>", "<|im_end|>"), template=_CHATML),
}


def make_tiny(folder: Path, architecture: Architecture, *, window: int = 512, seed: int = 0) -> Path:
    """Write a random model and its tokenizer into a folder.

    Args:
        window: Tokens that the model can see at once.
        seed: Of the weights; the global generator is left as it was.
    """
    import torch

    tokenizer = _tokenizer(_FAMILIES[architecture])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = _model(architecture, tokenizer, window)
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def _model(architecture: Architecture, tokenizer: PreTrainedTokenizerBase, window: int) -> PreTrainedModel:
    import transformers as t

    shared: dict[str, Any] = {
        "vocab_size": len(tokenizer),
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
        "tie_word_embeddings": architecture == "gpt2",
        "initializer_range": 0.2,
    }
    if architecture == "gpt2":
        dropout = {"attn_pdrop": 0.0, "embd_pdrop": 0.0, "resid_pdrop": 0.0}
        config = t.GPT2Config(n_embd=64, n_layer=2, n_head=4, n_positions=window, **dropout, **shared)
        return t.GPT2LMHeadModel(config)
    shared |= {
        "hidden_size": 64,  # bitsandbytes' 4-bit layers want a multiple of 64
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 4 if architecture == "phi" else 2,
        "max_position_embeddings": window,
    }
    if architecture == "llama":
        return t.LlamaForCausalLM(t.LlamaConfig(**shared))
    if architecture == "mistral":
        return t.MistralForCausalLM(t.MistralConfig(sliding_window=None, **shared))
    if architecture == "phi":
        return t.PhiForCausalLM(t.PhiConfig(**shared))
    return t.Qwen2ForCausalLM(t.Qwen2Config(**shared))


def _tokenizer(words: _Words) -> PreTrainedTokenizerBase:
    """A byte-level BPE of 300 pieces and the family's special tokens."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    special = list(dict.fromkeys(filter(None, (_PAD, words.start, words.end, *words.marks))))
    trained = Tokenizer(models.BPE())
    # The families with a template keep the line breaks before an answer together, as their real tokenizers do.
    pattern = Regex(_WORDS_AND_BREAKS)
    trained.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(pattern, behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
        if words.template
        else [pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    trained.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trained.train_from_iterator(
        _LINES,
        trainers.BpeTrainer(
            vocab_size=300 + len(special),
            initial_alphabet=alphabet,
            special_tokens=special,
            show_progress=False,
        ),
    )
    if words.start:
        trained.post_processor = processors.TemplateProcessing(
            single=f"{words.start} $A", special_tokens=[(words.start, trained.token_to_id(words.start))]
        )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=trained,
        bos_token=words.start or words.end,
        eos_token=words.end,
        pad_token=_PAD,
        additional_special_tokens=list(words.marks),
    )
    tokenizer.chat_template = words.template or None
    return tokenizer
