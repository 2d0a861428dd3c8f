"""In-context learning: worked examples out of the training questions go before each question.

Nothing is trained; what is searched is how many examples, which, in which order, and whether they
show their rationale. Examples are of the question's own kind. `random` and `diverse` use one fixed
set for all questions of a kind, so that its key-value cache is computed once; `nearest` picks for
each question the training questions most like it (Liu et al. 2022, "What makes good in-context
examples for GPT-3?").
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from medalign.data.prompts import prompt_text
from medalign.errors import ConfigError
from medalign.methods.base import AdaptedModel, Method, MethodRun
from medalign.modeling.chat import Demonstration, demonstration
from medalign.modeling.predictor import Predictor
from medalign.records import Question

MAX_SHOTS = 8
SELECTIONS = ("random", "nearest", "diverse")
ORDERS = ("as_selected", "reversed", "shuffled")


@dataclass(frozen=True, kw_only=True, slots=True)
class IclSettings:
    """How demonstrations are chosen.

    Attributes:
        shots: Demonstrations before each question, 0 to 8.
        selection: `random`; `nearest` by cosine similarity of TF-IDF vectors; or `diverse`, greedy k-center over
            the same vectors (Gonzalez 1985).
        order: As selected (most similar, or first chosen, first), reversed, or shuffled.
        with_rationale: Whether a demonstration shows its rationale.
    """

    shots: int = 4
    selection: Literal["random", "nearest", "diverse"] = "random"
    order: Literal["as_selected", "reversed", "shuffled"] = "as_selected"
    with_rationale: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.shots <= MAX_SHOTS:
            raise ConfigError(f"icl.shots: {self.shots} is not within 0 and {MAX_SHOTS}")
        if self.selection not in SELECTIONS:
            raise ConfigError(f"icl.selection: '{self.selection}'; use one of {', '.join(SELECTIONS)}")
        if self.order not in ORDERS:
            raise ConfigError(f"icl.order: '{self.order}'; use one of {', '.join(ORDERS)}")


class Icl(Method):
    """Demonstrations in the prompt."""

    name = "icl"
    settings_class = IclSettings

    def depends_on_seed(self, setting: Mapping[str, Any]) -> bool:
        settings: IclSettings = self.settings(setting)
        chosen_by_chance = settings.selection == "random" or settings.order == "shuffled"
        return settings.shots > 0 and chosen_by_chance

    @contextlib.contextmanager
    def adapted(self, run: MethodRun) -> Iterator[AdaptedModel]:
        settings: IclSettings = self.settings(run.setting)
        predictor = Predictor(
            run.base,
            run.meter,
            demonstrate=demonstrator(run.data.questions, settings, run.seed),
            max_new_tokens=run.max_new_tokens,
        )
        run.checkpoint(1.0, predictor)
        yield AdaptedModel(predictor=predictor)


def demonstrator(
    pool: Sequence[Question], settings: IclSettings, seed: int
) -> Callable[[Question], tuple[Demonstration, ...]]:
    """A function from a question to its demonstrations, drawn from the pool.

    A question never demonstrates itself or another of its group.
    """
    pickers = {
        kind: _Picker([q for q in pool if q.kind == kind], settings, seed)
        for kind in sorted({q.kind for q in pool})
    }

    def demonstrate(question: Question) -> tuple[Demonstration, ...]:
        picker = pickers.get(question.kind)
        if picker is None or settings.shots == 0:
            return ()
        return tuple(demonstration(q, with_rationale=settings.with_rationale) for q in picker.pick(question))

    return demonstrate


class _Picker:
    """Picks demonstrations of one kind."""

    def __init__(self, pool: Sequence[Question], settings: IclSettings, seed: int) -> None:
        import numpy as np
        from sklearn.feature_extraction.text import TfidfVectorizer

        self._pool = pool
        self._settings = settings
        self._generator = np.random.default_rng(seed)
        self._vectorizer = TfidfVectorizer(sublinear_tf=True, ngram_range=(1, 2))
        self._vectors_QF = self._vectorizer.fit_transform([prompt_text(q) for q in pool])
        self._fixed = [] if settings.selection == "nearest" else self._fixed_order()
        self._shuffle_seed = int(self._generator.integers(2**32))

    def pick(self, question: Question) -> list[Question]:
        ranked = self._ranked(question) if self._settings.selection == "nearest" else self._fixed
        allowed = (self._pool[i] for i in ranked)
        chosen = [q for q in allowed if q.id != question.id and not (q.group and q.group == question.group)]
        return self._ordered(chosen[: self._settings.shots])

    def _fixed_order(self) -> list[int]:
        """All of the pool, the best first, so that leaving a question out brings the next one in."""
        if self._settings.selection == "random":
            return [int(i) for i in self._generator.permutation(len(self._pool))]
        return self._k_center()

    def _k_center(self) -> list[int]:
        """Start nearest to the centroid, then always take what is least like all that was taken."""
        import numpy as np

        similarity_QQ = (self._vectors_QF @ self._vectors_QF.T).toarray()
        chosen = [int(np.argmax(similarity_QQ.sum(axis=1)))]
        while len(chosen) < min(len(self._pool), 2 * MAX_SHOTS):
            nearest_Q = similarity_QQ[:, chosen].max(axis=1)
            nearest_Q[chosen] = np.inf
            chosen.append(int(np.argmin(nearest_Q)))
        return chosen

    def _ranked(self, question: Question) -> list[int]:
        import numpy as np

        vector_1F = self._vectorizer.transform([prompt_text(question)])
        similarity_Q = (self._vectors_QF @ vector_1F.T).toarray()[:, 0]
        return [int(i) for i in np.argsort(-similarity_Q, kind="stable")]

    def _ordered(self, chosen: list[Question]) -> list[Question]:
        import numpy as np

        if self._settings.order == "reversed":
            return chosen[::-1]
        if self._settings.order == "shuffled":
            permutation = np.random.default_rng(self._shuffle_seed).permutation(len(chosen))
            return [chosen[i] for i in permutation]
        return chosen
