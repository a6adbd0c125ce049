"""Cohorts of a few voxels, for the tests of this folder."""

import numpy as np

from medseg.geometry import Geometry
from medseg.volume import LabelMap, Volume
from medseg.writers import write_labels, write_volume

GRID = Geometry((6, 5, 4), np.diag([2.0, 2.0, 3.0, 1.0]))

CARD = """\
name: small
modality: MR
channels: [T1]
labels: {head: 1, tail: 2}
table: small.csv
root: .
licence: CC0-1.0
"""

TABLE = """\
case,patient,split,fold,image,label,sex,age
a1,ann,train,0,images/a1.nii.gz,labels/a1.nii.gz,F,61
a2,ann,train,0,images/a2.nii.gz,labels/a2.nii.gz,F,63
b1,bob,train,1,images/b1.nii.gz,labels/b1.nii.gz,M,40
c1,cy,test,,images/c1.nii.gz,labels/c1.nii.gz,M,
"""


def write_card(folder, *, card=CARD, table=TABLE, encoding="utf-8"):
    """Card and table alone."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "small.yaml").write_text(card, encoding="utf-8")
    (folder / "small.csv").write_bytes(table.encode(encoding))
    return folder / "small.yaml"


def scan(seed=0, grid=GRID):
    """A scan of noise."""
    noise = np.random.default_rng(seed).integers(0, 500, (1, *grid.shape)).astype(np.int16)
    return Volume(noise, grid)


def mask(values=(0, 1, 2), seed=0, grid=GRID):
    """A mask that holds each of the values."""
    data = np.random.default_rng(seed).choice(values, grid.shape).astype(np.uint8)
    data.ravel()[: len(values)] = values
    return LabelMap(data, grid)


def write_files(folder, names=("a1", "a2", "b1", "c1")):
    """The scans and masks of the table."""
    for seed, name in enumerate(names):
        write_volume(scan(seed), folder / "images" / f"{name}.nii.gz")
        write_labels(mask(seed=seed), folder / "labels" / f"{name}.nii.gz")
