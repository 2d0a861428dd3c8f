"""What cannot be used is one line and exit code 2 before anything is spent; and the dry run, which spends nothing."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from medalign.commands import compare
from medalign.config.experiment import Experiment
from medalign.errors import ConfigError
from medalign.placing import check_overlap
from medalign.records import Cost
from medalign.scheduling import gpu_sharing
from medalign.scheduling.slots import Slot, Slots
from medalign.searching import method_plans, search_spaces
from medalign.stats.power import exact_detectable_difference
from tests.tiny_models import make_tiny

FIXTURES = Path(__file__).parent / "data" / "fixtures"
SIZES = ("--train-size", "4", "--validation-size", "2", "--test-size", "3", "--seeds", "1")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny(tmp_path_factory.mktemp("models") / "llama", "llama", window=1024)


@pytest.fixture
def here(tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with files that are wrong, each in its own way."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model").symlink_to(model)
    (tmp_path / "typo.yaml").write_text("name: typo\ntrails: 3\n")
    (tmp_path / "swapped.yaml").write_text(
        "method: sft\nspace:\n  learning_rate: {type: float, low: 0.1, high: 0.01, log: true}\n"
    )
    (tmp_path / "negative.yaml").write_text(
        "method: sft\nspace:\n  learning_rate: {type: float, low: -0.1, high: 0.1}\n"
    )
    (tmp_path / "stranger.yaml").write_text("method: sft\nspace:\n  shots: {type: int, low: 0, high: 8}\n")
    broken = tmp_path / "broken"
    shutil.copytree(FIXTURES / "pubmed_qa", broken)
    lines = (broken / "train.jsonl").read_text().splitlines()
    (broken / "train.jsonl").write_text("\n".join([lines[0], lines[1][:-20], *lines[2:]]) + "\n")
    (tmp_path / "empty").mkdir()
    (tmp_path / "not_a_folder").write_text("")
    return tmp_path


BAD_INPUT = {
    "unknown method": (["--methods", "sft,dop"], r"--methods: 'dop' is not known; did you mean 'dpo'\?"),
    "no method": (["--methods", ""], r"--methods: empty; name at least one, as in \[dpo, icl, sft\]"),
    "the base as a method": (
        ["--methods", "base"],
        r"--methods: 'base'; the base always takes part: leave it out",
    ),
    "unknown source": (
        ["--data", "pubmedqa"],
        r"data: no source named 'pubmedqa'; did you mean pubmed_qa or \w+\?",
    ),
    "absent folder of data": (
        ["--data", "medmcqa:nowhere"],
        r"data: no file or folder 'nowhere'; give an existing one",
    ),
    "unknown model": (
        ["--model", "smolm"],
        r"model: 'smolm' is no folder here and no Hub id; use smollm2-135m.*",
    ),
    "folder without a model": (
        ["--model", "empty"],
        r"model: 'empty' holds no config\.json; .*save_pretrained",
    ),
    "model that the Hub does not give": (
        ["--model", "nobody/no-model"],
        r"model: 'nobody/no-model' cannot be fetched from the Hub \(.*\); check the id and the network.*",
    ),
    "unknown key in the experiment file": (
        ["--experiment", "typo.yaml"],
        r"typo\.yaml: trails: unknown key; did you mean 'trials'\?",
    ),
    "unknown experiment": (
        ["--experiment", "pubmed_qa_smollm2"],
        r"experiment: 'pubmed_qa_smollm2' is not a file .*did you mean 'pubmed_qa_smollm2-135m_cpu'\?",
    ),
    "search space with low above high": (
        ["--search-space", "sft=swapped.yaml"],
        r"swapped\.yaml: space\.learning_rate\.low: 0\.1 is above high 0\.01; swap them",
    ),
    "search space beyond what the method takes": (
        ["--search-space", "sft=negative.yaml"],
        r"negative\.yaml: learning_rate: -0\.1 is not above 0",
    ),
    "search space of unknown settings": (
        ["--search-space", "sft=stranger.yaml"],
        r"stranger\.yaml: space\.shots: not a setting of sft; use one of .*learning_rate.*",
    ),
    "fewer questions than asked for": (
        ["--train-size", "100000"],
        r"train_size: 100000 questions asked for, \d+ available .*; ask for fewer or add a source",
    ),
    "broken line in local data": (
        ["--data", "pubmed_qa:broken"],
        r"broken/train\.jsonl:2: not valid JSON \(.* at column \d+\)",
    ),
    "results below a file": (
        ["--results", "not_a_folder/results"],
        r"results_folder: .*/not_a_folder/results cannot be written \(Not a directory\); "
        r"name another folder with --results",
    ),
    "tracking store below a file": (
        ["--tracking-uri", "sqlite:///not_a_folder/mlflow.db"],
        r"tracking_uri: .*/not_a_folder.* cannot be made .*; name another store with --tracking-uri",
    ),
    "unknown comparison to continue": (
        ["--resume", "nothing-like-this"],
        r"resume: no comparison 'nothing-like-this' in results; the newest there: none",
    ),
    "no comparison to continue": (
        ["--resume"],
        r"resume: no unfinished comparison in results; leave --resume out to start one",
    ),
}


@pytest.mark.parametrize("what", BAD_INPUT)
def test_bad_input_is_one_line_that_names_field_and_value(
    here: Path, capfd: pytest.CaptureFixture[str], what: str
) -> None:
    options, line = BAD_INPUT[what]
    assert compare.main(["--model", "model", *SIZES, *options]) == 2
    printed = capfd.readouterr().err
    assert len(printed.splitlines()) == 1, printed
    assert re.fullmatch(f"medalign: {line}\n", printed), printed
    assert not (here / "results").exists()


def test_overlapping_trials_need_a_gpu_of_this_machine(
    here: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert compare.main(["--model", "model", *SIZES, "--overlap"]) == 2
    line = "medalign: overlap: the slots of this machine have no GPU; leave it out\n"
    assert capfd.readouterr().err == line
    monkeypatch.setattr(gpu_sharing, "shutil", None)  # nothing is looked for where a cluster is named
    experiment = Experiment(name="x", overlap=True, ray_address="auto")
    with pytest.raises(ConfigError, match=r"overlap: is for the GPUs of this machine; on a cluster start"):
        check_overlap(experiment, Slots(slot=Slot(memory_gib=24.0)))


def test_all_faults_of_a_search_space_and_an_experiment_are_shown_together(
    here: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (here / "typo.yaml").write_text("name: typo\ntrails: 3\nseeds: 0\nmodel: {precision: bf8}\n")
    assert compare.main(["--experiment", "typo.yaml"]) == 2
    lines = capfd.readouterr().err.splitlines()
    assert len(lines) == 3 and all(line.startswith("medalign: typo.yaml: ") for line in lines)


def test_a_dry_run_says_the_plan_and_writes_nothing(here: Path, capfd: pytest.CaptureFixture[str]) -> None:
    before = sorted(here.rglob("*"))
    options = ["--model", "model", "--data", f"embedded,medmcqa:{FIXTURES / 'medmcqa'}", "--test-size", "120"]
    assert compare.main([*options, "--methods", "sft,icl", "--trials", "3", "--dry-run"]) == 0
    printed = capfd.readouterr()
    said = dict(line.split(maxsplit=1) for line in printed.out.splitlines()[1:])
    assert said["arms"] == "base, sft, icl"
    assert said["questions"].startswith("100 to learn from, 60 for validation, 120 for the test")
    assert said["questions"].endswith(f"out of embedded, medmcqa:{FIXTURES / 'medmcqa'}")
    assert said["trials"].startswith("3 setting(s) tried for each method")
    num_scored = int(said["questions"].partition(" for the test (")[2].split()[0])
    smallest = exact_detectable_difference(num_scored, discordance=0.3, alpha=0.05 / 3) or 0
    assert 0.1 < smallest < 0.3
    assert said["detectable"].startswith(f"differences in accuracy from about {100 * smallest:.0f} points on")
    assert printed.err == "" and sorted(here.rglob("*")) == before


def test_what_a_comparison_leaves_out_is_said(here: Path, capfd: pytest.CaptureFixture[str]) -> None:
    question = json.loads((FIXTURES / "medmcqa" / "train.jsonl").read_text().splitlines()[0])
    local = here / "medmcqa"
    shutil.copytree(FIXTURES / "medmcqa", local)
    with (local / "train.jsonl").open("a") as stream:
        stream.write(json.dumps({**question, "id": "again", "opb": question["opa"]}) + "\n")
    assert compare.main(["--model", "model", *SIZES, "--data", "medmcqa:medmcqa", "--dry-run"]) == 0
    assert "\nleft out   " in capfd.readouterr().out


def test_what_was_spent_on_pairs_is_off_the_budget_of_the_methods_that_learn_from_them() -> None:
    experiment = Experiment(name="e", budget_gpu_hours=3.0)
    spaces = search_spaces(experiment, {})
    plans = {plan.method: plan for plan in method_plans(experiment, spaces, None, Cost(wall_seconds=600.0))}
    assert plans["dpo"].budget_seconds == 3000.0
    assert plans["sft"].budget_seconds == plans["icl"].budget_seconds == 3600.0
    dear = method_plans(experiment, spaces, None, Cost(wall_seconds=1e6))
    assert next(plan for plan in dear if plan.method == "dpo").budget_seconds == 0.0
