"""A stored LoRA adapter put around a base model and taken off again."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from medalign.errors import ModelError
from medalign.modeling.base_models import BaseModel
from medalign.modeling.lora import attached_lora


@contextlib.contextmanager
def stored_adapter(base: BaseModel, folder: str | Path) -> Iterator[None]:
    """Within it the base model carries the adapter that PEFT wrote into a folder.

    Raises:
        ModelError: The folder holds no adapter, or one for another model.
    """
    from peft import PeftModel
    from safetensors import SafetensorError

    if not (Path(folder) / "adapter_config.json").is_file():
        raise ModelError(
            f"adapter: '{folder}' holds no adapter_config.json; name a folder such as trials/sft-refit-000/adapter"
        )
    with attached_lora(base):
        try:
            PeftModel.from_pretrained(base.model, str(folder)).eval()
        except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
            reason = " ".join(str(error).split())[:160]
            raise ModelError(
                f"adapter: '{folder}' does not fit {base.name} ({reason}); name the model that it was trained on"
            ) from error
        yield
