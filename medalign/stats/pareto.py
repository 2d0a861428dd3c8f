"""Which arms are worth their cost: those that no other arm beats in accuracy at no more cost."""

# A = arms, Q = questions, G = groups, R = resamples

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from medalign.stats.arrays import FloatArray, IntArray, number_groups

_CHUNK = 250  # resamples at once: 250 x 10,000 groups are 20 MB


def is_on_front(costs_A: npt.ArrayLike, values_A: npt.ArrayLike) -> npt.NDArray[np.bool_]:
    """Whether each arm is on the Pareto front: no other is at least as good and as cheap, and better in one of them.

    Equal arms are on it together.

    Raises:
        ValueError: The two differ in length or hold what is no number.
    """
    costs_A, values_A = np.asarray(costs_A, dtype=np.float64), np.asarray(values_A, dtype=np.float64)
    if costs_A.ndim != 1 or costs_A.shape != values_A.shape:
        raise ValueError(f"expected a cost and a value an arm, got {costs_A.shape} and {values_A.shape}")
    if not (np.isfinite(costs_A).all() and np.isfinite(values_A).all()):
        raise ValueError("costs and values must be finite numbers")
    return ~_dominated(costs_A, values_A[None])[0]


def front_probabilities(
    correct_AQ: npt.ArrayLike,
    costs_A: npt.ArrayLike,
    *,
    groups_Q: Sequence[object] | IntArray | None = None,
    num_resamples: int = 2000,
    seed: int = 0,
) -> FloatArray:
    """How often each arm is on the front when the questions are drawn anew, in [0, 1].

    A bootstrap over groups of questions, the same draw for all arms. Costs are taken as known: they were measured, and
    vary with the machine rather than with the questions. What other seeds would change is not seen.

    Args:
        correct_AQ: Each arm's share of right answers to each question.

    Raises:
        ValueError: Shapes do not fit.
    """
    correct_AQ = np.asarray(correct_AQ, dtype=np.float64)
    costs_A = np.asarray(costs_A, dtype=np.float64)
    if correct_AQ.ndim != 2 or costs_A.shape != correct_AQ.shape[:1]:
        raise ValueError(f"expected arms by questions and a cost an arm, got {correct_AQ.shape}")
    num_questions = correct_AQ.shape[1]
    number_Q = np.arange(num_questions) if groups_Q is None else number_groups([*groups_Q])
    num_groups = int(number_Q.max()) + 1
    sums_GA = np.zeros((num_groups, len(costs_A)))
    np.add.at(sums_GA, number_Q, correct_AQ.T)
    sizes_G = np.bincount(number_Q, minlength=num_groups).astype(np.float64)
    generator = np.random.default_rng(seed)
    on_front_A = np.zeros(len(costs_A))
    for start in range(0, num_resamples, _CHUNK):
        draws = min(_CHUNK, num_resamples - start)
        weight_RG = generator.multinomial(num_groups, np.full(num_groups, 1 / num_groups), size=draws)
        accuracy_RA = (weight_RG @ sums_GA) / (weight_RG @ sizes_G)[:, None]
        on_front_A += (~_dominated(costs_A, accuracy_RA)).sum(axis=0)
    return on_front_A / num_resamples


def _dominated(costs_A: FloatArray, values_RA: FloatArray) -> npt.NDArray[np.bool_]:
    cheap_AA = costs_A[None, :] <= costs_A[:, None]  # [a, b]: b costs no more than a
    cheaper_AA = costs_A[None, :] < costs_A[:, None]
    good_RAA = values_RA[:, None, :] >= values_RA[:, :, None]
    better_RAA = values_RA[:, None, :] > values_RA[:, :, None]
    return np.asarray((cheap_AA & good_RAA & (cheaper_AA | better_RAA)).any(axis=2))
