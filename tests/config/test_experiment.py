"""Experiment files: defaults, overrides, faults."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from medalign.config.experiment import Experiment, load_experiment
from medalign.config.locations import known_names
from medalign.errors import ConfigError
from tests.config.test_loading import written


def faults_of(overrides: dict[str, Any], path: Path | None = None, **names: str) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        load_experiment(path, overrides, option_names=names)
    return caught.value.faults


@pytest.mark.parametrize("name", known_names("experiments"))
def test_every_experiment_that_comes_along_loads_and_is_named_for_its_file(name: str) -> None:
    experiment = load_experiment(name)
    assert experiment.name == name
    assert all(experiment.search_space_path(method).is_file() for method in experiment.methods)
    assert pickle.loads(pickle.dumps(experiment)) == experiment


def test_the_default_experiment_holds_the_defaults() -> None:
    assert load_experiment() == Experiment(name="embedded_smollm2-135m_cpu")


def test_an_experiment_written_out_is_read_back_equal(tmp_path: Path) -> None:
    experiment = Experiment(
        name="x", grace_share=1e-5, methods=("icl",), search_spaces={"icl": __file__}, tracking_uri="1e5"
    )
    assert load_experiment(written(tmp_path, experiment.to_yaml())) == experiment


def test_overrides_win_over_the_file(tmp_path: Path) -> None:
    path = written(tmp_path, "name: x\ntrials: 5\ndata: {train_size: 7, test_size: 8}\n")
    experiment = load_experiment(path, {"trials": 6, "data.test_size": 9, "model.precision": "fp32"})
    assert (experiment.trials, experiment.data.train_size, experiment.data.test_size) == (6, 7, 9)
    assert experiment.model.precision == "fp32"


def test_the_default_experiment_takes_the_name_of_other_data_and_models() -> None:
    other = load_experiment(
        None, {"data.sources": ["pubmed_qa:../x", "medmcqa"], "model.name": "org/Model 2"}
    )
    assert other.name == "pubmed_qa+medmcqa_model-2"
    assert load_experiment(None, {"data.sources": ["medmcqa"], "name": "mine"}).name == "mine"
    named = load_experiment("medmcqa_smollm2-135m_cpu", {"data.sources": ["medmcqa:folder"]})
    assert named.name == "medmcqa_smollm2-135m_cpu"


@pytest.mark.parametrize(
    ("overrides", "fault"),
    [
        ({"methods": []}, "methods: empty; name at least one, as in [dpo, icl, sft]"),
        ({"methods": ["stf"]}, "methods: 'stf' is not known; did you mean 'sft'?"),
        ({"methods": ["rlhf"]}, "methods: 'rlhf' is not known; use one of dpo, icl, sft"),
        ({"methods": ["sft", "sft"]}, "methods: 'sft' is given twice; drop one"),
        ({"methods": ["base", "sft"]}, "methods: 'base'; the base always takes part: leave it out"),
        ({"data.sources": []}, "data.sources: empty; name at least one, as in [embedded]"),
        ({"data.sources": ["pubmed_qa:"]}, "data.sources: 'pubmed_qa:'; write name or name:location"),
        ({"data.train_size": 0}, "data.train_size: 0; must be at least 1"),
        ({"model.precision": "fp8"}, "model.precision: 'fp8'; use one of auto, bf16, fp16, fp32, nf4, int8"),
        ({"model.name": ""}, "model.name: ''; must not be empty"),
        ({"grace_share": 1.5}, "grace_share: 1.5; must be at most 1.0"),
        ({"reduction_factor": 1}, "reduction_factor: 1; must be at least 2"),
        ({"slot_gib": 0}, "slot_gib: 0; must be above 0.0"),
        ({"seed": -1}, "seed: -1; must be at least 0"),
        (
            {"search_spaces.sft": "absent.yaml"},
            "search_spaces.sft: 'absent.yaml' is not a file; check the path",
        ),
        (
            {"name": "a/b"},
            "name: 'a/b'; must be letters, digits and . + - _, and start with a letter or digit",
        ),
    ],
)
def test_a_value_that_cannot_be_used_gives_one_line(overrides: dict[str, Any], fault: str) -> None:
    assert faults_of(overrides) == (fault,)


def test_faults_of_the_file_and_of_options_come_together_under_their_own_names(tmp_path: Path) -> None:
    path = written(tmp_path, "name: x\ntrails: 2\ndata: {test_size: many}\nmethods: [sft, dop]\n")
    faults = faults_of({"data.train_size": 0}, path, **{"data.train_size": "--train-size"})
    assert set(faults) == {
        "--train-size: 0; must be at least 1",
        f"{path}: trails: unknown key; did you mean 'trials'?",
        f"{path}: data.test_size: 'many'; must be a whole number",
        f"{path}: methods[1]: 'dop' is not known; did you mean 'dpo'?",
    }


def test_an_override_below_something_that_is_no_section_leaves_the_fault_of_the_file(tmp_path: Path) -> None:
    path = written(tmp_path, "name: x\ndata: embedded\n")
    assert faults_of({"data.train_size": 5}, path) == (
        f"{path}: data: 'embedded'; must hold `key: value` lines",
    )


def test_an_unknown_experiment_is_answered_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match="did you mean 'medmcqa_smollm2-135m_cpu'"):
        load_experiment("medmcqa_smolm2_cpu")


def test_a_method_is_known_by_a_search_space_of_its_own(tmp_path: Path) -> None:
    path = written(tmp_path, "method: mine\nspace: {}\n", "mine.yaml")
    experiment = load_experiment(None, {"methods": ["mine"], "search_spaces.mine": str(path)})
    assert experiment.search_space_path("mine") == path


def test_a_missing_search_space_is_named_with_the_option_that_gives_it() -> None:
    with pytest.raises(ConfigError, match="--search-space other=FILE"):
        Experiment(name="x").search_space_path("other")


def test_a_holdout_per_specialty_comes_with_shares_unless_something_else_is_asked_for() -> None:
    def holdout(**data: object) -> object:
        return Experiment.model_validate({"name": "e", "data": data}).data.holdout_per_specialty

    shares = {"train": 0.7, "validation": 0.1, "test": 0.2}
    assert holdout() is None and holdout(test_size=20) is None
    assert holdout(shares=shares) == "auto"
    assert holdout(shares=shares, test_size=20) is None
    assert holdout(shares=shares, holdout_per_specialty=3) == 3
    assert holdout(holdout_per_specialty="auto") == "auto"


def test_a_file_with_all_its_settings_holds_out_what_the_short_one_does(tmp_path: Path) -> None:
    shares = {"train": 0.7, "validation": 0.1, "test": 0.2}
    for data in ({"shares": shares}, {"shares": shares, "test_size": 20}):
        experiment = Experiment.model_validate({"name": "e", "data": data})
        (tmp_path / "e.yaml").write_text(experiment.to_yaml())
        assert load_experiment(tmp_path / "e.yaml") == experiment


@pytest.mark.parametrize("value", [0, -1, "some", 1.5, True])
def test_a_holdout_is_a_number_of_questions_or_auto(value: object) -> None:
    with pytest.raises(ValidationError, match="must be a whole number of at least 1, or auto"):
        Experiment.model_validate({"name": "e", "data": {"holdout_per_specialty": value}})
