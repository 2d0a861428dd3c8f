"""How telling each word is, counted once over real medical questions and kept with the package.

    python benchmarks/word_weights.py [FOLDER]

Reads the questions and options of the data sets in FOLDER (default: ../shared/data) and writes
medalign/data/word_weights.txt: on each line a weight and the words that have it. The weight of a word is
ln(questions / questions that hold it), to the nearest quarter; words of fewer than MIN_QUESTIONS
questions are left out and weigh as the heaviest. Only counts of single words are kept, no text.
"""

from __future__ import annotations

import gzip
import json
import math
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from medalign.data.words import words_of

MIN_QUESTIONS = 10
SETS = {
    "bioasq_task_b": ("body",),
    "casimedicos_en": ("full_question", "options"),
    "head_qa_en": ("qtext", "answers"),
    "k_qa": ("Question",),
    "med_qa_usmle_4_options": ("question", "options"),
    "medec_ms": ("Text",),
    "medmcqa": ("question", "opa", "opb", "opc", "opd"),
    "medquad": ("question",),
    "mmlu_medical": ("question", "choices"),
    "pubmed_qa": ("question",),
}


def main() -> None:
    root = Path(__file__).resolve().parents[1]
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else root.parent / "shared" / "data"
    counts: Counter[str] = Counter()
    num_questions = 0
    for text in texts(folder):
        counts.update(set(words_of(text)))
        num_questions += 1
    by_weight: dict[float, list[str]] = {}
    for word, count in counts.items():
        if count >= MIN_QUESTIONS:
            by_weight.setdefault(round(4 * math.log(num_questions / count)) / 4, []).append(word)
    lines = [f"{weight} {' '.join(sorted(by_weight[weight]))}\n" for weight in sorted(by_weight)]
    target = root / "medalign" / "data" / "word_weights.txt"
    target.write_text("".join(lines), encoding="utf-8")
    print(
        f"{num_questions} questions, {sum(map(len, by_weight.values()))} words -> {target.relative_to(root)}"
    )


def texts(folder: Path) -> Iterator[str]:
    for name, fields in SETS.items():
        for path in sorted((folder / name).glob("*.jsonl.gz")):
            with gzip.open(path, "rt", encoding="utf-8") as stream:
                for record in map(json.loads, stream):
                    yield "\n".join(text for field in fields for text in strings(record[field]))


def strings(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, held in value.items():
            if key != "aid":
                yield from strings(held)
    elif isinstance(value, list):
        for held in value:
            yield from strings(held)


if __name__ == "__main__":
    main()
