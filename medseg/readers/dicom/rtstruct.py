"""Structures of an RTSTRUCT, drawn as contours, become voxels on the grid of their image.

A voxel belongs to a structure where its centre lies inside an odd number of the structure's
contours in its slice: a contour inside another is a hole, and a keyhole (a contour that runs
inwards, around the hole and back) gives the same voxels. Vertices count where they are, between
voxel centres; nothing is rounded. A contour belongs to the nearest slice, at most a quarter of a
slice away; nothing is interpolated between slices.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from skimage.measure import grid_points_in_poly

from medseg.errors import BadLabels, GridMismatch
from medseg.geometry import LPS_SIGNS, Geometry
from medseg.labels import LabelTable
from medseg.readers.segments import Segment

SOP_CLASS = "1.2.840.10008.5.1.4.1.1.481.3"

#: How far a contour may lie from the slice that it is given to, in slices.
_NEAREST_SLICE = 0.25

_CLOSED = ("CLOSED_PLANAR", "CLOSEDPLANAR_XOR")


def structure_names(dataset: Dataset) -> tuple[str, ...]:
    """The structures that have contours, in the order of the file."""
    contours = {
        int(item.ReferencedROINumber)
        for item in dataset.get("ROIContourSequence") or ()
        if item.get("ContourSequence")
    }
    return tuple(
        str(item.get("ROIName") or f"ROI {item.ROINumber}")
        for item in dataset.get("StructureSetROISequence") or ()
        if int(item.ROINumber) in contours
    )


def segments(
    dataset: Dataset, grid: Geometry, wanted: LabelTable | None, *, path: Path
) -> list[Segment]:
    """The structures on an image's grid; those that no wanted label is called are not drawn.

    Args:
        dataset: of the file.
        grid: of the image that the contours were drawn on, oblique or not.
        wanted: what is looked for; everything where not given.
        path: for messages.

    Raises:
        BadLabels: a structure is not made of closed contours, or is drawn on some slices only.
        GridMismatch: a contour does not lie in a slice of the grid.
    """
    names = {
        int(item.ROINumber): str(item.get("ROIName") or f"ROI {item.ROINumber}")
        for item in dataset.get("StructureSetROISequence") or ()
    }
    masks = []
    for item in dataset.get("ROIContourSequence") or ():
        name = names.get(int(item.ReferencedROINumber), "")
        contours = list(item.get("ContourSequence") or ())
        if not name or not contours:
            continue
        known = wanted is None or _is_wanted(name, wanted)
        mask = _mask(contours, grid, name, path) if known else np.zeros(grid.shape, bool)
        masks.append(Segment(name, _colour(item), mask))
    return masks


def _is_wanted(name: str, wanted: LabelTable) -> bool:
    regions = [region.name for region in wanted.regions]
    return wanted.called(name) is not None or any(
        name.casefold() == region.casefold() for region in regions
    )


def _colour(item: Dataset) -> str:
    parts = [int(part) for part in item.get("ROIDisplayColor") or ()]
    if len(parts) != 3 or not all(0 <= part <= 255 for part in parts):
        return ""
    return "#" + "".join(f"{part:02x}" for part in parts)


def _mask(contours: list[Dataset], grid: Geometry, name: str, path: Path) -> NDArray[np.bool_]:
    mask = np.zeros(grid.shape, bool)
    slices: set[int] = set()
    through = -1
    for contour in contours:
        kind = str(contour.get("ContourGeometricType") or "")
        if kind == "POINT":
            continue
        if kind not in _CLOSED:
            raise BadLabels(
                f"{name!r} is not made of closed contours", path=path, found=kind or "no type"
            )
        points = _points(contour, grid, name, path)
        if len(points) < 3:
            continue
        axis, number = _slice_of(points, grid, name, path)
        if through not in (-1, axis):
            raise GridMismatch(f"{name!r} is drawn in slices of two directions", path=path)
        through = axis
        if 0 <= number < grid.shape[axis]:
            slices.add(number)
            plane = np.moveaxis(mask, axis, 0)[number]
            plane ^= _inside(np.delete(points, axis, axis=1), plane.shape)
    if through >= 0 and not slices:
        raise GridMismatch(f"{name!r} lies outside its image", path=path, found=grid.describe())
    _refuse_every_other(slices, name, path)
    return mask


def _points(contour: Dataset, grid: Geometry, name: str, path: Path) -> NDArray[np.float64]:
    """(N, 3) vertices in voxel indices."""
    try:
        numbers = np.array([float(part) for part in contour.ContourData]).reshape(-1, 3)
    except (ValueError, TypeError, AttributeError):
        numbers = np.full((1, 3), np.nan)
    if not np.isfinite(numbers).all():
        raise BadLabels(f"a contour of {name!r} is damaged", path=path)
    return grid.to_index(numbers * LPS_SIGNS)


def _slice_of(
    points: NDArray[np.float64], grid: Geometry, name: str, path: Path
) -> tuple[int, int]:
    """The array axis across which a contour lies, and its slice along that."""
    spread = np.ptp(points, axis=0)
    axis = int(spread.argmin())
    place = float(points[:, axis].mean())
    if spread[axis] > _NEAREST_SLICE or abs(place - round(place)) > _NEAREST_SLICE:
        raise GridMismatch(
            f"a contour of {name!r} does not lie in a slice of the image",
            path=path,
            found=f"it runs through slices {points[:, axis].min():.2f} to "
            f"{points[:, axis].max():.2f} along axis {axis}",
            expected=f"within {_NEAREST_SLICE} of a slice of {grid.describe()}",
            remedy="Use the image that the structures were drawn on.",
        )
    return axis, round(place)


def _inside(points: NDArray[np.float64], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """The pixels of a slice whose centre is inside one contour (even-odd rule)."""
    inside = np.zeros(shape, bool)
    low = np.maximum(np.floor(points.min(0)).astype(int), 0)
    high = np.minimum(np.ceil(points.max(0)).astype(int) + 1, shape)
    if (high <= low).any():
        return inside
    part = grid_points_in_poly(tuple(high - low), points - low, binarize=True)
    inside[low[0] : high[0], low[1] : high[1]] = part
    return inside


def _refuse_every_other(slices: set[int], name: str, path: Path) -> None:
    """Refuse a structure that was drawn on every n-th slice and never filled in."""
    places = np.array(sorted(slices))
    steps = np.diff(places)
    if len(steps) >= 2 and steps.min() > 1:
        raise BadLabels(
            f"{name!r} is drawn on some slices only, with gaps between all of them",
            path=path,
            found=f"slices {', '.join(map(str, places[:6]))} …",
            remedy="Interpolate it in the program that drew it, and export it again.",
        )
