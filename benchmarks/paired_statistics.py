"""How long the statistics take, and the paired bootstrap against SciPy's.

    python benchmarks/paired_statistics.py

Prints one JSON object. `bootstrap` holds, for several numbers of questions, the processor time of 10,000 paired
resamples of the difference in accuracy of two arms by `scipy.stats.bootstrap` (percentile, the fastest of its methods)
over that of `paired_bootstrap_interval`, the best of several runs each, side by side, and both intervals. `comparison`
is the time of `compare_arms` for 6 arms x 5 seeds x 10,000 questions in groups of up to 3 and 20 specialties, its
metrics included.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable

import numpy as np
from scipy import stats

from medalign.evaluation.summary import score_split
from medalign.records import ArmResult, Cost, Prediction
from medalign.stats.comparison import compare_arms
from medalign.stats.intervals import paired_bootstrap_interval

NUM_RESAMPLES = 10_000
SHARES = {"base": 0.40, "icl": 0.42, "sft": 0.45, "dpo": 0.41, "sft2": 0.455, "icl2": 0.42}
NUM_SEEDS = 5
NUM_QUESTIONS = 10_000


def main() -> None:
    print(
        json.dumps(
            {
                "resamples": NUM_RESAMPLES,
                "bootstrap": [bootstrap(number) for number in (150, 1_273, 10_000)],
                "comparison": comparison(),
            },
            indent=2,
        )
    )


def bootstrap(num_questions: int) -> dict[str, object]:
    rng = np.random.default_rng(num_questions)
    first, second = (rng.random(num_questions) < share for share in (0.45, 0.40))
    difference_Q = first.astype(float) - second

    def own() -> tuple[float, ...]:
        return tuple(paired_bootstrap_interval(difference_Q, num_resamples=NUM_RESAMPLES))[:2]

    def scipys() -> tuple[float, ...]:
        found = stats.bootstrap(
            (difference_Q,),
            np.mean,
            n_resamples=NUM_RESAMPLES,
            batch=max(1, 2_000_000 // num_questions),
            method="percentile",
            rng=np.random.default_rng(1),
        )
        return tuple(float(end) for end in found.confidence_interval)

    own_seconds, own_interval = best_of(own, 7)
    scipy_seconds, scipy_interval = best_of(scipys, 3)
    return {
        "questions": num_questions,
        "speedup": round(scipy_seconds / own_seconds, 1),
        "own_milliseconds": round(1000 * own_seconds, 2),
        "scipy_milliseconds": round(1000 * scipy_seconds, 1),
        "own_interval": [round(end, 5) for end in own_interval],
        "scipy_interval": [round(end, 5) for end in scipy_interval],
    }


def best_of(work: Callable[[], tuple[float, ...]], times: int) -> tuple[float, tuple[float, ...]]:
    """Processor seconds of the quickest run, which other work on the machine disturbed least; and what it gave."""
    seconds, found = [], ()
    for _ in range(times):
        start = time.process_time()
        found = work()
        seconds.append(time.process_time() - start)
    return min(seconds), found


def comparison() -> dict[str, object]:
    arms = [arm(number, name) for number, name in enumerate(SHARES)]
    wall, processor = time.perf_counter(), time.process_time()
    summary = compare_arms(arms, score=score_split, num_validation=200)
    return {
        "arms": len(arms),
        "seeds": NUM_SEEDS,
        "questions": summary.num_questions,
        "groups": summary.num_groups,
        "pairs": len(summary.pairs),
        "wall_seconds": round(time.perf_counter() - wall, 1),
        "processor_seconds": round(time.process_time() - processor, 1),
        "verdict": summary.verdict,
    }


def arm(number: int, name: str) -> ArmResult:
    """An arm that is right on a share of made-up questions, some of which are easier for every arm."""
    # The ease of a question is the same for all arms, what an arm makes of it is not.
    ease_Q = np.random.default_rng(0).normal(size=NUM_QUESTIONS)
    rng = np.random.default_rng(number + 1)
    threshold = stats.norm.ppf(SHARES[name]) * 2**0.5
    own_Q = rng.normal(scale=0.8, size=NUM_QUESTIONS)
    answers = []
    for _ in range(NUM_SEEDS):
        noise_Q = rng.normal(scale=0.6, size=NUM_QUESTIONS)
        right_Q = ease_Q + own_Q + noise_Q + rng.normal(scale=0.02) < threshold
        answers.append(tuple(prediction(index, bool(right)) for index, right in enumerate(right_Q)))
    return ArmResult(
        arm=name,
        setting={},
        seeds=tuple(range(NUM_SEEDS)),
        predictions=tuple(answers),
        cost=Cost(),
        search_cost=Cost(),
        validation_score=SHARES[name] + 0.02,
        num_trials=8,
    )


def prediction(index: int, right: bool) -> Prediction:
    chosen = index % 4 if right else (index + 1) % 4
    return Prediction(
        question_id=f"q{index}",
        source="made",
        kind="choice",
        specialty=f"specialty {index % 20}",
        group=f"g{index // 3}" if index % 2 else "",
        answer=f"option {index % 4}",
        answer_index=index % 4,
        option_logprobs=tuple(-1.0 if option == chosen else -2.0 - option / 10 for option in range(4)),
        option_chars=(8, 8, 8, 8),
        chosen_raw=chosen,
        chosen_normalised=chosen,
        chosen=chosen,
        said=f"option {chosen}",
        correct=right,
    )


if __name__ == "__main__":
    main()
