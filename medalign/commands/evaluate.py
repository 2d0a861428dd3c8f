"""Every metric of stored predictions, and what one predictor fixes and breaks of another's.

medalign evaluate --predictions FILE
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medalign.commands.exit_codes import OK, guarded
from medalign.commands.parsing import Parser, comma_list
from medalign.errors import ConfigError, DataError, StorageError

if TYPE_CHECKING:
    from medalign.evaluation.confidence import Temperature
    from medalign.evaluation.measuring import Measure, TextScorer
    from medalign.records import ArmResult, Prediction, Question

DESCRIPTION = """\
Computes every metric that a file of predictions defines, and says of each other one why it is undefined. Several
files are set side by side, with what each arm fixes and breaks. A language model is loaded only where --model asks
for new answers or for perplexity."""

EPILOG = """\
examples:
  %(prog)s --predictions results/COMPARISON/trials/sft-refit-000/predictions.parquet
  %(prog)s --predictions base=A.parquet sft=B.parquet sft=C.parquet --data pubmed_qa:FOLDER
      two arms, the second over two seeds, with errors by question length, negation and numbers
  %(prog)s --predictions results/COMPARISON
      all arms and seeds of a comparison's folder
  %(prog)s --predictions FILE --validation FILE
      calibration also after a temperature that is fitted on the validation answers
  %(prog)s --model smollm2-135m --adapter FOLDER --data embedded --limit 100 --orders 2 --write FOLDER
      answer questions first, each also under two other orders of its options and in other words
  %(prog)s --model smollm2-135m --text FILE
      perplexity on a text

Written answers are also scored by an encoder that comes in a package (BERTScore); name a larger one where there is a
network: --bertscore FacebookAI/roberta-large. docs/metrics.md defines every metric.
"""

REFITS = "trials/*-refit-*/predictions.parquet"
NO_ENCODER = "none"
MIN_QUESTIONS = 2


def main(argv: Sequence[str] | None = None, *, prog: str = "medalign evaluate") -> int:
    """Run `medalign evaluate` and return its exit code."""
    return guarded(lambda: _evaluate(prog, argv))


def _evaluate(prog: str, argv: Sequence[str] | None) -> int:
    arguments = _parser(prog).parse_args(argv)
    # What an option holds is checked before anything is read or computed.
    _check(arguments)
    if arguments.model:
        _use_model(arguments)
    if arguments.predictions:
        _use_predictions(arguments)
    return OK


def _check(arguments: argparse.Namespace) -> None:
    """Which options go together."""
    if not arguments.model:
        alone = [f"--{name}" for name in ("adapter", "text", "write") if getattr(arguments, name)]
        if alone:
            raise ConfigError(f"{', '.join(alone)}: needs a model; name one with --model")
        if not arguments.predictions:
            raise ConfigError(
                "--predictions: none is given; name a file, or a model that answers with --model"
            )
        return
    if arguments.write and (arguments.predictions or arguments.variants):
        raise ConfigError(
            "--write: answers anew, so leave --predictions and --variants out, or leave out --write"
        )
    if arguments.write and not arguments.data:
        raise ConfigError("--write: there is nothing to answer; name questions with --data")
    if not (arguments.write or arguments.text):
        raise ConfigError(
            "--model: nothing to do; give --data and --write to answer, or --text for perplexity"
        )
    for name, least in (("limit", MIN_QUESTIONS), ("orders", 0)):
        if getattr(arguments, name) is not None and getattr(arguments, name) < least:
            raise ConfigError(f"--{name}: {getattr(arguments, name)} is too small; give at least {least}")


def _use_model(arguments: argparse.Namespace) -> None:
    """New answers, written into a folder from which the rest is computed; and perplexity."""
    from medalign.evaluation.predictions import write_parquet
    from medalign.methods.answering import StoredModel, pick_questions

    texts = _texts(arguments.text)
    questions: list[Question] = []
    if arguments.write:
        from medalign.data.catalog import load_source

        read = [q for source in comma_list(arguments.data) for q in load_source(source)]
        questions = pick_questions(read, arguments.limit)
    model = StoredModel(arguments.model, precision=arguments.precision, adapter=arguments.adapter)
    if texts:
        found = model.perplexity(texts)
        print(
            f"perplexity of {found.num_tokens} tokens: {found.per_token:.3f} per token, {found.per_word:.3f} per word, "
            f"{found.bits_per_character:.4f} bits per character\n"
        )
    if not arguments.write:
        return
    answers = model.answer(questions, num_orders=arguments.orders)
    folder = Path(arguments.write)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(
            f"--write: {folder} cannot be made ({error.strerror}); name another folder"
        ) from error
    arguments.predictions = [str(folder / "predictions.parquet")]
    write_parquet(arguments.predictions[0], answers.predictions)
    if answers.variants:
        arguments.variants = str(folder / "variants.parquet")
        write_parquet(arguments.variants, answers.variants)
    print(
        f"{len(answers.predictions)} questions answered, {answers.num_too_long} left out as too long for the model; "
        f"answers are in {folder}\n"
    )


def _texts(file: str | None) -> list[str]:
    """The paragraphs of a text file: what blank lines part."""
    if not file:
        return []
    try:
        text = Path(file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"--text: {file} cannot be read ({error}); name a text file") from error
    paragraphs = [part.strip() for part in text.split("\n\n") if part.strip()]
    if not paragraphs:
        raise DataError(f"--text: {file} is empty; name a text file with words in it")
    return paragraphs


def _use_predictions(arguments: argparse.Namespace) -> None:
    named = [pair for given in arguments.predictions for pair in _named_files(given)]
    if arguments.validation and len({name for name, _ in named}) > 1:
        raise ConfigError("--validation: belongs to one arm, but several are given; evaluate one at a time")

    from medalign.evaluation.checking import check_arms, check_predictions
    from medalign.evaluation.confidence import fit_temperature, scoring_rule
    from medalign.evaluation.predictions import read_parquet

    arms = _arms([(name, read_parquet(file)) for name, file in named])
    if len(arms) > 1:
        check_arms(arms)
    for predictions, where in _each(arms):
        check_predictions(predictions, where if len(named) > 1 else str(named[0][1]))
    validation = _validation(arguments.validation, arms)
    rule = scoring_rule([p for predictions, _ in _each(arms) for p in predictions] + validation)
    temperature = fit_temperature(validation, scoring=rule) if validation else None
    encoder = _encoder(arguments.bertscore, arms)
    options = {
        "scoring": rule,
        "temperature": temperature,
        "terms": _terms(arguments.terms),
        "bertscore": encoder,
    }
    measures = {arm.arm: _measures(arm, options) for arm in arms}
    consistency = _consistency(arguments.variants, arms)
    errors = _errors(arms, _questions(arguments.data, arms))
    print(_text(arms, measures, errors, consistency, temperature, arguments.bertscore if encoder else ""))
    if arguments.json:
        _write_json(arguments.json, arms, measures, errors, consistency, temperature)


def _parser(prog: str) -> argparse.ArgumentParser:
    parser = Parser(
        prog=prog,
        description=DESCRIPTION,
        epilog=EPILOG,
    )
    parser.add_argument(
        "--predictions",
        nargs="+",
        metavar="[ARM=]FILE",
        help="Parquet files of predictions; files of one arm are its seeds; or the folder of a comparison",
    )
    parser.add_argument(
        "--validation",
        metavar="FILE",
        help="the same predictor's validation answers, to fit a temperature on",
    )
    parser.add_argument(
        "--variants",
        metavar="FILE",
        help="the same predictor's answers to variants of the questions, for consistency",
    )
    parser.add_argument(
        "--data",
        metavar="SOURCES",
        help="where the questions' texts are had, as for compare, for errors by length, negation and numbers",
    )
    parser.add_argument("--terms", metavar="FILE", help="medical terms of your own, one a line")
    parser.add_argument(
        "--bertscore",
        metavar="MODEL",
        default="minilm-l6",
        help=f"encoder for BERTScore: minilm-l6, a folder, a Hub id, or {NO_ENCODER} (default: %(default)s)",
    )
    parser.add_argument("--json", metavar="FILE", help="write everything there as JSON, too")
    group = parser.add_argument_group("new answers and perplexity")
    group.add_argument("--model", help="embedded model, folder or Hub id that answers --data or reads --text")
    group.add_argument("--adapter", metavar="FOLDER", help="LoRA adapter of that model, as a refit leaves it")
    group.add_argument(
        "--precision",
        default="auto",
        choices=("auto", "bf16", "fp32", "nf4", "int8"),
        help="default: %(default)s",
    )
    group.add_argument(
        "--limit", type=int, metavar="N", help="questions to answer, out of the test split where there is one"
    )
    group.add_argument(
        "--orders",
        type=int,
        default=0,
        metavar="N",
        help="other orders of the options, for consistency (default: 0)",
    )
    group.add_argument("--write", metavar="FOLDER", help="answer --data and keep the answers there")
    group.add_argument(
        "--text", metavar="FILE", help="text of blank-line-separated paragraphs, for perplexity"
    )
    return parser


def _named_files(given: str) -> list[tuple[str, Path]]:
    """Name of the arm and file; a comparison's folder stands for all of its refits."""
    name, separator, path = given.partition("=")
    if not separator:
        name, path = "", given
    if Path(path).is_dir():
        files = sorted(Path(path).glob(REFITS))
        if not files or name:
            raise ConfigError(
                f"--predictions: {given} holds no {REFITS}; name a comparison's folder alone, or its files"
            )
        return [(file.parent.name.partition("-refit-")[0], file) for file in files]
    return [(name or _name_of(Path(path)), Path(path))]


def _name_of(file: Path) -> str:
    """The trial's name where a file is called as all are, else the file's own."""
    return file.resolve().parent.name if file.stem == "predictions" else file.stem


def _arms(named: Sequence[tuple[str, tuple[Prediction, ...]]]) -> list[ArmResult]:
    from medalign.records import ArmResult, Cost

    by_arm: dict[str, list[tuple[Prediction, ...]]] = {}
    for name, predictions in named:
        by_arm.setdefault(name, []).append(predictions)
    return [
        ArmResult(
            arm=name,
            setting={},
            seeds=tuple(range(len(by_seed))),
            predictions=tuple(by_seed),
            cost=Cost(),
            search_cost=Cost(),
        )
        for name, by_seed in by_arm.items()
    ]


def _each(arms: Sequence[ArmResult]) -> list[tuple[tuple[Prediction, ...], str]]:
    """The predictions of every file, and how a message names it."""
    return [
        (predictions, f"arm {arm.arm!r}, file {number + 1}")
        for arm in arms
        for number, predictions in enumerate(arm.predictions)
    ]


def _validation(file: str | None, arms: Sequence[ArmResult]) -> list[Prediction]:
    """The answers on which a temperature is fitted: with options, and none of the questions that it is judged on."""
    if not file:
        return []
    from medalign.evaluation.checking import check_predictions
    from medalign.evaluation.confidence import scored_only
    from medalign.evaluation.predictions import read_parquet

    validation = read_parquet(file)
    check_predictions(validation, file)
    judged = {p.question_id for p in arms[0].predictions[0]}
    shared = [p.question_id for p in validation if p.question_id in judged]
    if shared:
        raise DataError(
            f"--validation: {file} answers {len(shared)} of the questions that are judged, such as {shared[0]!r}; "
            "fit a temperature on others"
        )
    scored = scored_only(validation)
    if not scored:
        raise DataError(f"--validation: {file} holds no question with options; a temperature needs some")
    return scored


def _encoder(name: str, arms: Sequence[ArmResult]) -> TextScorer | None:
    """BERTScore's, where anything is written; loading it takes seconds."""
    written = any(p.correct is None for predictions, _ in _each(arms) for p in predictions)
    if name == NO_ENCODER or not written:
        return None
    from medalign.modeling.bertscore import Encoder

    return Encoder(name).score


def _terms(file: str | None) -> frozenset[str] | None:
    from medalign.evaluation.medical_terms import read_terms

    return read_terms(file) if file else None


def _measures(arm: ArmResult, options: Mapping[str, Any]) -> list[Measure]:
    """The means over an arm's seeds; `options` are those of `measuring.measure`."""
    from medalign.evaluation.measuring import mean_over_seeds, measure
    from medalign.evaluation.texts import find_wordnet

    written = any(p.correct is None for p in arm.predictions[0])
    wordnet = find_wordnet() if written else None
    return mean_over_seeds([measure(p, wordnet=wordnet, **options) for p in arm.predictions])


def _questions(sources: str | None, arms: Sequence[ArmResult]) -> dict[str, Question]:
    if not sources:
        return {}
    from medalign.data.catalog import load_source

    asked = {p.question_id for p in arms[0].predictions[0]}
    found = {q.id: q for source in comma_list(sources) for q in load_source(source) if q.id in asked}
    if not found:
        raise DataError(
            f"--data: {sources} holds none of the {len(asked)} questions that were answered; name their source"
        )
    return found


def _errors(arms: Sequence[ArmResult], questions: Mapping[str, Question]) -> Any:
    """The error analysis; None where nothing offers options, so that no answer is right or wrong."""
    from medalign.evaluation.confidence import scored_only
    from medalign.evaluation.error_analysis import analyse_errors

    return analyse_errors(arms, questions) if scored_only(arms[0].predictions[0]) else None


def _consistency(file: str | None, arms: Sequence[ArmResult]) -> Any:
    if not file:
        return None
    if len(arms) > 1 or len(arms[0].predictions) > 1:
        raise ConfigError("--variants: belongs to one file of predictions, but several are given")
    from medalign.data.variants import original_id
    from medalign.evaluation.checking import check_predictions
    from medalign.evaluation.consistency import consistency
    from medalign.evaluation.predictions import read_parquet

    variants = read_parquet(file)
    check_predictions(variants, file)
    return consistency(
        arms[0].predictions[0], variants, {v.question_id: original_id(v.question_id) for v in variants}
    )


def _text(
    arms: Sequence[ArmResult],
    measures: Mapping[str, Sequence[Measure]],
    errors: Any,
    consistency: Any,
    temperature: Temperature | None,
    encoder: str,
) -> str:
    from medalign.reporting.error_rows import error_text
    from medalign.reporting.metric_text import consistency_text, metric_text

    parts = [metric_text(measures)]
    if encoder:
        parts.append(f"BERTScore by {encoder}")
    if temperature is not None and temperature.at_bound:
        parts.append(
            f"the temperature lies at its bound: the {temperature.num_questions} validation answers do not determine it"
        )
    if consistency is not None:
        parts.append(consistency_text(consistency))
    if errors is not None:
        parts.append(error_text(errors, arms))
    return "\n\n".join(part for part in parts if part)


def _write_json(
    file: str,
    arms: Sequence[ArmResult],
    measures: Mapping[str, Sequence[Measure]],
    errors: Any,
    consistency: Any,
    temperature: Temperature | None,
) -> None:
    import dataclasses

    from medalign.reporting import error_rows
    from medalign.reporting.metric_text import metric_rows

    content: dict[str, Any] = {"metrics": metric_rows(measures)}
    if temperature is not None:
        content["temperature"] = temperature._asdict()
    if consistency is not None:
        content["consistency"] = dataclasses.asdict(consistency)
    if errors is not None:
        content["errors"] = {
            "pairs": [
                {"first": p.first, "second": p.second, "fixed": p.fixed, "broken": p.broken}
                for p in errors.pairs
            ],
            "slices": error_rows.slice_rows(errors, arms),
            "patterns": error_rows.pattern_rows(errors),
            "oracle": error_rows.oracle_row(errors),
            "confident_errors": error_rows.confident_error_rows(errors),
        }
    try:
        Path(file).write_text(json.dumps(content, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    except OSError as error:
        raise StorageError(
            f"--json: {file} cannot be written ({error.strerror}); name another file"
        ) from error
