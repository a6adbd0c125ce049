"""Stand-ins for the frames of a source series, for highdicom to make a Segmentation from."""

from __future__ import annotations

from collections.abc import Sequence

from pydicom.dataset import Dataset
from pydicom.uid import CTImageStorage, generate_uid
from pydicom.valuerep import DSfloat

from medseg.geometry import Geometry
from medseg.writers.dicom_source import DicomSource, SourceFrame


def stand_in(frame: SourceFrame, series: DicomSource, geometry: Geometry) -> Dataset:
    """One source frame as the plain image that highdicom asks for: valid values and no others.

    Its class and UID are made up, for frames of a multi-frame object have none of their own;
    `refer_to_source` puts the source's back.
    """
    image = Dataset()
    image.update(series.patient)
    image.update(series.lossy)
    image.SOPClassUID = CTImageStorage
    image.SOPInstanceUID = generate_uid(entropy_srcs=[frame.instance, str(frame.number)])
    image.StudyInstanceUID, image.SeriesInstanceUID = series.study, series.series
    image.FrameOfReferenceUID = series.frame_of_reference
    image.PositionReferenceIndicator = ""
    image.Modality = series.modality
    image.Columns, image.Rows = frame.shape
    image.ImagePositionPatient = list(map(_decimal, frame.position_lps_mm))
    image.ImageOrientationPatient = list(map(_decimal, series.frames[0].orientation))
    image.PixelSpacing = list(map(_decimal, series.frames[0].pixel_spacing_mm))
    # The true distance of the slices, whatever the source's tags say of it.
    image.SliceThickness = image.SpacingBetweenSlices = _decimal(geometry.spacing_mm[2])
    return image


def refer_to_source(
    segmentation: Dataset, images: Sequence[Dataset], sources: Sequence[SourceFrame]
) -> None:
    """Put the source's own classes, UIDs and frame numbers where those of stand-ins are."""
    frames = {str(i.SOPInstanceUID): frame for i, frame in zip(images, sources, strict=True)}
    for groups in segmentation.get("PerFrameFunctionalGroupsSequence", []):
        for derivation in groups.get("DerivationImageSequence", []):
            for item in derivation.SourceImageSequence:
                _refer_item(item, frames, numbered=True)
    for series in segmentation.get("ReferencedSeriesSequence", []):
        series.ReferencedInstanceSequence = _once(series.ReferencedInstanceSequence, frames)
    if "SourceImageSequence" in segmentation:
        segmentation.SourceImageSequence = _once(segmentation.SourceImageSequence, frames)


def _refer_item(item: Dataset, frames: dict[str, SourceFrame], *, numbered: bool) -> str:
    """Let one item name the source; items that several frames share are met again, right."""
    frame = frames.get(str(item.ReferencedSOPInstanceUID))
    if frame is not None:
        item.ReferencedSOPClassUID = frame.sop_class
        item.ReferencedSOPInstanceUID = frame.instance
        if numbered and frame.number is not None:
            item.ReferencedFrameNumber = frame.number
    return str(item.ReferencedSOPInstanceUID)


def _once(items: Sequence[Dataset], frames: dict[str, SourceFrame]) -> list[Dataset]:
    """One item for each source object."""
    return list({_refer_item(item, frames, numbered=False): item for item in items}.values())


def _decimal(number: float) -> DSfloat:
    return DSfloat(float(number), auto_format=True)
