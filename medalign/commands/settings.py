"""Options that stand for settings of an experiment file, and win over it.

Defaults are written out in the help and held by the experiment file: an option that is not given is absent, so a parser
of such options has `argument_default=argparse.SUPPRESS`.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from medalign.commands.parsing import comma_list
from medalign.errors import ConfigError

if TYPE_CHECKING:
    from medalign.config.experiment import Experiment

# The option and the setting in the experiment file that it wins over.
SETTINGS = {
    "--name": "name",
    "--methods": "methods",
    "--model": "model.name",
    "--precision": "model.precision",
    "--data": "data.sources",
    "--prepared": "data.prepared",
    "--leaks": "data.leaks",
    "--train-size": "data.train_size",
    "--validation-size": "data.validation_size",
    "--test-size": "data.test_size",
    "--trials": "trials",
    "--seeds": "seeds",
    "--seed": "seed",
    "--scoring": "scoring",
    "--equivalence-margin": "equivalence_margin",
    "--no-early-stopping": "early_stopping",
    "--slots": "max_slots",
    "--slot-gib": "slot_gib",
    "--slot-cores": "slot_cores",
    "--slots-per-trial": "slots_per_trial",
    "--overlap": "overlap",
    "--results": "results_folder",
    "--tracking-uri": "tracking_uri",
    "--address": "ray_address",
    "--storage-path": "storage_path",
    "--pruner": "pruner",
    "--budget-gpu-hours": "budget_gpu_hours",
    "--warm-start": "warm_start",
    "--deterministic": "deterministic",
}


def read_experiment(given: argparse.Namespace, file: str) -> Experiment:
    """The experiment of a file, or the default one, with what was given on the command line.

    Args:
        file: Name of the option that holds the file.

    Raises:
        ConfigError: A setting, in the file or on the command line, that cannot be used.
    """
    overrides, names = overrides_from(given)

    # After the parse, so that --help does not need it.
    from medalign.config.experiment import load_experiment

    return load_experiment(getattr(given, file, None), overrides, option_names=names)


def overrides_from(given: argparse.Namespace) -> tuple[dict[str, Any], dict[str, str]]:
    """What was given, by dotted setting; and how each of these settings is called on the command line.

    Raises:
        ConfigError: A `--search-space` that is not `METHOD=FILE`.
    """
    values = vars(given)
    overrides, names = {}, {}
    for option, setting in SETTINGS.items():
        key = "early_stopping" if option == "--no-early-stopping" else option[2:].replace("-", "_")
        if key in values:
            overrides[setting], names[setting] = values[key], option
    if "data.sources" in overrides:
        overrides["data.sources"] = [name for text in overrides["data.sources"] for name in comma_list(text)]
    for text in values.get("search_space", ()):
        method, equals, file = text.partition("=")
        if not (method and equals and file):
            raise ConfigError(f"--search-space: '{text}'; write METHOD=FILE")
        overrides[f"search_spaces.{method}"] = file
        names[f"search_spaces.{method}"] = f"--search-space {method}"
    return overrides, names
