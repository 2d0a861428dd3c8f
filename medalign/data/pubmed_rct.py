"""PubMed-RCT as in AdaptLLM: the role of a sentence in the abstract of a trial (Dernoncourt and Lee 2017)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from medalign.data.files import Row
from medalign.data.hub import HubPart
from medalign.data.labelled_sentences import LabelledSentencesSource, official_parts
from medalign.data.record_source import content_id

HUB = "AdaptLLM/RCT"
ROLES = ("background", "objective", "methods", "results", "conclusions")


class PubMedRCTSource(LabelledSentencesSource):
    """PubMed-RCT 20k in the raw form that AdaptLLM uploads. Sentences of one abstract are one group."""

    name = "pubmed_rct"
    description = "Which of five roles a sentence has in the abstract of a randomised controlled trial."
    licence = "None stated by AdaptLLM; abstracts are PubMed's"
    citation = (
        "Dernoncourt and Lee 2017, PubMed 200k RCT, IJCNLP; in the form of Cheng et al. 2024, Adapting Large Language "
        "Models to Domains via Reading Comprehension, ICLR"
    )
    origin = f"Hub: {HUB}; or pubmed_rct:LOCATION, a file or folder of text, label and, if known, abstract_id"
    known_faults: ClassVar[tuple[str, ...]] = (
        "Where no abstract_id is given every sentence is its own group; the official parts share no abstract.",
        "Numbers are replaced by @ in some copies.",
        "Background and objective are hard to tell apart, for people too.",
        "Loader written to the published schema, without the files at hand.",
    )
    hub: ClassVar[tuple[HubPart, ...]] = official_parts(HUB)
    labels = ROLES
    asks = "Which part of the abstract of a trial is this sentence from?"

    def number(self, row: Row, sentence: str) -> str:
        return content_id(_abstract(row), sentence)

    def group(self, row: Row, sentence: str) -> str:
        return _abstract(row) or self.number(row, sentence)


def _abstract(row: Row) -> str:
    details = row.values.get("metadata")
    held = details.get("abstract_id") if isinstance(details, Mapping) else row.values.get("abstract_id")
    return "" if held is None else str(held).strip()
