"""The main job's way in; decides nothing itself.

python -m medalign.compare --methods sft,icl,dpo
"""

from __future__ import annotations

from collections.abc import Sequence

from medalign.commands import compare


def main(argv: Sequence[str] | None = None) -> int:
    """Run one comparison and return its exit code, as `medalign compare` does."""
    return compare.main(argv, prog="python -m medalign.compare")


if __name__ == "__main__":
    raise SystemExit(main())
