"""Channels of one case on one grid: resampled where they share a space, registered if asked."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from medseg.errors import GridMismatch
from medseg.geometry import Geometry
from medseg.scans import Align, Frames
from medseg.transforms.resample import resample
from medseg.volume import Volume

#: Points along each axis of the grid at which coverage is looked at.
_PROBES = 32

#: Share of the grid that may lie outside the scan without a word.
_UNSEEN_TOLERANCE = 0.01


def aligner(frames: Frames) -> Align:
    """What brings a channel onto the grid of the first."""
    return _registered_onto if frames is Frames.REGISTER else _onto


def _onto(scan: Volume, first: Volume) -> Volume:
    return onto_grid(scan, first.geometry)


def _registered_onto(scan: Volume, first: Volume) -> Volume:
    from medseg.transforms.register import registered

    return onto_grid(registered(scan, first), first.geometry)


def onto_grid(scan: Volume, grid: Geometry) -> Volume:
    """(C, X, Y, Z) real-world values on another grid; linear, anti-aliased where that is coarser.

    Outside the scan its border goes on; a warning says how much of the grid lies there. Where
    the two grids share their axes, each axis is resampled by itself.

    Raises:
        GridMismatch: no voxel of the grid lies within the scan.
    """
    unseen = _unseen_share(scan.geometry, grid)
    if unseen == 1:
        raise GridMismatch(
            "the two scans show no common place",
            found=scan.geometry.describe(),
            expected=f"a scan that overlaps with {grid.describe()}",
        )
    values = scan.measured()
    try:
        data = np.asarray(resample(values, scan.geometry, grid).numpy())
    except GridMismatch:
        data = np.stack([_rotated(channel, scan.geometry, grid) for channel in values])
    origin = replace(scan.origin, padding_value=None, forms=None, instances=None)
    moved = Volume(data, grid, channels=scan.channels, origin=origin)
    if unseen <= _UNSEEN_TOLERANCE:
        return moved
    return moved.with_warning(f"it does not cover {unseen:.0%} of the grid; its border goes on")


def _rotated(values: NDArray[np.float32], source: Geometry, grid: Geometry) -> NDArray[np.float32]:
    """(X, Y, Z) values on a grid whose axes point elsewhere.

    Where a target voxel is w source voxels wide along an axis, w > 1, the source is smoothed with
    the spread of a box of sqrt(w^2 - 1) voxels first, as in :mod:`medseg.transforms.resample`.
    """
    to_source = np.linalg.solve(source.affine, grid.affine)
    width = np.linalg.norm(to_source[:3, :3], axis=1)
    sigma = np.sqrt(np.maximum(0, width**2 - 1) / 12)
    smooth: NDArray[Any] = values
    if sigma.max() > 0.1:
        smooth = ndimage.gaussian_filter(values, sigma, mode="nearest")
    moved = ndimage.affine_transform(
        smooth,
        to_source[:3, :3],
        to_source[:3, 3],
        output_shape=grid.shape,
        output=np.float32,
        order=1,
        mode="nearest",
    )
    return np.asarray(moved, dtype=np.float32)


def _unseen_share(source: Geometry, grid: Geometry) -> float:
    """Share of the grid's voxel centres that lie outside the voxels of the source."""
    axes = [np.unique(np.linspace(0, n - 1, min(n, _PROBES)).round()) for n in grid.shape]
    index = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    there = source.to_index(grid.to_world(index))
    inside = ((there >= -0.5 - 1e-3) & (there <= np.array(source.shape) - 0.5 + 1e-3)).all(axis=1)
    return float(1 - inside.mean())
