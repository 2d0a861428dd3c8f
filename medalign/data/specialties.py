"""One name for each specialty, so that results of several sources can be put together.

Sources call the same field by their own names. The names here are those of the American Board of Medical Specialties,
and of MeSH's trees H01 and H02 for what is no specialty of a physician (anatomy, nursing), in lower case and in
their short form. Questions keep the name of their source, by which they are drawn and named in `stages`: only what
is counted or reported by specialty goes by these names.
"""

from __future__ import annotations

from collections.abc import Mapping

from medalign.records import Question

# Name -> the names under which sources have it, beside the name itself.
OTHER_NAMES: Mapping[str, tuple[str, ...]] = {
    "allergy and immunology": ("allergology", "allergy", "immunology"),
    "anesthesiology": ("anaesthesia", "anaesthesiology", "anesthesia"),
    "cardiology": ("cardiovascular medicine", "cardiovascular disease"),
    "dentistry": ("dental",),
    "dermatology": ("skin",),
    "emergency medicine": ("emergencies",),
    "endocrinology": ("endocrinology and metabolism",),
    "family medicine": ("primary care", "family and community medicine", "general practice"),
    "gastroenterology": ("digestive system", "digestive"),
    "genetics": ("medical genetics",),
    "geriatrics": ("human aging", "geriatric medicine"),
    "hematology": ("haematology",),
    "infectious diseases": ("infectious disease", "infectious", "infectology"),
    "medical ethics": tuple(f"medical ethics, principle {number}" for number in range(1, 10)),
    "medicine": ("clinical knowledge", "college medicine", "professional medicine", "general medicine"),
    "microbiology": ("virology",),
    "biology": ("college biology",),
    "neurosurgery": ("neurological surgery",),
    "obstetrics and gynecology": (
        "gynaecology and obstetrics",
        "gynecology and obstetrics",
        "obstetrics and gynaecology",
        "gynaecology",
        "gynecology",
        "obstetrics",
    ),
    "oncology": ("medical oncology",),
    "orthopedics": ("orthopaedics", "orthopedic surgery", "orthopaedic surgery", "traumatology"),
    "otolaryngology": ("ent", "otorhinolaryngology"),
    "palliative medicine": ("palliative care",),
    "pathology": ("pathological anatomy", "anatomic pathology"),
    "pediatrics": ("paediatrics",),
    "preventive medicine": ("social and preventive medicine", "epidemiology", "public health"),
    "pulmonology": ("pneumology", "pulmonary medicine", "respiratory medicine", "pulmonary disease"),
    "surgery": ("general surgery",),
}
# What a source means by a name that others use for something else.
OF_SOURCE: Mapping[tuple[str, str], str] = {("medmcqa", "medicine"): "internal medicine"}

_NAMES = {other: name for name, others in OTHER_NAMES.items() for other in (name, *others)}


def common_specialty(question: Question) -> str:
    """The question's specialty by the name that all sources share; a name that is not known stays as it is."""
    given = question.specialty
    if (own := OF_SOURCE.get((question.source, given))) is not None:
        return own
    plain = " ".join(given.lower().replace("&", " and ").replace("_", " ").split())
    return _NAMES.get(plain, given)
