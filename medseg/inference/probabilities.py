"""Probabilities of every label reach the disk without labels x scan ever being in memory.

Finished logits are interpolated a tile at a time, as those for the mask are, and each label's
share is kept in 1/255 on a nameless file on disk. From there every label is read back a few
planes at a time, in the order of its NIfTI file.
"""

from __future__ import annotations

import math
import re
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray

from medseg.errors import BadOutput
from medseg.geometry import Box, Geometry
from medseg.inference.locate import Region
from medseg.labels import LabelTable
from medseg.transforms.cells import Layout, tiles
from medseg.volume import Origin
from medseg.writers.nifti import ENDING, write_levels

#: Probabilities are kept in so many steps: half a step, 0.002, is the most that is lost.
STEPS = 255

#: Planes that are put together at a time.
PLANES = 16

#: A label this many logits behind another, or further, gets less than half a step.
NOTHING = math.log(2 * STEPS)

#: Farther behind by this, labels left out of a softmax change no step of the others.
UNSEEN = 5.0


class _Piece(NamedTuple):
    """Where one label's share of one tile lies: on the scan's grid and in the file."""

    box: Box
    offset: int


class Probabilities:
    """Probabilities of one scan's labels, on disk; to be closed.

    Attributes:
        names: of the labels (regions, where a model has them), background left out.
    """

    def __init__(
        self,
        region: Region,
        whole: Geometry,
        labels: LabelTable,
        folder: Path,
        *,
        nearest_axis: int | None = None,
    ) -> None:
        """Begin with 0 everywhere.

        Args:
            region: the part of the scan that logits come from.
            whole: the scan's grid.
            labels: what the channels of the logits mean.
            folder: on whose disk they are kept until they are written.
            nearest_axis: working axis along which native voxels take the nearest logits.

        Raises:
            BadOutput: nothing can be written there.
        """
        self._regions = bool(labels.regions)
        self.names = tuple(part.name for part in labels.regions) or labels.names
        self._layout = Layout(region.working, region.native, nearest_axis=nearest_axis)
        self._start = [side.start for side in region.native_box]
        self._whole = whole
        self._pieces: list[dict[int, list[_Piece]]] = [{} for _ in self.names]
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - closed by `close`
        except OSError as error:
            raise _unwritable(folder, error) from error
        self._folder, self._end = folder, 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let the disk space go."""
        self._file.close()

    def put(self, logits: torch.Tensor, corner: Sequence[int]) -> None:
        """Take in a box of (K, x, y, z) normalised working logits, as ``Restorer.put`` does.

        Raises:
            BadOutput: the disk is full.
        """
        sides = self._layout.sides(logits, corner)
        for tile in tiles(sides) if sides is not None else ():
            part = logits[(slice(None), *tile.working)]
            able = self._able(part)
            if len(able) and all(side.stop > side.start for side in tile.native):
                native = [
                    slice(side.native.start + inner.start, side.native.start + inner.stop)
                    for side, inner in zip(sides or (), tile.native, strict=True)
                ]
                self._keep(able, tile.interpolate(part[able]), native)

    def planes(self, name: str) -> Iterator[NDArray[np.uint8]]:
        """(X, Y, few) probabilities of one label in 1/`STEPS`, along Z."""
        pieces = self._pieces[self.names.index(name)]
        x, y, z = self._whole.shape
        for low in range(0, z, PLANES):
            slab = np.zeros((x, y, min(PLANES, z - low)), dtype=np.uint8, order="F")
            for piece in pieces.get(low // PLANES, ()):
                self._read(piece, low, slab)
            yield slab

    def write(self, folder: Path, case: str, origin: Origin) -> list[Path]:
        """Write ``CASE_prob_LABEL.nii.gz`` for every label: the scan's twins, 0 to 1.

        Raises:
            BadOutput: a file cannot be written.
        """
        paths = []
        for name, stem in zip(self.names, file_stems(self.names), strict=True):
            path = folder / f"{case}_prob_{stem}{ENDING}"
            write_levels(self.planes(name), self._whole, origin, path, slope=1 / STEPS)
            paths.append(path)
        return paths

    def _able(self, logits: torch.Tensor) -> torch.Tensor:
        """The channels that reach half a step in a tile, or change the others' shares."""
        flat = logits.flatten(1)
        if self._regions:
            return (flat.amax(1) > -NOTHING).nonzero()[:, 0]
        behind = NOTHING + UNSEEN + math.log(len(flat))
        able = (flat.amax(1) > flat.amin(1).max() - behind).nonzero()[:, 0]
        return able if len(able) > 1 or int(able[0]) > 0 else able[:0]

    def _keep(self, able: torch.Tensor, logits: torch.Tensor, box: Sequence[slice]) -> None:
        shares = torch.sigmoid(logits) if self._regions else torch.softmax(logits, dim=0)
        levels = (shares * STEPS).round().to(torch.uint8).cpu().numpy()
        place, levels = self._layout.turn_back(box, levels)
        x, y, z = (
            slice(side.start + at, side.stop + at)
            for side, at in zip(place, self._start, strict=True)
        )
        for channel, level in zip(able.tolist(), levels, strict=True):
            label = channel if self._regions else channel - 1
            if label >= 0 and level.any():
                piece = _Piece((x, y, z), self._append(level.tobytes(order="F")))
                for slab in range(z.start // PLANES, (z.stop - 1) // PLANES + 1):
                    self._pieces[label].setdefault(slab, []).append(piece)

    def _append(self, content: bytes) -> int:
        try:
            self._file.write(content)
        except OSError as error:
            raise _unwritable(self._folder, error) from error
        self._end += len(content)
        return self._end - len(content)

    def _read(self, piece: _Piece, low: int, slab: NDArray[np.uint8]) -> None:
        """Fill in the planes of a piece that lie in a slab; they follow each other in the file."""
        x, y, z = piece.box
        first, last = max(z.start, low), min(z.stop, low + slab.shape[2])
        shape = (x.stop - x.start, y.stop - y.start, last - first)
        self._file.seek(piece.offset + (first - z.start) * shape[0] * shape[1])
        content = np.frombuffer(self._file.read(math.prod(shape)), dtype=np.uint8)
        slab[x, y, first - low : last - low] = content.reshape(shape, order="F")


def file_stems(names: Sequence[str]) -> list[str]:
    """Names that any file system takes, one a label, none twice."""
    stems: list[str] = []
    for name in names:
        plain = re.sub(r"[^A-Za-z0-9.-]+", "_", name).strip("._") or "label"
        number, stem = 1, plain
        while stem.lower() in {other.lower() for other in stems}:
            number += 1
            stem = f"{plain}_{number}"
        stems.append(stem)
    return stems


def _unwritable(folder: Path, error: Any) -> BadOutput:
    return BadOutput(
        "probabilities cannot be kept on disk",
        path=folder,
        found=error.strerror or error,
        remedy="They take about one byte per voxel and label: make room.",
    )
