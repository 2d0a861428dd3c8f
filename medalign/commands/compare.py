"""Compare ways of adapting one base model on the same medical questions.

medalign compare --methods sft,icl,dpo
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from medalign.commands.exit_codes import OK, guarded
from medalign.commands.parsing import Parser, comma_list, number_or_text
from medalign.commands.settings import read_experiment

DESCRIPTION = """\
Does supervised fine-tuning (sft), in-context learning (icl) or direct preference optimisation (dpo) serve your
medical questions best, is the difference real, and what did it cost? Every method gets the same training questions
and the same number of trials; its best setting is trained again over seeds and answers the test questions once,
beside the untouched base model."""

EPILOG = """\
examples:
  %(prog)s
      the default comparison: the questions and the model in the packages, on this machine
  %(prog)s --methods sft,icl --trials 6 --dry-run
      what it would run and which difference it could detect, before anything is spent
  %(prog)s --data pubmed_qa:FOLDER --test-size 200
      PubMedQA from a local folder; without :FOLDER it comes from the Hub
  %(prog)s --experiment medmcqa_llama-3.1-8b_rtx3090 --address auto
      an 8-billion-parameter model in 24 GiB slots on a running Ray cluster
  %(prog)s --resume
      go on with the newest comparison that was broken off

exit codes: 0 done, 1 the comparison failed, 2 the input cannot be used, 130 interrupted
"""


def main(argv: Sequence[str] | None = None, *, prog: str = "medalign compare") -> int:
    """Run one comparison.

    Returns:
        The exit code: 0 done, 1 failed, 2 for input that cannot be used, 130 after Ctrl-C.
    """
    return guarded(lambda: _compare(build_parser(prog).parse_args(argv)))


def build_parser(prog: str) -> Parser:
    parser = Parser(
        prog=prog,
        usage="%(prog)s [options]",
        description=DESCRIPTION,
        epilog=EPILOG,
        argument_default=argparse.SUPPRESS,
    )
    _add_subject(parser)
    _add_budget(parser)
    _add_machine(parser)
    _add_course(parser)
    return parser


def _add_subject(parser: Parser) -> None:
    group = parser.add_argument_group("what is compared")
    group.add_argument(
        "--experiment",
        metavar="FILE",
        help="experiment file, or the name of one in experiments/; the options below win over it "
        "(default: embedded_smollm2-135m_cpu, whose values are the defaults given here)",
    )
    group.add_argument(
        "--name", help="name of the experiment in the tracker (default: the experiment file's)"
    )
    group.add_argument(
        "--methods",
        type=comma_list,
        metavar="LIST",
        help="comma list of sft, icl, dpo; the base always takes part (default: sft,icl,dpo)",
    )
    group.add_argument(
        "--model",
        help="base model: an embedded model, a Hub id or a local folder (default: smollm2-135m)",
    )
    group.add_argument(
        "--precision",
        help="of the base weights: auto, bf16, fp16, fp32, nf4 or int8 (default: auto, bf16 if it is fast)",
    )
    group.add_argument(
        "--data",
        action="append",
        metavar="NAME[:PLACE]",
        help="source of questions, with a local file or folder to read it from; repeat it, or give a comma list, "
        "to mix sources (default: embedded)",
    )
    group.add_argument(
        "--prepared",
        metavar="DIR",
        help="folder that `medalign prepare` wrote, in place of --data: its splits are used as they are",
    )
    group.add_argument(
        "--leaks",
        metavar="WHAT",
        help="training questions that nearly repeat a test or validation question: drop (and count) them, or "
        "refuse to go on (default: drop)",
    )
    group.add_argument(
        "--scoring",
        help="options are ranked by log-probability: raw, or normalised by length (default: normalised)",
    )


def _add_budget(parser: Parser) -> None:
    group = parser.add_argument_group("how much is spent")
    for option, text in {
        "--train-size": "training questions, the same for every method (default: 100)",
        "--validation-size": "questions that the search sees (default: 60)",
        "--test-size": "questions of the final comparison (default: 150)",
        "--trials": "settings tried for each method (default: 2)",
        "--seeds": "times that each method's best setting is trained for the final comparison (default: 2)",
        "--seed": "seeds everything random (default: 0)",
        "--equivalence-margin": "largest difference in accuracy that does not matter (default: 0.02)",
    }.items():
        group.add_argument(option, type=number_or_text, metavar="N", help=text)
    group.add_argument(
        "--no-early-stopping",
        action="store_false",
        dest="early_stopping",
        help="run every trial to its end (default: weak ones are ended early, within each method)",
    )
    group.add_argument(
        "--pruner",
        metavar="NAME",
        help="how weak trials are told: asha, by rank, or wilcoxon, by a test over the validation questions "
        "(default: asha)",
    )
    group.add_argument(
        "--budget-gpu-hours",
        type=number_or_text,
        metavar="H",
        help="hours of slots, one 24 GB card each, that all trials together may take; every method gets the same "
        "share (default: no limit)",
    )
    group.add_argument(
        "--warm-start",
        metavar="DIR",
        help="earlier comparison, its folder or id, whose searches this one learns from (default: none)",
    )
    group.add_argument(
        "--deterministic",
        action="store_true",
        help="search in steps of four trials, so that what is tried does not depend on what runs side by side",
    )
    group.add_argument(
        "--search-space",
        action="append",
        metavar="METHOD=FILE",
        help="search space of a method; repeat it for several (default: search_spaces/METHOD.yaml)",
    )


def _add_machine(parser: Parser) -> None:
    group = parser.add_argument_group("where it runs")
    for option, metavar, text in (
        ("--slots", "N", "trials at once, at most (default: as many as fit)"),
        ("--slot-gib", "GIB", "device memory of a slot (default: 24)"),
        ("--slot-cores", "N", "CPU cores of a slot (default: chosen for the machine)"),
        ("--slots-per-trial", "N", "slots of one device that a trial takes (default: 1)"),
    ):
        group.add_argument(option, type=number_or_text, metavar=metavar, help=text)
    group.add_argument(
        "--overlap",
        action="store_true",
        help="trials on one GPU compute side by side, not in turns (NVIDIA MPS); a fault of one may end the others",
    )
    group.add_argument(
        "--address",
        help="Ray cluster to run on: auto, HOST:PORT or ray://HOST:PORT (default: this machine alone)",
    )
    group.add_argument(
        "--storage-path",
        metavar="URI",
        help="shared folder or s3://BUCKET/PREFIX for what trials leave on other machines (default: --results, which "
        "the machines of a cluster then share)",
    )
    group.add_argument(
        "--results", metavar="DIR", help="a folder for each comparison is made in it (default: results)"
    )
    group.add_argument(
        "--tracking-uri",
        metavar="URI",
        help="MLflow store (default: MLFLOW_TRACKING_URI, else mlruns/mlflow.db in this folder)",
    )


def _add_course(parser: Parser) -> None:
    group = parser.add_argument_group("start and continue")
    group.add_argument(
        "--dry-run",
        action="store_true",
        default=False,
        help="print the plan and the detectable difference, then stop",
    )
    group.add_argument(
        "--resume",
        nargs="?",
        const="newest",
        default=None,
        metavar="ID",
        help="go on with a comparison that was broken off; without ID the newest unfinished one in --results",
    )


def _compare(given: argparse.Namespace) -> int:
    experiment = read_experiment(given, "experiment")

    from medalign.comparison import run_comparison

    outcome = run_comparison(experiment, resume=given.resume, dry_run=given.dry_run)
    return outcome if isinstance(outcome, int) else OK
