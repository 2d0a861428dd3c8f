"""What to do when memory runs out: recognise it, and give back what the failed work holds."""

from __future__ import annotations

import gc
import sys
import traceback


def is_out_of_memory(error: BaseException) -> bool:
    """Whether this is one of the ways in which Python, torch and CUDA say so."""
    # By name: torch's own OutOfMemoryError cannot be imported here without loading torch.
    by_type = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
    return by_type or "not enough memory" in str(error) or "out of memory" in str(error).lower()


def release(error: BaseException) -> None:
    """Lets go of what the frames of the error hold, so that what runs next in this process has the memory."""
    seen: BaseException | None = error
    while seen is not None:
        traceback.clear_frames(seen.__traceback__)
        seen = seen.__cause__ or seen.__context__
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.empty_cache()
