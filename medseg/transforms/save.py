"""Masks at the end of a MONAI pipeline are written as the twins of their scans."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform, Transform

from medseg.errors import BadLabels, BadOutput, MedsegError
from medseg.geometry import Geometry
from medseg.labels import LabelTable
from medseg.names import safe_name
from medseg.readers import stem
from medseg.readers.labels import whole_numbers
from medseg.scans import read
from medseg.transforms.load import geometry_of
from medseg.volume import LabelMap, Origin
from medseg.writers import ending, write_labels


class SaveMask(Transform):
    """Writes each mask under its scan's name, and hands it on.

    The name is that of the file in the tensor's meta data, and so are the header fields where the
    file is still there and the mask lies on its grid: bring the mask home first, with
    ``monai.transforms.Invertd`` or the like.

    Args:
        folder: made where missing.
        labels: value by name.
        format: a name from ``medseg.writers.WRITERS``.
        overwrite: replace files that are there.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        labels: Mapping[str, int],
        format: str = "nifti",  # noqa: A002
        overwrite: bool = False,
    ) -> None:
        self._folder, self._format, self._overwrite = Path(folder), format, overwrite
        self._labels = LabelTable.from_card({"labels": dict(labels)})

    def __call__(self, data: MetaTensor) -> MetaTensor:
        """Write one mask.

        Args:
            data: (1, X, Y, Z) whole numbers.

        Raises:
            BadLabels: several channels, or numbers that are not whole or that no label names.
            BadOutput: a file is there, or the tensor does not say which scan it belongs to.
        """
        source = str(np.ravel(data.meta.get("filename_or_obj", ""))[0])
        name = safe_name(stem(source.rpartition("#")[2] if "#" in source else Path(source).name))
        if not name:
            raise BadOutput("the mask does not say which scan it belongs to", path=self._folder)
        path = self._folder / f"{name}{ending(self._format)}"
        if path.exists() and not self._overwrite:
            raise BadOutput(
                "a file is there already", path=path, remedy="Give overwrite=True to replace it."
            )
        write_labels(self._labelmap(data, source), path, format=self._format)
        return data

    def _labelmap(self, mask: MetaTensor, source: str) -> LabelMap:
        if mask.ndim != 4 or len(mask) != 1:
            raise BadLabels(
                "a mask holds one integer per voxel",
                found=f"a tensor of shape {tuple(mask.shape)}",
                expected="(1, X, Y, Z)",
                remedy="Decide first: monai.transforms.AsDiscrete(argmax=True).",
            )
        geometry = geometry_of(mask)
        numbers = torch.as_tensor(mask).detach().cpu().numpy()[0]
        data = whole_numbers(numbers, 1.0, 0.0, path=Path(source))
        home, origin = _home(source, geometry)
        return LabelMap(data, home, origin=origin).named(self._labels)


class SaveMaskd(MapTransform):
    """:class:`SaveMask` for dictionaries.

    Args:
        keys: of the masks.
        folder: made where missing.
        labels: value by name.
        options: further options of :class:`SaveMask`.
    """

    def __init__(
        self, keys: KeysCollection, folder: str | Path, *, labels: Mapping[str, int], **options: Any
    ) -> None:
        super().__init__(keys)
        self._save = SaveMask(folder, labels=labels, **options)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """The dictionary as it was; its masks are written."""
        written = dict(data)
        for key in self.key_iterator(written):
            written[key] = self._save(written[key])
        return written


def _home(source: str, geometry: Geometry) -> tuple[Geometry, Origin]:
    """Grid and header fields of the scan, where it is there and the mask lies on its grid."""
    try:
        scan = read(source)
    except (MedsegError, OSError):
        return geometry, Origin()
    return (scan.geometry, scan.origin) if geometry.fits(scan.geometry) else (geometry, Origin())
