"""Fractions of a scan's voxels reach the disk in steps, without maps x scan being in memory.

Finished working logits are interpolated a tile at a time, as those for the mask are. What a caller
makes of a tile goes to a nameless file on disk, and is read back from there a few planes at a
time, in the order of a NIfTI file.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Collection, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray

from medseg.errors import BadOutput
from medseg.geometry import Box, Geometry
from medseg.inference.locate import Region
from medseg.transforms.cells import Layout, Tile, tiles
from medseg.volume import Origin
from medseg.writers.nifti import write_levels

#: Planes that are put together at a time.
PLANES = 16


class _Piece(NamedTuple):
    """Where one map's share of one tile lies: on the scan's grid and in the file."""

    box: Box
    offset: int


class Levels:
    """Maps of 0 to `steps` on one scan's grid, on disk; to be closed.

    Attributes:
        steps: what stands for 1.
    """

    def __init__(
        self,
        maps: int,
        steps: int,
        region: Region,
        whole: Geometry,
        folder: Path,
        *,
        nearest_axes: Collection[int] = (),
    ) -> None:
        """Begin with 0 everywhere.

        Args:
            maps: how many there are.
            steps: what stands for 1.
            region: the part of the scan that logits come from.
            whole: the scan's grid.
            folder: on whose disk they are kept until they are written.
            nearest_axes: working axes along which native voxels take the nearest logits.

        Raises:
            BadOutput: nothing can be written there.
        """
        self.steps = steps
        self._dtype = np.min_scalar_type(steps)
        self._layout = Layout(region.working, region.native, nearest_axes=nearest_axes)
        self._start = [side.start for side in region.native_box]
        self._whole = whole
        self._pieces: list[dict[int, list[_Piece]]] = [{} for _ in range(maps)]
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - closed by `close`
        except OSError as error:
            raise _unwritable(folder, error) from error
        self._folder, self._end = folder, 0

    def close(self) -> None:
        """Let the disk space go."""
        self._file.close()

    @property
    def bytes_on_disk(self) -> int:
        """What the nameless file holds."""
        return self._end

    def tiles(
        self, logits: torch.Tensor, corner: Sequence[int]
    ) -> Iterator[tuple[Tile, list[slice]]]:
        """The tiles of a box of (…, x, y, z) working logits, and where :meth:`keep` puts each.

        Args:
            logits: of the box.
            corner: working index of its first voxel.
        """
        sides = self._layout.sides(logits, corner)
        for tile in tiles(sides) if sides is not None else ():
            if all(side.stop > side.start for side in tile.native):
                yield (
                    tile,
                    [
                        slice(side.native.start + inner.start, side.native.start + inner.stop)
                        for side, inner in zip(sides or (), tile.native, strict=True)
                    ],
                )

    def keep(self, maps: Sequence[int], shares: torch.Tensor, box: Sequence[slice]) -> None:
        """Take in a tile's (maps, x, y, z) values from 0 to 1, of the maps of these numbers.

        Raises:
            BadOutput: the disk is full.
        """
        small = torch.uint8 if self._dtype.itemsize == 1 else torch.int32
        levels = (shares * self.steps).round().to(small).cpu().numpy().astype(self._dtype)
        place, levels = self._layout.turn_back(box, levels)
        x, y, z = (
            slice(side.start + at, side.stop + at)
            for side, at in zip(place, self._start, strict=True)
        )
        for number, level in zip(maps, levels, strict=True):
            if level.any():
                piece = _Piece((x, y, z), self._append(level.tobytes(order="F")))
                for slab in range(z.start // PLANES, (z.stop - 1) // PLANES + 1):
                    self._pieces[number].setdefault(slab, []).append(piece)

    def planes(self, number: int) -> Iterator[NDArray[Any]]:
        """(X, Y, few) steps of one map, along Z."""
        x, y, z = self._whole.shape
        for low in range(0, z, PLANES):
            slab = np.zeros((x, y, min(PLANES, z - low)), dtype=self._dtype, order="F")
            for piece in self._pieces[number].get(low // PLANES, ()):
                self._read(piece, low, slab)
            yield slab

    def write(self, number: int, path: Path, origin: Origin) -> None:
        """Write one map as the scan's twin, 0 to 1.

        Raises:
            BadOutput: the file cannot be written.
        """
        write_levels(self.planes(number), self._whole, origin, path, steps=self.steps)

    def _append(self, content: bytes) -> int:
        try:
            self._file.write(content)
        except OSError as error:
            raise _unwritable(self._folder, error) from error
        self._end += len(content)
        return self._end - len(content)

    def _read(self, piece: _Piece, low: int, slab: NDArray[Any]) -> None:
        """Fill in the planes of a piece that lie in a slab; they follow each other in the file."""
        x, y, z = piece.box
        first, last = max(z.start, low), min(z.stop, low + slab.shape[2])
        shape = (x.stop - x.start, y.stop - y.start, last - first)
        size = self._dtype.itemsize
        self._file.seek(piece.offset + (first - z.start) * shape[0] * shape[1] * size)
        content = np.frombuffer(self._file.read(math.prod(shape) * size), dtype=self._dtype)
        slab[x, y, first - low : last - low] = content.reshape(shape, order="F")


class OnDisk(AbstractContextManager["OnDisk"]):
    """What keeps levels until it is closed."""

    _levels: Levels

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
        self._levels.close()


def _unwritable(folder: Path, error: Any) -> BadOutput:
    return BadOutput(
        "probabilities or uncertainty cannot be kept on disk",
        path=folder,
        found=error.strerror or error,
        remedy="They take about one byte per voxel and label, two for uncertainty: make room.",
    )
