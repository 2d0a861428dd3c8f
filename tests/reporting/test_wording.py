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
