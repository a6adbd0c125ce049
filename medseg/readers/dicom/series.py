"""What one DICOM series is, from its headers alone: a volume, several, none, or damaged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from medseg.errors import BadScan
from medseg.readers.dicom.classes import must_have_geometry
from medseg.readers.dicom.file import FileHeader, Plane
from medseg.readers.dicom.stacks import Candidate, stacks_of
from medseg.readers.entry import Status
from medseg.readers.grid import CHOOSE_VOLUME

#: So many parallel slices outvote a description that says "scout", and so many the image type,
#: which the scanner sets.
_LEAST_SLICES, _LEAST_SLICES_BY_TYPE = 4, 20
#: So many images that make no volume are a damaged one, not a scout.
_LEAST_DAMAGED = 10
#: Slices that lie further apart, in their own thickness or in mm, are views and no volume.
_MOST_STEP, _MOST_STEP_MM = 1.5, 10.0
_OUTVOTED = "called a localizer, but its slices are parallel and make a volume"


@dataclass(frozen=True, slots=True)
class Finding:
    """What some files of one series are.

    Attributes:
        status: whether they make a volume.
        files: the files it speaks of.
        reason: why it is not usable, or empty.
        candidates: the volumes that can be read, or chosen among.
    """

    status: Status
    files: tuple[FileHeader, ...]
    reason: str = ""
    candidates: tuple[Candidate, ...] = ()


def findings(files: Sequence[FileHeader], name: str) -> list[Finding]:
    """What the files of one series are; every file is in exactly one finding.

    Args:
        files: headers of one series.
        name: what to call the series in messages.
    """
    aside, images = _set_aside(files)
    broken = [file for file in images if file.problem]
    if broken:
        return [Finding(Status.REFUSED, tuple(images), _name_files(broken)), *aside]
    images, unplaced = _placed(images)
    if unplaced:
        aside.append(unplaced)
    return [_volumes(images, name), *aside] if images else aside


def _set_aside(files: Sequence[FileHeader]) -> tuple[list[Finding], list[FileHeader]]:
    """Findings for what is no image of a volume by its kind, and the rest."""
    aside: dict[str, list[FileHeader]] = {}
    images, scouts = [], []
    for file in files:
        if file.skip:
            aside.setdefault(file.skip, []).append(file)
        elif file.localizer:
            scouts.append(file)
        else:
            images.append(file)
    if images and scouts and _make_one(images, scouts):
        images, scouts = [*images, *scouts], []
    skipped = [Finding(Status.SKIPPED, tuple(group), reason) for reason, group in aside.items()]
    if scouts:
        skipped.append(_localizer(scouts))
    return skipped, images


def _make_one(images: Sequence[FileHeader], scouts: Sequence[FileHeader]) -> bool:
    """Whether scouts, as some call them, are slices that the others lack or go on with."""
    every = [*images, *scouts]
    if any(file.problem or _no_place(file) for file in every):
        return False
    return _volumes(every, "").status == Status.USABLE


def _localizer(files: Sequence[FileHeader]) -> Finding:
    """Scout views, which a table's ``volume`` column can still ask for; or a volume after all.

    Words are outvoted by the geometry: no scout has many parallel slices at even steps.
    """
    candidates: tuple[Candidate, ...] = ()
    broken = [file for file in files if file.problem]
    if broken and len(files) >= _LEAST_DAMAGED:
        return Finding(Status.REFUSED, tuple(files), _name_files(broken))
    if not broken and not any(_no_place(file) for file in files):
        finding = _volumes(files, "the localizer")
        candidates = finding.candidates
        if not candidates and len(files) >= _LEAST_DAMAGED:
            return finding
        words = all(file.localizer == "description" for file in files)
        least = _LEAST_SLICES if words else _LEAST_SLICES_BY_TYPE
        if candidates and all(_is_volume(candidate, least) for candidate in candidates):
            return replace(
                finding, candidates=tuple(_with_warning(one, _OUTVOTED) for one in candidates)
            )
    return Finding(
        Status.SKIPPED,
        tuple(files),
        "a localizer (scout view by its image type or description), not a volume",
        candidates,
    )


def _is_volume(candidate: Candidate, least: int) -> bool:
    """Whether planes are slices that follow each other closely, and at least so many."""
    count = len(candidate.planes)
    if candidate.geometry is None or count < least:
        return False
    if least < _LEAST_SLICES_BY_TYPE <= count:  # words never outvote so many
        return True
    thickness_mm = candidate.planes[0].frame.thickness
    step_mm = candidate.geometry.spacing_mm[2]
    return step_mm <= min(_MOST_STEP_MM, _MOST_STEP * (thickness_mm or _MOST_STEP_MM))


def _with_warning(candidate: Candidate, warning: str) -> Candidate:
    return replace(candidate, warnings=(*candidate.warnings, warning))


def _name_files(files: Sequence[FileHeader]) -> str:
    more = f" (and {len(files) - 1} more files)" if len(files) > 1 else ""
    return f"{files[0].source.name}: {files[0].problem}{more}"


def _placed(files: list[FileHeader]) -> tuple[list[FileHeader], Finding | None]:
    """Files whose frames all have a place, and what the others are.

    One image without a place among others of its kind damages them all: leaving it out could leave
    out a slice.
    """
    lost = {file.source: reason for file in files if (reason := _no_place(file))}
    if not lost:
        return files, None
    kinds = {file.sop_class for file in files if file.source not in lost}
    harmful = [
        file
        for file in files
        if file.source in lost
        and (file.sop_class in kinds or must_have_geometry(file.sop_class, file.modality))
    ]
    if harmful:
        more = f" ({len(harmful)} of {len(files)} files)"
        reason = f"{harmful[0].source.name}: {lost[harmful[0].source]}{more}"
        return [], Finding(Status.REFUSED, tuple(files), reason)
    strays = [file for file in files if file.source in lost]
    return [file for file in files if file.source not in lost], Finding(
        Status.SKIPPED,
        tuple(strays),
        f"not a volume: a single image without a place in the patient ({lost[strays[0].source]})",
    )


def _no_place(file: FileHeader) -> str:
    for frame in file.frames:
        missing = [
            name
            for name, value in (
                ("ImagePositionPatient", frame.position),
                ("ImageOrientationPatient", frame.orientation),
                ("PixelSpacing", frame.spacing),
            )
            if value is None
        ]
        if missing:
            return f"no usable {', '.join(missing)}: the geometry is unknown"
    return ""


def _volumes(files: Sequence[FileHeader], name: str) -> Finding:
    planes = [Plane(file, frame) for file in files for frame in file.frames]
    if len({file.modality for file in files}) > 1:
        return Finding(Status.REFUSED, tuple(files), "conflict: several modalities in one series")
    try:
        stacks = stacks_of(planes, name)
    except BadScan as error:
        return Finding(Status.REFUSED, tuple(files), str(error))
    usable = tuple(stacks.candidates)
    if stacks.several:
        if stacks.localizer:
            return Finding(Status.SKIPPED, tuple(files), f"a localizer: {stacks.several}", usable)
        return Finding(
            Status.REFUSED, tuple(files), stacks.several + _how_to_choose(usable), usable
        )
    if usable[0].problem:
        return Finding(Status.REFUSED, tuple(files), usable[0].problem)
    return Finding(Status.USABLE, tuple(files), "", usable)


def _how_to_choose(candidates: Sequence[Candidate]) -> str:
    if not candidates:
        return ""
    if len(candidates) == 1:
        return f". Only one is complete. {CHOOSE_VOLUME} 0"
    labels = [
        f"{number}: {candidate.label}"
        for number, candidate in enumerate(candidates)
        if candidate.label
    ]
    named = f" ({'; '.join(labels[:4])}{' …' if len(labels) > 4 else ''})" if labels else ""
    return f". {CHOOSE_VOLUME} 0 … {len(candidates) - 1}{named}, or all"
