"""ChemProt as in AdaptLLM: the relation of a chemical and a protein in a sentence (Kringelum et al. 2016)."""

from __future__ import annotations

import re
from typing import ClassVar

from medalign.data.files import Row
from medalign.data.hub import HubPart
from medalign.data.labelled_sentences import LabelledSentencesSource, official_parts
from medalign.data.record_source import content_id

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


class ChemProtSource(LabelledSentencesSource):
    """ChemProt with its thirteen relations, in the raw form that AdaptLLM uploads.

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
    known_faults: ClassVar[tuple[str, ...]] = (
        "The abstract is not told: sentences of one abstract can stand in different splits, as in the original.",
        "Labels are far from balanced (inhibitor is the most frequent): report macro-F1.",
        "Loader written to the published schema, without the files at hand.",
    )
    hub: ClassVar[tuple[HubPart, ...]] = official_parts(HUB)
    labels = RELATIONS
    asks = "What is the relation between the two marked entities?"

    def group(self, row: Row, sentence: str) -> str:
        return content_id(*_WORD.findall(sentence))
