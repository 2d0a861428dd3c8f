"""Floating-point operations of a forward or a training pass, counted from the shapes of its products.

A multiply-add is two operations. Counted are matrix products alone: linear layers, both products of attention over the
whole padded square (a mask skips nothing), and the output layer where logits are computed. Norms, activations,
rotations, the softmax and the optimiser are left out; at the sizes in use they come to about a hundredth.

Hoffmann et al. 2022, "Training compute-optimal large language models", appendix F, counts alike. `torch`'s own
counter, which looks at every operation as it runs, agrees exactly on a forward pass (a test); it is not used because it
slows a step down by a third.

Shape letters: B = rows, T = tokens of the longest row, P = tokens of a shared prefix, M = positions with logits
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from medalign.modeling.rows import last_feed_forward

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelShape:
    """The sizes that decide what a pass costs.

    Attributes:
        frozen_weights: Elements of the weight matrices that every token meets and that are not trained.
        trained_weights: Likewise, trained: an adapter's, or all of them in full fine-tuning.
        output_weights: Of the output layer.
        attention_width: Heads times head size.
        layers: With attention.
        narrowed_frozen: Of the frozen weights those that meet only the tokens whose outputs are wanted (rows.py).
        narrowed_trained: Of the trained weights likewise.
    """

    frozen_weights: int
    trained_weights: int
    output_weights: int
    attention_width: int
    layers: int
    narrowed_frozen: int = 0
    narrowed_trained: int = 0

    def forward_flops(self, rows: int, width: int, *, logits: int, prefix_tokens: int = 0) -> float:
        """Of one forward pass.

        Args:
            rows: B.
            width: T, padding included.
            logits: M.
            prefix_tokens: P, whose keys and values are there already.
        """
        linear = 2 * (self.frozen_weights + self.trained_weights) * rows * width
        spared = 2 * (self.narrowed_frozen + self.narrowed_trained) * (rows * width - logits)
        return float(
            linear - spared + self._attention(rows, width, width + prefix_tokens) + self._output(logits)
        )

    def training_flops(self, rows: int, width: int, *, logits: int, recomputed: bool = False) -> float:
        """Of one forward and backward pass.

        What is not trained needs gradients of its input but not of its weights. An upper bound: below the first trained
        layer nothing needs a gradient, which saves less than one layer's share.

        Args:
            recomputed: Whether the forward pass is done a second time, as activation checkpointing does.
        """
        if recomputed:  # then every block takes all tokens
            whole = self._not_narrowed()
            again = whole.forward_flops(rows, width, logits=0)
            return again + whole.training_flops(rows, width, logits=logits)
        linear = (4 * self.frozen_weights + 6 * self.trained_weights) * rows * width
        spared = (4 * self.narrowed_frozen + 6 * self.narrowed_trained) * (rows * width - logits)
        attention = 3 * self._attention(rows, width, width)
        return float(linear - spared + attention + 2 * self._output(logits))

    def generation_flops(self, rows: int, width: int, *, new_tokens: int) -> float:
        """Of greedy decoding with a key-value cache: the prompts at once, then token by token."""
        whole = self._not_narrowed()
        total = whole.forward_flops(rows, width, logits=rows)
        for step in range(1, new_tokens):
            total += whole.forward_flops(rows, 1, logits=rows, prefix_tokens=width + step - 1)
        return total

    def _not_narrowed(self) -> ModelShape:
        return dataclasses.replace(self, narrowed_frozen=0, narrowed_trained=0)

    def _attention(self, rows: int, queries: int, keys: int) -> int:
        return 4 * self.layers * self.attention_width * rows * queries * keys

    def _output(self, logits: int) -> int:
        return 2 * self.output_weights * logits


def shape_of(model: PreTrainedModel) -> ModelShape:
    """The sizes of a model as it stands, with whatever adapter it carries."""
    output = model.get_output_embeddings()
    frozen, trained = _matrix_sizes(m for m in model.modules() if m is not output)
    narrowed = last_feed_forward(model)
    narrowed_frozen, narrowed_trained = _matrix_sizes(narrowed.modules() if narrowed is not None else ())
    config = model.config.get_text_config()
    heads = int(config.num_attention_heads)
    head_size = getattr(config, "head_dim", None) or config.hidden_size // heads
    return ModelShape(
        frozen_weights=frozen,
        trained_weights=trained,
        output_weights=_matrix_size(output) if output is not None else 0,
        attention_width=heads * int(head_size),
        layers=int(config.num_hidden_layers),
        narrowed_frozen=narrowed_frozen,
        narrowed_trained=narrowed_trained,
    )


def _matrix_sizes(modules: Iterable[Any]) -> tuple[int, int]:
    """Elements of the weight matrices of linear layers: frozen ones, and trained ones."""
    frozen = trained = 0
    for module in modules:
        if size := _matrix_size(module):
            if module.weight.requires_grad:
                trained += size
            else:
                frozen += size
    return frozen, trained


def _matrix_size(module: Any) -> int:
    """Elements of the weight matrix of a linear layer, packed ones unpacked; 0 for any other module."""
    if hasattr(module, "base_layer"):  # an adapter around a layer, which is met by itself
        return 0
    if hasattr(module, "in_features") and hasattr(module, "out_features") and hasattr(module, "weight"):
        return int(module.in_features) * int(module.out_features)
    if hasattr(module, "nx") and hasattr(module, "nf"):  # transformers' Conv1D, in GPT-2
        return int(module.nx) * int(module.nf)
    return 0
