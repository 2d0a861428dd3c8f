from __future__ import annotations

import json
import shlex

import pytest

from medalign.commands import node
from medalign.scheduling.node import options_like, start_environment
from medalign.scheduling.slots import NODE_VARIABLE, NodeSlots, node_slots


def _dry_run(capsys: pytest.CaptureFixture[str], *options: str) -> list[str]:
    assert node.main(["start", "--dry-run", *options]) == 0
    return shlex.split(capsys.readouterr().out.splitlines()[-1])


def _value(command: list[str], option: str) -> str:
    found = [word.partition("=")[2] for word in command if word.partition("=")[0] == option]
    assert len(found) == 1
    return found[0]


def test_a_node_offers_its_slots_and_no_gpus_of_rays(capsys: pytest.CaptureFixture[str]) -> None:
    command = _dry_run(capsys, "--head", "--cores", "4", "--", "--block")
    assert command[0].endswith("/ray") and command[1] == "start"
    assert {"--head", "--port=6379", "--block"} <= set(command)
    assert _value(command, "--num-gpus") == "0"
    assert _value(command, "--num-cpus") == "4"
    resources = json.loads(_value(command, "--resources"))
    assert resources == {
        "medalign_cpu_slot": 4.0,
        "medalign_cpu_slot_x2": 2.0,
        "medalign_cpu_slot_x3": 1.0,
        "medalign_cpu_slot_x4": 1.0,
    }
    labels = dict(pair.split("=") for pair in _value(command, "--labels").split(","))
    heard = NodeSlots.from_labels(labels)
    assert heard is not None and (heard.num_slots, heard.num_cores) == (4, 4)


def test_a_node_without_slots_offers_none_but_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    command = _dry_run(capsys, "--address", "192.0.2.10:6379", "--no-slots")
    assert "--address=192.0.2.10:6379" in command
    assert json.loads(_value(command, "--resources")) == {}
    assert "medalign.slots=0" in _value(command, "--labels")


def test_another_tools_command_keeps_all_but_what_the_slots_decide(
    capsys: pytest.CaptureFixture[str],
) -> None:
    theirs = (
        'ray start --address=head:6379 --num-gpus 1 --num-cpus=8 --resources="{\\"a\\": 1}" '
        "--metrics-export-port=8080 --block"
    )
    assert options_like(theirs) == ["--address=head:6379", "--metrics-export-port=8080", "--block"]
    command = _dry_run(capsys, "--like", theirs, "--cores", "2")
    assert {"--address=head:6379", "--block"} <= set(command)
    assert _value(command, "--num-gpus") == "0"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "--head, --address: neither is given"),
        (["--head", "--slot-gib", "big"], "--slot-gib: 'big'; give a number"),
        (["--head", "--slots", "1.5"], "--slots: '1.5'; give a number"),
        (["--head", "--slots", "0"], "--slots: 0; must be above 0"),
        (["--head", "--port", "ray"], "--port: 'ray'; give a number"),
        (
            ["--head", "--", "--num-gpus=2"],
            "--num-gpus: is worked out by `medalign node start`; leave it out",
        ),
        (["--like", "sleep 3"], "--like: 'sleep 3'; give a whole command that begins with `ray start`"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert node.main(["start", *options]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("medalign: ") and message.replace("'1.5'", "'1.5'") in lines[0]


def test_what_runs_on_a_node_inherits_its_slots_and_a_token_is_asked_for() -> None:
    offered = node_slots([], 3)
    environment = start_environment(offered, {"PATH": "/bin", NODE_VARIABLE: "old"})
    assert NodeSlots.from_text(environment[NODE_VARIABLE]) == offered
    assert environment["RAY_AUTH_MODE"] == "token"
    assert "medalign_gpu_slot_x8" in environment["RAY_custom_unit_instance_resources"]
    assert environment["PATH"] == "/bin"
    assert start_environment(offered, {"RAY_AUTH_MODE": "disabled"})["RAY_AUTH_MODE"] == "disabled"
