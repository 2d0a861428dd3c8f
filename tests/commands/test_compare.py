"""The command line of the main job; the comparison itself is replaced at its one seam."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from medalign import compare as way_in
from medalign.commands import compare
from medalign.commands.settings import SETTINGS
from medalign.config.experiment import Experiment
from medalign.errors import ContractError, DataError


class Recorder:
    """Stands in for `run_comparison`: keeps what it was called with."""

    def __init__(self) -> None:
        self.calls: list[tuple[Experiment, dict[str, Any]]] = []
        self.outcome: Callable[[], Any] = lambda: 0

    def __call__(self, experiment: Experiment, **options: Any) -> Any:
        self.calls.append((experiment, options))
        return self.outcome()


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    recorder = Recorder()
    monkeypatch.setitem(sys.modules, "medalign.comparison", SimpleNamespace(run_comparison=recorder))
    return recorder


def raiser(error: BaseException) -> Callable[[], Any]:
    def raises() -> Any:
        raise error

    return raises


def test_without_options_the_default_experiment_runs(
    recorder: Recorder, capsys: pytest.CaptureFixture[str]
) -> None:
    assert way_in.main([]) == 0
    assert recorder.calls == [
        (Experiment(name="embedded_smollm2-135m_cpu"), {"resume": None, "dry_run": False})
    ]
    assert capsys.readouterr() == ("", "")


def test_every_option_reaches_its_setting(recorder: Recorder) -> None:
    line = (
        "--name n --methods sft,icl --model org/m --precision nf4 --data embedded --data a:x/y,b --train-size 1"
        " --validation-size 2 --test-size 3 --trials 4 --seeds 5 --seed 6 --scoring raw --no-early-stopping"
        " --equivalence-margin 0.05"
        " --slots 7 --slot-gib 8.5 --slot-cores 9 --results r --tracking-uri u --address a"
        f" --search-space sft={__file__}"
    )
    assert compare.main(line.split()) == 0
    experiment = recorder.calls[0][0]
    assert experiment == Experiment(
        name="n",
        model={"name": "org/m", "precision": "nf4"},
        data={"sources": ("embedded", "a:x/y", "b"), "train_size": 1, "validation_size": 2, "test_size": 3},
        methods=("sft", "icl"),
        trials=4,
        seeds=5,
        seed=6,
        scoring="raw",
        equivalence_margin=0.05,
        early_stopping=False,
        max_slots=7,
        slot_gib=8.5,
        slot_cores=9,
        results_folder="r",
        tracking_uri="u",
        ray_address="a",
        search_spaces={"sft": __file__},
    )


def test_every_setting_in_the_table_of_options_is_an_option() -> None:
    options = compare.build_parser("p")._option_string_actions
    assert set(SETTINGS) <= set(options)


@pytest.mark.parametrize(
    ("arguments", "resume", "dry_run"),
    [
        (["--resume"], "newest", False),
        (["--resume", "--dry-run"], "newest", True),
        (["--resume", "abc"], "abc", False),
        (["--dry-run"], None, True),
    ],
)
def test_resume_and_dry_run_are_handed_on(
    recorder: Recorder, arguments: list[str], resume: str | None, dry_run: bool
) -> None:
    assert compare.main(arguments) == 0
    assert recorder.calls[0][1] == {"resume": resume, "dry_run": dry_run}


@pytest.mark.parametrize(
    ("arguments", "lines"),
    [
        (["--methods", ""], ["--methods: empty; name at least one, as in [dpo, icl, sft]"]),
        (["--methods", "sft,pdo"], ["--methods: 'pdo' is not known; did you mean 'dpo'?"]),
        (
            ["--trials", "x", "--train-size", "0", "--scoring", "normalized"],
            [
                "--train-size: 0; must be at least 1",
                "--trials: 'x'; must be a whole number",
                "--scoring: 'normalized'; use one of raw, normalised",
            ],
        ),
        (["--search-space", "sft"], ["--search-space: 'sft'; write METHOD=FILE"]),
        (["--search-space", "sft=absent"], ["--search-space sft: 'absent' is not a file; check the path"]),
        (["--test-siz", "3"], ["--test-siz: not an option; did you mean --test-size?"]),
        (["--model"], ["--model: expected one argument; see `medalign compare --help`"]),
        (["stray"], ["stray: not an option; `medalign compare --help` lists them"]),
        (
            ["--name", "a b"],
            ["--name: 'a b'; must be letters, digits and . + - _, and start with a letter or digit"],
        ),
    ],
)
def test_bad_input_is_one_line_a_fault_before_anything_runs(
    recorder: Recorder, capsys: pytest.CaptureFixture[str], arguments: list[str], lines: list[str]
) -> None:
    assert compare.main(arguments) == 2
    printed = capsys.readouterr()
    assert printed.err.splitlines() == [f"medalign: {line}" for line in lines]
    assert printed.out == "" and recorder.calls == []


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (DataError("too few\n questions"), 2, "medalign: too few questions\n"),
        (ContractError("arms differ"), 1, "medalign: arms differ\n"),
        (KeyboardInterrupt(), 130, "medalign: interrupted\n"),
    ],
)
def test_an_error_of_the_comparison_becomes_one_line_and_an_exit_code(
    recorder: Recorder, capsys: pytest.CaptureFixture[str], error: BaseException, code: int, text: str
) -> None:
    recorder.outcome = raiser(error)
    assert compare.main([]) == code
    assert capsys.readouterr().err == text


def test_a_bug_keeps_its_traceback(recorder: Recorder, capsys: pytest.CaptureFixture[str]) -> None:
    recorder.outcome = raiser(ZeroDivisionError("a bug"))
    assert compare.main([]) == 1
    said = capsys.readouterr().err
    assert said.startswith("Traceback") and said.endswith("ZeroDivisionError: a bug\n")


def test_an_exit_code_of_the_comparison_is_the_commands(recorder: Recorder) -> None:
    recorder.outcome = lambda: 3
    assert compare.main([]) == 3
    recorder.outcome = lambda: SimpleNamespace(verdict="fine")
    assert compare.main([]) == 0


def test_help_names_every_default_as_the_default_experiment_has_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit, match="0"):
        compare.main(["--help"])
    text = " ".join(capsys.readouterr().out.split())
    default = Experiment(name="x")
    for option, value in {
        "--methods": ",".join(default.methods),
        "--model": default.model.name,
        "--train-size": default.data.train_size,
        "--validation-size": default.data.validation_size,
        "--test-size": default.data.test_size,
        "--trials": default.trials,
        "--seeds": default.seeds,
        "--seed": default.seed,
        "--scoring": default.scoring,
        "--equivalence-margin": default.equivalence_margin,
        "--slot-gib": f"{default.slot_gib:g}",
        "--results": default.results_folder,
    }.items():
        after = text.split(f" {option} ", 1)[1]
        assert after.split("(default: ", 1)[1].startswith(f"{value})"), option
