"""Made-up comparisons of which the truth is known, for tests of what the statistics promise.

    python -m tests.stats.simulation          prints the tables of docs/statistics.md

Whether an arm is right on a question is a threshold on a sum of normal parts: how hard the question (or its group) is
for everyone, what this arm makes of it, which seed it was, and noise. The true accuracy is then known in closed form.
"""

# N = simulated comparisons, S = seeds, Q = questions

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy import special, stats

from medalign.stats.equivalence import equivalence_p
from medalign.stats.intervals import paired_bootstrap_interval
from medalign.stats.paired import seed_averaged_difference, sign_flip_exact
from medalign.stats.pooling import pool_partially
from medalign.stats.power import PairedDesign, exact_detectable_difference, exact_power
from medalign.stats.two_level import accuracy_interval, estimate_difference

NUM_SIMULATIONS = 2_000
SIZES = (100, 400, 1_273)
SHARED, OWN, NOISE = 1.0, 0.7, 0.6  # spreads of a question's parts; seeds agree on 86 % of the questions


@dataclass(frozen=True, kw_only=True)
class World:
    """From what comparisons are drawn.

    Attributes:
        shares: True accuracy of the arms, over all questions and seeds.
        num_seeds: Of the arms; an arm with 0 answers without a seed, as the base does.
        seed_points: Standard deviation of an arm's accuracy over its seeds, in percentage points, near 50 %.
        group_size: Questions that share everything but noise.
    """

    num_questions: int
    shares: tuple[float, ...] = (0.55, 0.45)
    num_seeds: tuple[int, ...] = (0, 0)
    seed_points: float = 0.0
    group_size: int = 1

    @property
    def difference(self) -> float:
        """The true one of the first two arms."""
        return self.shares[0] - self.shares[1]


class Drawn(NamedTuple):
    """One comparison: whether each seed of each arm is right on each question, and the questions' groups."""

    arms: tuple[np.ndarray, ...]
    groups_Q: np.ndarray | None

    @property
    def first_SQ(self) -> np.ndarray:  # noqa: N802
        return self.arms[0]

    @property
    def second_SQ(self) -> np.ndarray:  # noqa: N802
        return self.arms[1]


def draw(world: World, num_simulations: int, seed: int) -> Iterator[Drawn]:
    """Comparisons out of the world, always the same for a seed."""
    rng = np.random.default_rng(seed)
    num_groups = -(-world.num_questions // world.group_size)
    groups_Q = np.arange(world.num_questions) // world.group_size
    for _ in range(num_simulations):
        shared_Q = rng.normal(scale=SHARED, size=num_groups)[groups_Q]
        arms = tuple(
            _answers(world, share, num_seeds, shared_Q, groups_Q, rng)
            for share, num_seeds in zip(world.shares, world.num_seeds, strict=True)
        )
        yield Drawn(arms, groups_Q if world.group_size > 1 else None)


def _answers(
    world: World,
    share: float,
    num_seeds: int,
    shared_Q: np.ndarray,
    groups_Q: np.ndarray,
    rng: np.random.Generator,
) -> np.ndarray:
    spread = math.sqrt(SHARED**2 + OWN**2 + NOISE**2)
    # An accuracy near 1/2 moves by phi(0) / spread for each unit of the sum.
    seed_scale = world.seed_points / 100 * math.sqrt(2 * math.pi) * spread if num_seeds else 0.0
    own_Q = rng.normal(scale=OWN, size=groups_Q[-1] + 1)[groups_Q]
    noise_SQ = rng.normal(scale=NOISE, size=(max(1, num_seeds), len(groups_Q)))
    shift_S = rng.normal(scale=seed_scale, size=(max(1, num_seeds), 1)) if seed_scale else 0.0
    threshold = special.ndtri(share) * math.hypot(spread, seed_scale)
    return shared_Q + own_Q + noise_SQ + shift_S < threshold


def difference_coverage(world: World, num_simulations: int = NUM_SIMULATIONS, seed: int = 1) -> float:
    """Share of comparisons whose interval of the difference holds the true one."""
    held = 0
    for drawn in draw(world, num_simulations, seed):
        found = estimate_difference(
            drawn.first_SQ,
            drawn.second_SQ,
            groups_Q=drawn.groups_Q,
            first_varies=world.num_seeds[0] > 0,
            second_varies=world.num_seeds[1] > 0,
        )
        assert found is not None
        interval = found.interval()
        held += interval.low <= world.difference <= interval.high
    return held / num_simulations


def bootstrap_coverage(world: World, num_simulations: int = NUM_SIMULATIONS, seed: int = 1) -> float:
    """The same for the paired bootstrap over questions."""
    held = 0
    for number, drawn in enumerate(draw(world, num_simulations, seed)):
        difference_Q = drawn.first_SQ.mean(axis=0) - drawn.second_SQ.mean(axis=0)
        interval = paired_bootstrap_interval(
            difference_Q, num_resamples=2_000, seed=number, groups_Q=drawn.groups_Q
        )
        held += interval.low <= world.difference <= interval.high
    return held / num_simulations


def accuracy_coverage(world: World, num_simulations: int = NUM_SIMULATIONS, seed: int = 1) -> float:
    """Share of comparisons whose interval of the first arm's accuracy holds the true one.

    The true accuracy is drawn anew, between 0.25 and 0.85, for each: at one accuracy an interval for a count covers a
    little more or less than at the next.
    """
    held = 0
    rng = np.random.default_rng(seed)
    for number in range(num_simulations):
        share = float(rng.uniform(0.25, 0.85))
        one = World(**{**vars(world), "shares": (share, 0.5)})
        (drawn,) = draw(one, 1, seed + number)
        interval = accuracy_interval(drawn.first_SQ, groups_Q=drawn.groups_Q, varies=world.num_seeds[0] > 0)
        held += interval.low <= share <= interval.high
    return held / num_simulations


class Rates(NamedTuple):
    """Share of comparisons in which a difference is claimed: by the test over questions, by that over questions and
    seeds, and by both together, which is what a verdict needs."""

    questions: float
    two_level: float
    claimed: float


def claim_rates(world: World, num_simulations: int = NUM_SIMULATIONS, seed: int = 2) -> Rates:
    found = []
    for drawn in draw(world, num_simulations, seed):
        units = seed_averaged_difference(drawn.first_SQ, drawn.second_SQ)
        p_questions = sign_flip_exact(units.units_Q, groups_Q=drawn.groups_Q)
        estimate = estimate_difference(
            drawn.first_SQ,
            drawn.second_SQ,
            groups_Q=drawn.groups_Q,
            first_varies=world.num_seeds[0] > 0,
            second_varies=world.num_seeds[1] > 0,
        )
        assert estimate is not None
        p_two_level = estimate.p_value()
        found.append((p_questions < 0.05, p_two_level < 0.05, max(p_questions, p_two_level) < 0.05))
    return Rates(*np.mean(found, axis=0).tolist())


def equivalence_rate(
    world: World, margin: float, num_simulations: int = NUM_SIMULATIONS, seed: int = 3
) -> float:
    """Share of comparisons that are called equivalent."""
    called = 0
    for drawn in draw(world, num_simulations, seed):
        estimate = estimate_difference(
            drawn.first_SQ,
            drawn.second_SQ,
            groups_Q=drawn.groups_Q,
            first_varies=world.num_seeds[0] > 0,
            second_varies=world.num_seeds[1] > 0,
        )
        assert estimate is not None
        called += equivalence_p(estimate, margin) < 0.05
    return called / num_simulations


def exact_test_power(
    num_questions: int, difference: float, discordance: float, num_simulations: int = NUM_SIMULATIONS
) -> float:
    """Share of simulated pairs of arms, one seed each, that McNemar's exact test tells apart."""
    shares = [(discordance + difference) / 2, (discordance - difference) / 2, 1 - discordance]
    b, c, _ = np.random.default_rng(4).multinomial(num_questions, shares, num_simulations).T
    return float(np.mean(2 * stats.binom.cdf(np.minimum(b, c), b + c, 0.5) < 0.05))


class Power(NamedTuple):
    """Share of comparisons that the two-level test tells apart, and what the closed form says."""

    found: float
    stated: float


def two_level_power(world: World, num_simulations: int = NUM_SIMULATIONS, seed: int = 2) -> Power:
    """Of a true difference, with the disagreement that was seen and the true variance over seeds."""
    num_found, discordance = 0, 0.0
    for drawn in draw(world, num_simulations, seed):
        estimate = estimate_difference(
            drawn.first_SQ,
            drawn.second_SQ,
            groups_Q=drawn.groups_Q,
            first_varies=world.num_seeds[0] > 0,
            second_varies=world.num_seeds[1] > 0,
        )
        assert estimate is not None
        num_found += estimate.p_value() < 0.05
        difference_Q = drawn.first_SQ.mean(axis=0) - drawn.second_SQ.mean(axis=0)
        discordance += float(np.mean(difference_Q**2)) / num_simulations
    seed_variance = sum((world.seed_points / 100) ** 2 / count for count in world.num_seeds if count)
    design = PairedDesign(discordance=discordance, seed_variance=seed_variance)
    return Power(num_found / num_simulations, design.power(world.num_questions, world.difference))


def pooled_coverage(spread: float, num_simulations: int = NUM_SIMULATIONS) -> float:
    """Share of specialties, of 5 to 120 questions, whose pooled interval holds their true accuracy."""
    rng = np.random.default_rng(5)
    sizes = np.array([5, 5, 8, 10, 10, 15, 20, 30, 60, 120])
    held = 0.0
    for _ in range(num_simulations):
        truth = rng.normal(0.5, spread, len(sizes)).clip(0.02, 0.98)
        bare = rng.binomial(sizes, truth) / sizes
        mean = float(bare @ sizes / sizes.sum())
        intervals = [found.interval for found in pool_partially(bare, mean * (1 - mean) / sizes)]
        held += np.mean([i.low <= true <= i.high for i, true in zip(intervals, truth, strict=True)])
    return float(held / num_simulations)


def main() -> None:
    num = int(sys.argv[1]) if len(sys.argv) > 1 else NUM_SIMULATIONS
    percent = "{:.1f}".format
    seeds = {
        "no seeds": ((0, 0), 0.0),
        "3 and none, sd 0": ((3, 0), 0.0),
        "2 and none, sd 1": ((2, 0), 1.0),
        "2 and 2, sd 1": ((2, 2), 1.0),
        "3 and 3, sd 1": ((3, 3), 1.0),
        "5 and 5, sd 1": ((5, 5), 1.0),
        "2 and none, sd 3": ((2, 0), 3.0),
        "2 and 2, sd 3": ((2, 2), 3.0),
        "3 and 3, sd 3": ((3, 3), 3.0),
        "5 and 5, sd 3": ((5, 5), 3.0),
    }

    def row(label: str, *values: float) -> None:
        print(f"| {label} | " + " | ".join(percent(100 * value) for value in values) + " |", flush=True)

    print("\n| interval of the difference | n = 100 | n = 400 | n = 1,273 |\n| --- | ---: | ---: | ---: |")
    for label, (num_seeds, sd) in seeds.items():
        worlds = [World(num_questions=n, num_seeds=num_seeds, seed_points=sd) for n in SIZES]
        row(label, *(difference_coverage(world, num) for world in worlds))
    for size in (2, 5):
        worlds = [World(num_questions=n, group_size=size) for n in SIZES]
        row(f"groups of {size}", *(difference_coverage(world, num) for world in worlds))
    row("paired bootstrap, no seeds", *(bootstrap_coverage(World(num_questions=n), num) for n in SIZES))
    worlds = [World(num_questions=n, group_size=2) for n in SIZES]
    row("paired bootstrap, groups of 2", *(bootstrap_coverage(world, num) for world in worlds))

    print("\n| interval of an accuracy | n = 100 | n = 400 | n = 1,273 |\n| --- | ---: | ---: | ---: |")
    for label, kwargs in {
        "no seeds (Wilson's)": {},
        "groups of 2": {"group_size": 2},
        "groups of 5": {"group_size": 5},
        "3 seeds, sd 1": {"num_seeds": (3, 0), "seed_points": 1.0},
        "3 seeds, sd 3": {"num_seeds": (3, 0), "seed_points": 3.0},
        "5 seeds, sd 3": {"num_seeds": (5, 0), "seed_points": 3.0},
    }.items():
        row(label, *(accuracy_coverage(World(num_questions=n, **kwargs), num) for n in SIZES))  # type: ignore[arg-type]

    print("\n| false claims under the null | n = 100 | n = 400 | n = 1,273 |\n| --- | ---: | ---: | ---: |")
    for label in ("no seeds", "2 and 2, sd 1", "5 and 5, sd 1", "2 and 2, sd 3"):
        num_seeds, sd = seeds[label]
        worlds = [
            World(num_questions=n, shares=(0.5, 0.5), num_seeds=num_seeds, seed_points=sd) for n in SIZES
        ]
        rates = [claim_rates(world, num) for world in worlds]
        row(f"{label}: over questions alone", *(rate.questions for rate in rates))
        row(f"{label}: as claimed", *(rate.claimed for rate in rates))
    for size in (2, 5):
        worlds = [World(num_questions=n, shares=(0.5, 0.5), group_size=size) for n in SIZES]
        row(f"groups of {size}: as claimed", *(claim_rates(world, num).claimed for world in worlds))

    print(
        "\n| called equivalent at the margin's edge | n = 100 | n = 400 | n = 1,273 |\n| --- | ---: | ---: | ---: |"
    )
    for label, num_seeds, sd in (("no seeds", (0, 0), 0.0), ("3 and 3, sd 1", (3, 3), 1.0)):
        worlds = [
            World(num_questions=n, shares=(0.55, 0.45), num_seeds=num_seeds, seed_points=sd) for n in SIZES
        ]
        row(f"{label}, margin and difference 10 points", *(equivalence_rate(w, 0.1, num) for w in worlds))

    print("\n| exact test, share told apart | n = 100 | n = 400 | n = 1,273 |\n| --- | ---: | ---: | ---: |")
    for discordance in (0.1, 0.3):
        wanted = [exact_detectable_difference(n, discordance=discordance) or 0.0 for n in SIZES]
        pairs = list(zip(SIZES, wanted, strict=True))
        row(f"discordance {discordance}: the difference, in points", *wanted)
        row(
            f"discordance {discordance}: simulated",
            *(exact_test_power(n, d, discordance, 10 * num) for n, d in pairs),
        )
        row(
            f"discordance {discordance}: exact closed form",
            *(exact_power(n, d, discordance=discordance) for n, d in pairs),
        )
        row(
            f"discordance {discordance}: Connor's closed form",
            *(PairedDesign(discordance=discordance).power(n, d) for n, d in pairs),
        )

    print(
        "\n| two-level test, share told apart | n = 100 | n = 400 | n = 1,273 |\n| --- | ---: | ---: | ---: |"
    )
    for label, points, (num_seeds, sd) in (
        ("no seeds", 10, ((0, 0), 0.0)),
        ("no seeds", 5, ((0, 0), 0.0)),
        ("5 and 5, sd 1", 5, ((5, 5), 1.0)),
    ):
        shares = (0.5 + points / 200, 0.5 - points / 200)
        worlds = [World(num_questions=n, shares=shares, num_seeds=num_seeds, seed_points=sd) for n in SIZES]
        found = [two_level_power(world, num) for world in worlds]
        row(f"{label}, {points} points: simulated", *(one.found for one in found))
        row(f"{label}, {points} points: closed form", *(one.stated for one in found))

    print("\n| pooled intervals of specialties | coverage |\n| --- | ---: |")
    for spread in (0.0, 0.03, 0.08, 0.15):
        row(f"true spread {100 * spread:.0f} points", pooled_coverage(spread, min(num, 500)))


if __name__ == "__main__":
    main()
