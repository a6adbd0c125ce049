"""What names the patient and the study in a series? Read only when the user asks for it."""

from __future__ import annotations

import io

from medseg.errors import BadScan
from medseg.readers.dicom_file import FileHeader
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
_HEAD_BYTES = 1 << 22


def identifiers_of(file: FileHeader) -> dict[str, str]:
    """What names patient and study, as text in the file's own character set."""
    from pydicom import dcmread
    from pydicom.errors import InvalidDicomError

    try:
        for _, stream in open_each([file.source]):
            head = stream.read(_HEAD_BYTES)
            dataset = dcmread(
                io.BytesIO(head),
                stop_before_pixels=True,
                force=True,
                specific_tags=["SpecificCharacterSet", *IDENTIFIERS.values()],
            )
            return {
                column: _printable(str(dataset.get(keyword, "")))
                for column, keyword in IDENTIFIERS.items()
            }
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
    return dict.fromkeys(IDENTIFIERS, "")


def description_of(file: FileHeader) -> str:
    """The series description."""
    return identifiers_of(file)["series_description"]


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else " " for c in text).strip()
