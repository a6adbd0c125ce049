"""The windows on a working grid: their places, their order, and the weights of their voxels."""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from medseg.errors import BadConfig
from medseg.geometry import Geometry, grid_map
from medseg.volume import Volume

Weighting = Literal["constant", "gaussian", "gaussian_nnunet"]
Steps = Literal["fixed", "even"]
Padding = Literal["border", "zeros"]
Corner = tuple[int, int, int]

#: Standard deviation of the Gaussian weights, in window lengths.
SIGMA = 0.125

#: The least weight of a window's voxel, against division by almost nothing.
LEAST_WEIGHT = 1e-3

#: The same for `gaussian_nnunet`: what is left of the smallest float16 above 0 at a peak of 10.
LEAST_NNUNET_WEIGHT = 2.0**-24 / 10

#: Native voxels along each side of the cubes whose largest value is kept to find empty windows.
CUBE = 8


@dataclass(frozen=True)
class WindowPlan:
    """Windows over a working grid, in the order in which they are asked.

    The order runs along `stream`, the axis with the smallest cross-section, then along
    `second`, then along the third: what lies behind the last window is finished for good.

    Attributes:
        size: (X, Y, Z) of the working grid.
        padding: voxels added before and after each axis, where the grid is smaller than a
            window; stitching takes them off again.
        filling: what they hold: the border's values again, or zeros.
        window: voxels of a window along each working axis; 1 along the slice axis in 2D.
        starts: where windows start along each axis, on the padded grid.
        stream: the axis along which finished logits are let go.
        second: the axis along which they are let go within one layer of windows.
    """

    size: tuple[int, int, int]
    padding: tuple[tuple[int, int], ...]
    window: tuple[int, int, int]
    starts: tuple[tuple[int, ...], ...]
    stream: int
    second: int
    filling: Padding = "border"

    @property
    def padded(self) -> tuple[int, int, int]:
        """Voxels of the padded grid along each axis."""
        x, y, z = (n + sum(pad) for n, pad in zip(self.size, self.padding, strict=True))
        return x, y, z

    @property
    def corners(self) -> list[Corner]:
        """The first voxel of each window on the padded grid, in order."""
        third = 3 - self.stream - self.second
        order = (self.stream, self.second, third)
        result = []
        for corner in itertools.product(*(self.starts[axis] for axis in order)):
            at = dict(zip(order, corner, strict=True))
            result.append((at[0], at[1], at[2]))
        return result

    def pad(self, image: torch.Tensor) -> torch.Tensor:
        """(C, X, Y, Z) filled up to the padded grid; no copy where nothing is added."""
        if self.filling == "zeros":
            margins = [n for pair in self.padding[::-1] for n in pair]
            return torch.nn.functional.pad(image, margins) if any(margins) else image
        for axis, (before, after) in enumerate(self.padding):
            if before or after:
                at = torch.arange(-before, self.size[axis] + after, device=image.device)
                image = image.index_select(axis + 1, at.clamp(0, self.size[axis] - 1))
        return image

    def cut(self, padded: torch.Tensor, corner: Corner) -> torch.Tensor:
        """The (C, *window) view of a padded image at a corner."""
        x, y, z = (slice(c, c + n) for c, n in zip(corner, self.window, strict=True))
        return padded[:, x, y, z]


def plan_windows(
    size: Sequence[int],
    window: Sequence[int],
    overlap: float,
    *,
    slice_axis: int | None = None,
    steps: Steps = "fixed",
    filling: Padding = "border",
) -> WindowPlan:
    """Lay windows over a working grid; the last one of an axis ends where the grid ends.

    Args:
        size: (X, Y, Z) of the working grid.
        window: voxels along the three axes, or along the two of a slice.
        overlap: share of a window that overlaps its neighbour.
        slice_axis: for 2D networks, the working axis along which slices are stacked.
        steps: ``fixed`` puts the rest of an axis into its last step, ``even`` into all of them.
        filling: what surrounds a grid that is smaller than a window.

    Raises:
        BadConfig: the window has another number of axes than the network.
    """
    axes = 3 if slice_axis is None else 2
    if len(window) != axes or min(window, default=0) < 1:
        raise BadConfig(
            "infer.window does not fit the network",
            found=list(window),
            expected=f"{axes} positive numbers of voxels",
        )
    full = list(window)
    if slice_axis is not None:
        full.insert(slice_axis, 1)
    padding = []
    for n, w in zip(size, full, strict=True):
        missing = max(0, w - n)
        padding.append((missing // 2, missing - missing // 2))
    padded = [max(n, w) for n, w in zip(size, full, strict=True)]
    lay = _starts if steps == "fixed" else _even_starts
    starts = tuple(lay(n, w, overlap) for n, w in zip(padded, full, strict=True))
    longest = sorted(range(3), key=lambda axis: -padded[axis])
    stream = longest[0] if slice_axis is None else slice_axis
    second = next(axis for axis in longest if axis != stream)
    return WindowPlan(
        size=(size[0], size[1], size[2]),
        padding=tuple(padding),
        window=(full[0], full[1], full[2]),
        starts=starts,
        stream=stream,
        second=second,
        filling=filling,
    )


def importance(window: Sequence[int], weighting: Weighting) -> torch.Tensor:
    """(*window) float64 weights of a window's voxels; 1 at most.

    Gaussian: the outer product of exp(-x^2 / 2 sigma^2) with sigma = `SIGMA` window lengths about
    the window's centre, and `LEAST_WEIGHT` at least, as is usual in this field
    (doi:10.1038/s41592-020-01008-z). ``gaussian_nnunet`` is nnU-Net's own: about voxel n // 2,
    which is beside the centre of an even window, and `LEAST_NNUNET_WEIGHT` at least.
    """
    weight = torch.ones(tuple(window), dtype=torch.float64)
    if weighting == "constant":
        return weight
    nnunet = weighting == "gaussian_nnunet"
    for axis, n in enumerate(window):
        centre = n // 2 if nnunet else (n - 1) / 2
        distance = torch.arange(n, dtype=torch.float64) - centre
        bell = torch.exp(-(distance**2) / (2 * (SIGMA * n) ** 2))
        weight *= bell.reshape([-1 if a == axis else 1 for a in range(len(window))])
    return weight.clamp_min(LEAST_NNUNET_WEIGHT if nnunet else LEAST_WEIGHT)


def empty_windows(
    plan: WindowPlan, volume: Volume, working: Geometry, below: float
) -> NDArray[np.bool_]:
    """(windows,) whether every scan voxel a window can see is below a real-world value.

    The scan itself is asked, not the working image, which may have been clipped or scaled. What
    a window sees is rounded up to whole cubes of `CUBE` voxels, one more on each side, so that
    no window with anything in it is called empty. Cubes are counted along the working axes, so
    that the answer is the same in whatever order the scan is stored.
    """
    maps = grid_map(volume.geometry, working)
    opposite = {mapping.source_axis for mapping in maps if mapping.step < 0}
    cubes = _loudest(volume, opposite)
    forwards = tuple(mapping.forwards() for mapping in maps)
    empty = []
    for corner in plan.corners:
        box: list[slice] = [slice(None)] * 3
        for axis, mapping in enumerate(forwards):
            first = corner[axis] - plan.padding[axis][0]
            ends = np.array([first, first + plan.window[axis] - 1]).clip(0, plan.size[axis] - 1)
            low, high = np.sort(mapping.start + mapping.step * ends)
            size = mapping.source_size
            inside = (int(np.clip(low, 0, size - 1)), int(np.clip(math.ceil(high), 0, size - 1)))
            box[mapping.source_axis] = slice(max(0, inside[0] // CUBE - 1), inside[1] // CUBE + 2)
        empty.append(bool(cubes[tuple(box)].max() < below))
    return np.array(empty, dtype=bool)


def _starts(size: int, window: int, overlap: float) -> tuple[int, ...]:
    step = max(1, int(window * (1 - overlap)))
    count = max(0, math.ceil((size - window) / step)) + 1
    return tuple(min(n * step, size - window) for n in range(count))


def _even_starts(size: int, window: int, overlap: float) -> tuple[int, ...]:
    count = math.ceil((size - window) / (window * (1 - overlap))) + 1
    step = (size - window) / (count - 1) if count > 1 else 0.0
    return tuple(sorted({round(step * n) for n in range(count)}))


def _loudest(volume: Volume, backwards: Collection[int]) -> NDArray[np.float64]:
    """The largest real-world value of any channel in each cube; some axes are read backwards."""
    extreme: Any = np.maximum if volume.slope >= 0 else np.minimum
    turn = tuple(slice(None, None, -1 if axis in backwards else 1) for axis in range(3))
    data = volume.data[(slice(None), *turn)]
    # whole planes are compared first, which is quick; an eighth is left to the other axes
    thickest, *others = sorted((1, 2, 3), key=lambda axis: -abs(data.strides[axis]))
    planes = np.moveaxis(data, thickest, 0)
    cubes = planes[::CUBE].copy(order="K")
    for offset in range(1, CUBE):
        more = planes[offset::CUBE]
        extreme(cubes[: len(more)], more, out=cubes[: len(more)])
    cubes = np.moveaxis(cubes, 0, thickest)
    for axis in others:
        cubes = extreme.reduceat(cubes, np.arange(0, cubes.shape[axis], CUBE), axis=axis)
    return np.asarray(extreme.reduce(cubes, axis=0) * float(volume.slope) + volume.intercept)
