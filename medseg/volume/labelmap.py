"""A mask in memory: one integer a voxel, named by a table."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.errors import BadGeometry, BadLabels
from medseg.geometry import Geometry
from medseg.labels import LabelTable, present_values
from medseg.volume.gridded import Gridded
from medseg.volume.origin import Origin

#: Structures that a repr lists.
_MOST_LISTED = 6


@dataclass(frozen=True, eq=False, repr=False)
class LabelMap(Gridded):
    """A mask: one integer a voxel, named by a table.

    Attributes:
        data: (X, Y, Z) integers.
        geometry: the grid they lie on.
        labels: what the integers mean; ``None`` for a file read before anything names them.
        origin: provenance and header fields.

    Raises:
        BadGeometry: the array does not fit the geometry.
        BadLabels: the array is not of integers.
    """

    data: NDArray[Any]
    geometry: Geometry
    labels: LabelTable | None = None
    origin: Origin = field(default_factory=Origin)

    def __post_init__(self) -> None:
        if self.data.shape != self.geometry.shape:
            raise BadGeometry(
                "the mask does not fit its grid",
                path=self.origin.path or None,
                found=self.data.shape,
                expected=self.geometry.shape,
            )
        if self.data.dtype.kind not in "iu":
            raise BadLabels(
                "a mask holds integers", path=self.origin.path or None, found=self.data.dtype
            )

    def __repr__(self) -> str:
        return (
            f"LabelMap: {self.geometry.describe()}\n{self._structures()}, "
            f"stored as {self.data.dtype}\n{self._corners()}"
        )

    def _structures(self) -> str:
        values, counts = np.unique(self.data[self.data != 0], return_counts=True)
        if not len(values):
            return "empty"
        named = {} if self.labels is None else {one.value: one.name for one in self.labels.labels}
        parts = [
            f"{named.get(int(value), f'value {value}')} {count * self.geometry.voxel_ml:.4g} ml"
            for value, count in zip(values[:_MOST_LISTED], counts, strict=False)
        ]
        more = len(values) - len(parts)
        return ", ".join(parts) + (f" and {more} more" if more else "")

    @property
    def array(self) -> NDArray[Any]:
        """(X, Y, Z) integers; a read-only view.

        >>> import numpy as np
        >>> mask = LabelMap(np.ones((2, 2, 2), np.uint8), Geometry((2, 2, 2), np.eye(4)))
        >>> int((mask.array == 1).sum()), mask.spacing_mm
        (8, (1.0, 1.0, 1.0))
        """
        view = self.data.view()
        view.flags.writeable = False
        return view

    def named(self, labels: LabelTable) -> LabelMap:
        """The same structures under a table that names every value.

        Where the map has a table of its own, values are matched by name and may change.

        Raises:
            BadLabels: a voxel holds a value that the table does not name, or a structure of a
                name that it does not know.
        """
        path = self.origin.path or None
        data = self.data
        if self.labels is not None and self.labels != labels:
            present = sorted(present_values(data))
            try:
                values = labels.values_of(self.labels, present)
            except BadLabels as error:
                raise error.about(path) from None
            table = np.arange(present[-1] + 1, dtype=np.uint16)
            for old, new in values.items():
                table[old] = new
            data = table[data].astype(np.min_scalar_type(int(table[present].max())))
        labels.check(data, path=path)
        return replace(self, data=data, labels=labels)

    def volume_ml(self, name: str) -> float:
        """Volume of a label, in ml, from the determinant of the affine.

        Raises:
            BadLabels: the map has no table or the table no such name.
        """
        if self.labels is None:
            raise BadLabels("the mask has no label table", path=self.origin.path or None)
        return int((self.data == self.labels.value_of(name)).sum()) * self.geometry.voxel_ml
