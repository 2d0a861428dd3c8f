"""Every source by name, and how `name` or `name:location` is read."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from types import MappingProxyType

from medalign.data.bioasq import BioASQSource
from medalign.data.casimedicos import CasiMedicosSource
from medalign.data.chemprot import ChemProtSource
from medalign.data.embedded.source import EmbeddedSource
from medalign.data.head_qa import HeadQASource
from medalign.data.k_qa import KQASource
from medalign.data.liveqa import LiveQASource
from medalign.data.med_qa import MedQASource
from medalign.data.med_safety_bench import MedSafetyBenchSource
from medalign.data.medec import MEDECSource
from medalign.data.medical_qa_datasets import MedicalQADatasetsSource
from medalign.data.medmcqa import MedMCQASource
from medalign.data.medquad import MedQuADSource
from medalign.data.medquad_judged import MedQuADJudgedSource
from medalign.data.medtext import MedTextSource
from medalign.data.mimic_notes import MIMICNotesSource
from medalign.data.mirage import MIRAGESource
from medalign.data.mmlu_medical import MMLUMedicalSource
from medalign.data.plain_files import PlainFilesSource
from medalign.data.preference_files import PreferencesSource
from medalign.data.pubmed_qa import PubMedQASource
from medalign.data.pubmed_rct import PubMedRCTSource
from medalign.data.radqa import RadQASource
from medalign.data.sources import Loaded, Source
from medalign.data.specialty_files import SpecialtyFilesSource
from medalign.errors import DataError
from medalign.records import Question

_SOURCES: tuple[type[Source], ...] = (
    EmbeddedSource,
    PubMedQASource,
    MedMCQASource,
    MedQASource,
    MMLUMedicalSource,
    BioASQSource,
    HeadQASource,
    CasiMedicosSource,
    MIRAGESource,
    MedQuADSource,
    MedQuADJudgedSource,
    LiveQASource,
    KQASource,
    MedSafetyBenchSource,
    MEDECSource,
    RadQASource,
    MedTextSource,
    MedicalQADatasetsSource,
    ChemProtSource,
    PubMedRCTSource,
    MIMICNotesSource,
    SpecialtyFilesSource,
    PlainFilesSource,
    PreferencesSource,
)
SOURCES: Mapping[str, type[Source]] = MappingProxyType({source.name: source for source in _SOURCES})


def find_source(spec: str) -> tuple[Source, str | None]:
    """The source that `name` or `name:location` asks for, and the location, not yet opened.

    Raises:
        DataError: If there is no such source, or nothing follows the colon.
    """
    name, colon, location = (part.strip() for part in spec.partition(":"))
    if name not in SOURCES:
        near = difflib.get_close_matches(name, SOURCES, n=2) or sorted(SOURCES)
        raise DataError(f"data: no source named {name!r}; did you mean {' or '.join(near)}?")
    if colon and not location:
        raise DataError(f"data: {spec!r} names no location after the colon; write {name} or {name}:LOCATION")
    return SOURCES[name](), location or None


def read_source(spec: str) -> Loaded:
    """All that `name` or `name:location` gives: questions not yet cleaned, ready pairs, what was dropped.

    Raises:
        DataError: If the source, its location or one of its records cannot be used.
    """
    source, location = find_source(spec)
    return source.load(location)


def load_source(spec: str) -> list[Question]:
    """The questions alone of `read_source`.

    Raises:
        DataError: If the source, its location or one of its records cannot be used.
    """
    return list(read_source(spec).questions)
