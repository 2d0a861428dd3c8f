"""The modules for Hugging Face `evaluate`: they load without a network and combine."""

from __future__ import annotations

import pytest

from medalign.errors import ConfigError
from medalign.evaluation import metrics, texts
from medalign.evaluation.hub import MODULES, load

INPUTS = {
    "labels": (["yes", "no", "no"], ["yes", "yes", "no"]),
    "texts": (["oral iron tablets daily", "metoprolol"], ["iron tablets taken daily", "metoprolol"]),
    "probabilities": ([[0.7, 0.3], [0.2, 0.3, 0.5]], [0, 0]),
}


@pytest.mark.parametrize("name", list(MODULES))
def test_every_module_is_an_evaluate_metric_that_gives_what_its_function_gives(name: str) -> None:
    import evaluate

    module = load(name)
    assert isinstance(module, evaluate.Metric)
    predictions, references = INPUTS[MODULES[name].kind]
    found = module.compute(predictions=predictions, references=references)
    assert found == pytest.approx(MODULES[name].compute(predictions, references))
    assert all(value is not None for value in found.values())


@pytest.mark.parametrize("kind", ["labels", "texts", "probabilities"])
def test_modules_of_a_kind_combine(kind: str) -> None:
    import evaluate

    names = [name for name, module in MODULES.items() if module.kind == kind]
    together = evaluate.combine([load(name) for name in names])
    predictions, references = INPUTS[kind]
    found = together.compute(predictions=predictions, references=references)
    alone = [load(name).compute(predictions=predictions, references=references) for name in names]
    assert found == pytest.approx({key: value for one in alone for key, value in one.items()})


def test_a_module_takes_answers_one_after_the_other_and_options() -> None:
    module = load("bleu")
    for text, reference in zip(*INPUTS["texts"], strict=True):
        module.add(prediction=text, reference=reference)
    assert module.compute(max_order=2) == {"bleu_2": pytest.approx(texts.bleu(*INPUTS["texts"], max_order=2))}
    found = load("medical_term_f1").compute(
        predictions=INPUTS["texts"][0], references=INPUTS["texts"][1], terms=["Daily"]
    )
    assert found == {"medical_term_f1": 1.0}


def test_a_module_that_writes_to_disk_gives_the_same(tmp_path) -> None:  # type: ignore[no-untyped-def]
    predictions, references = INPUTS["labels"]
    found = load("macro_f1", keep_in_memory=False, cache_dir=str(tmp_path)).compute(
        predictions=predictions, references=references
    )
    assert found == {"macro_f1": pytest.approx(metrics.macro_f1(references, predictions))}


def test_an_unknown_module_is_answered_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match="kapa: not a metric; did you mean kappa"):
        load("kapa")
    with pytest.raises(ConfigError, match="zzz: not a metric; use one of accuracy, macro_f1"):
        load("zzz")
