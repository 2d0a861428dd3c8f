"""Arms side by side: what is claimed, what is refused, and the sentence that says so."""

from __future__ import annotations

import dataclasses
import json
import random
from collections.abc import Mapping, Sequence

import numpy as np
import pytest

from medalign.errors import ContractError, DataError
from medalign.records import ArmResult, Cost, Interval, Prediction
from medalign.stats.comparison import (
    ArmSummary,
    ComparisonSummary,
    PairSummary,
    compare_arms,
)
from medalign.stats.correction import benjamini_hochberg
from medalign.stats.intervals import wilson_interval
from medalign.stats.paired import mcnemar_exact
from medalign.stats.power import exact_detectable_difference
from medalign.stats.two_level import accuracy_interval
from medalign.stats.verdict import verdict_sentence


def predictions(correct: Sequence[bool | None], group_size: int = 1) -> tuple[Prediction, ...]:
    """One prediction a question; None stands for free text, and every third question is a decision."""
    return tuple(
        Prediction(
            question_id=f"q{index}",
            source="made",
            kind="free_text" if right is None else "choice" if index % 3 else "decision",
            specialty="cardiology" if index % 2 else "neurology",
            group=f"g{index // group_size}" if group_size > 1 else "",
            answer="yes",
            answer_index=None if right is None else 0,
            correct=right,
        )
        for index, right in enumerate(correct)
    )


def arm(name: str, *seeds: Sequence[bool | None], group_size: int = 1) -> ArmResult:
    return ArmResult(
        arm=name,
        setting={},
        seeds=tuple(range(len(seeds))),
        predictions=tuple(predictions(correct, group_size) for correct in seeds),
        cost=Cost(),
        search_cost=Cost(),
    )


def some(share: float, num: int = 120, seed: int = 0) -> list[bool]:
    rng = random.Random(f"{share} {seed}")
    return [rng.random() < share for _ in range(num)]


def no_metrics(found: Sequence[Prediction]) -> Mapping[str, float]:
    return {}


def compare(*arms: ArmResult, seed: int = 0, level: float = 0.95) -> ComparisonSummary:
    return compare_arms(arms, score=no_metrics, num_resamples=500, seed=seed, level=level)


def test_an_arm_is_summarised_over_its_seeds_kinds_and_specialties() -> None:
    found = compare(arm("sft", [True, True, False, False], [True, False, False, False])).arms[0]
    assert (found.num_questions, found.num_seeds) == (4, 2)
    assert found.accuracy == pytest.approx(0.375)
    assert found.accuracy_by_seed == (0.5, 0.25)
    assert found.accuracy_interval == accuracy_interval([[1, 1, 0, 0], [1, 0, 0, 0]])
    assert found.by_kind == {"choice": 0.25, "decision": 0.5}
    assert found.by_specialty["cardiology"] == (2, 0.25, wilson_interval(0.5, 2))
    assert list(found.by_specialty) == ["cardiology", "neurology"]


def test_metrics_of_the_seeds_are_averaged_and_undefined_ones_are_none() -> None:
    def score(found: Sequence[Prediction]) -> Mapping[str, float]:
        right = sum(bool(prediction.correct) for prediction in found)
        return {"macro_f1": right, "accuracy_raw": 0.5} | ({"token_f1": 1.0} if right else {})

    arms = [arm("sft", [True, True], [False, False])]
    found = compare_arms(arms, score=score, num_resamples=10).arms[0]
    assert (found.macro_f1, found.accuracy_raw) == (1.0, 0.5)
    assert found.accuracy_normalised is None
    assert found.token_f1 is None  # one seed has none


def test_questions_in_groups_widen_the_interval_of_an_accuracy() -> None:
    # Within a group all answers are alike, so that 120 questions are worth 30.
    once = some(0.6, 30)
    alike = [right for right in once for _ in range(4)]
    apart, together = compare(arm("sft", alike)).arms[0], compare(arm("sft", alike, group_size=4)).arms[0]
    expected = wilson_interval(sum(once), 30)
    assert apart.accuracy_interval == pytest.approx(wilson_interval(sum(alike), 120))
    # A little wider than Wilson's of the groups: their variance is estimated, so that t takes the place of the normal.
    assert 0 < expected.low - together.accuracy_interval.low < 0.01
    assert 0 < together.accuracy_interval.high - expected.high < 0.01


def test_free_text_enters_neither_accuracies_nor_pairs() -> None:
    with_text = compare(arm("sft", [True, None, False]), arm("base", [False, None, False]))
    without = compare(arm("sft", [True, False]), arm("base", [False, False]))
    assert with_text.num_questions == without.num_questions == 2
    found, expected = with_text.pairs[0], without.pairs[0]
    assert (found.difference, found.interval, found.p) == (expected.difference, expected.interval, expected.p)
    assert with_text.arms[0].accuracy == 0.5


def test_a_pair_with_one_seed_and_no_groups_is_tested_by_mcnemar() -> None:
    first, second = some(0.7), some(0.5)
    found = compare(arm("sft", first), arm("base", second)).pairs[0]
    expected = mcnemar_exact(first, second)
    assert (found.num_first_only, found.num_second_only) == (expected.b, expected.c)
    assert found.p == found.p_corrected == pytest.approx(expected.p)
    assert found.difference == pytest.approx((sum(first) - sum(second)) / 120)
    assert found.interval.low < found.difference < found.interval.high


def test_pairs_are_corrected_together_and_base_is_never_first() -> None:
    found = compare(arm("base", some(0.4)), arm("sft", some(0.7)), arm("icl", some(0.5)))
    assert [(pair.first, pair.second) for pair in found.pairs] == [
        ("sft", "icl"),
        ("sft", "base"),
        ("icl", "base"),
    ]
    smallest = min(found.pairs, key=lambda pair: pair.p)
    assert smallest.p_corrected == pytest.approx(3 * smallest.p)
    assert [item.arm for item in found.arms] == ["base", "sft", "icl"]


def test_grouped_questions_count_once_in_a_pair() -> None:
    first = [right for right in [True] * 4 + [False] for _ in range(5)]
    second = [False] * 25
    assert compare(arm("sft", first), arm("base", second)).pairs[0].verdict == "better"
    grouped = compare(arm("sft", first, group_size=5), arm("base", second, group_size=5))
    assert grouped.num_groups == 5
    assert grouped.pairs[0].p == pytest.approx(0.125)
    assert grouped.pairs[0].verdict == "not enough data"


def test_swapping_two_arms_mirrors_the_pair() -> None:
    sft, dpo = (
        arm("sft", some(0.7), some(0.7, seed=1)),
        arm("dpo", some(0.45), some(0.4, seed=2), some(0.5, seed=3)),
    )
    forward, backward = compare(sft, dpo).pairs[0], compare(dpo, sft).pairs[0]
    assert (forward.first, forward.second) == (backward.second, backward.first)
    assert forward.difference == -backward.difference
    assert forward.interval.low == pytest.approx(-backward.interval.high, abs=1e-12)
    assert forward.p == backward.p
    assert (forward.num_first_only, forward.num_second_only) == (
        backward.num_second_only,
        backward.num_first_only,
    )
    assert {forward.verdict, backward.verdict} == {"better", "worse"}


def test_identical_arms_cannot_be_told_apart() -> None:
    found = compare(arm("sft", some(0.6)), arm("base", some(0.6)))
    pair = found.pairs[0]
    assert (pair.difference, pair.p, pair.verdict) == (0, 1, "not enough data")
    # That 120 questions show no difference does not mean that there is none on others.
    assert -0.03 < pair.interval.low == -pair.interval.high < -0.01
    assert found.discordance == 0
    assert found.minimum_detectable_difference is None
    assert found.undefined["minimum_detectable_difference"] == "undefined: the arms agree on every question"


def test_the_same_seed_gives_the_same_summary_and_the_seed_touches_nothing_but_bootstrap_intervals() -> None:
    arms = arm("sft", some(0.7)), arm("icl", some(0.5)), arm("base", some(0.4))
    assert compare(*arms, seed=1) == compare(*arms, seed=1)
    one, two = compare(*arms, seed=1), compare(*arms, seed=2)
    assert one.arms == two.arms
    assert [pair.p for pair in one.pairs] == [pair.p for pair in two.pairs]
    assert [pair.interval for pair in one.pairs] == [pair.interval for pair in two.pairs]
    assert [pair.interval_questions for pair in one.pairs] != [pair.interval_questions for pair in two.pairs]


def test_every_interval_has_the_level_asked_for() -> None:
    found = compare(arm("sft", some(0.7)), arm("base", some(0.4)), level=0.9)
    assert {found.pairs[0].interval.level, found.arms[0].accuracy_interval.level} == {0.9}


def test_arms_of_equal_skill_are_seldom_called_different() -> None:
    rng = np.random.default_rng(1)
    false_claims = 0
    for _ in range(200):
        arms = [arm(name, (rng.random(60) < 0.5).tolist()) for name in ("sft", "icl", "dpo", "base")]
        found = compare_arms(arms, score=no_metrics, num_resamples=1)
        false_claims += any(pair.verdict != "not enough data" for pair in found.pairs)
    assert false_claims <= 16


def test_discordance_is_the_share_of_questions_on_which_one_arm_alone_is_right() -> None:
    first, second = some(0.7), some(0.5)
    found = compare(arm("sft", first), arm("base", second))
    assert found.discordance == pytest.approx(sum(a != b for a, b in zip(first, second, strict=True)) / 120)


def test_more_pairs_make_the_smallest_detectable_difference_larger() -> None:
    # Right on ever fewer questions, so that the mean discordance of the pairs is 1/4 both times.
    two = compare(arm("sft", [True] * 90 + [False] * 30), arm("base", [True] * 60 + [False] * 60))
    three = compare(
        arm("sft", [True] * 90 + [False] * 30),
        arm("icl", [True] * 45 + [False] * 75),
        arm("base", [True] * 67 + [False] * 53),
    )
    assert two.discordance == pytest.approx(three.discordance)
    found = [summary.minimum_detectable_difference for summary in (two, three)]
    assert found == [
        exact_detectable_difference(120, discordance=0.25),
        pytest.approx(exact_detectable_difference(120, discordance=0.25, alpha=0.05 / 3)),
    ]


def test_groups_make_the_smallest_detectable_difference_larger() -> None:
    # The arms differ on both questions of every third group: 120 questions are worth 60.
    first, second = [True, True, False, False, False, False] * 20, [False] * 120
    grouped = compare(arm("sft", first, group_size=2), arm("base", second, group_size=2))
    expected = exact_detectable_difference(59, discordance=1 / 3)
    assert grouped.minimum_detectable_difference == pytest.approx(expected, rel=0.01)


def test_a_summary_holds_plain_numbers_that_json_can_write() -> None:
    found = dataclasses.asdict(
        compare(arm("sft", some(0.7), group_size=2), arm("base", some(0.4), group_size=2))
    )
    assert json.loads(json.dumps(found))["arms"][0]["accuracy"] == found["arms"][0]["accuracy"]
    assert "np." not in repr(found)


def test_arms_that_answered_other_questions_are_refused_by_name() -> None:
    whole = arm("sft", [True, False, True])
    with pytest.raises(DataError, match=r"arm 'sft' \(refit 0\) and arm 'icl' .* question 1 is 'q1' .* 'q2'"):
        shuffled = tuple(predictions([True, False, True])[index] for index in (0, 2, 1))
        compare(whole, dataclasses.replace(arm("icl", []), predictions=(shuffled,)))
    with pytest.raises(DataError, match=r"not answer the same questions: 3 and 2; only one of them 'q2'"):
        compare(whole, arm("icl", [True, False]))
    with pytest.raises(DataError, match=r"arm 'sft' \(refit 1\) did not answer .* 3 and 4; .* 'q3'"):
        compare(arm("sft", [True] * 3, [True] * 4))


def test_arms_that_hold_other_answers_to_a_question_are_refused() -> None:
    right, wrong = predictions([True, False]), predictions([True, False])
    wrong = (wrong[0], dataclasses.replace(wrong[1], answer_index=2))
    with pytest.raises(ContractError, match="hold different answers, groups or kinds for 'q1'"):
        compare(
            *(dataclasses.replace(arm(n, []), predictions=(p,)) for n, p in (("sft", right), ("icl", wrong)))
        )


def test_arms_that_cannot_be_compared_are_refused() -> None:
    with pytest.raises(DataError, match="no arm to compare"):
        compare()
    with pytest.raises(DataError, match="a name occurs twice"):
        compare(arm("sft", [True]), arm("sft", [False]))
    with pytest.raises(DataError, match="arm 'icl' has no predictions; refit it with at least one seed"):
        compare(arm("sft", [True]), arm("icl"))
    with pytest.raises(DataError, match="no question has options"):
        compare(arm("sft", [None, None]))
    with pytest.raises(DataError, match=r"only one question has options .* two at least"):
        compare(arm("sft", [True, None]))
    with pytest.raises(ValueError, match="margin must lie between 0 and 1, got 2"):
        compare_arms([arm("sft", [True, False])], score=no_metrics, margin=2)


def test_a_question_answered_twice_is_refused_by_name() -> None:
    once = predictions([True, False, True])
    twice = dataclasses.replace(arm("icl", []), predictions=((*once, once[1], once[0]),))
    with pytest.raises(DataError, match=r"arm 'icl' \(refit 0\) holds two records for 'q0', 'q1'; keep one"):
        compare(arm("sft", [True, False, True]), twice)


def test_a_score_that_is_no_number_is_refused_by_name() -> None:
    good = predictions([True, False, None])
    for bad in (
        (good[0], dataclasses.replace(good[1], option_logprobs=(-1.0, float("nan"))), good[2]),
        (good[0], good[1], dataclasses.replace(good[2], token_f1=float("nan"))),
    ):
        arms = arm("sft", [True, False, None]), dataclasses.replace(arm("icl", []), predictions=(good, bad))
        with pytest.raises(
            DataError, match=r"arm 'icl' \(refit 1\) holds a score that is not a number for 'q[12]'"
        ):
            compare(*arms)


def made_summary(
    accuracies: Mapping[str, float], p_corrected: Mapping[tuple[str, str], float]
) -> ComparisonSummary:
    """A summary with these accuracies and p-values; intervals reach 5 points to both sides."""
    around = Interval(0.0, 1.0)
    pairs = []
    for (first, second), p in p_corrected.items():
        difference = accuracies[first] - accuracies[second]
        pairs.append(
            PairSummary(
                first=first,
                second=second,
                difference=difference,
                interval=Interval(difference - 0.05, difference + 0.05),
                p=p,
                p_corrected=p,
                num_questions=120,
                num_first_only=0,
                num_second_only=0,
                verdict="not enough data" if p >= 0.05 else "better" if difference > 0 else "worse",
            )
        )
    arms = tuple(
        ArmSummary(
            arm=name,
            num_questions=120,
            num_seeds=1,
            accuracy=value,
            accuracy_interval=around,
            accuracy_by_seed=(value,),
        )
        for name, value in accuracies.items()
    )
    return ComparisonSummary(
        arms=arms,
        pairs=tuple(pairs),
        num_questions=120,
        num_groups=120,
        discordance=0.3,
        minimum_detectable_difference=0.1,
    )


def test_the_verdict_names_the_winner_and_who_cannot_be_told_apart() -> None:
    summary = made_summary(
        {"base": 0.5, "sft": 0.6, "icl": 0.51},
        {("sft", "icl"): 0.004, ("sft", "base"): 0.0004, ("icl", "base"): 0.7},
    )
    assert verdict_sentence(summary) == (
        "sft beats icl by 9.0 points [4.0, 14.0], p = 0.004, and base by 10.0 points [5.0, 15.0], p < 0.001 "
        "(Holm-corrected); icl and base cannot be told apart with 120 questions"
    )


def test_the_verdict_says_the_same_whoever_stands_first_in_a_pair() -> None:
    accuracies = {"sft": 0.6, "icl": 0.51}
    forward = made_summary(accuracies, {("sft", "icl"): 0.01})
    backward = made_summary(accuracies, {("icl", "sft"): 0.01})
    assert verdict_sentence(forward) == verdict_sentence(backward)
    assert verdict_sentence(forward) == "sft beats icl by 9.0 points [4.0, 14.0], p = 0.010 (Holm-corrected)"


def test_the_verdict_names_arms_that_are_equivalent_and_wins_that_do_not_matter() -> None:
    summary = made_summary(
        {"sft": 0.6, "dpo": 0.59, "base": 0.5},
        {("sft", "dpo"): 0.3, ("sft", "base"): 0.01, ("dpo", "base"): 0.02},
    )
    alike = dataclasses.replace(summary.pairs[0], verdict="equivalent within m")
    summary = dataclasses.replace(summary, pairs=(alike, *summary.pairs[1:]), margin=0.145)
    assert verdict_sentence(summary) == (
        "sft beats base by 10.0 points [5.0, 15.0], p = 0.010 (Holm-corrected); "
        "dpo beats base by 9.0 points [4.0, 14.0], p = 0.020, less than the 14.5 points that matter (Holm-corrected); "
        "sft and dpo are equivalent within 14.5 points"
    )


def test_arms_that_hardly_differ_on_many_questions_are_equivalent() -> None:
    first = some(0.6, 2000)
    second = [not right if index % 200 == 0 else right for index, right in enumerate(first)]
    found = compare(arm("sft", first), arm("base", second))
    assert found.pairs[0].verdict == "equivalent within m"
    assert (
        found.verdict.endswith("sft and base are equivalent within 2 points")
        or "base and sft" in found.verdict
    )
    assert found.tie_groups == (tuple(rank.arm for rank in found.ranks),)


def test_a_difference_that_another_seed_could_undo_is_not_claimed() -> None:
    # Clear over questions; but one seed is as good as the base and the other far better.
    base, weak, strong = some(0.5, 400), some(0.5, 400), some(0.9, 400, seed=1)
    pair = compare(arm("sft", weak, strong), arm("base", base)).pairs[0]
    assert pair.p_questions is not None and pair.p_questions < 0.001
    assert pair.p_two_level is not None and pair.p == pair.p_two_level > 0.05
    assert pair.interval_questions is not None
    assert pair.interval.low < 0 < pair.interval_questions.low
    assert pair.verdict == "not enough data"


def test_one_seed_of_a_method_is_said_to_be_too_few_for_the_variance_over_seeds() -> None:
    pair = compare(arm("sft", some(0.7)), arm("base", some(0.5))).pairs[0]
    assert pair.p_two_level is None and pair.standard_error_seeds is None
    assert pair.undefined["p_two_level"].startswith("undefined: one seed of sft; ")
    assert not compare(arm("sft", some(0.7), some(0.6)), arm("base", some(0.5))).pairs[0].undefined


def test_every_statistic_that_is_none_says_why() -> None:
    summary = compare(arm("sft", [True] * 5 + [False], group_size=6), arm("base", [False] * 6, group_size=6))
    for record in (summary, *summary.arms, *summary.pairs):
        for field in dataclasses.fields(record):
            if getattr(record, field.name) is None and field.name != "majority_baseline":
                why = record.undefined.get(field.name) or record.undefined.get(
                    field.name.replace("_corrected", "")
                )
                assert why is not None and why.startswith("undefined: "), field.name


def test_specialties_are_pooled_for_arms_and_pairs_and_corrected_together() -> None:
    summary = compare(arm("sft", some(0.7)), arm("icl", some(0.6)), arm("base", some(0.5)))
    for item in summary.arms:
        bare, pooled = item.by_specialty["cardiology"], item.pooled_specialties["cardiology"]
        assert abs(pooled.mean - item.accuracy) <= abs(bare.accuracy - item.accuracy)
    p_values = [found.p for pair in summary.pairs for found in pair.by_specialty.values()]
    corrected = [found.p_corrected for pair in summary.pairs for found in pair.by_specialty.values()]
    assert corrected == list(benjamini_hochberg(p_values)) and len(p_values) == 6


def test_the_winners_curse_needs_a_search_and_the_number_of_validation_questions() -> None:
    searched = dataclasses.replace(arm("sft", some(0.5)), validation_score=0.7, num_trials=4)
    arms = [searched, arm("base", some(0.5))]
    found = compare_arms(arms, score=no_metrics, num_resamples=10, num_validation=60).arms
    assert found[0].winners_curse is not None
    assert found[0].winners_curse.gap == pytest.approx(0.7 - found[0].accuracy)
    assert found[1].undefined["winners_curse"] == "undefined: nothing was searched for base"
    assert "number of validation questions" in compare(*arms).arms[0].undefined["winners_curse"]


def test_questions_needed_grow_as_the_difference_shrinks() -> None:
    summary = compare(arm("sft", some(0.7)), arm("base", some(0.5)))
    numbers = [needed.num_questions for needed in summary.questions_needed]
    assert [needed.difference for needed in summary.questions_needed] == [0.02, 0.05, 0.1]
    assert all(isinstance(number, int) for number in numbers) and numbers == sorted(numbers, reverse=True)  # type: ignore[type-var]


def test_questions_that_no_number_suffices_for_say_why() -> None:
    uneven = compare(arm("sft", some(0.4, 400), some(0.6, 400)), arm("base", some(0.5, 400)))
    assert uneven.questions_needed[0].num_questions is None
    assert "more seeds are needed" in uneven.undefined["questions_needed for 0.02"]
    alike = compare(arm("sft", [True] * 99 + [False]), arm("base", [True] * 100))
    assert alike.questions_needed[2].num_questions is None
    assert "fewer questions than that" in alike.undefined["questions_needed for 0.1"]


def test_the_verdict_says_when_no_method_beats_base() -> None:
    summary = made_summary(
        {"sft": 0.52, "icl": 0.51, "base": 0.5},
        {("sft", "icl"): 1.0, ("sft", "base"): 0.9, ("icl", "base"): 1.0},
    )
    assert verdict_sentence(summary) == (
        "no method is shown to beat base; sft, icl and base cannot be told apart with 120 questions"
    )


def test_the_verdict_says_when_base_beats_a_method() -> None:
    summary = made_summary({"dpo": 0.4, "base": 0.5}, {("dpo", "base"): 0.02})
    assert verdict_sentence(summary) == (
        "no method is shown to beat base; base beats dpo by 10.0 points [5.0, 15.0], p = 0.020 (Holm-corrected)"
    )


def test_the_verdict_lists_ties_that_overlap() -> None:
    summary = made_summary(
        {"sft": 0.6, "dpo": 0.55, "base": 0.5},
        {("sft", "dpo"): 0.3, ("sft", "base"): 0.01, ("dpo", "base"): 0.2},
    )
    assert verdict_sentence(summary) == (
        "sft beats base by 10.0 points [5.0, 15.0], p = 0.010 (Holm-corrected); "
        "sft and dpo cannot be told apart with 120 questions, nor can dpo and base"
    )


def test_the_verdict_claims_nothing_at_a_corrected_p_of_exactly_the_level() -> None:
    # 6 questions that only the first has right, of 6 that differ: p = 2 / 64; with three pairs 3 / 32.
    first, second = [True] * 6 + [False] * 20, [False] * 26
    assert "beats" in compare(arm("sft", first), arm("base", second)).verdict
    assert "beats" not in compare(arm("sft", first), arm("icl", second), arm("base", second)).verdict


def test_the_verdict_on_a_lone_arm_compares_nothing() -> None:
    found = compare(arm("base", some(0.5)))
    assert found.verdict == "base was the only arm; there is nothing to compare it with"
    assert found.pairs == ()
    assert found.minimum_detectable_difference is None
