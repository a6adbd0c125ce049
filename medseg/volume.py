"""A scan and a mask in memory: an array beside its Geometry."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import IO, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from medseg.errors import BadGeometry, BadLabels
from medseg.geometry import Geometry
from medseg.labels import LabelTable

#: Spaces that a NIfTI code names; the rest of what `Origin.frame` holds are hashes of UIDs.
NAMED_SPACES = frozenset({"scanner", "talairach", "mni152"})


@dataclass(frozen=True, eq=False)
class NiftiForms:
    """The geometric fields of a NIfTI header that a mask repeats to the bit.

    Attributes:
        sform: (4, 4) float64, the three srow fields, or ``None`` when its code is 0.
        sform_code: 0-5.
        quaternion: quatern_b, c, d and qoffset_x, y, z as stored (float32 for NIfTI-1).
        qform_code: 0-5.
        pixdim: the eight pixdim fields; pixdim[0] is the handedness of the qform.
        xyzt_units: the units field as stored (2 = mm, 10 = mm and s).
        nifti_version: 1 or 2.
    """

    sform: NDArray[np.float64] | None
    sform_code: int
    quaternion: tuple[float, float, float, float, float, float]
    qform_code: int
    pixdim: tuple[float, ...]
    xyzt_units: int
    nifti_version: int = 1


class SourceFiles(Protocol):
    """The files that a volume was read from, in slice order, on disk or in an archive."""

    def __len__(self) -> int:
        """How many."""

    def streams(self) -> Iterator[tuple[int, IO[bytes]]]:
        """The number of each file in slice order, and its bytes until the next is asked for."""


@dataclass(frozen=True)
class Origin:
    """Where a volume came from, as far as later steps need it; nothing that names a patient.

    Attributes:
        path: the file or folder, as the user named it.
        modality: ``CT``, ``MR``, ``PT`` … or empty where the format does not say.
        padding_value: real-world value (after scaling) of pixels outside the scanned field,
            or ``None``.
        forms: the NIfTI header's geometric fields, for NIfTI sources.
        warnings: what the reader accepted but the user should know.
        case: a name for the output file derived from the source.
        instances: the source DICOM files (for an enhanced object the one file), for writers that
            must refer to them; ``None`` for other formats.
        frame: the space in which the affine counts, as far as the header tells: a hash of the
            frame of reference's UID, or one of `NAMED_SPACES`; else empty.
        moves: of channels that were registered: name, and the 16 numbers of the (4, 4) matrix
            from RAS mm as the header says to RAS mm where the channel was laid.
    """

    path: str = ""
    modality: str = ""
    padding_value: float | None = None
    forms: NiftiForms | None = None
    warnings: tuple[str, ...] = ()
    case: str = ""
    instances: SourceFiles | None = None
    frame: str = ""
    moves: tuple[tuple[str, tuple[float, ...]], ...] = ()


#: No CT measures less than this, in HU: a lower value that is `STANDS_ALONE` from the next is
#: padding.
BELOW_ANY_HU, STANDS_ALONE = -1200.0, 100.0

#: Where 16-bit numbers end: a value from here on, far from all others, is padding.
ABOVE_ANY_SIGNAL = 32767.0

#: Stored numbers of any shape to real-world values.
Measure = Callable[[NDArray[Any]], NDArray[np.float32]]


@dataclass(frozen=True, eq=False)
class Volume:
    """A scan: stored numbers, their scaling, and where they lie.

    Real-world values are ``data * slope + intercept`` (HU for CT).

    Attributes:
        data: (C, X, Y, Z) in the stored dtype (or float32 where no integer holds the values).
        geometry: of every channel.
        slope: scaling of the stored numbers.
        intercept: real-world value of a stored zero.
        channels: a name for each channel, or empty.
        origin: provenance and header fields that the mask must repeat.

    Raises:
        BadGeometry: the array does not fit the geometry.
    """

    data: NDArray[Any]
    geometry: Geometry
    slope: float = 1.0
    intercept: float = 0.0
    channels: tuple[str, ...] = ()
    origin: Origin = field(default_factory=Origin)

    def __post_init__(self) -> None:
        if self.data.ndim != 4 or self.data.shape[1:] != self.geometry.shape:
            raise BadGeometry(
                "the array does not fit its grid",
                path=self.origin.path or None,
                found=self.data.shape,
                expected=("C", *self.geometry.shape),
            )
        if self.channels and len(self.channels) != self.data.shape[0]:
            raise BadGeometry(
                "channel names and channels differ in number",
                found=len(self.channels),
                expected=self.data.shape[0],
            )

    def values(self) -> NDArray[np.float32]:
        """(C, X, Y, Z) real-world values as float32; a copy."""
        return self._real(self.data)

    def measured(self) -> NDArray[np.float32]:
        """The same values with padding at the lowest value that was measured; a copy."""
        return self.measuring()(self.data)

    def measuring(self) -> Measure:
        """How stored numbers, of any part of ``data``, become measured values in float32.

        Padding becomes the lowest value that was measured: a number that means "not scanned"
        (often -2000 or -3024 in CT) would otherwise be smeared into the anatomy by resampling.
        The values themselves say what is padding, not the header, which only DICOM has: every
        format of one scan gives the same values.
        """
        filler = self._filler()

        def measure(stored: NDArray[Any]) -> NDArray[np.float32]:
            values = self._real(stored)
            if filler is not None:
                padding, lowest = filler
                values[np.abs(values - padding) < 0.5] = lowest
            return values

        return measure

    def _real(self, stored: NDArray[Any]) -> NDArray[np.float32]:
        values = stored.astype(np.float32)
        if self.slope != 1.0:
            values *= np.float32(self.slope)
        if self.intercept != 0.0:
            values += np.float32(self.intercept)
        return values

    def _filler(self) -> tuple[np.float32, np.float32] | None:
        """The value of padding and the lowest measured one; ``None`` where nothing is padding.

        Padding is an extreme value that nothing measures and that stands alone: below
        `BELOW_ANY_HU` by itself for `STANDS_ALONE`, or above `ABOVE_ANY_SIGNAL` and farther from
        the rest than four times its range.
        """
        ends = np.array(
            [np.fmin.reduce(self.data, axis=None), np.fmax.reduce(self.data, axis=None)]
        )
        low, high = np.sort(self._real(ends))
        if low <= BELOW_ANY_HU:
            second, _ = self._ends(above=low)
            if np.isfinite(second) and second - low > STANDS_ALONE:
                return low, second
        if high >= ABOVE_ANY_SIGNAL:
            _, second = self._ends(below=high)
            if np.isfinite(second) and high - second > 4 * max(second - low, 1):
                return high, low
        return None

    def _ends(
        self, *, above: float = -np.inf, below: float = np.inf
    ) -> tuple[np.float32, np.float32]:
        """Smallest and largest real-world value within limits, plane by plane."""
        low, high = np.float32(np.inf), np.float32(-np.inf)
        thickest = 1 + int(np.argmax(self.data.strides[1:]))
        for plane in np.moveaxis(self.data, thickest, 0):
            values = self._real(plane)
            values = values[(values > above + 0.5) & (values < below - 0.5)]
            low = np.fmin.reduce(values, initial=low)
            high = np.fmax.reduce(values, initial=high)
        return low, high

    def with_warning(self, warning: str) -> Volume:
        """The same volume with one more thing the user should know."""
        warnings = (*self.origin.warnings, warning)
        return replace(self, origin=replace(self.origin, warnings=warnings))


@dataclass(frozen=True, eq=False)
class LabelMap:
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
            present = np.unique(data)
            try:
                values = labels.values_of(self.labels, map(int, present))
            except BadLabels as error:
                raise error.about(path) from None
            table = np.arange(int(present.max()) + 1, dtype=np.uint16)
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


def pixel_hash(volume: Volume) -> str:
    """SHA-256 of the real-world values in canonical order: the identity of a scan's pixels.

    The same scan gives the same hash under another name, format, dtype or storage order;
    it keeps a scan that trained a model from being scored as if it were new.
    """
    axes, backwards = volume.geometry.canonical_axes
    turn = tuple(slice(None, None, -1 if back else 1) for back in backwards)
    digest = hashlib.sha256()
    for channel in volume.values():
        canonical = channel.transpose(axes)[turn]
        digest.update(repr(canonical.shape).encode())
        for plane in canonical:
            digest.update(np.ascontiguousarray(plane).tobytes())
    return digest.hexdigest()


def intensity_percentiles(volume: Volume) -> tuple[tuple[float, float, float], ...]:
    """0.5, 50 and 99.5 percentile of real-world values, a row a channel.

    Taken over a regular grid of at most some 100,000 voxels; zeros where no value is finite.
    """
    return tuple(_percentiles(channel, volume) for channel in volume.data)


def _percentiles(channel: NDArray[Any], volume: Volume) -> tuple[float, float, float]:
    step = max(1, round((channel.size / 100_000) ** (1 / 3)))
    sample = channel[::step, ::step, ::step].astype(np.float64)
    values = sample * volume.slope + volume.intercept
    values = values[np.isfinite(values)]
    if not values.size:
        return 0.0, 0.0, 0.0
    low, middle, high = np.percentile(values, [0.5, 50, 99.5])
    return float(low), float(middle), float(high)
