"""A folder of masks beside scans: a box of known voxels on a mirrored, oblique grid."""

from pathlib import Path

import numpy as np
import pytest
import yaml

from medseg.geometry import Geometry
from medseg.labels import LabelTable
from medseg.volume import LabelMap, Volume
from medseg.writers import write_labels, write_volume

LABELS = LabelTable.from_card(
    {"labels": {"liver": 1, "spleen": 2, "<img src=x onerror=alert(1)>": 3}}
)

#: Sagittal first, backwards along two axes, and turned by 20 degrees.
TURN = np.array([[0.0, 0.94, -0.342], [0.0, 0.342, 0.94], [1.0, 0.0, 0.0]])
SPACING = np.array([3.0, 1.25, 1.5])


def oblique_grid(shape=(14, 40, 36)) -> Geometry:
    affine = np.eye(4)
    affine[:3, :3] = TURN * SPACING * [-1, 1, -1]
    affine[:3, 3] = [12.7, -30.1, 7.3]
    return Geometry(shape, affine)


def masks_beside_scans(home: Path, cases: int = 3) -> Path:
    """``home/masks`` and ``home/images``; masks hold a box of liver and one of spleen."""
    grid = oblique_grid()
    rng = np.random.default_rng(0)
    for number in range(cases):
        scan = rng.normal(40, 20, grid.shape).astype(np.int16)
        mask = np.zeros(grid.shape, np.uint8)
        mask[3:9, 5 : 15 + number, 8:20] = 1
        mask[4:7, 25:32, 22:30] = 2
        scan[mask > 0] += 80
        write_volume(Volume(scan[None], grid), home / "images" / f"case_{number}.nii.gz")
        write_labels(LabelMap(mask, grid, LABELS), home / "masks" / f"case_{number}.nii.gz")
    (home / "masks" / "labels.yaml").write_text(
        yaml.safe_dump(LABELS.to_card(), sort_keys=False), encoding="utf-8"
    )
    return home / "masks"


@pytest.fixture
def masks(tmp_path) -> Path:
    return masks_beside_scans(tmp_path)
