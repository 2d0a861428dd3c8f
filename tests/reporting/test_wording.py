from __future__ import annotations

import pytest

from medalign.reporting import wording


def test_fractions_are_shown_as_percent():
    assert wording.percent(0.625) == "62.5%"
    assert wording.percent_range(0.536, 0.706) == "[53.6, 70.6]"
    assert wording.percent(None) == "-" and wording.percent_range(None, None) == ""


@pytest.mark.parametrize(
    ("difference", "shown"), [(0.09, "+9.0"), (-0.031, "-3.1"), (0.0, "+0.0"), (-0.0001, "+0.0"), (None, "-")]
)
def test_differences_carry_their_sign_and_zero_is_never_negative(difference, shown):
    assert wording.points(difference) == shown


@pytest.mark.parametrize(
    ("p", "shown"), [(0.0004, "< 0.001"), (0.001, "0.001"), (0.04, "0.040"), (1.0, "1.000")]
)
def test_p_has_three_decimals(p, shown):
    assert wording.p_value(p) == shown


def test_a_setting_is_one_line_without_needless_digits():
    assert wording.setting({"learning_rate": 0.00031234567, "order": "as_selected", "shots": 4}) == (
        "learning_rate=0.0003123, order=as_selected, shots=4"
    )
    assert wording.setting({}) == "-"


def test_a_sentence_gets_a_capital_unless_it_begins_with_an_arm():
    assert wording.sentence("no method wins", ["sft"]) == "No method wins."
    assert wording.sentence("sft beats base", ["sft"]) == "sft beats base."


@pytest.mark.parametrize(
    ("seconds", "shown"), [(None, "-"), (4.26, "4.3 s"), (59.7, "60 s"), (150, "2.5 min"), (7200, "2.0 h")]
)
def test_durations_come_in_the_unit_that_a_person_would_choose(seconds, shown):
    assert wording.duration(seconds) == shown


@pytest.mark.parametrize(
    ("value", "shown"), [(None, "-"), (0, "-"), (3.4e15, "3.4 PFLOP"), (2e12, "2 TFLOP"), (5e6, "5 MFLOP")]
)
def test_operations_have_a_metric_prefix(value, shown):
    assert wording.flops(value) == shown


@pytest.mark.parametrize(("joules", "shown"), [(None, "-"), (7200, "2.0 Wh"), (9e6, "2.50 kWh")])
def test_energy_is_in_watt_hours(joules, shown):
    assert wording.energy(joules) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [(None, "-"), (0, "0.00 EUR"), (12.4, "12.40 EUR"), (0.0123, "0.012 EUR"), (2e-6, "< 0.0001 EUR")],
)
def test_small_amounts_of_money_are_not_rounded_away(value, shown):
    assert wording.money(value, "EUR") == shown


def test_long_texts_are_clipped():
    assert wording.clipped("abcdefgh", 8) == "abcdefgh" and wording.clipped("abcd efghi", 8) == "abcd..."
