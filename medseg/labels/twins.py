"""Paired structures that are mirror images of one another, and sided ones that are not.

In a left-right mirror the labels of a pair swap only where a mirrored left structure looks like a
right one. That holds for the paired organs below: FMA and the Terminologia Anatomica (FIPAT, 2nd
edition, 2019, doi:10.12827/tnf8-ps81) list each as one structure with a left and a right
instance. It does not hold for the chambers and vessels of the heart, nor for lobes of the liver:
"left" names another organ there, not another side of the same one. Lungs are kept as a pair, as
published models mirror them, though the left one has two lobes; single lobes are no pair.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

#: Words of structures that are twins, singular; compared word by word.
_TWIN_WORDS = """
    kidney lung adrenal suprarenal eye eyeball globe lens orbit optic retina cornea parotid
    submandibular sublingual salivary lacrimal tonsil cochlea ear breast mammary ovary testis
    testicle ureter hippocampus hippocampal amygdala thalamus hypothalamus caudate putamen pallidum
    accumbens insula claustrum cerebrum cerebral cerebellum cerebellar hemisphere cortex ganglia
    gyrus sulcus operculum cuneus precuneus entorhinal fusiform parahippocampal cingulate frontal
    temporal parietal occipital orbitofrontal precentral postcentral supramarginal calcarine
    diencephalon dc forebrain substantia subthalamic choroid rib clavicle clavicula scapula humerus
    radius ulna hand wrist femur femoral tibia fibula patella hip pelvis ilium ischium pubis knee
    ankle foot acetabulum meniscus mandible maxilla temporomandibular zygomatic tmj gluteus
    iliopsoas psoas autochthon masseter pterygoid deltoid biceps trapezius quadriceps sartorius
    hamstring sternocleidomastoid carotid jugular iliac renal vertebral brachial seminal fallopian
"""
_TWINS = frozenset(_TWIN_WORDS.split())

#: Words of structures whose left and right are different organs; they win over `_TWINS`.
_OTHER_WORDS = """
    ventricle atrium atrial auricle auricular appendage ventricular myocardium heart cardiac lv rv
    la ra coronary bundle pulmonary aortic liver hepatic lobe colon bronchus diaphragm subclavian
    brachiocephalic brachiocephalica
"""
_NO_TWINS = frozenset(_OTHER_WORDS.split())

#: Ventricles of the brain are twins; the heart's are not.
_BRAIN_VENTRICLE = frozenset(("lateral", "cerebral", "brain", "inferior", "inf", "lat"))

_PLURALS = {"testes": "testis", "ovaries": "ovary", "femora": "femur", "hippocampi": "hippocampus"}


def are_twins(words: Iterable[str]) -> bool:
    """Whether a structure of these words, its side left out, has a mirror image of itself.

    >>> are_twins(["kidney"]), are_twins(["ventricle"]), are_twins(["lateral", "ventricle"])
    (True, False, True)
    >>> are_twins(["lung", "upper", "lobe"]), are_twins(["temporal", "lobe"])
    (False, True)
    """
    known = {_singular(word) for part in words for word in re.findall(r"[a-z]+", part.lower())}
    if known & {"ventricle", "vent"} and known & _BRAIN_VENTRICLE:
        return True
    if "lobe" in known and known & {"frontal", "temporal", "parietal", "occipital", "insula"}:
        return True
    return bool(known & _TWINS) and not known & _NO_TWINS


def _singular(word: str) -> str:
    if word in _PLURALS:
        return _PLURALS[word]
    return word[:-1] if word.endswith("s") and word[:-1] in _TWINS | _NO_TWINS else word
