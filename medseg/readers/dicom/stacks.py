"""The volumes that the planes of one series make; never a guess: all that could be are listed.

A series falls apart into stacks (one orientation, matrix and pixel spacing each), and a stack
with several planes at every position into volumes (echoes, time points, image types).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from medseg.errors import BadScan
from medseg.geometry import Geometry
from medseg.readers.dicom.file import Plane
from medseg.readers.dicom.frames import Frame
from medseg.readers.dicom.grid import grid_of, normal_of
from medseg.readers.dicom.separate import mixture, separate

#: Planes whose direction cosines differ by less than this belong to one stack (0.06 degrees).
_SAME_DIRECTION = 1e-3
#: Pixel spacings that differ by less than this share are one.
_SAME_SPACING = 1e-4
#: A series with more stacks is no set of volumes (a fly-through, a rotating view).
_MOST_STACKS = 100
_SLIP = (
    "the FrameOfReferenceUID is not the same in all slices; they are taken together, since their "
    "positions follow each other evenly"
)
#: Planes closer than this lie at one position, unless the stack is finer than ten times that.
_SAME_POSITION_MM = 0.01


@dataclass(frozen=True, slots=True)
class Candidate:
    """Planes that may make one volume.

    Attributes:
        planes: one a position, along the normal.
        copies: planes that must equal the one at that place, and are dropped if they do.
        label: what distinguishes it from the series' other volumes, or empty.
        geometry: the grid, or ``None`` where the planes make none.
        problem: why they make none, or empty.
        warnings: what is accepted but should be said.
    """

    planes: tuple[Plane, ...]
    copies: tuple[tuple[int, Plane], ...] = ()
    label: str = ""
    geometry: Geometry | None = None
    problem: str = ""
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Stacks:
    """What the planes of a series make.

    Attributes:
        candidates: the volumes, in the order in which ``--volume`` counts them, from 0.
        several: why there is more than one, or empty.
        localizer: the planes are views in several directions, no volume.
    """

    candidates: tuple[Candidate, ...]
    several: str = ""
    localizer: bool = False


def stacks_of(planes: Sequence[Plane], name: str) -> Stacks:
    """The volumes that planes make; all of them have a position and an orientation.

    Args:
        planes: of one series.
        name: what to call the series in messages.

    Raises:
        BadScan: an orientation is impossible, or planes cannot be separated.
    """
    stacks = _partition(planes)
    if len(stacks) > 1 and _are_slips(stacks):
        (together,) = _partition([_without_reference(plane) for stack in stacks for plane in stack])
        candidates, several = _volumes(together, name)
        if not several and not candidates[0].problem:
            return Stacks((replace(candidates[0], warnings=(*candidates[0].warnings, _SLIP)),))
    if len(stacks) > 1:
        candidates = []
        for stack in stacks:
            candidates += _volumes(stack, name)[0]
        return Stacks(tuple(candidates), _why_several(stacks), _is_localizer(stacks))
    candidates, several = _volumes(stacks[0], name)
    return Stacks(tuple(candidates), several)


def _are_slips(stacks: Sequence[Sequence[Plane]]) -> bool:
    """Whether the stacks differ in their frames of reference alone, of which one at most holds.

    A frame of reference for a single slice among others is an anonymiser's mistake: it is no
    frame in which anything else lies.
    """
    planes = [_without_reference(stack[0]) for stack in stacks]
    return all(len(stack) == 1 for stack in stacks[1:]) and all(
        _together(planes[0], plane) for plane in planes[1:]
    )


def _without_reference(plane: Plane) -> Plane:
    return replace(plane, file=replace(plane.file, reference=""))


def _partition(planes: Sequence[Plane]) -> list[list[Plane]]:
    """Stacks of equal orientation, matrix, spacing and frame of reference; the largest first.

    Raises:
        BadScan: there are too many.
    """
    stacks: list[list[Plane]] = []
    for plane in planes:
        home = next((stack for stack in stacks if _together(stack[0], plane)), None)
        if home is None and len(stacks) == _MOST_STACKS:
            raise BadScan(
                f"not a single volume: more than {_MOST_STACKS} orientations, matrix sizes or "
                "pixel spacings in one series"
            )
        if home is None:
            stacks.append([plane])
        else:
            home.append(plane)
    return sorted(stacks, key=lambda stack: (-len(stack), min(plane.order for plane in stack)))


def _together(one: Plane, other: Plane) -> bool:
    if one.matrix != other.matrix or one.frame.stack != other.frame.stack:
        return False
    if one.file.reference and other.file.reference and one.file.reference != other.file.reference:
        return False
    return _same_spacing(one.frame, other.frame) and _same_direction(one.frame, other.frame)


def _same_spacing(one: Frame, other: Frame) -> bool:
    if one.spacing is None or other.spacing is None:
        return one.spacing == other.spacing
    return all(
        abs(a - b) <= _SAME_SPACING * max(abs(a), abs(b))
        for a, b in zip(one.spacing, other.spacing, strict=True)
    )


def _same_direction(one: Frame, other: Frame) -> bool:
    if one.orientation is None or other.orientation is None:
        return one.orientation == other.orientation
    return all(
        abs(a - b) <= _SAME_DIRECTION
        for a, b in zip(one.orientation, other.orientation, strict=True)
    )


def _why_several(stacks: Sequence[Sequence[Plane]]) -> str:
    """What differs between the stacks of one series."""
    heads = [stack[0] for stack in stacks]
    first, least = heads[0], min(stacks, key=len)
    differ = []
    if any(not _same_direction(first.frame, head.frame) for head in heads):
        differ.append("several orientations (ImageOrientationPatient differs)")
    if any(head.matrix != first.matrix for head in heads):
        sizes = sorted({head.matrix for head in heads})
        differ.append(
            "the matrix size (rows x columns) differs: "
            + ", ".join(f"{rows}x{columns}" for rows, columns in sizes[:4])
        )
    if any(not _same_spacing(first.frame, head.frame) for head in heads):
        differ.append("the pixel spacing differs")
    if len({head.file.reference for head in heads} - {""}) > 1:
        differ.append("several frames of reference")
    if len({head.frame.stack for head in heads}) > 1:
        differ.append("several stacks by their StackID")
    counts = " + ".join(str(len(stack)) for stack in stacks[:6])
    odd = f", the odd one is {least[0].file.source.name}" if len(least) == 1 else ""
    return f"not a single volume: {'; '.join(differ)} ({counts} slices{odd})"


def _is_localizer(stacks: Sequence[Sequence[Plane]]) -> bool:
    """Views in directions far apart, none of them much larger than the others."""
    sizes = sorted((len(stack) for stack in stacks), reverse=True)
    normals = np.array([normal_of(stack[0].frame) for stack in stacks])
    apart = np.abs(normals @ normals.T).min() < np.cos(np.pi / 4)
    return bool(apart) and sizes[0] <= 3 * sizes[1]


def _volumes(stack: list[Plane], name: str) -> tuple[list[Candidate], str]:
    """The volumes in one stack, and why there are several."""
    slots, copies = _slots(stack)
    if all(len(slot) == 1 for slot in slots):
        kept = [slot[0] for slot in slots]
        return [_candidate(kept, copies, name, "")], ""
    groups, several = separate(slots)
    if not groups and min(len(slot) for slot in slots) > 1:
        return [], several
    if not groups:
        kept = [slot[0] for slot in slots]
        doubtful = [(place, plane) for place, slot in enumerate(slots) for plane in slot[1:]]
        return [_candidate(kept, [*copies, *doubtful], name, "")], ""
    if stack[0].frame.tile is not None:
        several = f"mosaics of several volumes: {several}"
    return [_candidate(list(planes), [], name, label) for label, planes in groups], several


def _slots(stack: list[Plane]) -> tuple[list[list[Plane]], list[tuple[int, Plane]]]:
    """Planes by position along the normal, without those that carry one UID twice."""
    normal = normal_of(stack[0].frame)
    positions = np.array([plane.frame.position for plane in stack], dtype=np.float64)
    along = positions @ normal
    order = sorted(
        range(len(stack)), key=lambda i: (along[i], stack[i].order, stack[i].file.source.name)
    )
    steps = np.diff(along[order])
    wide = steps[steps > 1e-4]
    same_mm = (
        min(_SAME_POSITION_MM, float(np.median(wide)) / 10) if wide.size else (_SAME_POSITION_MM)
    )
    slots: list[list[Plane]] = []
    last = -np.inf
    for i in order:
        if along[i] - last > same_mm:
            slots.append([])
            last = along[i]
        slots[-1].append(stack[i])
    return _without_copies(slots)


def _without_copies(slots: list[list[Plane]]) -> tuple[list[list[Plane]], list[tuple[int, Plane]]]:
    """One plane for each UID at a position, and the others with the number of the position.

    UIDs that occur at several positions say nothing (careless anonymisation causes them).
    """
    homes: dict[tuple[str, int], set[int]] = {}
    for place, slot in enumerate(slots):
        for plane in slot:
            homes.setdefault(_identity(plane), set()).add(place)
    kept: list[list[Plane]] = []
    copies: list[tuple[int, Plane]] = []
    for place, slot in enumerate(slots):
        known: set[tuple[str, int]] = set()
        kept.append([])
        for plane in slot:
            identity = _identity(plane)
            if plane.file.instance and identity in known and len(homes[identity]) == 1:
                copies.append((place, plane))
            else:
                kept[-1].append(plane)
                known.add(identity)
    return kept, copies


def _identity(plane: Plane) -> tuple[str, int]:
    """The file's own UID and the frame; a mosaic's tiles count as frames."""
    tile = plane.frame.tile
    return plane.file.instance, plane.frame.index if tile is None else tile[0] * 65536 + tile[1]


def _candidate(
    planes: list[Plane], copies: Sequence[tuple[int, Plane]], name: str, label: str
) -> Candidate:
    rows, columns = planes[0].matrix
    warnings: tuple[str, ...] = ()
    if copies:
        warnings = (f"{len(copies)} duplicate images dropped (the same slice twice)",)
    try:
        geometry, uneven = grid_of([plane.frame for plane in planes], rows, columns, name)
    except BadScan as error:
        return Candidate(tuple(planes), tuple(copies), label, None, str(error), warnings)
    problem, mixed = mixture(planes)
    return Candidate(
        tuple(planes),
        tuple(copies),
        label,
        None if problem else geometry,
        problem,
        warnings + uneven + mixed,
    )
