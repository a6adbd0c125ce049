"""How uncertain each voxel is: a map written by any tool, or the entropy of the probabilities."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import entr

from medseg.batch.case import PROBABILITIES
from medseg.errors import GridMismatch
from medseg.geometry import Geometry
from medseg.scans import read

#: Folder beside the masks with ``<case>.nii.gz``, 0 to 1, of whatever tool or fold disagreement.
FOLDER = "uncertainty"


def uncertainty_files(masks: Path, case: str) -> list[Path]:
    """The map of a case, else the probabilities of its labels; none where nothing was kept."""
    own = masks / FOLDER / f"{case}.nii.gz"
    if own.is_file():
        return [own]
    folder, start = masks / PROBABILITIES, f"{case}_prob_"
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if path.name.startswith(start))


def uncertainty(files: Sequence[Path], grid: Geometry) -> NDArray[np.uint8]:
    """(X, Y, Z) 0 to 255: the map, or the entropy of the labels' probabilities.

    The entropy counts against that of a coin toss, as confidence does: 255 is a toss between two
    labels or more. Where regions overlap, the most uncertain of them counts.

    Args:
        files: what :func:`uncertainty_files` found; one map or one file a label.
        grid: of the case.

    Raises:
        GridMismatch: a file lies on another grid.
        BadScan: a file cannot be read.
    """
    if len(files) == 1 and files[0].parent.name == FOLDER:
        return _steps(_on(files[0], grid))
    shares = np.zeros(grid.shape, dtype=np.float32)
    bits = np.zeros(grid.shape, dtype=np.float32)
    worst = np.zeros(grid.shape, dtype=np.float32)
    for path in files:
        share = _on(path, grid)
        shares += share
        bits += entr(share)
        worst = np.maximum(worst, entr(share) + entr(1 - share))
    overlap = float(shares.max(initial=0)) > 1.02  # more than the rounding of 1/250 steps
    whole = worst if overlap else bits + entr(np.clip(1 - shares, 0, 1))
    return _steps(whole / np.log(2))


def _on(path: Path, grid: Geometry) -> NDArray[np.float32]:
    volume = read(path)
    if not volume.geometry.fits(grid):
        raise GridMismatch(
            "the map lies on another grid than its scan",
            path=path.name,
            found=volume.geometry.describe(),
            expected=grid.describe(),
        )
    values: NDArray[Any] = np.clip(volume.values()[0], 0, 1)
    return np.asarray(values, dtype=np.float32)


def _steps(values: NDArray[Any]) -> NDArray[np.uint8]:
    return np.asarray(np.rint(np.clip(values, 0, 1) * 255), dtype=np.uint8)
