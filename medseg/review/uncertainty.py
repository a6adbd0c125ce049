"""How uncertain each voxel is: maps written by medseg or another tool, else by probabilities."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray
from scipy.special import entr

from medseg.batch.companions import PROBABILITIES, UNCERTAINTY, map_paths
from medseg.config import Measure
from medseg.errors import GridMismatch
from medseg.geometry import Geometry
from medseg.scans import read

#: The map of another tool, ``uncertainty/<case>.nii.gz`` from 0 to 1, and those of medseg.
MAPS = ("uncertainty", *get_args(Measure))


def uncertainty_maps(mask: Path, case: str) -> dict[str, tuple[Path, ...]]:
    """The maps of a case by name, as in `MAPS`; one file each, or one a label.

    Where entropy was not written, the probabilities of all labels stand for it.

    Args:
        mask: of the case.
        case: its name.
    """
    folder = _batch_folder(mask)
    files = [folder / UNCERTAINTY / f"{case}.nii.gz", *map_paths(folder, case, get_args(Measure))]
    maps: dict[str, tuple[Path, ...]] = {}
    for name, path in zip(MAPS, files, strict=True):
        if path.is_file():
            maps[name] = (path,)
    if "entropy" not in maps and (shares := _probabilities(folder, case)):
        maps["entropy"] = shares
    return maps


def _batch_folder(mask: Path) -> Path:
    """The output folder of a batch: that of the mask, or one further up in the layout of BIDS."""
    up = next((place for place in list(mask.parents)[:4] if (place / "run.yaml").is_file()), None)
    return up or mask.parent


def _probabilities(folder: Path, case: str) -> tuple[Path, ...]:
    place, start = folder / PROBABILITIES, f"{case}_prob_"
    if not place.is_dir():
        return ()
    return tuple(sorted(path for path in place.iterdir() if path.name.startswith(start)))


def uncertainty(files: Sequence[Path], grid: Geometry) -> NDArray[np.uint8]:
    """(X, Y, Z) 0 to 255: a map, or the entropy of the labels' probabilities.

    The latter counts against that of all labels being equally likely, as ``medseg segment`` has
    it. Where regions overlap, each is a toss of its own, and the most uncertain of them counts.

    Args:
        files: what :func:`uncertainty_maps` found; one map or one file a label.
        grid: of the case.

    Raises:
        GridMismatch: a file lies on another grid.
        BadScan: a file cannot be read.
    """
    if files[0].parent.name != PROBABILITIES:
        return _steps(_on(files[0], grid))
    shares = np.zeros(grid.shape, dtype=np.float32)
    nats = np.zeros(grid.shape, dtype=np.float32)
    worst = np.zeros(grid.shape, dtype=np.float32)
    for path in files:
        share = _on(path, grid)
        shares += share
        nats += entr(share)
        worst = np.maximum(worst, entr(share) + entr(1 - share))
    overlap = float(shares.max(initial=0)) > 1.02  # more than the rounding of 1/250 steps
    if overlap:
        return _steps(worst / np.log(2))
    return _steps((nats + entr(np.clip(1 - shares, 0, 1))) / np.log(1 + len(files)))


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
