from __future__ import annotations

import csv
import dataclasses
import json
import re
from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path

import pytest

from medalign.errors import StorageError
from medalign.records import ArmResult, Question
from medalign.reporting.findings import derive
from medalign.reporting.html import render_html
from medalign.reporting.plain_words import explain
from medalign.reporting.plots import forest_plot
from medalign.reporting.rows import arm_rows
from medalign.reporting.writing import write_report
from medalign.stats.comparison import ComparisonSummary, compare_arms
from tests.reporting import samples

VOID = {"meta", "br", "img", "link", "input", "hr"}


class Page(HTMLParser):
    """What a browser would see: elements in balance, ids, addresses, scripts and the visible text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.addresses: list[str] = []
        self.tags: list[str] = []
        self.text = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.ids += [value for name, value in attrs if name == "id"]
        self.addresses += [value for name, value in attrs if name in ("href", "src", "xlink:href", "action")]
        assert not any(name.startswith("on") for name, _ in attrs)
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, f"</{tag}> closes another element"

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.handle_endtag(tag)

    def handle_data(self, data):
        self.text += data


def compare(arms: Sequence[ArmResult]) -> ComparisonSummary:
    return compare_arms(arms, score=lambda predictions: {}, num_resamples=200, majority_baseline=0.38)


def text_without_plots(questions: Sequence[Question], arms: Sequence[ArmResult]) -> str:
    """What a page says; its plots are what takes long."""
    data = samples.make_data(questions)
    return Page(render_html(data, derive(data, compare(arms), arms), ())).text


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    questions = samples.make_questions()
    arms = samples.make_arms(questions)
    path = tmp_path_factory.mktemp("report") / "made"
    files = write_report(path, samples.make_data(questions), compare(arms), arms)
    assert files[0] == path / "report.html" and all(file.is_file() for file in files)
    return path


@pytest.fixture(scope="module")
def source(folder: Path) -> str:
    return (folder / "report.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def page(source: str) -> Page:
    return Page(source)


def test_report_is_well_formed_and_no_id_stands_twice(page):
    assert page.open == []
    assert len(page.ids) == len(set(page.ids))


def test_report_refers_to_nothing_outside_itself(page, source):
    assert page.addresses and all(address.startswith("#") for address in page.addresses)
    assert {address[1:] for address in page.addresses} <= set(page.ids)
    assert "http:" not in source and "https:" not in source and "@import" not in source
    assert all(target.startswith("#") for target in re.findall(r"url\(([^)]*)\)", source))


def test_verdict_stands_before_everything_else(page):
    arms = samples.make_arms(samples.make_questions())
    verdict = compare(arms).verdict
    assert verdict[1:] in page.text
    assert page.text.index(verdict[1:]) < page.text.index("Differences between the arms")


def test_hostile_question_text_is_shown_and_never_markup(page, source):
    assert samples.HOSTILE_TEXT in page.text
    assert page.tags.count("script") == 1 and not {"img", "iframe", "u"} & set(page.tags)
    assert "<script>alert" not in source


def test_security_policy_names_the_only_script(source):
    import base64
    import hashlib

    (script,) = re.findall(r"<script>(.*?)</script>", source, flags=re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in source


def test_failed_and_stopped_trials_stand_with_their_reasons(page):
    for text in ("out of memory", "use a smaller batch_size", "behind the others at half of its budget"):
        assert text in page.text
    assert "orpo is not in the comparison:" in page.text


def test_long_lists_of_the_contract_are_cut_with_their_rest_counted(page):
    assert "and 41 more" in page.text


def test_page_shows_as_many_flips_as_fit_and_the_table_all(folder, source, monkeypatch, tmp_path):
    from medalign.reporting import html

    with open(folder / "flips.csv", newline="", encoding="utf-8") as file:
        flips = list(csv.DictReader(file))
    assert len(flips) > 40 and source.count('<details class="flip"') == len(flips)
    monkeypatch.setattr(html, "FLIPS_CHARS", 10_000)
    questions = samples.make_questions()
    arms = samples.make_arms(questions)
    write_report(tmp_path, samples.make_data(questions), compare(arms), arms)
    shown = (tmp_path / "report.html").read_text().count('<details class="flip"')
    assert (
        0 < shown < 10
        and f"the first {shown} are here, all of them in" in (tmp_path / "report.html").read_text()
    )
    (hostile,) = (row for row in flips if row["question_id"] == "made-hostile")
    assert hostile["question"] == "'" + samples.HOSTILE_TEXT


def test_results_json_holds_verdict_arms_and_pairs(folder):
    read = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    assert [row["arm"] for row in read["arms"]] == ["base", "icl", "sft", "dpo"]
    assert len(read["pairs"]) == 6 and read["verdict"] and read["majority_baseline"] == 0.38


def test_plots_are_pictures_and_nothing_unfinished_is_left(folder):
    names = {path.name for path in (folder / "plots").iterdir()}
    drawn = {"differences", "accuracy", "cost", "reliability", "coverage", "specialties"}
    drawn |= {"history", "search", "learning"}
    assert names == {f"{name}.{kind}" for name in drawn for kind in ("png", "svg")}
    for name in (
        *(f"plots/{name}.png" for name in drawn),
        "model_comparison.png",
        "specialty_performance.png",
    ):
        assert (folder / name).read_bytes().startswith(b"\x89PNG")
    assert all((folder / f"plots/{name}.svg").read_text().startswith("<?xml") for name in drawn)
    assert not list(folder.rglob("*.tmp"))


def test_a_plot_is_the_same_each_time_and_takes_the_colours_of_the_page():
    summary = compare(samples.make_arms(samples.make_questions(10)))
    svg = forest_plot(summary).svg
    assert svg == forest_plot(summary).svg
    assert "currentColor" in svg and "#1b1c1d" not in svg.lower() and "<text" in svg


def test_report_of_the_base_alone_can_be_written(tmp_path):
    questions = samples.make_questions(6)
    arms = samples.make_arms(questions, {"base": 0.5})
    data = dataclasses.replace(samples.make_data([]), trials=(), card={}, contract={}, environment={})
    write_report(tmp_path, data, compare(arms), arms)
    assert Page((tmp_path / "report.html").read_text(encoding="utf-8")).open == []


def test_unwritable_folder_is_one_clear_line(tmp_path):
    (tmp_path / "taken").write_text("a file, no folder")
    questions = samples.make_questions(6)
    arms = samples.make_arms(questions)
    with pytest.raises(StorageError, match="taken cannot be written"):
        write_report(tmp_path / "taken", samples.make_data(questions), compare(arms), arms)


def test_words_do_not_claim_what_only_an_uncorrected_interval_shows():
    arms = samples.make_arms(samples.make_questions())
    summary = compare(arms)
    (sft,) = (row for row in arm_rows(summary, arms) if row["arm"] == "sft")
    assert sft["verdict"] == "not enough data"
    sft |= {"difference_low": 0.004, "difference_high": 0.2}
    data = samples.make_data([])
    (sentence,) = (
        text for text in explain(data, derive(data, summary, arms), [sft]) if text.startswith("Whether sft")
    )
    assert "is not shown" in sentence and "chance alone" in sentence


def test_words_claim_a_difference_that_the_corrected_test_shows():
    questions = samples.make_questions()
    arms = samples.make_arms(questions, {"base": 0.2, "sft": 0.9})
    summary = compare(arms)
    data = samples.make_data(questions)
    sentences = " ".join(explain(data, derive(data, summary, arms), arm_rows(summary, arms)))
    assert "sft is better than the untouched model" in sentences
    assert "clearly above it: sft." in sentences


def test_words_name_the_arms_that_are_surer_than_their_accuracy_allows():
    questions = samples.make_questions()
    arms = samples.make_arms(questions, {"base": 0.1, "sft": 0.95})
    summary = compare(arms)
    data = samples.make_data(questions)
    (sentence,) = (
        text
        for text in explain(data, derive(data, summary, arms), arm_rows(summary, arms))
        if text.startswith("Surer than they should be")
    )
    assert "the untouched model (" in sentence and "sft (" not in sentence
    assert sentence.endswith("That the confidence of sft may be trusted is not shown by that.")


@pytest.mark.parametrize(
    ("seen", "said"),
    [
        (0.123, "questions show one of 12.3 in 100 four times out of five"),
        (None, "questions show none so reliably"),
    ],
)
def test_words_tell_the_difference_reckoned_beforehand_from_the_one_seen(seen, said):
    questions = samples.make_questions()
    arms = samples.make_arms(questions)
    summary = dataclasses.replace(compare(arms), minimum_detectable_difference=seen)
    data = samples.make_data(questions)
    sentences = " ".join(explain(data, derive(data, summary, arms), arm_rows(summary, arms)))
    assert "show a difference of 17.1 in 100 questions" in sentences and "differ on 30% of them" in sentences
    assert said in sentences


def test_page_warns_where_specialties_hold_questions_of_different_kinds(page):
    warning = "The specialties hold questions of different kinds"
    assert f"{warning} (2 options; 4 options; yes, no or maybe)" in page.text
    choices = [question for question in samples.make_questions() if len(question.options) == 4]
    assert warning not in text_without_plots(choices, samples.make_arms(choices))


def test_page_says_every_caveat_of_its_recommendations(page):
    from medalign.reporting.recommendations import CAVEATS

    assert all(caveat in page.text for caveat in CAVEATS)


def test_page_shows_what_the_split_alone_does_beside_the_winners_curse():
    questions = samples.make_questions()
    arms = [
        dataclasses.replace(arm, validation_score=0.6) if arm.arm == "base" else arm
        for arm in samples.make_arms(questions)
    ]
    (accuracy,) = (arm.accuracy for arm in compare(arms).arms if arm.arm == "base")
    text = text_without_plots(questions, arms)
    assert f"shows the second alone: {100 * (0.6 - accuracy):+.1f} points" in text
