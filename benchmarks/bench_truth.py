"""How much of a structure is left on a coarser grid, by three ways of laying labels on it.

``python -m benchmarks.bench_truth [--structures 12] [--seed 1]`` prints the table of
``docs/truth.md``. Each structure is turned at random and lies off centre on a scan of 1 mm voxels.
Rods are 30 mm long, plates 30 mm wide.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from unittest.mock import patch

import numpy as np
import torch
from numpy.typing import NDArray

from medseg.geometry import Geometry, working_grid
from medseg.labels import LabelTable
from medseg.transforms import truth
from medseg.transforms.restore import restore

SHAPE = (48, 48, 48)
THICKNESS_MM = (2, 4, 6, 8, 10)
SPACING_MM = (2, 3, 4)
LABELS = LabelTable.from_card({"labels": {"structure": 1}})

#: Kind -> whether points (..., 3), in mm along the structure's own axes, lie inside.
KINDS: dict[str, Callable[[NDArray[np.float64], float], NDArray[np.bool_]]] = {
    "ball": lambda at, mm: np.linalg.norm(at, axis=-1) <= mm / 2,
    "rod": lambda at, mm: (np.hypot(at[..., 0], at[..., 1]) <= mm / 2) & (abs(at[..., 2]) <= 15),
    "plate": lambda at, mm: (abs(at[..., 0]) <= mm / 2) & (abs(at[..., 1:]) <= 15).all(axis=-1),
}


def structures(
    kind: str, mm: float, count: int, rng: np.random.Generator
) -> Iterator[NDArray[np.uint8]]:
    """Masks (X, Y, Z) on the scan."""
    index = np.stack(np.meshgrid(*map(np.arange, SHAPE), indexing="ij"), axis=-1)
    for _ in range(count):
        turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
        centre = (np.array(SHAPE) - 1) / 2 + rng.uniform(-2, 2, 3)
        yield KINDS[kind]((index - centre) @ turn, mm).astype(np.uint8)


def majority(mask: NDArray[np.uint8], native: Geometry, coarse: Geometry) -> NDArray[np.uint8]:
    """The largest share of a coarse voxel wins; nothing is given back."""
    with patch.object(truth, "COARSER", np.inf):
        return truth.resample_labels(mask, native, coarse, [0, 1])


def point(mask: NDArray[np.uint8], native: Geometry, coarse: Geometry) -> NDArray[np.uint8]:
    """The label of the scan's voxel at the centre of each coarse voxel."""
    index = np.stack(np.meshgrid(*map(np.arange, coarse.shape), indexing="ij"), axis=-1)
    nearest = np.rint(native.to_index(coarse.to_world(index))).astype(int)
    return mask[tuple(np.moveaxis(np.clip(nearest, 0, np.array(SHAPE) - 1), -1, 0))]


def kept(mask: NDArray[np.uint8], native: Geometry, coarse: Geometry) -> NDArray[np.uint8]:
    """As medseg does it."""
    return truth.resample_labels(mask, native, coarse, [0, 1])


def entry(way: Callable, masks: list[NDArray[np.uint8]], spacing_mm: float) -> str:
    """Mean share of the volume, mean ceiling, and how many structures vanish."""
    native = Geometry(SHAPE, np.eye(4))
    coarse = working_grid(native, (spacing_mm,) * 3)
    shares, ceilings, lost = [], [], 0
    for mask in masks:
        laid = way(mask, native, coarse)
        shares.append(laid.sum() * coarse.voxel_ml / (mask.sum() * native.voxel_ml))
        lost += not laid.any()
        logits = torch.from_numpy(np.stack([laid == 0, laid == 1]).astype(np.float32))
        back = restore(logits, coarse, native, LABELS)
        ceilings.append(2 * ((back > 0) & (mask > 0)).sum() / ((back > 0).sum() + mask.sum()))
    text = f"{np.mean(shares):.2f} / {np.mean(ceilings):.2f}"
    return f"{text}, lost {lost}" if lost else text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--structures", type=int, default=12)
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args()
    rng = np.random.default_rng(chosen.seed)
    print("| structure | grid | majority | point | kept |\n|---|---|---|---|---|")
    for kind in KINDS:
        for mm in THICKNESS_MM:
            masks = list(structures(kind, mm, chosen.structures, rng))
            for spacing_mm in SPACING_MM:
                cells = [entry(way, masks, spacing_mm) for way in (majority, point, kept)]
                print(f"| {kind}, {mm} mm | {spacing_mm} mm | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
