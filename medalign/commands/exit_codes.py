"""From an error to one line for each fault and an exit code."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable

from medalign.config.secrets import redacted
from medalign.errors import ConfigError, InputError, MedalignError

OK, FAILED, BAD_INPUT, INTERRUPTED = 0, 1, 2, 130


def guarded(call: Callable[[], int]) -> int:
    """The exit code of `call`: 2 for input that cannot be used, 1 for another known error, 130 after Ctrl-C.

    Every fault is one line on standard error that starts with `medalign: `. An unknown error is a bug
    and keeps its traceback. No password is shown in either.
    """
    try:
        return call()
    except MedalignError as error:
        lines = error.faults if isinstance(error, ConfigError) else (" ".join(str(error).split()),)
        for line in lines:
            print(f"medalign: {redacted(line)}", file=sys.stderr)
        return BAD_INPUT if isinstance(error, InputError) else FAILED
    except KeyboardInterrupt:
        print("medalign: interrupted", file=sys.stderr)
        return INTERRUPTED
    except Exception:
        print(redacted(traceback.format_exc()), end="", file=sys.stderr)
        return FAILED
