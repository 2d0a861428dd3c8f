"""The contract: what it holds, and that a change in any part of it is named."""

from __future__ import annotations

import copy
import dataclasses
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from medalign.data.fingerprints import fingerprint
from medalign.data.preferences import build_pairs
from medalign.data.preparation import PreparedData
from medalign.errors import ContractError
from medalign.methods.catalog import METHODS, default_setting
from medalign.methods.contract import LIBRARIES, check_same_contract, make_contract
from medalign.modeling.base_models import fingerprint_folder
from medalign.records import Question
from tests.methods.examples import mixed


def prepared(
    train: tuple[Question, ...] = mixed(6), test: tuple[Question, ...] = mixed(3, start=9)
) -> PreparedData:
    pairs = tuple(build_pairs(train, seed=0))
    splits: dict[str, Any] = {"train": train, "validation": mixed(3, start=6), "test": test, "pairs": pairs}
    return PreparedData(
        train=train,
        validation=mixed(3, start=6),
        test=test,
        pairs=pairs,
        pool=(),
        drops={},
        fingerprint="",
        fingerprints={name: fingerprint(records) for name, records in splits.items()},
        card={},
    )


def contract(**changes: Any) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "model": "smollm2-135m",
        "precision": "bf16",
        "base_fingerprint": {"weights": "w" * 16, "tokenizer": "t" * 16},
        "data": prepared(),
        "scoring": "raw",
        "max_new_tokens": 24,
        "defaults": {name: default_setting(name) for name in METHODS},
    }
    return make_contract(**(fields | changes))


def leaves(held: Mapping[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The path of every value."""
    for key, value in held.items():
        if isinstance(value, Mapping):
            yield from leaves(value, (*path, key))
        else:
            yield (*path, key)


def test_it_is_the_same_when_nothing_has_changed() -> None:
    check_same_contract(contract(), contract())


def test_it_is_the_same_after_the_way_through_a_file() -> None:
    kept = json.loads(json.dumps(contract()))
    assert kept == contract()
    check_same_contract(kept, contract())


@pytest.mark.parametrize("path", list(leaves(contract())), ids=".".join)
def test_a_change_in_any_part_is_named_with_both_values(path: tuple[str, ...]) -> None:
    kept, now = contract(), copy.deepcopy(contract())
    part = now
    for key in path[:-1]:
        part = part[key]
    before, part[path[-1]] = part[path[-1]], "something else"
    with pytest.raises(ContractError) as error:
        check_same_contract(kept, now)
    (message,) = error.value.args
    assert f"({'.'.join(path)}: {before}, now something else);" in message
    assert "start a new comparison" in message


def test_all_changes_are_named_at_once() -> None:
    now = contract(model="other", scoring="normalised")
    with pytest.raises(
        ContractError, match=r"base\.model: smollm2-135m, now other; scoring\.rule: raw, now normal"
    ):
        check_same_contract(contract(), now)


def test_what_one_of_them_lacks_is_a_change() -> None:
    less = contract()
    del less["libraries"]["trl"]
    with pytest.raises(ContractError, match=r"libraries\.trl: None, now \d"):
        check_same_contract(less, contract())
    with pytest.raises(ContractError, match=r"libraries\.trl: \d\S*, now None"):
        check_same_contract(contract(), less)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"model": "other"}, ["base.model"]),
        ({"precision": "fp32"}, ["base.precision"]),
        ({"base_fingerprint": {"weights": "x", "tokenizer": "t" * 16}}, ["base.weights"]),
        ({"base_fingerprint": {"weights": "w" * 16, "tokenizer": "x"}}, ["base.tokenizer"]),
        ({"scoring": "normalised"}, ["scoring.rule"]),
        ({"max_new_tokens": 25}, ["decoding.max_new_tokens"]),
        ({"data": prepared(test=mixed(4, start=9))}, ["questions.test"]),
        ({"data": prepared(train=mixed(7))}, ["questions.pairs", "questions.train"]),
        ({"defaults": {"sft": default_setting("sft") | {"batch_size": 9}}}, None),
    ],
)
def test_what_is_given_another_value_is_what_is_named(
    changes: dict[str, Any], named: list[str] | None
) -> None:
    with pytest.raises(ContractError, match="another contract") as error:
        check_same_contract(contract(), contract(**changes))
    found = [line.split(":")[0] for line in str(error.value).split("(", 1)[1].split("; ")]
    if named is not None:
        assert [name for name in found if "." in name][: len(named)] == named
    else:
        assert "defaults.sft.batch_size" in found


def test_a_curriculum_is_part_of_it_and_one_stage_is_none() -> None:
    check_same_contract(contract(), contract(data=dataclasses.replace(prepared(), stages=(6,))))
    staged = contract(data=dataclasses.replace(prepared(), stages=(2, 4)))
    with pytest.raises(ContractError, match=r"\(questions\.stages: None, now 2, 4\)"):
        check_same_contract(contract(), staged)


def test_a_word_changed_in_one_test_question_is_a_change() -> None:
    question = mixed(3, start=9)[0]
    changed = (dataclasses.replace(question, text=f"{question.text} "), *mixed(3, start=9)[1:])
    with pytest.raises(ContractError, match=r"\(questions\.test: "):
        check_same_contract(contract(), contract(data=prepared(test=changed)))


def test_a_changed_line_of_scoring_or_prompt_code_is_a_change(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import shutil

    import medalign

    before = contract()
    package = tmp_path / "medalign"
    source = Path(medalign.__file__).parent
    shutil.copytree(source, package, ignore=shutil.ignore_patterns("__pycache__", "*.yaml"))
    monkeypatch.setattr(medalign, "__file__", str(package / "__init__.py"))
    check_same_contract(before, contract())
    for file, named in (
        ("modeling/rows.py", r"\(scoring\.code: "),
        ("evaluation/predictions.py", r"\(scoring\.code: "),
        ("modeling/chat.py", r"\(prompt: "),
        ("data/prompts.py", r"\(prompt: "),
    ):
        content = (package / file).read_bytes()
        (package / file).write_bytes(content + b"\n")
        with pytest.raises(ContractError, match=named):
            check_same_contract(before, contract())
        (package / file).write_bytes(content)


def test_every_library_that_computes_is_in_it() -> None:
    found = contract()["libraries"]
    assert sorted(found) == sorted(LIBRARIES)
    assert "not installed" not in found.values()


def test_the_base_is_told_by_its_weights_and_its_words(llama_folder: Path, tmp_path: Path) -> None:
    from tests.tiny_models import make_tiny

    before = fingerprint_folder(llama_folder)
    assert fingerprint_folder(make_tiny(tmp_path / "same", "llama")) == before
    other = make_tiny(tmp_path / "other", "llama", seed=1)
    assert fingerprint_folder(other)["weights"] != before["weights"]
    assert fingerprint_folder(other)["tokenizer"] == before["tokenizer"]
    template = tmp_path / "same" / "chat_template.jinja"
    template.write_text(template.read_text() + " ")
    assert fingerprint_folder(tmp_path / "same")["tokenizer"] != before["tokenizer"]
    assert os.listdir(llama_folder)
