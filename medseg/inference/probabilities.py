"""Probabilities of every label on the scan's grid, gathered on disk while logits stream by."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray

from medseg.geometry import Geometry
from medseg.inference.levels import Levels, OnDisk
from medseg.inference.locate import Region
from medseg.labels import LabelTable
from medseg.volume import Origin
from medseg.writers.nifti import ENDING

#: Probabilities are kept in so many steps: half a step, 0.002, is the most that is lost.
STEPS = 255

#: A label this many logits behind another, or further, gets less than half a step.
NOTHING = math.log(2 * STEPS)

#: Farther behind by this, labels left out of a softmax change no step of the others.
UNSEEN = 5.0


class Probabilities(OnDisk):
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
        nearest_axes: Collection[int] = (),
    ) -> None:
        """Begin with 0 everywhere.

        Args:
            region: the part of the scan that logits come from.
            whole: the scan's grid.
            labels: what the channels of the logits mean.
            folder: on whose disk they are kept until they are written.
            nearest_axes: working axes along which native voxels take the nearest logits.

        Raises:
            BadOutput: nothing can be written there.
        """
        self._regions = bool(labels.regions)
        self.names = tuple(part.name for part in labels.regions) or labels.names
        self._levels = Levels(
            len(self.names), STEPS, region, whole, folder, nearest_axes=nearest_axes
        )

    @property
    def bytes_on_disk(self) -> int:
        """What they take on disk until they are closed."""
        return self._levels.bytes_on_disk

    def put(self, logits: torch.Tensor, corner: Sequence[int]) -> None:
        """Take in a box of (K, x, y, z) normalised working logits, as ``Restorer.put`` does.

        Raises:
            BadOutput: the disk is full.
        """
        for tile, box in self._levels.tiles(logits, corner):
            part = logits[(slice(None), *tile.working)]
            able = self._able(part)
            if len(able):
                self._keep(able.tolist(), tile.interpolate(part[able]), box)

    def planes(self, name: str) -> Iterator[NDArray[Any]]:
        """(X, Y, few) probabilities of one label in 1/`STEPS`, along Z."""
        return self._levels.planes(self.names.index(name))

    def write(self, folder: Path, case: str, origin: Origin) -> list[Path]:
        """Write ``CASE_prob_LABEL.nii.gz`` for every label: the scan's twins, 0 to 1.

        Raises:
            BadOutput: a file cannot be written.
        """
        paths = []
        for number, stem in enumerate(file_stems(self.names)):
            path = folder / f"{case}_prob_{stem}{ENDING}"
            self._levels.write(number, path, origin)
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

    def _keep(self, able: list[int], logits: torch.Tensor, box: Sequence[slice]) -> None:
        if self._regions:
            self._levels.keep(able, torch.sigmoid(logits), box)
            return
        shares = torch.softmax(logits, dim=0)
        first = int(able[0] == 0)  # the background is no map
        self._levels.keep([channel - 1 for channel in able[first:]], shares[first:], box)


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
