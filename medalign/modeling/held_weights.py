"""Quantised weights that are held unpacked as well, for as long as a slot has room for them.

A 4-bit weight is unpacked for each product with it, in a training step twice, which takes about an eighth of the
products' own time. What a slot has left can hold part of the weights in 16 bits beside the packed ones. The numbers are
the same, because the packed weight is what is unpacked. The smallest weights come first: for them unpacking takes
longest, by the byte.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from medalign.modeling.lean_layers import dense_weight, is_4bit

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel


@contextlib.contextmanager
def held_weights(model: PreTrainedModel, dtype: torch.dtype, gib: float) -> Iterator[int]:
    """Within it, 4-bit layers hold their unpacked weights as far as so many GiB go; hands out how many layers do.

    They serve the products of lean_layers.py.
    """
    layers = sorted((m for m in model.modules() if is_4bit(m)), key=_num_weights)
    room = gib * 2**30
    changed = []
    try:
        for layer in layers:
            room -= _num_weights(layer) * dtype.itemsize
            if room < 0:
                break
            layer.held_copy = dense_weight(layer, dtype)
            changed.append(layer)
        yield len(changed)
    finally:
        for layer in changed:
            del layer.held_copy


def _num_weights(layer: Any) -> int:
    return int(layer.in_features) * int(layer.out_features)
