"""Maps of uncertainty: one that a tool wrote, else the entropy of the probabilities."""

import numpy as np
import pytest

from medseg.errors import GridMismatch
from medseg.geometry import Geometry
from medseg.review.uncertainty import uncertainty, uncertainty_files
from medseg.volume import Volume
from medseg.writers import write_volume

GRID = Geometry((3, 4, 5), np.diag([-1.0, 1, 2, 1]))


def write(folder, name, values, grid=GRID):
    data = np.full(grid.shape, 0, np.float32) + np.float32(values)
    write_volume(Volume(data[None], grid), folder / name)


@pytest.mark.parametrize(
    ("shares", "expected"),
    [
        ((0.0, 0.0), 0),
        ((1.0, 0.0), 0),
        ((0.5, 0.5), 255),
        ((0.5, 0.0), 255),
        ((1 / 3, 1 / 3), 255),
        # H(0.9, 0.1) = 0.325 nats of 0.693
        ((0.9, 0.1), 120),
    ],
)
def test_entropy_counts_against_a_coin_toss(tmp_path, shares, expected):
    for name, share in zip("ab", shares, strict=True):
        write(tmp_path / "probabilities", f"case_prob_{name}.nii.gz", share)
    files = uncertainty_files(tmp_path, "case")
    assert len(files) == 2
    assert np.abs(uncertainty(files, GRID).astype(int) - expected).max() <= 1


def test_of_overlapping_regions_the_most_uncertain_counts(tmp_path):
    for name, share in (("whole", 0.99), ("core", 0.5)):
        write(tmp_path / "probabilities", f"case_prob_{name}.nii.gz", share)
    assert uncertainty(uncertainty_files(tmp_path, "case"), GRID).min() >= 254


def test_a_map_of_another_tool_comes_first_and_must_fit(tmp_path):
    write(tmp_path / "probabilities", "case_prob_a.nii.gz", 0.5)
    write(tmp_path / "uncertainty", "case.nii.gz", 0.2)
    files = uncertainty_files(tmp_path, "case")
    assert (uncertainty(files, GRID) == 51).all()
    with pytest.raises(GridMismatch):
        uncertainty(files, Geometry(GRID.shape, np.eye(4)))


def test_names_that_begin_alike_are_not_mixed_up(tmp_path):
    write(tmp_path / "probabilities", "case_1_prob_a.nii.gz", 0.5)
    assert uncertainty_files(tmp_path, "case") == []
    assert len(uncertainty_files(tmp_path, "case_1")) == 1
