from __future__ import annotations

import math
import subprocess
import sys

from medalign.records import Cost, Progress, TrialResult, TrialSpec
from medalign.tracking import values

SPEC = TrialSpec(trial_id="sft-search-000", method="sft", stage="search")


def test_only_finite_numbers_become_metrics_under_names_that_mlflow_takes():
    given = {
        "loss (nats)": 1,
        "a/b.c-d e": 2.5,
        "nan": math.nan,
        "inf": math.inf,
        "none": None,
        "text": "x",
        "Gr\u00f6\u00dfe": 1,
    }
    assert values.metric_values(given) == {"loss _nats_": 1.0, "a/b.c-d e": 2.5, "Gr__e": 1.0}


def test_nested_settings_become_flat_texts():
    assert values.param_values({"a": {"b": 1, "c": None}, "list": ["x", 2]}) == {
        "a.b": "1",
        "a.c": "None",
        "list": '["x", 2]',
    }


def test_a_trial_ends_on_the_time_axis_where_it_stopped():
    history = (Progress(budget_share=0.5, score=0.1),)
    assert values.result_step(TrialResult(spec=SPEC, status="completed", history=history)) == 1000
    assert values.result_step(TrialResult(spec=SPEC, status="stopped", history=history)) == 500
    assert values.result_step(TrialResult(spec=SPEC, status="failed")) == 0


def test_learning_curve_has_the_share_of_the_budget_as_its_step_and_no_loss_that_is_not_finite():
    curve = ((0.25, 2.0), (0.5, math.nan), (1.0, 1.5))
    result = TrialResult(spec=SPEC, status="completed", learning_curve=curve)
    assert values.learning_curve(result) == [(250, 2.0), (1000, 1.5)]
    assert values.learning_curve(TrialResult(spec=SPEC, status="failed")) == []


def test_cost_of_a_trial_is_among_its_metrics_and_an_absent_score_is_not():
    metrics = values.result_metrics(TrialResult(spec=SPEC, status="failed", cost=Cost(tokens_trained=7)))
    assert metrics["tokens_trained"] == 7 and "validation_accuracy" not in metrics


def test_importing_the_tracker_loads_no_mlflow():
    code = "import sys, medalign.tracking.store; print({'mlflow', 'pandas', 'numpy'} & set(sys.modules))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "set()"
