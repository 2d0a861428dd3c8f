"""Overlap of the medical words of a written answer with those of its reference.

Token F1 gives "the" and "metoprolol" the same weight; this one looks at medical words alone. A
word is medical if it stands in a word list or ends like a drug or a clinical term ("-olol",
"-itis"). It is a screen by words: it knows no synonyms, no abbreviations in other forms and no negation.
"""

from __future__ import annotations

import functools
import re
from collections import Counter
from collections.abc import Collection, Sequence
from importlib import resources
from pathlib import Path

from medalign.errors import DataError

_WORD = re.compile(r"[^\W_]+(?:['-][^\W_]+)*")
_MIN_LETTERS = 6  # of a word that is recognised by its ending alone

# Stems of drug classes, as assigned by the USAN Council ("Stem list", American Medical Association) and the WHO's INN.
DRUG_ENDINGS = """
afil asone azepam azole barbital caine cillin cillins citabine cycline dipine dronate ectomab eprazole fenac
floxacin fungin gliflozin gliptin glitazone grel iazide lukast mab micin mycin nacin navir nidazole olol olone
oprazole osin oxacin oxetine parib parin platin prazole pramine prazosin pril prilat profen prost ridone rubicin
sartan semide setron sporin statin tadine taxel tegravir terol thiazide tidine tinib tocin trexate triptan
triptyline tropium uracil vastatin vir virine vudine xaban zepam zolam zolid zumab
"""
# Greek and Latin combining forms of clinical terms, as any dictionary of medical terminology lists them.
CLINICAL_ENDINGS = """
aemia aemic algia algic ectasis ectomy emesis emia emic genesis graphy itis kinesia lysis lytic malacia megaly
oedema edema oma omas omata opathy opathies oplasty oscopy oscopic osis ostomy otomy oxia penia phagia phasia
philia plasia plegia pnea pnoea poiesis porosis rrhage rrhagia rrhea rrhoea sclerosis scopy stenosis taxia
thorax toxicity trophy trophic uria
"""
_ENDINGS = (*DRUG_ENDINGS.split(), *CLINICAL_ENDINGS.split())
_ORDINARY_WORDS = """
academia academic analysis analytic aroma aromas autobiography basis bibliography biography catalytic catastrophic
choreography cinematography crisis demography diploma diplomas emphasis endemic genesis geography hypothesis
kinetic nemesis nostalgia nostalgic oasis oklahoma olone polemic pornography premise photography sonoma
spectroscopy synthesis tacoma thesis thomas topography trophy typography vino
"""
_ORDINARY = frozenset(_ORDINARY_WORDS.split())  # with such an ending


def read_terms(path: str | Path) -> frozenset[str]:
    """Words of a file of one's own: terms one a line, of one or several words; lines that begin with # are notes.

    Raises:
        DataError: The file cannot be read or holds no word.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"terms: {path} cannot be read ({error}); name a text file of one term a line"
        ) from error
    words = _words_of_lines(text.splitlines())
    if not words:
        raise DataError(f"terms: {path} holds no word; give one term a line")
    return words


@functools.cache
def default_words() -> frozenset[str]:
    """The word list of this package, some 5,000 words (`medical_words.txt` says whence)."""
    text = resources.files("medalign.evaluation").joinpath("medical_words.txt").read_text(encoding="utf-8")
    return _words_of_lines(text.splitlines())


def medical_words(text: str, terms: Collection[str] | None = None) -> list[str]:
    """The medical words of a text in lower case, in their order, repeated ones repeated.

    A word with a hyphen is taken apart where it is not in the list as a whole.

    Args:
        terms: Words in place of the package's list; then endings are not looked at either.
    """
    listed = default_words() if terms is None else terms
    found: list[str] = []
    for word in _WORD.findall(text.lower()):
        parts = [word] if word in listed else re.split("['-]", word)
        found += [part for part in parts if part in listed or (terms is None and _ends_medically(part))]
    return found


def medical_term_f1(text: str, reference: str, terms: Collection[str] | None = None) -> float | None:
    """F1 of the medical words that an answer shares with the reference; repeated words count as often as they occur.

    Returns:
        None where the reference has no medical word: then nothing can be shared, and 0 would be no fault of the
        answer. 0 where only the answer has none.

    Source: token F1 of Rajpurkar et al. (2016), arXiv:1606.05250, over the words that `medical_words` keeps.
    """
    expected = Counter(medical_words(reference, terms))
    if not expected:
        return None
    found = Counter(medical_words(text, terms))
    return 2 * (found & expected).total() / (found.total() + expected.total())


def _ends_medically(word: str) -> bool:
    return len(word) >= _MIN_LETTERS and word.endswith(_ENDINGS) and word not in _ORDINARY


def _words_of_lines(lines: Sequence[str]) -> frozenset[str]:
    return frozenset(
        word for line in lines if not line.startswith("#") for word in _WORD.findall(line.lower())
    )
