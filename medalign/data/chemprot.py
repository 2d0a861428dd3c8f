"""ChemProt as in AdaptLLM: the relation of a chemical and a protein in a sentence (Kringelum et al. 2016)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import ClassVar

from medalign.data.files import Row
from medalign.data.hub import HubPart
from medalign.data.record_source import RecordSource, content_id
from medalign.data.sources import Service
from medalign.records import Question, Split

HUB = "AdaptLLM/ChemProt"
RELATIONS = (
    "activator",
    "agonist",
    "agonist-activator",
    "agonist-inhibitor",
    "antagonist",
    "downregulator",
    "indirect-downregulator",
    "indirect-upregulator",
    "inhibitor",
    "product-of",
    "substrate",
    "substrate_product-of",
    "upregulator",
)
_WORD = re.compile(r"\w+")


class ChemProtSource(RecordSource):
    """ChemProt with its thirteen relations, in the raw form that AdaptLLM uploads: text and label.

    The entities are marked << so >> and [[ so ]]. The same sentence with other entities marked is one group.
    """

    name = "chemprot"
    description = "Which of thirteen relations holds between two marked entities of a PubMed sentence."
    licence = "None stated by AdaptLLM; see the terms of ChemProt itself (BioCreative VI)"
    citation = (
        "Kringelum et al. 2016, ChemProt-3.0, Database 2016; in the form of Cheng et al. 2024, Adapting Large Language "
        "Models to Domains via Reading Comprehension, ICLR"
    )
    origin = f"Hub: {HUB}; or chemprot:LOCATION, a file or folder of text, label"
    serves: ClassVar[tuple[Service, ...]] = ("choice",)
    known_faults: ClassVar[tuple[str, ...]] = (
        "The abstract is not told: sentences of one abstract can stand in different splits, as in the original.",
        "Labels are far from balanced (inhibitor is the most frequent): report macro-F1.",
        "Loader written to the published schema, without the files at hand.",
    )
    hub: ClassVar[tuple[HubPart, ...]] = (
        HubPart(dataset=HUB, name="train", split="train"),
        HubPart(dataset=HUB, name="validation", split="validation"),
        HubPart(dataset=HUB, name="test", split="test"),
    )

    def entries(self, row: Row, split: Split | None) -> Iterator[Question]:
        text, label = row.text("text").strip(), row.text("label").strip().lower()
        if label not in RELATIONS:
            raise row.wrong("label", f"one of {', '.join(RELATIONS)}")
        yield Question(
            id=f"{self.name}-{content_id(text)}",
            source=self.name,
            kind="choice",
            text=f"{text}\nWhat is the relation between the two marked entities?",
            answer=label,
            options=RELATIONS,
            specialty="biomedical research",
            group=content_id(*_WORD.findall(text)),
            split=split,
        )
