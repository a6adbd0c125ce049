"""What names the patient and the study in a series; read only on the user's request."""

from __future__ import annotations

import io

from medseg.errors import BadScan
from medseg.readers.dicom.file import FileHeader
from medseg.readers.dicom.header import plain_head
from medseg.readers.sources import open_each

#: Column in ``scans.csv`` -> DICOM keyword.
IDENTIFIERS = {
    "patient_id": "PatientID",
    "patient_name": "PatientName",
    "patient_birth_date": "PatientBirthDate",
    "study_date": "StudyDate",
    "study_description": "StudyDescription",
    "series_number": "SeriesNumber",
    "series_description": "SeriesDescription",
    "protocol_name": "ProtocolName",
    "study_instance_uid": "StudyInstanceUID",
    "series_instance_uid": "SeriesInstanceUID",
}
#: What says which sequence a series is; none of it leaves the program.
_WORDS = ("SeriesDescription", "ProtocolName", "SequenceName", "PulseSequenceName")
_HEAD_BYTES = 1 << 22


def identifiers_of(file: FileHeader) -> dict[str, str]:
    """What names patient and study, as text in the file's own character set."""
    texts = _texts(file, tuple(IDENTIFIERS.values()))
    return {column: texts[keyword] for column, keyword in IDENTIFIERS.items()}


def words_of(file: FileHeader) -> tuple[str, ...]:
    """What the header calls the series: its description, protocol and sequence, to be matched."""
    return tuple(filter(None, _texts(file, _WORDS).values()))


def _texts(file: FileHeader, keywords: tuple[str, ...]) -> dict[str, str]:
    """Text by DICOM keyword; empty where there is none or the file cannot be read."""
    from pydicom import dcmread
    from pydicom.errors import InvalidDicomError

    try:
        for _, stream in open_each([file.source]):
            dataset = dcmread(
                io.BytesIO(plain_head(stream, _HEAD_BYTES)),
                stop_before_pixels=True,
                force=True,
                specific_tags=["SpecificCharacterSet", *keywords],
            )
            return {keyword: _printable(str(dataset.get(keyword, ""))) for keyword in keywords}
    except (
        BadScan,
        InvalidDicomError,
        OSError,
        EOFError,
        ValueError,
        NotImplementedError,
        AttributeError,
        TypeError,
        KeyError,
    ):
        pass
    return dict.fromkeys(keywords, "")


def description_of(file: FileHeader) -> str:
    """The series description."""
    return identifiers_of(file)["series_description"]


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else " " for c in text).strip()
