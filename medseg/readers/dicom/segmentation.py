"""Segments of a DICOM SEG (BINARY, FRACTIONAL or LABELMAP) on the grid of their image.

Frames may come in any order, be left out where they are empty, and show a part of the image.
Fractions count from one half of the largest value upwards.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from medseg.errors import BadScan, GridMismatch
from medseg.geometry import LPS_SIGNS, MASK_GRID_VOXELS, Geometry
from medseg.readers.segments import Segment

SOP_CLASSES = ("1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7")


def structure_names(dataset: Dataset) -> tuple[str, ...]:
    """The segments in the order of the file, background left out."""
    return tuple(_numbered(dataset).values())


def segments(
    dataset: Dataset, grid: Geometry | None, *, path: Path
) -> tuple[list[Segment], Geometry]:
    """The segments on an image's grid, or on the smallest grid that holds all frames.

    Raises:
        BadScan: damaged, or frames without a place.
        GridMismatch: the frames do not lie on the grid.
    """
    names = _numbered(dataset)
    try:
        frames = dataset.pixel_array
        frames = frames[None] if frames.ndim == 2 else frames
        places = [_place(dataset, number) for number in range(len(frames))]
        flat = list(_flat(dataset, frames))
    except (AttributeError, KeyError, IndexError, ValueError, TypeError, RuntimeError) as error:
        raise BadScan(
            "the segmentation cannot be read", path=path, found=type(error).__name__
        ) from None
    grid = _own_grid(places, frames.shape[1:], path) if grid is None else grid
    masks = {number: np.zeros(grid.shape, bool) for number in names}
    for place, (frame, number) in zip(places, flat, strict=True):
        window, turn = _window(place, frame.shape, grid, path)
        shown = turn(frame)
        for one in masks if number is None else [number]:
            if one in masks:
                masks[one][window] |= shown == (one if number is None else 1)
    return [Segment(names[number], "", mask) for number, mask in masks.items()], grid


def _numbered(dataset: Dataset) -> dict[int, str]:
    """Segment number -> name; number 0 and what is coded as background are no structures."""
    names = {}
    for item in dataset.get("SegmentSequence") or ():
        number = int(item.get("SegmentNumber") or 0)
        if number:
            names[number] = str(item.get("SegmentLabel") or f"Segment_{number}").strip()
    return names


def _flat(dataset: Dataset, frames: NDArray[Any]) -> Iterator[tuple[NDArray[Any], int | None]]:
    """Each frame (rows, columns) with its segment; ``None`` where pixels are segment numbers."""
    kind = str(dataset.get("SegmentationType") or "BINARY")
    if kind == "LABELMAP":
        yield from ((frame, None) for frame in frames)
        return
    most = int(dataset.get("MaximumFractionalValue") or 1) if kind == "FRACTIONAL" else 1
    for index, frame in enumerate(frames):
        identification = _group(dataset, index, "SegmentIdentificationSequence")
        number = int(identification.ReferencedSegmentNumber)
        yield (2 * frame.astype(np.uint16) >= most).astype(np.uint8), number


def _group(dataset: Dataset, index: int, name: str) -> Dataset:
    own = dataset.PerFrameFunctionalGroupsSequence[index]
    shared = (dataset.get("SharedFunctionalGroupsSequence") or [Dataset()])[0]
    item: Dataset = (own if name in own else shared)[name].value[0]
    return item


def _place(dataset: Dataset, index: int) -> NDArray[np.float64]:
    """(3, 3) rows: centre of the first pixel, step along columns, step along rows; RAS mm."""
    position = _group(dataset, index, "PlanePositionSequence").ImagePositionPatient
    orientation = _group(dataset, index, "PlaneOrientationSequence").ImageOrientationPatient
    spacing = _group(dataset, index, "PixelMeasuresSequence").PixelSpacing
    cosines = np.array([float(part) for part in orientation]).reshape(2, 3)
    steps = cosines * np.array([[float(spacing[1])], [float(spacing[0])]])
    return np.asarray(np.stack([[float(part) for part in position], *steps]) * LPS_SIGNS)


def _window(
    place: NDArray[np.float64], shape: tuple[int, ...], grid: Geometry, path: Path
) -> tuple[tuple[slice | int, ...], Any]:
    """Where a frame lies in the grid, and how its pixels turn to the grid's axes."""
    first, across, down = place
    start = grid.to_index(first)
    steps = np.stack([grid.to_index(first + across), grid.to_index(first + down)]) - start
    rows, columns = shape
    last = start + steps[0] * (columns - 1) + steps[1] * (rows - 1)
    whole = np.rint(np.stack([start, last]))
    axes = [int(np.abs(step).argmax()) for step in steps]
    off = np.abs(np.stack([start, last]) - whole).max()
    straight = np.abs(np.abs(steps).sum(1) - 1).max() * max(rows, columns)
    inside = (whole >= 0).all() and (whole < np.array(grid.shape)).all()
    if axes[0] == axes[1] or max(off, straight) > 4 * MASK_GRID_VOXELS or not inside:
        raise GridMismatch(
            "the segmentation does not lie on the grid of its image",
            path=path,
            found=f"a frame of {columns}x{rows} pixels from voxel "
            f"{', '.join(f'{part:.2f}' for part in start)}",
            expected=grid.describe(),
            remedy="Use the image that was segmented, or resample the segmentation onto it.",
        )
    window: list[slice | int] = [int(part) for part in whole[0]]
    for axis in axes:
        low, high = sorted((int(whole[0][axis]), int(whole[1][axis])))
        window[axis] = slice(low, high + 1)

    signs = [-1 if step[axis] < 0 else 1 for step, axis in zip(steps, axes, strict=True)]

    def turn(frame: NDArray[Any]) -> NDArray[Any]:
        pixels = frame.T  # columns first: across, then down
        pixels = pixels[tuple(slice(None, None, sign) for sign in signs)]
        return pixels if axes[0] < axes[1] else pixels.T

    return tuple(window), turn


def _own_grid(places: list[NDArray[np.float64]], shape: tuple[int, ...], path: Path) -> Geometry:
    """The grid of the frames themselves, with the empty ones between them."""
    first, across, down = places[0]
    normal = np.cross(across, down)
    normal /= np.linalg.norm(normal)
    depths = np.array([(place[0] - first) @ normal for place in places])
    levels = np.unique(np.round(depths, 3))
    gaps = np.diff(levels)
    step = float(gaps.min()) if gaps.size else 1.0
    counts = (levels - levels[0]) / step
    apart = [place[0] - first - depth * normal for place, depth in zip(places, depths, strict=True)]
    if np.abs(counts - np.rint(counts)).max() > 0.1 or np.abs(apart).max() > 0.1 * step:
        raise GridMismatch("the frames of the segmentation lie on no grid", path=path)
    affine = np.eye(4)
    affine[:3, :3] = np.stack([across, down, normal * step], axis=1)
    affine[:3, 3] = first + normal * levels[0]
    return Geometry((shape[1], shape[0], round(float(counts[-1])) + 1), affine)
