"""How uncertain the networks are at every voxel of a scan, gathered while logits stream by."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

import torch

from medseg.config import Measure
from medseg.geometry import Geometry
from medseg.inference.levels import Levels, OnDisk
from medseg.inference.locate import Region
from medseg.labels import LabelTable
from medseg.volume import Origin
from medseg.writers.nifti import ENDING

#: Maps are kept in so many steps: half a step, 0.00005, is the most that is lost.
STEPS = 10_000

#: Channels this many logits (and log K) behind another move a map by a quarter of a step at most.
UNSEEN = 14.0

_LOG_2 = math.log(2)


class UncertaintyMap(OnDisk):
    """One measure of uncertainty over one scan, 0 (sure) to 1, on disk; to be closed.

    Attributes:
        measure: which; also the name of the folder that it is written to.
    """

    def __init__(
        self,
        measure: Measure,
        region: Region,
        whole: Geometry,
        labels: LabelTable,
        folder: Path,
        *,
        nearest_axes: Collection[int] = (),
        of_probabilities: bool = False,
    ) -> None:
        """Begin with 0, sure, everywhere.

        Args:
            measure: of what.
            region: the part of the scan that logits come from.
            whole: the scan's grid.
            labels: what the channels of the logits mean.
            folder: on whose disk it is kept until it is written.
            nearest_axes: working axes along which native voxels take the nearest logits.
            of_probabilities: whether the mask comes from interpolated probabilities, not logits.

        Raises:
            BadOutput: nothing can be written there.
        """
        self.measure = measure
        self._regions, self._early = bool(labels.regions), of_probabilities
        self._levels = Levels(1, STEPS, region, whole, folder, nearest_axes=nearest_axes)

    def put(self, logits: torch.Tensor, corner: Sequence[int]) -> None:
        """Take in a box of (K, x, y, z) logits, averaged and normalised, as for the mask.

        Raises:
            BadOutput: the disk is full.
        """
        self.put_members(logits[None], corner)

    def put_members(self, logits: torch.Tensor, corner: Sequence[int]) -> None:
        """Take in a box of (M, K, x, y, z) normalised logits, of every network by itself.

        Raises:
            BadOutput: the disk is full.
        """
        measured = disagreement if self.measure == "disagreement" else entropy
        for tile, box in self._levels.tiles(logits[0], corner):
            part = logits[(slice(None), slice(None), *tile.working)]
            able = self._able(part)
            if len(able):
                shares = self._shares(part[:, able], tile.interpolate)
                value = _binary(measured, shares) if self._regions else measured(shares)
                most = _LOG_2 if self._regions else math.log(logits.shape[1])
                self._levels.keep([0], (value / most).clamp(0, 1)[None], box)

    def write(self, folder: Path, case: str, origin: Origin) -> list[Path]:
        """Write ``MEASURE/CASE.nii.gz``: the scan's twin, 0 to 1.

        Raises:
            BadOutput: the file cannot be written.
        """
        path = folder / self.measure / f"{case}{ENDING}"
        self._levels.write(0, path, origin)
        return [path]

    def _able(self, logits: torch.Tensor) -> torch.Tensor:
        """The channels that count in a tile of (M, K, x, y, z); none where all networks are sure.

        A channel that lies below another at every corner of a cell lies below it in between.
        """
        flat = logits.flatten(2)
        if self._regions:
            return (flat.abs().amin(2) < UNSEEN).any(0).nonzero()[:, 0]
        behind = UNSEEN + math.log(flat.shape[1])
        surest = flat.amin(2).amax(1, keepdim=True)
        able = (flat.amax(2) > surest - behind).any(0).nonzero()[:, 0]
        return able if len(able) > 1 else able[:0]

    def _shares(
        self, logits: torch.Tensor, interpolate: Callable[[torch.Tensor], torch.Tensor]
    ) -> torch.Tensor:
        """(M, K, x, y, z) working logits to the networks' probabilities at native voxels."""
        chances: Callable[[torch.Tensor], torch.Tensor] = (
            torch.sigmoid if self._regions else lambda values: torch.softmax(values, dim=1)
        )
        values = chances(logits) if self._early else logits
        native = interpolate(values.flatten(0, 1)).unflatten(0, values.shape[:2])
        return native if self._early else chances(native)


def entropy(shares: torch.Tensor) -> torch.Tensor:
    """Entropy of the networks' mean probabilities, in nats: 0 to log K.

    Args:
        shares: (M, K, …) probabilities of M networks that add up to 1 over K.

    >>> one_network = [[1.0, 0.5], [0.0, 0.5]]  # two classes of two voxels
    >>> entropy(torch.tensor([one_network]))
    tensor([0.0000, 0.6931])
    """
    total: torch.Tensor = torch.special.entr(shares.mean(0)).sum(0)
    return total


def disagreement(shares: torch.Tensor) -> torch.Tensor:
    """Mutual information of a voxel's label and which network is asked, in nats: 0 to log K.

    The entropy of the mean probabilities less the mean of the networks' entropies: 0 where all
    say the same, however unsure; also called epistemic uncertainty (Depeweg et al. 2018,
    arXiv:1710.07283; for ensembles Lakshminarayanan et al. 2017, arXiv:1612.01474).

    Args:
        shares: (M, K, …) probabilities of M networks that add up to 1 over K.

    >>> first, second = [[0.5, 1.0], [0.5, 0.0]], [[0.5, 0.0], [0.5, 1.0]]
    >>> disagreement(torch.tensor([first, second]))  # both unsure; each sure of something else
    tensor([0.0000, 0.6931])
    """
    of_each = torch.special.entr(shares).sum(1).mean(0)
    difference: torch.Tensor = entropy(shares) - of_each
    return difference.clamp_min(0)


def _binary(measured: Callable[[torch.Tensor], torch.Tensor], shares: torch.Tensor) -> torch.Tensor:
    """The largest over regions, each a question of its own: inside or outside.

    Args:
        measured: :func:`entropy` or :func:`disagreement`.
        shares: (M, R, …) probabilities of R regions.
    """
    return torch.stack(
        [measured(torch.stack([one, 1 - one], dim=1)) for one in shares.unbind(1)]
    ).amax(0)
