"""Prepare the questions of an experiment and write their card.

medalign prepare --config FILE
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from medalign.commands.exit_codes import OK, guarded
from medalign.commands.parsing import Parser, number_or_text
from medalign.commands.settings import read_experiment

DESCRIPTION = """\
Read, clean and split the questions of an experiment, check the splits for leaks, build the preference pairs, and
write everything with a card (card.html, card.json) into a folder. `compare` with the same settings finds the prepared
questions in the cache; `compare --prepared FOLDER` uses the folder as it is, after checking it for leaks."""

EPILOG = """\
examples:
  %(prog)s --config all_open_sources
      an experiment file, or the name of one in experiments/
  %(prog)s --config FILE --data medmcqa:FOLDER --train-size 1000 --out prepared/medmcqa

exit codes: 0 done, 1 failed, 2 the input cannot be used, 130 interrupted
"""


def main(argv: Sequence[str] | None = None, *, prog: str = "medalign prepare") -> int:
    """Run `medalign prepare` and return its exit code."""
    return guarded(lambda: _prepare(_parser(prog).parse_args(argv)))


def _parser(prog: str) -> Parser:
    parser = Parser(
        prog=prog,
        usage="%(prog)s --config FILE [options]",
        description=DESCRIPTION,
        epilog=EPILOG,
        argument_default=argparse.SUPPRESS,
    )
    parser.add_argument(
        "--config", metavar="FILE", help="experiment file (default: the default comparison's)"
    )
    parser.add_argument(
        "--data", action="append", metavar="NAME[:PLACE]", help="source of questions; repeat it"
    )
    for option in ("--train-size", "--validation-size", "--test-size", "--seed"):
        parser.add_argument(option, type=number_or_text, metavar="N", help="wins over the file")
    parser.add_argument("--leaks", metavar="WHAT", help="drop or refuse (default: drop)")
    parser.add_argument("--model", help="its tokenizer decides what is too long")
    parser.add_argument(
        "--out", metavar="DIR", default=None, help="folder that is written (default: prepared/NAME)"
    )
    parser.add_argument(
        "--track", action="store_true", default=False, help="also log the splits and the card to MLflow"
    )
    parser.add_argument("--tracking-uri", metavar="URI", help="MLflow store, as for compare")
    return parser


def _prepare(given: argparse.Namespace) -> int:
    experiment = read_experiment(given, "config")

    from medalign.comparison import say, tracking_uri
    from medalign.config.locations import shown
    from medalign.data.store import write_prepared
    from medalign.placing import slots_of
    from medalign.preparing import prepared_data, track_data, with_sampled_answers
    from medalign.reporting.data_card import write_card

    data = prepared_data(experiment)
    here = experiment.model_copy(update={"ray_address": None})
    data = with_sampled_answers(here, data, lambda: slots_of(here), say)
    folder = Path(given.out or Path("prepared") / experiment.name)
    write_prepared(data, folder)
    page = write_card(folder, experiment.name, data.card)
    for split, counts in data.card["splits"].items():
        print(f"{split:<11}{counts['questions']:,} questions out of {len(counts['source'])} source(s)")
    print(f"{'pool':<11}{len(data.pool):,} questions for later rounds")
    for reason, number in data.drops.items():
        print(f"{'left out':<11}{number:,} ({reason})")
    leaks = data.card["leaks"]
    print(
        f"{'leaks':<11}{leaks['found_between_the_splits']} between the splits, "
        f"{leaks['kept_out']} question(s) kept out"
    )
    if given.track:
        print(
            f"{'tracked':<11}{track_data(experiment, data, [page, folder / 'card.json'], tracking_uri(experiment))}"
        )
    print(f"{'card':<11}{shown(page)}")
    return OK
