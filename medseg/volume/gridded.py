"""What a scan and a mask do alike in a notebook: numbers, place, pictures, files, conversions."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medseg.geometry import Geometry
from medseg.volume.origin import Origin

#: Files, pictures and other libraries lie above the values; loaded when a method needs them.
_NOTEBOOKS = "medseg.notebooks"


class Gridded:
    """Numbers on a voxel grid.

    Attributes:
        data: as stored.
        geometry: where they lie.
        origin: where they came from.
    """

    data: NDArray[Any]
    geometry: Geometry
    origin: Origin

    @property
    def array(self) -> NDArray[Any]:
        """The numbers as they are meant, axes (X, Y, Z)."""
        raise NotImplementedError

    @property
    def affine(self) -> NDArray[np.float64]:
        """(4, 4) voxel index to world mm, in RAS, from voxel centres; read-only."""
        return self.geometry.affine

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Distance between neighbouring voxel centres along X, Y, Z."""
        return self.geometry.spacing_mm

    def tensor(self) -> Any:
        """A torch tensor of the same numbers, (C, X, Y, Z); a copy.

        float32 for a scan; for a mask one channel of uint8, or int32 where labels pass 255.
        """
        return _notebooks().tensor(self)

    def save(self, path: str | Path, *, format: str | None = None, overwrite: bool = False) -> Path:  # noqa: A002
        """Write a file, by its ending.

        A scan becomes NIfTI, a mask any format of ``medseg.writers.WRITERS``: ``.nii.gz``,
        ``.nrrd``, ``.seg.nrrd``, ``.mha``, ``.dcm`` (DICOM SEG).

        Args:
            path: the file to appear, whole or not at all.
            format: of a mask, where the ending does not say it.
            overwrite: replace a file that is there.

        Returns:
            The path.

        Raises:
            BadOutput: a file is there, the ending is unknown, or the grid does not fit the format.
        """
        path_written: Path = _notebooks().save(self, Path(path), format, overwrite=overwrite)
        return path_written

    def plot(
        self,
        *others: Gridded,
        title: str = "",
        window: tuple[float, float] | None = None,
        channel: int = 0,
    ) -> Any:
        """Three planes through the structures of the masks, in radiological convention.

        Args:
            others: masks to draw over the scan, or the scan behind a mask; on the same grid.
            title: above the picture.
            window: intensities shown as black and white; from the values when not given, for CT
                that of soft tissue.
            channel: of the scan.

        Returns:
            A matplotlib figure that Jupyter shows by itself; ``savefig`` writes it.

        Raises:
            GridMismatch: they do not lie on one grid.
        """
        return _notebooks().plot(self, others, title=title, window=window, channel=channel)

    def to(self, library: str) -> Any:
        """The same numbers in the same place as an object of another library.

        Args:
            library: ``nibabel`` (a NIfTI image), ``simpleitk`` (an image, in LPS), ``monai``
                (a MetaTensor) or ``torchio`` (a ScalarImage or LabelMap).

        Raises:
            MedsegError: the library is unknown or not installed.
        """
        return _notebooks().to(self, library)

    @classmethod
    def of(
        cls,
        image: Any,
        *,
        affine: ArrayLike | None = None,
        labels: Mapping[str, int] | None = None,
    ) -> Self:
        """From an object of another library, or an array with its affine.

        Args:
            image: of nibabel, SimpleITK, MONAI or TorchIO; or an array (X, Y, Z), for a scan of
                several channels (C, X, Y, Z).
            affine: (4, 4) of an array, voxel index to RAS mm.
            labels: value by name, of a mask.

        Raises:
            BadScan: the object is of no known library or holds no volume.
            BadLabels: a mask of numbers that are not whole, or that no label names.
        """
        gridded: Self = _notebooks().of(cls, image, affine, labels)
        return gridded

    def __array__(
        self, dtype: np.dtype[Any] | None = None, copy: bool | None = None
    ) -> NDArray[Any]:
        return np.array(self.array, dtype=dtype, copy=copy)

    def _repr_html_(self) -> str:
        """Three lines and a picture, for Jupyter."""
        html: str = _notebooks().html(self)
        return html

    def _corners(self) -> str:
        """The last line of a repr: the box that the voxel centres span."""
        corners = self.geometry.corners_mm()
        ends = [
            "(" + ", ".join(f"{mm:.1f}" for mm in end + 0.0) + ")"
            for end in (corners.min(axis=0), corners.max(axis=0))
        ]
        return f"from {ends[0]} to {ends[1]} mm in RAS"


def _notebooks() -> Any:
    return import_module(_NOTEBOOKS)
