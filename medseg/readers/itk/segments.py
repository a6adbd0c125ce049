"""Named segments of a 3D Slicer segmentation (``.seg.nrrd``), in one layer or several."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.errors import BadLabels, BadScan
from medseg.geometry import Geometry
from medseg.readers.child import in_child
from medseg.readers.itk.header import FLIP, MOST_HEADER_BYTES
from medseg.readers.itk.nrrd import MAGIC
from medseg.readers.segments import Segment

_KEY = re.compile(r"Segment(\d+)_(\w+):=(.*)")


@dataclass(frozen=True)
class SlicerSegment:
    """One segment as the header describes it.

    Attributes:
        name: as people see it.
        value: of its voxels within its layer.
        layer: counted from 0.
        colour: ``#rrggbb``, or empty.
    """

    name: str
    value: int
    layer: int
    colour: str


def segments(path: Path) -> tuple[SlicerSegment, ...]:
    """The segments that an NRRD header names; empty where it names none.

    Raises:
        BadScan: a segment is described by something else than numbers.
    """
    with path.open("rb") as file:
        head = file.read(MOST_HEADER_BYTES)
    if not head.startswith(MAGIC):
        return ()
    blank = re.search(rb"\r?\n\r?\n", head)
    text = (head if blank is None else head[: blank.start()]).decode("utf-8", "replace")
    described: dict[int, dict[str, str]] = {}
    for line in text.splitlines():
        if match := _KEY.match(line):
            described.setdefault(int(match[1]), {})[match[2]] = match[3].strip()
    try:
        return tuple(
            _segment(number, about)
            for number, about in sorted(described.items())
            if "LabelValue" in about or "Name" in about
        )
    except ValueError:
        raise BadScan("the header's description of a segment is corrupt", path=path) from None


def _segment(number: int, about: Mapping[str, str]) -> SlicerSegment:
    colour = ""
    parts = [float(part) for part in about.get("Color", "").split()]
    if len(parts) == 3 and all(0 <= part <= 1 for part in parts):
        colour = "#" + "".join(f"{round(255 * part):02x}" for part in parts)
    value, layer = int(about.get("LabelValue", number + 1)), int(about.get("Layer", 0))
    name = _printable(about.get("Name", "")) or f"Segment_{number + 1}"
    return SlicerSegment(name, value, layer, colour)


def _printable(name: str) -> str:
    """A name on one line, without what cannot be shown; NRRD escapes line ends and backslashes."""
    unescaped = re.sub(r"\\(.)", lambda match: " " if match[1] == "n" else match[1], name)
    return " ".join("".join(c if c.isprintable() else " " for c in unescaped).split())


def read_layers(path: Path, named: tuple[SlicerSegment, ...]) -> tuple[list[Segment], Geometry]:
    """The segments of a file of several layers, which may overlap.

    Raises:
        BadScan: damaged, or fewer layers than segments ask for.
        BadLabels: a layer holds a value that no segment names.
    """
    layers, affine = in_child(path, _stored)
    if max(one.layer for one in named) >= layers.shape[3]:
        raise BadScan("the header names more layers than there are", path=path)
    _refuse_unnamed(layers, named, path)
    segments = [Segment(one.name, one.colour, layers[..., one.layer] == one.value) for one in named]
    return segments, Geometry(layers.shape[:3], affine)


def _stored(path: Path) -> tuple[NDArray[Any], NDArray[np.float64]]:
    """(X, Y, Z, layer) voxels, and the affine of their grid."""
    import SimpleITK

    try:
        image = SimpleITK.ReadImage(str(path))
    except RuntimeError:
        raise BadScan("the segmentation cannot be read: damaged or truncated", path=path) from None
    if image.GetDimension() != 3:
        raise BadScan("not a segmentation in layers", path=path, found=image.GetSize())
    array: NDArray[Any] = SimpleITK.GetArrayFromImage(image)
    layers = array[..., None] if array.ndim == 3 else array
    axes = np.array(image.GetDirection()).reshape(3, 3) * np.array(image.GetSpacing())
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = FLIP @ axes, FLIP @ np.array(image.GetOrigin())
    return layers.transpose(2, 1, 0, 3), affine


def _refuse_unnamed(layers: NDArray[Any], named: tuple[SlicerSegment, ...], path: Path) -> None:
    for layer in range(layers.shape[3]):
        known = {0, *(one.value for one in named if one.layer == layer)}
        unknown = sorted({int(value) for value in np.unique(layers[..., layer])} - known)
        if unknown:
            raise BadLabels(
                f"layer {layer} holds values that no segment names", path=path, found=unknown[:10]
            )
