"""A case held in memory while somebody looks at it: scan, prediction, truth, and the mask as drawn.

The scan is kept as 16-bit numbers with a scaling, whatever its file holds: what a screen shows in
a window needs no more.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.archives.members import is_archive
from medseg.checksums import sha256_of
from medseg.ct_windows import WINDOWS, window_for
from medseg.errors import BadScan, MedsegError
from medseg.files import is_folder
from medseg.geometry import Geometry
from medseg.labels import LabelTable
from medseg.manifests import read_case, read_truth
from medseg.readers.labels import needs_image, read_labels
from medseg.review.edits import Change, label_counts
from medseg.review.items import Item, first_place
from medseg.review.store import Edit
from medseg.review.uncertainty import uncertainty, uncertainty_maps
from medseg.scans import discover, read
from medseg.volume import LabelMap, Origin, Volume
from medseg.volume.box import box_of_values

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Shades:
    """A scan as a screen shows it: real-world value = stored * slope + intercept.

    Attributes:
        data: (X, Y, Z) int16.
        slope, intercept: scaling.
        window: real-world values shown black and white at first.
        is_ct: whether the values are HU.
    """

    data: NDArray[np.int16]
    slope: float
    intercept: float
    window: tuple[float, float]
    is_ct: bool


@dataclass(eq=False)
class Opened:
    """One case in memory.

    Attributes:
        item: which.
        geometry: of the scan, or of the mask where there is no scan.
        origin: what the scan's header held.
        labels: what the values mean.
        shades: the scan, or ``None``.
        prediction: (X, Y, Z) as the file holds it.
        mask: the same with this rater's changes.
        truth: (X, Y, Z) under the same values, or ``None``.
        maps: files that say how uncertain each voxel is, by name; read when first asked for.
        mask_sha256: of the prediction's file.
        notes: what went wrong with less than the whole: no scan, no truth.
        edits: the changes in `mask`, with what undoes each.
        lock: held while the mask is changed or copied.
    """

    item: Item
    geometry: Geometry
    origin: Origin
    labels: LabelTable
    shades: Shades | None
    prediction: NDArray[Any]
    mask: NDArray[Any]
    truth: NDArray[Any] | None
    maps: Mapping[str, tuple[Path, ...]]
    mask_sha256: str
    notes: tuple[str, ...] = ()
    edits: list[tuple[Edit, Change]] = field(default_factory=list)
    lock: threading.RLock = field(default_factory=threading.RLock)
    _uncertainty: dict[str, NDArray[np.uint8]] = field(default_factory=dict)
    _counts: NDArray[np.int64] | None = None

    @property
    def bytes(self) -> int:
        """What it takes in memory."""
        held = [self.prediction, self.mask, self.truth, *self._uncertainty.values()]
        held += [self.shades.data] if self.shades else []
        return sum(array.nbytes for array in held if array is not None)

    def layer(self, name: str) -> NDArray[Any] | None:
        """The array behind a layer's name; ``None`` where the case has none.

        Raises:
            MedsegError: a map of uncertainty cannot be read.
        """
        if name == "scan":
            return self.shades.data if self.shades else None
        layers: dict[str, NDArray[Any] | None] = {
            "mask": self.mask,
            "prediction": self.prediction,
            "truth": self.truth,
        }
        if name in self.maps:
            with self.lock:
                if name not in self._uncertainty:
                    self._uncertainty[name] = uncertainty(self.maps[name], self.geometry)
            return self._uncertainty[name]
        return layers.get(name)

    @property
    def layers(self) -> tuple[str, ...]:
        """The names of what lies over the scan."""
        truth = ("truth",) if self.truth is not None else ()
        return ("mask", "prediction", *truth, *self.maps)

    def apply(self, edit: Edit) -> None:
        """Change the mask and remember how to undo it."""
        with self.lock:
            self.edits.append((edit, self._change(edit.change)))

    def undo(self) -> None:
        """Take the last change back."""
        with self.lock:
            _, back = self.edits.pop()
            self._change(back)

    def _change(self, change: Change) -> Change:
        """Apply a change, with the counts of labels beside it."""
        back = change.apply(self.mask)
        if self._counts is not None:
            np.subtract.at(self._counts, back.values, 1)
            np.add.at(self._counts, change.values, 1)
        return back

    def counts(self) -> NDArray[np.int64]:
        """Voxels of every value as drawn, from 0 on."""
        with self.lock:
            if self._counts is None:
                self._counts = label_counts(self.mask)
            return self._counts.copy()

    def volumes_ml(self) -> dict[str, float]:
        """Volume of every label as drawn."""
        counts, voxel_ml = self.counts(), self.geometry.voxel_ml
        return {label.name: int(counts[label.value]) * voxel_ml for label in self.labels.labels}

    def focus(self) -> tuple[int, int, int]:
        """R, A, S position where most of the mask lies; the middle where it is empty."""
        box = box_of_values(self.mask)
        axes, backwards = self.geometry.canonical_axes
        position = [size // 2 for size in self.geometry.shape]
        if box is not None:
            inside = self.mask[box] > 0
            for axis, side in enumerate(box):
                others = tuple(other for other in range(3) if other != axis)
                position[axis] = side.start + int(np.count_nonzero(inside, axis=others).argmax())
        r, a, s = (
            self.geometry.shape[axis] - 1 - position[axis] if back else position[axis]
            for axis, back in zip(axes, backwards, strict=True)
        )
        return r, a, s


def open_case(item: Item, labels: LabelTable, edits: list[Edit]) -> Opened:
    """Read everything about a case.

    A scan or a truth that cannot be read costs only itself, and the notes say why.

    Args:
        item: which.
        labels: what the values of the mask mean.
        edits: the changes of the rater, to be made again.

    Raises:
        MedsegError: the mask cannot be read.
    """
    notes: list[str] = []
    with ThreadPoolExecutor(1) as pool:  # both files are unpacked at once
        reading = pool.submit(_scan, item, notes)
        image = reading.result() if needs_image(item.mask) else None
        found = read_labels(item.mask, labels=labels, grid=image.geometry if image else None)
        named = found.named(labels)
        volume = reading.result()
    if volume is not None and not named.geometry.fits(volume.geometry):
        where = named.geometry.describe_beside(volume.geometry)
        notes.append(
            f"the mask lies on another grid than its scan: {where}, the scan "
            f"{volume.geometry.describe()}; shown without the scan"
        )
        volume = None
    geometry = volume.geometry if volume else named.geometry
    truth = _truth(item, labels, geometry, notes)
    # of one type for all; a label that is ignored may be larger than the others
    held = [named.data.dtype] if truth is None else [named.data.dtype, truth.dtype]
    dtype = np.result_type(labels.dtype, *held)
    prediction = named.data.astype(dtype, order="K", copy=False)
    case = Opened(
        item=item,
        geometry=geometry,
        origin=volume.origin if volume else named.origin,
        labels=labels,
        shades=_shades(volume, labels) if volume else None,
        prediction=prediction,
        mask=prediction.copy(order="K"),
        truth=None if truth is None else truth.astype(dtype),
        maps=uncertainty_maps(item.mask, item.case),
        mask_sha256=sha256_of(item.mask),
        notes=(),
    )
    fitting = [edit for edit in edits if edit.mask_sha256 == case.mask_sha256]
    if len(fitting) < len(edits):
        notes.append("the mask was made again since it was edited: those changes are left out")
    for edit in fitting:
        case.apply(edit)
    case.notes = tuple(notes)
    return case


def _scan(item: Item, notes: list[str]) -> Volume | None:
    try:
        if item.row is not None and item.row.case.images:
            cohort = item.row.cohort
            return read_case(cohort, item.row.case, channels=cohort.channels[:1])
        if item.place:
            return read_place(item)
    except MedsegError as error:
        notes.append(f"no scan: {error.problem}")
        return None
    notes.append("no scan: nothing says where it lies")
    return None


def read_place(item: Item) -> Volume:
    """The scan of a ledger's place: a file, a DICOM folder or an archive.

    Raises:
        MedsegError: it cannot be read, or nothing says which of several scans it is.
    """
    path = first_place(item.place)
    if not path.exists():
        raise BadScan("the scan is no longer where it was", path=path.name)
    if not is_folder(path) and not is_archive(path.name):
        return read(path)
    scans = discover(path)
    own = [scan for scan in scans if scan.is_series(item.case)] or [
        scan for scan in scans if scan.source and item.source.endswith(scan.source)
    ]
    return own[0].read() if len(own) == 1 else read(path)


def _shades(volume: Volume, labels: LabelTable) -> Shades:
    data, slope, intercept = _as_int16(volume)
    step = max(1, round((data.size / 100_000) ** (1 / 3)))
    sample = data[::step, ::step, ::step].astype(np.float64) * slope + intercept
    low, high = np.percentile(sample, [1, 99.5])
    is_ct = volume.origin.modality == "CT" or (not volume.origin.modality and bool(low < -500))
    if is_ct:
        low, high = WINDOWS[window_for(labels.names)]
    return Shades(data, slope, intercept, (float(low), float(max(high, low + 1e-6))), is_ct)


def _as_int16(volume: Volume) -> tuple[NDArray[np.int16], float, float]:
    """The first channel's numbers, exact where 16 bits hold them, else in 65,000 steps."""
    data = volume.data[0]
    kept = np.iinfo(np.int16)
    if data.dtype.kind in "iu" and kept.min <= data.min() and data.max() <= kept.max:
        return data.astype(np.int16, copy=False), volume.slope, volume.intercept
    values = data.astype(np.float32)
    finite = values[np.isfinite(values)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    step = max((high - low) / 65_000, 1e-12)
    values = np.nan_to_num(values, nan=low, posinf=high, neginf=low)
    steps = np.clip((values - low) / step - 32_500, kept.min, kept.max)
    stored = np.rint(steps).astype(np.int16)
    return stored, volume.slope * step, volume.slope * (low + 32_500 * step) + volume.intercept


def _truth(
    item: Item, labels: LabelTable, geometry: Geometry, notes: list[str]
) -> NDArray[Any] | None:
    if not item.has_truth or item.row is None:
        return None
    try:
        truth = read_truth(item.row.cohort, item.row.case, grid=geometry)
        return item.row.named(truth, labels).data
    except MedsegError as error:
        notes.append(f"no truth: {error.problem}")
        return None


def drawn(case: Opened) -> LabelMap:
    """The mask as drawn, on the scan's grid, with what its header must repeat."""
    with case.lock:
        data = case.mask.copy(order="K")
    return LabelMap(data, case.geometry, case.labels, case.origin)
