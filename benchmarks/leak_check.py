"""Precision and recall of the leak check on known near-duplicates between real data sets.

    python benchmarks/leak_check.py [FOLDER] [--list]

FOLDER (default: ../shared/data) holds the data sets and overlaps.jsonl.gz, a list of pairs of records that are nearly
the same, made by others with other means. Every file is compared with every other of these sets, as if each
were a split. Recall is the share of listed pairs that are found. A listed pair counts as one that words can
show unless leak_check_readings.jsonl says that its two questions are different ones.

The list is not complete, so a found pair that it lacks is not wrong for that: precision counts a pair as
right if it is listed (and not read as different) or if leak_check_readings.jsonl, where a sample by hash of
the others was read one by one, says that it is the same: who knows the answer to the one knows the answer to
the other. --list prints the pairs without a reading. Prints one JSON object.
"""

from __future__ import annotations

import gzip
import json
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

from medalign.data.fingerprints import stable_hash
from medalign.data.similarity import NearPair, Similarity
from medalign.records import Question

ROOT = Path(__file__).resolve().parents[1]
READINGS = Path(__file__).with_name("leak_check_readings.jsonl")
FIELDS = {
    "casimedicos_en": lambda r: (r["full_question"], [o for o in r["options"].values() if o != "nan"]),
    "head_qa_en": lambda r: (r["qtext"], [answer["atext"] for answer in r["answers"]]),
    "medmcqa": lambda r: (r["question"], [r[f"op{letter}"] for letter in "abcd"]),
    "med_qa_usmle_4_options": lambda r: (r["question"], list(r["options"].values())),
    "medec_ms": lambda r: (r["Text"], []),
    "mmlu_medical": lambda r: (r["question"], r["choices"]),
    "bioasq_task_b": lambda r: (r["body"], []),
    "pubmed_qa": lambda r: (r["question"], []),
}
SAMPLE = 60
RIGHT, WRONG = "same", "different"


def main() -> None:
    arguments = [argument for argument in sys.argv[1:] if argument != "--list"]
    folder = Path(arguments[0]) if arguments else ROOT.parent / "shared" / "data"
    questions, places = read(folder)
    listed = {pair_of(record, places): record["kind"] for record in lines(folder / "overlaps.jsonl.gz")}
    start = time.perf_counter()
    near = Similarity(questions).near_pairs(range(len(questions)), range(len(questions)))
    seconds = time.perf_counter() - start
    found = {
        (pair.first, pair.second): pair
        for pair in near
        if questions[pair.first].group != questions[pair.second].group
    }
    readings = {tuple(sorted(r["pair"])): r["reading"] for r in lines(READINGS)} if READINGS.is_file() else {}
    ids = {pair: tuple(sorted(questions[place].id for place in pair)) for pair in {*listed, *found}}
    unlisted = sorted(found.keys() - listed.keys(), key=lambda pair: stable_hash("sample", *ids[pair]))
    sample = unlisted[:SAMPLE]
    missed = sorted(listed.keys() - found.keys())
    if "--list" in sys.argv:
        show([*missed, *sample], ids, readings, found, questions)
        return
    print(
        json.dumps(figures(listed, found, sample, ids, readings) | {"seconds": round(seconds, 1)}, indent=2)
    )


def read(folder: Path) -> tuple[list[Question], dict[tuple[str, str, int], int]]:
    """A question for every record; the file stands for its group and split."""
    questions: list[Question] = []
    places = {}
    for name, fields in FIELDS.items():
        for path in sorted((folder / name).glob("*.jsonl.gz")):
            split = path.name.partition(".")[0]
            for line, record in enumerate(lines(path)):
                text, options = fields(record)
                places[name, split, line] = len(questions)
                questions.append(
                    Question(
                        id=f"{name}/{split}/{line}",
                        source=name,
                        kind="choice" if options else "free_text",
                        text=text,
                        answer="",
                        options=tuple(options),
                        group=f"{name}/{split}",
                    )
                )
    return questions, places


def lines(path: Path) -> list[dict[str, Any]]:
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rt", encoding="utf-8") as stream:
        return [json.loads(line) for line in stream]


def pair_of(record: dict[str, Any], places: dict[tuple[str, str, int], int]) -> tuple[int, int]:
    one, other = (
        places[record[f"{side}_dataset"], record[f"{side}_split"], record[f"{side}_line"]] for side in "ab"
    )
    return (one, other) if one < other else (other, one)


def figures(
    listed: dict[tuple[int, int], str],
    found: dict[tuple[int, int], NearPair],
    sample: list[tuple[int, int]],
    ids: dict[tuple[int, int], tuple[str, ...]],
    readings: dict[tuple[str, ...], str],
) -> dict[str, Any]:
    shown = {pair for pair in listed if readings.get(ids[pair]) != WRONG}
    read_pairs = [readings[ids[pair]] for pair in sample if ids[pair] in readings]
    right_share = read_pairs.count(RIGHT) / len(read_pairs) if read_pairs else None
    hits = len(shown & found.keys())
    unlisted = len(found.keys() - listed.keys())
    by_kind = {
        kind: {
            "listed": sum(held == kind for held in listed.values()),
            "found": sum(listed[pair] == kind for pair in listed.keys() & found.keys()),
        }
        for kind in sorted(set(listed.values()))
    }
    return {
        "listed": len(listed),
        "listed_found": len(listed.keys() & found.keys()),
        "recall_of_all_listed": round(len(listed.keys() & found.keys()) / len(listed), 3),
        "listed_that_words_show": len(shown),
        "recall_of_those": round(hits / len(shown), 3),
        "found": len(found),
        "found_unlisted": unlisted,
        "unlisted_read": len(read_pairs),
        "unlisted_right": read_pairs.count(RIGHT),
        "precision_against_the_list": round(hits / len(found), 3),
        "precision_with_readings": None
        if right_share is None
        else round((hits + right_share * unlisted) / len(found), 3),
        "found_by_measure": dict(Counter(pair.measure for pair in found.values())),
        "by_kind": by_kind,
    }


def show(
    pairs: list[tuple[int, int]],
    ids: dict[tuple[int, int], tuple[str, ...]],
    readings: dict[tuple[str, ...], str],
    found: dict[tuple[int, int], NearPair],
    questions: list[Question],
) -> None:
    for pair in pairs:
        if ids[pair] not in readings:
            near = found.get(pair)
            print(json.dumps({"pair": ids[pair], "found": near and [near.measure, near.score]}))
            for place in pair:
                question = questions[place]
                print("   ", " ".join(question.text.split())[:500], "|", " / ".join(question.options)[:300])


if __name__ == "__main__":
    main()
