"""Which processes have gone silent: stopped, hung, or behind a network that is gone."""

from __future__ import annotations

from collections.abc import Iterable

# The longest that counts between two looks: while the driver itself stood still, nobody could be heard.
_LONGEST_GAP_SECONDS = 5.0


class Silence:
    """Counts for each running trial the seconds in which the driver listened and heard nothing.

    Args:
        limit_seconds: From so many on a silence is too long.
    """

    def __init__(self, limit_seconds: float) -> None:
        self._limit = limit_seconds
        self._seconds: dict[str, float] = {}
        self._last_look: float | None = None

    def heard(self, trial_id: str) -> None:
        """The trial has given a sign of life."""
        self._seconds[trial_id] = 0.0

    def too_long(self, running: Iterable[str], now: float) -> list[str]:
        """Those of the running trials that were silent for too long; each is named once.

        Args:
            now: By a clock that never goes back.
        """
        gap = min(now - self._last_look, _LONGEST_GAP_SECONDS) if self._last_look is not None else 0.0
        self._last_look = now
        self._seconds = {trial_id: self._seconds.get(trial_id, 0.0) + gap for trial_id in running}
        silent = [trial_id for trial_id, seconds in self._seconds.items() if seconds >= self._limit]
        for trial_id in silent:
            self._seconds[trial_id] = float("-inf")
        return silent
