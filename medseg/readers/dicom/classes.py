"""Kinds of DICOM objects and encodings, and which of them hold a volume."""

from __future__ import annotations

from dataclasses import dataclass

_STORAGE = "1.2.840.10008.5.1.4.1.1."

#: Kinds of objects that hold no volume of voxels to segment, by the start of the UID.
_OTHER_CLASSES = {
    "1.2.840.10008.1.3.10": "a DICOMDIR, the index of a medium",
    _STORAGE + "66.4": "a segmentation (DICOM SEG: a mask, not an image)",
    _STORAGE + "66.5": "a surface segmentation (a mask, not an image)",
    _STORAGE + "66.7": "a label map segmentation (a mask, not an image)",
    _STORAGE + "66": "raw data, a registration or fiducials, not an image",
    _STORAGE + "67": "a real world value mapping, not an image",
    _STORAGE + "68": "a surface scan, not an image",
    _STORAGE + "481.2": "a radiotherapy dose, not an image of the patient",
    _STORAGE + "481.3": "a radiotherapy structure set (RTSTRUCT: contours, not an image)",
    _STORAGE + "481": "a radiotherapy object, not an image",
    _STORAGE + "88": "a structured report or key object, not an image",
    _STORAGE + "11": "a presentation state, not an image",
    _STORAGE + "104": "an encapsulated document, not an image",
    _STORAGE + "9": "a waveform, not an image",
    _STORAGE + "4.2": "a spectrum, not an image",
    _STORAGE + "78": "an ophthalmic measurement, not an image",
    _STORAGE + "79": "an ophthalmic report, not an image",
    _STORAGE + "80": "an ophthalmic report, not an image",
    _STORAGE + "77.1.6": "a microscopy slide, not a volume",
    "1.3.12.2.1107.5.9.1": "raw data of a vendor, not an image",
    "1.2.840.10008.5.1.4.34": "a procedure step, not an image",
    "1.2.840.10008.5.1.4.38": "a hanging protocol, not an image",
    "1.2.840.10008.5.1.4.39": "a colour palette, not an image",
    "1.2.840.10008.5.1.4.43": "an implant template, not an image",
}

#: The same by modality, for files without the UID of their kind.
_OTHER_MODALITIES = {
    "SEG": "a segmentation (DICOM SEG: a mask, not an image)",
    "RTSTRUCT": "a radiotherapy structure set (RTSTRUCT: contours, not an image)",
    "RTDOSE": "a radiotherapy dose, not an image of the patient",
    "RTPLAN": "a radiotherapy plan, not an image",
    "RTRECORD": "a radiotherapy record, not an image",
    "SR": "a structured report, not an image",
    "PR": "a presentation state, not an image",
    "KO": "a key object selection, not an image",
    "REG": "a registration, not an image",
    "FID": "fiducials, not an image",
    "DOC": "an encapsulated document, not an image",
    "PLAN": "a plan, not an image",
    "ECG": "a waveform, not an image",
}

#: Kinds of which every image has a place in the patient; one without is damaged, not foreign.
_VOLUME_CLASSES = tuple(_STORAGE + kind for kind in ("2", "4", "20", "128", "130"))
_VOLUME_MODALITIES = frozenset(("CT", "MR", "PT", "NM", "ST"))


def _is_of(uid: str, kind: str) -> bool:
    return uid == kind or uid.startswith(kind + ".")


#: Defined terms of the attribute Modality, those of older editions included (PS3.3, C.7.3.1.1.1).
_TERMS = """
    ANN AR AS ASMT AU BDUS BI BMD CD CF CFM CP CR CS CT CTPROTOCOL DD DF DG DM DMS DOC DS DX EC ECG
    EEG EMG EOG EPS ES FA FID FS GM HC HD IO IOL IVOCT IVUS KER KO LEN LP LS M3D MA MG MR MS NM OAM
    OCT OP OPM OPR OPT OPTBSV OPTENF OPV OSS OT PA PLAN POS PR PT PX REG RESP RF RG RTDOSE RTIMAGE
    RTINTENT RTPLAN RTRAD RTRECORD RTSEGANN RTSTRUCT RWV SC SEG SM SMR SR SRF ST STAIN TEXTUREMAP TG
    US VA VF VM XA XAPROTOCOL XC
"""
_MODALITIES = frozenset(_TERMS.split())


def defined_modality(text: str) -> str:
    """The modality as the standard names it; free text, which may name a patient, is ``OT``.

    >>> defined_modality("mr "), defined_modality("John Doe"), defined_modality("")
    ('MR', 'OT', '')
    """
    term = text.strip().upper()
    return term if not term or term in _MODALITIES else "OT"


def not_a_volume(sop_class: str, modality: str) -> str:
    """What the object is where it cannot be part of a volume; empty where it may be."""
    for kind, reason in _OTHER_CLASSES.items():
        if _is_of(sop_class, kind):
            return reason
    return "" if sop_class else _OTHER_MODALITIES.get(modality, "")


def must_have_geometry(sop_class: str, modality: str) -> bool:
    """Whether an image of this kind lies in space by definition (CT, MR, PET, NM)."""
    if sop_class:
        return any(_is_of(sop_class, kind) for kind in _VOLUME_CLASSES)
    return modality in _VOLUME_MODALITIES


#: Enhanced and legacy converted CT, MR and PET.
_ENHANCED = tuple(_STORAGE + kind for kind in ("2.1", "2.2", "4.1", "4.4", "130", "128.1"))


def is_enhanced(sop_class: str) -> bool:
    """Whether an object of this kind holds many frames, each with a place of its own."""
    return sop_class in _ENHANCED


@dataclass(frozen=True, slots=True)
class Syntax:
    """A transfer syntax.

    Attributes:
        uid: empty where the file names none.
        explicit: elements carry their VR.
        big: big endian.
        deflated: the data set is deflated.
        compressed: the pixels are compressed.
        supported: pixels can be decoded.
    """

    uid: str
    explicit: bool = True
    big: bool = False
    deflated: bool = False
    compressed: bool = False
    supported: bool = True


_PLAIN = {
    "": Syntax("", explicit=False),
    "1.2.840.10008.1.2": Syntax("1.2.840.10008.1.2", explicit=False),
    "1.2.840.10008.1.2.1": Syntax("1.2.840.10008.1.2.1"),
    "1.2.840.10008.1.2.2": Syntax("1.2.840.10008.1.2.2", big=True),
    "1.2.840.10008.1.2.1.99": Syntax("1.2.840.10008.1.2.1.99", deflated=True),
}
#: RLE, JPEG, JPEG-LS, JPEG 2000 and HTJ2K, which maintained plug-ins decode.
_COMPRESSED = frozenset(
    "1.2.840.10008.1.2." + tail
    for tail in (
        "5",
        "4.50",
        "4.51",
        "4.57",
        "4.70",
        "4.80",
        "4.81",
        "4.90",
        "4.91",
        "4.201",
        "4.202",
        "4.203",
    )
)


def syntax_of(uid: str) -> Syntax:
    """The transfer syntax behind a UID."""
    if uid in _PLAIN:
        return _PLAIN[uid]
    return Syntax(uid, compressed=True, supported=uid in _COMPRESSED)
