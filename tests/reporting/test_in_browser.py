"""The report as a person meets it: in headless Chromium, wide and narrow, by mouse and keyboard, dark and printed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from medalign.reporting.writing import write_report
from medalign.stats.comparison import compare_arms
from tests.reporting import samples
from tests.reporting.browser import Browser, find_chromium

pytestmark = pytest.mark.skipif(
    find_chromium() is None, reason="no Chromium is installed; apt-get install chromium"
)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    questions = samples.make_questions()
    arms = samples.make_arms(questions)
    folder = tmp_path_factory.mktemp("report")
    summary = compare_arms(arms, score=lambda _: {}, num_resamples=200, majority_baseline=0.38)
    return write_report(folder, samples.make_data(questions), summary, arms)[0]


@pytest.fixture(scope="module")
def browser(page: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("profile")) as browser:
        browser.resize(1280)
        browser.open(page)
        yield browser


@pytest.fixture
def fresh(browser: Browser, page: Path) -> Browser:
    browser.prefer()
    browser.resize(1280)
    browser.open(page)
    return browser


def test_the_page_asks_for_nothing_but_itself_and_complains_of_nothing(browser: Browser, page: Path) -> None:
    assert set(browser.requests) == {page.absolute().as_uri()}
    assert browser.complaints == []


def test_nothing_that_a_question_smuggles_in_runs(browser: Browser) -> None:
    assert browser.evaluate("document.querySelectorAll('main img, main script, main u').length") == 0
    shown = browser.evaluate("document.querySelector('#flips').textContent")
    assert samples.HOSTILE_TEXT in shown


def test_the_verdict_is_on_the_first_screen(fresh: Browser) -> None:
    bottom = fresh.evaluate("document.querySelector('.glance').getBoundingClientRect().bottom")
    assert bottom < 900


@pytest.mark.parametrize("width", [1280, 768, 390, 320])
def test_the_page_never_scrolls_sideways(fresh: Browser, width: int) -> None:
    fresh.resize(width, mobile=width < 500)
    wide = "[...document.querySelectorAll('main *')].filter((e) => !e.closest('.scroll, svg') && "
    wide += "e.getBoundingClientRect().right > innerWidth + 1).map((e) => e.outerHTML.slice(0, 80))"
    assert fresh.evaluate("document.documentElement.scrollWidth") <= width
    assert fresh.evaluate(wide) == []


@pytest.mark.parametrize("width", [1280, 390])
def test_no_label_in_a_plot_is_too_small_to_read_or_cut_off(fresh: Browser, width: int) -> None:
    fresh.resize(width, mobile=width < 500)
    script = """[...document.querySelectorAll('figure svg')].flatMap((svg) => {
      const frame = svg.getBoundingClientRect();
      return [...svg.querySelectorAll('text')].map((text) => text.getBoundingClientRect()).filter((box) =>
        box.height < 8 || box.left < frame.left - 2 || box.right > frame.right + 2 || box.top < frame.top - 2);
    }).length"""
    assert fresh.evaluate(script) == 0


def column(browser: Browser, table: str, number: int) -> list[str]:
    cells = f"[...document.querySelectorAll('{table} tbody tr')].map((row) => row.children[{number}])"
    return json.loads(
        browser.evaluate(f"JSON.stringify({cells}.map((cell) => cell.dataset.value ?? cell.textContent))")
    )


def test_a_table_is_sorted_by_the_column_whose_heading_is_pressed_with_the_keyboard(fresh: Browser) -> None:
    heading = "document.querySelectorAll('#differences table.sortable')[0].querySelectorAll('th button')[1]"
    fresh.evaluate(f"{heading}.focus()")
    fresh.press("Enter", code=13, text="\r")
    values = [float(text) for text in column(fresh, "#differences .scroll table.sortable", 1)[:6]]
    assert values == sorted(values, reverse=True)
    fresh.press("Enter", code=13, text="\r")
    values = [float(text) for text in column(fresh, "#differences .scroll table.sortable", 1)[:6]]
    assert values == sorted(values)
    assert fresh.evaluate(f"{heading}.closest('th').ariaSort") == "ascending"


def test_every_control_is_reached_by_the_keyboard_in_the_order_of_the_page(fresh: Browser) -> None:
    fresh.press("Tab", code=9)
    assert fresh.evaluate("document.activeElement.className") == "skip"
    seen = []
    for _ in range(200):
        fresh.press("Tab", code=9)
        seen.append(fresh.evaluate("document.activeElement.closest('section')?.id"))
    reached = list(dict.fromkeys(name for name in seen if name))
    order = json.loads(
        fresh.evaluate("JSON.stringify([...document.querySelectorAll('main > section')].map((s) => s.id))")
    )
    assert reached == [name for name in order if name in reached] and "flips" in reached


def test_a_mark_says_what_it_stands_for_when_the_keyboard_comes_to_it(fresh: Browser) -> None:
    fresh.evaluate("document.querySelector('[id^=differences] [data-tip]').focus()")
    first = fresh.evaluate("tip.textContent")
    assert not fresh.evaluate("tip.hidden") and "points" in first and "corrected p" in first
    fresh.press("ArrowRight", code=39)
    assert fresh.evaluate("tip.textContent") != first
    fresh.press("Escape", code=27)
    assert fresh.evaluate("tip.hidden")


def test_chosen_arms_stand_out_in_every_plot(fresh: Browser) -> None:
    dimmed = "[...new Set([...document.querySelectorAll('svg .dim')].map((mark) => mark.dataset.arm))].sort()"
    assert fresh.evaluate(dimmed) == []
    fresh.evaluate("document.querySelector('.chips button[data-arm=sft]').click()")
    assert fresh.evaluate(dimmed) == ["base", "dpo", "icl"]
    fresh.evaluate("document.querySelector('.chips button[data-arm=sft]').click()")
    assert fresh.evaluate(dimmed) == []


def test_questions_are_filtered_by_arm_specialty_and_words(fresh: Browser) -> None:
    shown = "[...document.querySelectorAll('details.flip:not([hidden])')]"
    number = fresh.evaluate(f"{shown}.length")
    set_to = "(() => { const form = document.getElementById('filter'); form.elements['%s'].value = '%s'; "
    set_to += "form.dispatchEvent(new Event('input')); })()"
    fresh.evaluate(set_to % ("right", "sft"))
    fresh.evaluate(set_to % ("wrong", "base"))
    left = fresh.evaluate(f"{shown}.length")
    assert 0 < left < number
    assert fresh.evaluate(f"{shown}.every((each) => each.dataset.right.split(' ').includes('sft'))")
    assert fresh.evaluate(f"{shown}.every((each) => each.dataset.wrong.split(' ').includes('base'))")
    assert (
        fresh.evaluate("document.querySelector('#filter output').textContent") == f"{left} of {number} shown"
    )
    fresh.evaluate(set_to % ("words", "onerror"))
    assert fresh.evaluate(f"{shown}.map((each) => each.dataset.specialty)") == ["<u>odd</u>"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_its_ground(fresh: Browser, scheme: str) -> None:
    """WCAG 2.2, 1.4.3: a contrast of 4.5 for text, in both schemes; SVG text takes the page's colour."""
    fresh.prefer(prefers_color_scheme=scheme)
    script = """(() => {
      const linear = (v) => v <= 10.31475 ? v / 3294.6 : ((v / 255 + 0.055) / 1.055) ** 2.4;
      const light = (c) => { const [r, g, b] = c.match(/[\\d.]+/g).map(Number).map(linear);
        return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
      const ground = (e) => { for (; e; e = e.parentElement) { const c = getComputedStyle(e).backgroundColor;
        if (!/, 0\\)$/.test(c) && c !== "transparent") return c; } return "rgb(255, 255, 255)"; };
      const weak = [];
      for (const e of document.querySelectorAll("p, li, th, td, figcaption, summary, a, button, h1, h2, span, code")) {
        if (!e.textContent.trim() || !e.getClientRects().length) continue;
        const [a, b] = [light(getComputedStyle(e).color), light(ground(e))].sort((x, y) => y - x);
        if ((a + 0.05) / (b + 0.05) < 4.5) weak.push(e.outerHTML.slice(0, 100));
      }
      return weak;
    })()"""
    assert fresh.evaluate(script) == []
    background = fresh.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (background == "rgb(255, 255, 255)") == (scheme == "light")
    ink = fresh.evaluate("getComputedStyle(document.querySelector('figure svg text')).fill")
    assert (ink == "rgb(0, 0, 0)") is False and ink


def test_it_prints_without_its_controls(fresh: Browser) -> None:
    pdf = fresh.pdf()
    assert pdf.startswith(b"%PDF") and 3 <= pdf.count(b"/Type /Page\n") + pdf.count(b"/Type /Page ") <= 40
    fresh.call("Emulation.setEmulatedMedia", media="print")
    hidden = "['nav', '.filter', '.chips'].every((name) => "
    hidden += "getComputedStyle(document.querySelector(name)).display === 'none')"
    assert fresh.evaluate(hidden)
    assert fresh.evaluate("document.documentElement.scrollWidth <= innerWidth")
    fresh.call("Emulation.setEmulatedMedia", media="")


def test_without_script_everything_but_the_controls_is_there(fresh: Browser, page: Path) -> None:
    fresh.call("Emulation.setScriptExecutionDisabled", value=True)
    try:
        fresh.open(page)
        text = fresh.evaluate("document.querySelector('main').innerText")
        controls = fresh.evaluate("getComputedStyle(document.querySelector('.filter')).display")
        size = fresh.evaluate("document.querySelector('figure svg').getBoundingClientRect().height")
    finally:
        fresh.call("Emulation.setScriptExecutionDisabled", value=False)
    assert "What this cannot show" in text and controls == "none" and size > 100
