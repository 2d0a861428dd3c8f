"""Numbers and settings as a person reads them. Fractions come in, percent goes out."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

UNDEFINED = "-"


def percent(fraction: float | None) -> str:
    """`0.625` as `62.5%`."""
    return UNDEFINED if fraction is None else f"{100 * fraction:.1f}%"


def percent_range(low: float | None, high: float | None) -> str:
    """An interval of fractions as `[53.6, 70.6]`, in percent."""
    return "" if low is None or high is None else f"[{100 * low:.1f}, {100 * high:.1f}]"


def points(fraction: float | None) -> str:
    """A difference of fractions as percentage points with its sign: `+9.0`."""
    return UNDEFINED if fraction is None else f"{_no_negative_zero(100 * fraction):+.1f}"


def points_range(low: float | None, high: float | None) -> str:
    """An interval of differences as `[+3.1, +14.8]`, in percentage points."""
    return "" if low is None or high is None else f"[{points(low)}, {points(high)}]"


def p_value(p: float | None) -> str:
    """Three decimals, and `< 0.001` below them."""
    if p is None:
        return UNDEFINED
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def seconds(value: float | None) -> str:
    """Whole seconds from ten on, one decimal below."""
    if value is None:
        return UNDEFINED
    return f"{value:.1f}" if value < 10 else f"{value:,.0f}"


def count(value: float | None) -> str:
    """With thousands set apart."""
    return UNDEFINED if value is None else f"{value:,.0f}"


def gib(value: float | None) -> str:
    """One decimal; a peak that was not measured is undefined."""
    return UNDEFINED if not value else f"{value:.1f}"


def duration(seconds: float | None) -> str:
    """Seconds in the unit that a person would choose: `48 s`, `7.4 min`, `3.1 h`."""
    if seconds is None:
        return UNDEFINED
    if seconds < 100:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 6000 else f"{seconds / 3600:,.1f} h"


def flops(value: float | None) -> str:
    """Floating-point operations with a metric prefix: `3.4 PFLOP`; what was not counted is undefined."""
    if not value:
        return UNDEFINED
    for prefix, size in (("E", 1e18), ("P", 1e15), ("T", 1e12), ("G", 1e9)):
        if value >= size:
            return f"{value / size:.3g} {prefix}FLOP"
    return f"{value / 1e6:.3g} MFLOP"


def energy(joules: float | None) -> str:
    """Watt-hours, or kilowatt-hours from a thousand on."""
    if joules is None:
        return UNDEFINED
    hours = joules / 3600
    return f"{hours / 1000:.2f} kWh" if hours >= 1000 else f"{hours:.1f} Wh"


def money(value: float | None, currency: str) -> str:
    """`12.40 EUR`, with more decimals for amounts that two would hide."""
    return UNDEFINED if value is None else f"{amount(value)} {currency}"


def amount(value: float) -> str:
    """Two decimals; two digits that are not 0 below a tenth, down to a ten-thousandth."""
    if value >= 0.1 or value == 0:
        return f"{value:,.2f}"
    return f"{value:.2g}" if value >= 1e-4 else "< 0.0001"


def clipped(text: str, length: int) -> str:
    """The text, or its beginning with three dots."""
    return text if len(text) <= length else text[: length - 3].rstrip() + "..."


def decimals(value: float | None) -> str:
    """A fraction that is not a percentage, such as F1, with three decimals."""
    return UNDEFINED if value is None else f"{value:.3f}"


def setting(values: Mapping[str, Any]) -> str:
    """A trial's setting on one line: `learning_rate=0.0002, lora_rank=16`."""
    return ", ".join(f"{name}={plain(value)}" for name, value in values.items()) or UNDEFINED


def plain(value: Any) -> str:
    """One value without needless digits."""
    if isinstance(value, float):
        return f"{value:.4g}"
    return str(value)


def in_hundred(fraction: float) -> str:
    """A difference as a number of questions out of 100, for readers who do not think in percentage points."""
    return f"{abs(100 * fraction):.1f}".removesuffix(".0")


def sentence(text: str, names: Collection[str]) -> str:
    """The text with a capital, unless it begins with a name, and a full stop."""
    words = text.split(maxsplit=1)
    first = text if not words or words[0] in names else text[0].upper() + text[1:]
    return first if first.endswith(".") else f"{first}."


def _no_negative_zero(value: float) -> float:
    return 0.0 if abs(value) < 0.05 else value
