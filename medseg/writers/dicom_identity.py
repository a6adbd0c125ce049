"""The patient and study attributes that a derived DICOM object repeats from its source.

An object made from a scan belongs to the scan's patient and study, so it must repeat what a PACS
files it by. Sources break the rules in every way; here each value is decoded by its own character
set, brought into the form its type asks for, and left empty where it has none. The object itself
is written in UTF-8.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable
from contextlib import suppress
from datetime import date
from typing import Any

from pydicom.charset import convert_encodings, decode_bytes
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset

#: Unicode in UTF-8 (PS3.3 C.12.1.1.2): the one character set that holds every name.
UTF8 = "ISO_IR 192"

#: Present in every object, empty where the source has no value (type 2).
_REQUIRED = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyDate",
    "StudyTime",
    "ReferringPhysicianName",
    "StudyID",
    "AccessionNumber",
)

#: Repeated where the source has a value.
_OPTIONAL = ("StudyDescription", "PatientAge", "PatientSize", "PatientWeight", "IssuerOfPatientID")

#: Longest value in characters; of a person's name: of each of its groups.
_MOST_CHARACTERS = {"LO": 64, "SH": 16, "PN": 64}

_SEXES = {"m": "M", "male": "M", "f": "F", "female": "F", "o": "O", "other": "O"}

#: Where ISO 2022 falls back to the first character set (PS3.5 6.1.2.5.3).
_DELIMITERS = {ord(letter) for letter in "\r\n\t\f^=\\"}

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def identity(source: Dataset) -> tuple[Dataset, tuple[str, ...]]:
    """Patient and study of a source in valid form, and which values had none.

    Returns:
        A data set in UTF-8, and the keywords whose value could not be kept. The values
        themselves are never shown: they may name a patient.
    """
    copied, missing = Dataset(), []
    copied.SpecificCharacterSet = UTF8
    for keyword in (*_REQUIRED, *_OPTIONAL):
        written = _text(source, keyword)
        value = _valid(keyword, written)
        if value or keyword in _REQUIRED:
            setattr(copied, keyword, value)
        if written and not value:
            missing.append(keyword)
    return copied, tuple(missing)


def long_string(text: str, most: int = 64) -> str:
    """Text as a DICOM string: no control characters, no value separator, not too long.

    >>> long_string("liver" + chr(92) + "tumour"), long_string("x" * 70) == "x" * 64
    ('liver/tumour', True)
    """
    return _CONTROL.sub(" ", text.replace("\\", "/")).strip()[:most].strip()


def shortened_names(names: Iterable[str], form: str) -> tuple[str, ...]:
    """A remark where names do not fit into DICOM strings; `form` names the kind of object."""
    cut = [name for name in names if long_string(name) != name]
    return (f"names shortened or cleaned in the {form}: {', '.join(cut)}",) if cut else ()


def _text(source: Dataset, keyword: str) -> str:
    """What the source says, decoded; the first of several values."""
    if keyword not in source:
        return ""
    raw: Any = source.get_item(keyword)
    value = raw.value
    if isinstance(raw, RawDataElement) and isinstance(value, bytes):
        text = _decoded(value, source)
    else:
        text = "\\".join(map(str, value)) if _is_several(value) else str(value or "")
    return text.strip("\0 ")


def _is_several(value: object) -> bool:
    return isinstance(value, list | tuple) or type(value).__name__ == "MultiValue"


def _decoded(value: bytes, source: Dataset) -> str:
    """Bytes as text by the declared character sets, else UTF-8 where it can be that, else Latin-1.

    ISO 2022 escapes are followed whatever is declared, for their bytes mean nothing else.
    """
    declared = source.get("SpecificCharacterSet") or ""
    names = list(declared) if _is_several(declared) else [str(declared)]
    if any(name.strip() for name in names):
        with warnings.catch_warnings(), suppress(LookupError, UnicodeError):
            warnings.simplefilter("ignore")  # an unknown set is judged by its result
            encodings = convert_encodings([name.strip() for name in names])
            text = decode_bytes(value, encodings, _DELIMITERS)
            if "\ufffd" not in text:
                return text
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return value.decode("latin-1")


def _valid(keyword: str, text: str) -> str:
    """The value in the form that its type asks for, or empty."""
    kind = dictionary_VR(keyword)
    if kind == "DA":
        return _date(text)
    if kind == "TM":
        return _time(text)
    if kind == "PN":
        return _name(text)
    if keyword == "PatientSex":
        return _SEXES.get(text.lower(), "")
    if kind == "AS":
        return text if re.fullmatch(r"\d{3}[DWMY]", text) else ""
    if kind == "DS":
        return text if re.fullmatch(r"[+-]?\d{1,6}(\.\d{1,7})?", text) else ""
    return long_string(text, _MOST_CHARACTERS[kind])


def _date(text: str) -> str:
    """A day as YYYYMMDD, from that or from ACR-NEMA's YYYY.MM.DD.

    >>> _date("1993.10.07"), _date("19931007"), _date("19931399")
    ('19931007', '19931007', '')
    """
    match = re.fullmatch(r"(\d{4})([.\-/]?)(\d{2})\2(\d{2})", text)
    if match is None:
        return ""
    year, month, day = (int(match[group]) for group in (1, 3, 4))
    try:
        return f"{date(year, month, day):%Y%m%d}".rjust(8, "0")
    except ValueError:
        return ""


def _time(text: str) -> str:
    """A time as HHMMSS.FFFFFF, from that or from ACR-NEMA's HH:MM:SS.

    >>> _time("08:05:59.5"), _time("0805"), _time("29")
    ('080559.5', '0805', '')
    """
    digits = text.replace(":", "")
    match = re.fullmatch(r"([01]\d|2[0-3])([0-5]\d)?([0-5]\d|60)?(\.\d+)?", digits)
    if match is None or (match[4] and not match[3]):
        return ""
    return digits[:13]


def _name(text: str) -> str:
    """A person's name: three groups of at most 64 characters, five parts each."""
    groups = text.split("\\")[0].split("=")[:3]
    parts = ["^".join(_CONTROL.sub(" ", group).split("^")[:5])[:64].rstrip() for group in groups]
    return "=".join(parts).rstrip("=")
