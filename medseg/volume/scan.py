"""A scan in memory: stored numbers, their scaling, and where they lie."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.errors import BadGeometry
from medseg.geometry import Geometry
from medseg.volume.gridded import Gridded
from medseg.volume.origin import Origin

#: No CT measures less than this, in HU: a lower value that is `STANDS_ALONE` from the next is
#: padding.
BELOW_ANY_HU, STANDS_ALONE = -1200.0, 100.0

#: Where 16-bit numbers end: a value from here on, far from all others, is padding.
ABOVE_ANY_SIGNAL = 32767.0

#: Relative precision of slopes and intercepts: float32 in NIfTI, sixteen letters in DICOM.
_SCALING_PRECISION = 1e-6

#: float32 holds whole numbers up to here.
_WHOLE_IN_FLOAT32 = 2.0**24


@dataclass(frozen=True)
class Measure:
    """How stored numbers of any shape become real-world values in float32.

    Attributes:
        slope: scaling of the stored numbers.
        intercept: real-world value of a stored zero.
        filler: the value of padding and the lowest measured one, which replaces it; ``None``
            where nothing is padding.
    """

    slope: np.float32
    intercept: np.float32
    filler: tuple[np.float32, np.float32] | None = None

    def __call__(self, stored: NDArray[Any]) -> NDArray[np.float32]:
        """Measured values; a copy."""
        values = self.real(stored)
        if self.filler is not None:
            values[self.is_padding(values)] = self.filler[1]
        return values

    def real(self, stored: NDArray[Any]) -> NDArray[np.float32]:
        """Real-world values, padding as it is stored; a copy.

        Exactly 0 where that is meant, whatever rounding says: zeros are what a scan left out.

        >>> float(Measure(np.float32(0.3), np.float32(-30.3)).real(np.array([101]))[0])
        0.0
        """
        shift, scale, rest = self.scaling
        values = stored.astype(np.float32)
        if shift != 0:
            values -= np.float32(shift)
        if scale != 1:
            values *= np.float32(scale)
        if rest != 0:
            values += np.float32(rest)
        return values

    @property
    def scaling(self) -> tuple[float, float, float]:
        """What is taken off a stored number, what it is then multiplied with, and what is added."""
        slope, intercept = float(self.slope), float(self.intercept)
        zero = stored_zero(slope, intercept)
        if zero.is_integer() and abs(zero) < _WHOLE_IN_FLOAT32:
            return zero, slope, 0.0
        return 0.0, slope, intercept

    def is_padding(self, values: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Which real-world values stand for what was not scanned."""
        if self.filler is None:
            return np.zeros(values.shape, dtype=bool)
        return np.asarray(np.abs(values - self.filler[0]) < 0.5)


def stored_zero(slope: float, intercept: float) -> float:
    """The stored number that means 0; a whole one where headers' rounding allows it.

    >>> stored_zero(1.0, -1024.0), stored_zero(0.1, -102.4)
    (1024.0, 1024.0)
    """
    if slope == 0:
        return 0.0 if intercept == 0 else np.inf
    zero = -intercept / slope
    whole = float(np.round(zero))
    return whole + 0.0 if abs(zero - whole) <= _SCALING_PRECISION * max(1.0, abs(zero)) else zero


@dataclass(frozen=True, eq=False, repr=False)
class Volume(Gridded):
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

    def __repr__(self) -> str:
        low, high = self._next_to(np.float32(-np.inf), 1), self._next_to(np.float32(np.inf), -1)
        values = f"values {low:.6g} to {high:.6g}" if low <= high else "no finite values"
        channels = f"; channels {', '.join(self.channels)}" if self.channels else ""
        if not channels and len(self.data) > 1:
            channels = f"; {len(self.data)} channels"
        modality = f" ({self.origin.modality})" if self.origin.modality else ""
        return (
            f"Volume{modality}: {self.geometry.describe()}\n"
            f"{values}, stored as {self.data.dtype}{channels}\n{self._corners()}"
        )

    @property
    def array(self) -> NDArray[np.float32]:
        """(X, Y, Z) real-world values (HU for CT), or (C, X, Y, Z) of several channels; a copy.

        >>> import numpy as np
        >>> stored = np.full((1, 2, 2, 2), 1064, np.int16)
        >>> scan = Volume(stored, Geometry((2, 2, 2), np.eye(4)), intercept=-1024)
        >>> scan.array.shape, float(scan.array.mean())
        ((2, 2, 2), 40.0)
        """
        values = self.values()
        return values[0] if len(values) == 1 else values

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
        return Measure(np.float32(self.slope), np.float32(self.intercept), self._filler())

    def _real(self, stored: NDArray[Any]) -> NDArray[np.float32]:
        return Measure(np.float32(self.slope), np.float32(self.intercept)).real(stored)

    def _filler(self) -> tuple[np.float32, np.float32] | None:
        """The value of padding and the lowest measured one; ``None`` where nothing is padding.

        Padding is an extreme value that nothing measures and that stands alone: below
        `BELOW_ANY_HU` by itself for `STANDS_ALONE`, or above `ABOVE_ANY_SIGNAL` and farther from
        the rest than four times its range.
        """
        data = self.data
        if data.dtype.kind in "iu":  # the reductions that NaN needs are ten times slower
            ends = np.array([data.min(), data.max()])
        else:
            ends = np.array([np.fmin.reduce(data, axis=None), np.fmax.reduce(data, axis=None)])
        low, high = np.sort(self._real(ends))
        if low <= BELOW_ANY_HU:
            second = self._next_to(low, 1)
            if np.isfinite(second) and second - low > STANDS_ALONE:
                return low, second
        if high >= ABOVE_ANY_SIGNAL:
            second = self._next_to(high, -1)
            if np.isfinite(second) and high - second > 4 * max(second - low, 1):
                return high, low
        return None

    def _next_to(self, end: np.float32, way: int) -> np.float32:
        """The real-world value next to an end, above it (`way` 1) or below (-1), plane by plane."""
        nearest, limit = np.float32(np.inf), np.float32(way * end + 0.5)
        thickest = 1 + int(np.argmax(self.data.strides[1:]))
        for plane in np.moveaxis(self.data, thickest, 0):
            values = self._real(plane)
            values *= way
            nearest = min(nearest, np.where(values > limit, values, np.float32(np.inf)).min())
        return np.float32(way * nearest)

    def with_warning(self, warning: str) -> Volume:
        """The same volume with one more thing the user should know."""
        warnings = (*self.origin.warnings, warning)
        return replace(self, origin=replace(self.origin, warnings=warnings))
