"""`medalign plan`: the table, and what cannot be planned."""

from __future__ import annotations

import subprocess
import sys

import pytest

from medalign.commands.plan import USUAL, main


def table(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[list[str]]:
    assert main(arguments) == 0
    return [line.split() for line in capsys.readouterr().out.splitlines()[2:]]


def test_every_usual_model_is_planned_for_both_arms_and_three_lengths(
    capsys: pytest.CaptureFixture[str],
) -> None:
    rows = table(capsys, "--precision", "nf4")
    assert [row[0] for row in rows] == [name for name in USUAL for _ in range(6)]
    assert {tuple(row[3:5]) for row in rows} == {
        (a, t) for a in ("sft", "dpo") for t in ("512", "1024", "2048")
    }
    assert all(0 <= float(row[-2]) < float(row[-1]) < 24 for row in rows)  # held unpacked, and in all


def test_what_does_not_fit_says_how_much_it_needs(capsys: pytest.CaptureFixture[str]) -> None:
    rows = table(capsys, "--model", "llama-2-13b", "--precision", "bf16", "--tokens", "1024")
    assert all(row[5:8] == ["does", "not", "fit"] and float(row[-1]) > 24 for row in rows)


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--precision", "nf5"], "--precision: 'nf5'; use fp32, bf16, fp16, int8, nf4"),
        (["--tokens", "many"], "--tokens: 'many' is not a number above 1"),
        (["--slot-gib", "0"], "--slot-gib: 0.0; use more than 0"),
        (["--lora-rank", "-1"], "--lora-rank: -1; use 0 or more"),
        (["--answer-tokens", "300"], "--answer-tokens: 300; two answers must leave room in --tokens"),
        (
            ["--model", "lama-3.1-8b"],
            "model: 'lama-3.1-8b' has no card and is no folder or Hub id; did you mean llama-3.1-8b?",
        ),
    ],
)
def test_bad_input_is_one_line(arguments: list[str], line: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    assert line in capsys.readouterr().err


def test_a_plan_loads_no_torch() -> None:
    script = (
        "import sys; from medalign.commands.plan import main; main(['--model', 'phi-2']); "
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "False"
