"""Scans and masks to and from other libraries: one table of them."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medseg.errors import BadLabels, BadScan, MedsegError
from medseg.geometry import Geometry
from medseg.labels import LabelTable
from medseg.readers.labels import whole_numbers
from medseg.volume import Gridded, LabelMap, Origin, Volume

#: Library -> module with ``recognises(image)``, ``scan(image)`` and ``image(gridded)``; the first
#: that recognises an object reads it.
LIBRARIES: dict[str, str] = {
    "nibabel": "medseg.notebooks.nibabel_images",
    "simpleitk": "medseg.notebooks.simpleitk_images",
    "monai": "medseg.notebooks.monai_tensors",
    "torchio": "medseg.notebooks.torchio_images",
}

#: Where messages have no file to name.
_OBJECT = Path("the object")


def to(gridded: Gridded, library: str) -> Any:
    """An object of another library; see :meth:`medseg.volume.Gridded.to`."""
    if library not in LIBRARIES:
        raise MedsegError(
            "a library that nothing is converted to",
            found=repr(library),
            expected=", ".join(LIBRARIES),
        )
    return import_module(LIBRARIES[library]).image(gridded)


def of(
    kind: type[Gridded],
    image: Any,
    affine: ArrayLike | None,
    labels: Mapping[str, int] | None,
) -> Gridded:
    """A scan or a mask of an object; see :meth:`medseg.volume.Gridded.of`."""
    if kind is LabelMap and isinstance(image, LabelMap) and affine is None and labels is None:
        return image
    scan = _array_scan(image, affine) if affine is not None else _scan(image)
    if kind is Volume:
        return scan
    if len(scan.data) != 1:
        raise BadLabels("a mask holds one integer per voxel", found=f"{len(scan.data)} channels")
    data = whole_numbers(scan.data[0], scan.slope, scan.intercept, path=_OBJECT)
    mask = LabelMap(data, scan.geometry, origin=scan.origin)
    return mask if labels is None else mask.named(LabelTable.from_card({"labels": dict(labels)}))


def tensor(gridded: Gridded) -> Any:
    """A torch tensor (C, X, Y, Z); see :meth:`medseg.volume.Gridded.tensor`."""
    import torch

    return torch.from_numpy(channels_first(gridded))


def channels_first(gridded: Gridded) -> NDArray[Any]:
    """(C, X, Y, Z) numbers of a type that every tensor library knows; a copy."""
    if isinstance(gridded, Volume):
        return gridded.values()
    data = gridded.data[None]
    dtype = np.uint8 if data.max(initial=0) <= np.iinfo(np.uint8).max else np.int32
    return np.ascontiguousarray(data.astype(dtype))


def has_class_of(image: Any, library: str) -> bool:
    """Whether an object's class comes from a library, which need not be loaded to know."""
    return any(one.__module__.partition(".")[0] == library for one in type(image).__mro__)


def placed(data: NDArray[Any], affine: ArrayLike, origin: Origin | None = None) -> Volume:
    """A scan of (C, X, Y, Z) numbers of any type.

    Raises:
        BadScan: they are no real numbers, or there are none.
        BadGeometry: the affine cannot place voxels.
    """
    data = np.asarray(data)
    if data.dtype.kind == "b":
        data = data.astype(np.uint8)
    if data.dtype.kind not in "iuf" or data.ndim != 4 or not data.size:
        raise BadScan(
            "no scan of real numbers",
            found=f"{data.dtype} of shape {data.shape}",
            expected="numbers (C, X, Y, Z)",
        )
    if data.dtype.kind == "f" and data.dtype != np.float32:
        data = data.astype(np.float32)
    _, x, y, z = data.shape
    data = data.astype(data.dtype.newbyteorder("="), copy=False)
    return Volume(
        data, Geometry((x, y, z), np.asarray(affine, np.float64)), origin=origin or Origin()
    )


def _scan(image: Any) -> Volume:
    if isinstance(image, Volume):
        return image
    if isinstance(image, LabelMap):
        return Volume(image.data[None], image.geometry, origin=image.origin)
    for module in map(import_module, LIBRARIES.values()):
        if module.recognises(image):
            scan: Volume = module.scan(image)
            return scan
    raise BadScan(
        "an object of no known library",
        found=type(image).__name__,
        expected=f"one of {', '.join(LIBRARIES)}, or an array with affine=",
    )


def _array_scan(array: Any, affine: ArrayLike) -> Volume:
    numbers = np.asarray(array.detach().cpu() if hasattr(array, "detach") else array)
    return placed(numbers[None] if numbers.ndim == 3 else numbers, affine)
