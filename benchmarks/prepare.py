"""Preparing 200,000 MedMCQA-shaped questions, beside a plain pandas and datasketch script in the same run.

    python benchmarks/prepare.py [FOLDER] [--sizes 50000,100000,200000] [--without-peer]

FOLDER (default: ../shared/data/medmcqa) holds real MedMCQA questions. New ones are made of these by seeded
edits: words and options are exchanged with those of other questions of the subject, so that lengths, words
and subjects stay as they are; some are planted copies (exact, with a typing error, reworded in the official
test part, with another key), so that what is found can be counted. Each preparation runs in a process of its
own: reading, cleaning, near-duplicates, splitting, leak check, pairs, card and page, store. The peer reads,
cleans, finds near-duplicates by MinHash (64 hashes) and checks test against train with a second index; it
needs `pip install datasketch`. All are kept to two cores. Prints one JSON object.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
OPTIONS = ("opa", "opb", "opc", "opd")
TEST_SHARE = 0.02
PLANTED = {"exact": 0.01, "typing error": 0.02, "reworded test": 0.005, "other key": 0.002}
# Of all questions; the rest is the pool.
TRAIN_SHARE, VALIDATION_SHARE = 0.1, 0.01


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", nargs="?", default=str(ROOT.parent / "shared" / "data" / "medmcqa"))
    parser.add_argument("--sizes", default="50000,100000,200000")
    parser.add_argument("--without-peer", action="store_true")
    parser.add_argument("--child", choices=("medalign", "load", "peer"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        child = {"medalign": prepare_with_medalign, "load": load_again, "peer": prepare_with_peer}
        print(json.dumps(child[given.child](Path(given.folder))))
        return
    results = []
    for size in map(int, given.sizes.split(",")):
        with tempfile.TemporaryDirectory() as made:
            planted = make_questions(Path(given.folder), Path(made), size)
            row: dict[str, Any] = {"questions": size, "planted": planted}
            for name in ("medalign", "load", *(() if given.without_peer else ("peer",))):
                row[name] = run_child(name, made)
            if "peer" in row:
                row["times_faster_than_peer"] = round(row["peer"]["seconds"] / row["medalign"]["seconds"], 1)
            results.append(row)
    first, last = results[0], results[-1]
    growth = last["medalign"]["seconds"] / first["medalign"]["seconds"]
    print(
        json.dumps(
            {
                "cores": min(2, os.cpu_count() or 1),
                "results": results,
                "growth_of_questions": last["questions"] / first["questions"],
                "growth_of_seconds": round(growth, 2),
            },
            indent=2,
        )
    )


def run_child(name: str, folder: str) -> dict[str, Any]:
    """Runs one preparation in a process of its own, on two cores."""
    cores = sorted(os.sched_getaffinity(0))[:2]
    command = ["taskset", "-c", ",".join(map(str, cores)), sys.executable, __file__, folder, "--child", name]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
        "MEDALIGN_CACHE": f"{folder}/cache",
        "OMP_NUM_THREADS": "2",
    }
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def usage(start: float) -> dict[str, float]:
    """Seconds since the start, seconds of both cores together, and the largest memory so far."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "seconds": round(time.perf_counter() - start, 2),
        "cpu_seconds": round(used.ru_utime + used.ru_stime, 1),
        "peak_gib": round(used.ru_maxrss / 2**20, 2),
    }


# ------------------------------------------------------------------------------------------- medalign


def settings_for(folder: Path) -> Any:
    from medalign.config.experiment import DataSettings

    with (folder / "validation.jsonl").open() as stream:
        num_test = sum(1 for _ in stream)
    size = num_test / TEST_SHARE
    # A few official test questions are lost in cleaning.
    return DataSettings(
        sources=(f"medmcqa:{folder}",),
        train_size=round(size * TRAIN_SHARE),
        validation_size=round(size * VALIDATION_SHARE),
        test_size=num_test * 9 // 10,
    )


def prepare_with_medalign(folder: Path) -> dict[str, Any]:
    start = time.perf_counter()
    from medalign.data.preparation import prepare_data, read_sources
    from medalign.data.store import write_prepared
    from medalign.reporting.data_card import write_card

    settings = settings_for(folder)
    data = prepare_data(read_sources(settings), settings, seed=0)
    write_prepared(data, folder / "prepared")
    write_card(folder / "prepared", "benchmark", data.card)
    found = usage(start)
    kept = {q.id for held in (data.train, data.validation, data.test, data.pool) for q in held}
    return found | {
        "splits": {name: len(getattr(data, name)) for name in ("train", "validation", "test", "pool")},
        "drops": dict(data.drops),
        "planted_left": planted_left(folder, kept),
    }


def planted_left(folder: Path, kept: set[str]) -> dict[str, float]:
    """The share of planted copies that stand in the prepared data beside their original.

    A reworded test question counts only if its original is in the test split.
    """
    left: Counter[str] = Counter()
    all_planted: Counter[str] = Counter()
    for record in map(json.loads, (folder / "planted.jsonl").open()):
        if record["kind"] == "reworded test" and f"medmcqa-{record['of']}" not in kept:
            continue
        all_planted[record["kind"]] += 1
        left[record["kind"]] += f"medmcqa-{record['id']}" in kept and f"medmcqa-{record['of']}" in kept
    return {kind: round(left[kind] / number, 4) for kind, number in sorted(all_planted.items())}


def load_again(folder: Path) -> dict[str, Any]:
    import pyarrow.parquet  # noqa: F401 - the library is loaded before the clock starts

    from medalign.data.store import read_prepared

    start = time.perf_counter()
    data = read_prepared(folder / "prepared")
    splits = time.perf_counter() - start
    num_pool = len(tuple(data.pool))
    return {
        "seconds_for_the_splits": round(splits, 3),
        "seconds_with_the_whole_pool": round(time.perf_counter() - start, 3),
        "questions": len(data.train) + len(data.validation) + len(data.test) + num_pool,
    }


# ------------------------------------------------------------------------------------------- the peer


def prepare_with_peer(folder: Path) -> dict[str, Any]:
    """What one would write in an afternoon."""
    start = time.perf_counter()
    import pandas as pd
    from datasketch import MinHash, MinHashLSH

    frame = pd.concat(
        [
            pd.read_json(folder / f"{part}.jsonl", lines=True, dtype=False).assign(part=part)
            for part in ("train", "validation")
        ],
        ignore_index=True,
    )
    for column in ("question", *OPTIONS):
        frame[column] = frame[column].str.normalize("NFC").str.split().str.join(" ")
    frame = frame[frame[list(OPTIONS)].nunique(axis=1) == 4]
    frame["text"] = frame[["question", *OPTIONS]].agg(" ".join, axis=1).str.lower()
    num_read = len(frame)
    frame = frame.sort_values("part", ascending=False, kind="stable").drop_duplicates("text")
    num_exact = num_read - len(frame)
    words = [[word.encode() for word in set(text.split())] for text in frame["text"]]
    hashes = MinHash.bulk(words, num_perm=64)
    index = MinHashLSH(threshold=0.8, num_perm=64)
    keep = []
    for number, minhash in enumerate(hashes):
        is_new = not index.query(minhash)
        keep.append(is_new)
        if is_new:
            index.insert(number, minhash)
    frame["minhash"] = hashes
    frame = frame[keep]
    shuffled = frame.sample(frac=1, random_state=0)
    test = shuffled[shuffled["part"] == "validation"]
    rest = shuffled[shuffled["part"] == "train"]
    num_validation = len(rest) // 100
    validation, train = rest.iloc[:num_validation], rest.iloc[num_validation:]
    known = MinHashLSH(threshold=0.5, num_perm=64)
    for number, minhash in enumerate([*test["minhash"], *validation["minhash"]]):
        known.insert(number, minhash)
    leaks = [bool(known.query(minhash)) for minhash in train["minhash"]]
    train = train[[not leak for leak in leaks]]
    for part in (train, validation, test):
        part["subject_name"].value_counts().to_dict()
    found = usage(start)
    kept = {f"medmcqa-{name}" for part in (train, validation, test) for name in part["id"]}
    return found | {
        "exact": num_exact,
        "near": len(keep) - sum(keep),
        "leaks": sum(leaks),
        "planted_left": planted_left(folder, kept),
    }


# -------------------------------------------------------------------------------------- the questions


def make_questions(source: Path, folder: Path, size: int) -> dict[str, int]:
    """Writes train.jsonl, validation.jsonl and planted.jsonl; the number of planted copies by kind."""
    chance = random.Random(size)
    real = [record for path in sorted(source.glob("*.jsonl.gz")) for record in read(path)]
    by_subject: dict[str, tuple[list[str], list[str]]] = {}
    for record in real:
        words, options = by_subject.setdefault(record["subject_name"], ([], []))
        words += [word for word in record["question"].split() if len(word) > 3]
        options += [record[name] for name in OPTIONS]
    made: list[dict[str, Any]] = []
    planted: list[dict[str, str]] = []
    num_test = round(size * TEST_SHARE)
    while len(made) < size:
        record = edited(chance.choice(real), by_subject, chance) | {"id": f"{len(made):06d}"}
        draw, kinds = chance.random(), iter(PLANTED.items())
        kind = None
        if len(made) > num_test:
            for name, share in kinds:
                if draw < share:
                    kind = name
                    break
                draw -= share
        if kind:
            of = made[chance.randrange(num_test if kind == "reworded test" else len(made))]
            record = copy_of(of, kind, chance) | {"id": record["id"]}
            planted.append({"kind": kind, "id": record["id"], "of": of["id"]})
        made.append(record)
    for name, held in (("validation", made[:num_test]), ("train", made[num_test:]), ("planted", planted)):
        with (folder / f"{name}.jsonl").open("w", encoding="utf-8") as stream:
            stream.writelines(json.dumps(record) + "\n" for record in held)
    return dict(Counter(record["kind"] for record in planted))


def read(path: Path) -> Iterator[dict[str, Any]]:
    with gzip.open(path, "rt", encoding="utf-8") as stream:
        yield from map(json.loads, stream)


def edited(
    record: dict[str, Any], by_subject: dict[str, tuple[list[str], list[str]]], chance: random.Random
) -> dict[str, Any]:
    """The question with about two of three longer words, and its options, exchanged for others of the subject."""
    words, options = by_subject[record["subject_name"]]
    text = " ".join(
        chance.choice(words) if len(word) > 3 and chance.random() < 0.65 else word
        for word in record["question"].split()
    )
    offered = {name: chance.choice(options) if chance.random() < 0.8 else record[name] for name in OPTIONS}
    return {**record, **offered, "question": text}


def copy_of(record: dict[str, Any], kind: str, chance: random.Random) -> dict[str, Any]:
    copy = dict(record)
    words = copy["question"].split()
    long = [place for place, word in enumerate(words) if len(word) > 6] or [0]
    if kind == "typing error":
        place = chance.choice(long)
        at = len(words[place]) // 2
        words[place] = words[place][:at] + words[place][at + 1 :]
        copy["question"] = " ".join(words)
    elif kind == "reworded test":
        half = len(words) // 2
        copy["question"] = f"Regarding the following: {' '.join(words[half:])}; {' '.join(words[:half])}?"
        shown = [copy[name] for name in OPTIONS]
        order = chance.sample(range(4), 4)
        copy |= {name: shown[place] for name, place in zip(OPTIONS, order, strict=True)}
        copy["cop"] = order.index(record["cop"])
    elif kind == "other key":
        copy["cop"] = (record["cop"] + 1) % 4
    return copy


if __name__ == "__main__":
    main()
