"""Maps of uncertainty: one that a tool wrote, else the entropy of the probabilities."""

import numpy as np
import pytest

from medseg.errors import GridMismatch
from medseg.geometry import Geometry
from medseg.review.uncertainty import MAPS, uncertainty, uncertainty_maps
from medseg.volume import Volume
from medseg.writers import write_volume

GRID = Geometry((3, 4, 5), np.diag([-1.0, 1, 2, 1]))


def maps_of(folder, case="case"):
    return uncertainty_maps(folder / f"{case}.nii.gz", case)


def write(folder, name, values, grid=GRID):
    data = np.full(grid.shape, 0, np.float32) + np.float32(values)
    write_volume(Volume(data[None], grid), folder / name)


@pytest.mark.parametrize(
    ("shares", "expected"),
    [
        ((0.0, 0.0), 0),
        ((1.0, 0.0), 0),
        ((0.5, 0.5), 161),  # log 2 of log 3: background is the third
        ((0.5, 0.0), 161),
        ((1 / 3, 1 / 3), 255),
        ((0.9, 0.1), 75),  # 0.325 nats of 1.099
    ],
)
def test_entropy_counts_against_all_labels_being_equally_likely(tmp_path, shares, expected):
    for name, share in zip("ab", shares, strict=True):
        write(tmp_path / "probabilities", f"case_prob_{name}.nii.gz", share)
    files = maps_of(tmp_path)["entropy"]
    assert len(files) == 2
    assert np.abs(uncertainty(files, GRID).astype(int) - expected).max() <= 1


def test_of_overlapping_regions_the_most_uncertain_counts(tmp_path):
    for name, share in (("whole", 0.99), ("core", 0.5)):
        write(tmp_path / "probabilities", f"case_prob_{name}.nii.gz", share)
    assert uncertainty(maps_of(tmp_path)["entropy"], GRID).min() >= 254


def test_maps_are_told_apart_and_must_fit(tmp_path):
    write(tmp_path / "probabilities", "case_prob_a.nii.gz", 0.5)
    write(tmp_path / "uncertainty", "case.nii.gz", 0.2)
    assert list(maps_of(tmp_path)) == ["uncertainty", "entropy"]
    write(tmp_path / "uncertainty" / "disagreement", "case.nii.gz", 0.4)
    write(tmp_path / "uncertainty" / "entropy", "case.nii.gz", 0.6)
    maps = maps_of(tmp_path)
    assert tuple(maps) == MAPS
    assert [int(uncertainty(maps[name], GRID).max()) for name in MAPS] == [51, 153, 102]
    with pytest.raises(GridMismatch):
        uncertainty(maps["entropy"], Geometry(GRID.shape, np.eye(4)))


def test_names_that_begin_alike_are_not_mixed_up(tmp_path):
    write(tmp_path / "probabilities", "case_1_prob_a.nii.gz", 0.5)
    write(tmp_path / "uncertainty" / "entropy", "case_2.nii.gz", 0.5)
    assert maps_of(tmp_path) == {}
    assert len(maps_of(tmp_path, "case_1")["entropy"]) == 1


def test_masks_in_folders_of_bids_find_the_maps_of_their_batch(tmp_path):
    write(tmp_path / "uncertainty" / "entropy", "case.nii.gz", 0.5)
    mask = tmp_path / "sub-1" / "ses-2" / "anat" / "sub-1_ses-2_dseg.nii.gz"
    assert uncertainty_maps(mask, "case") == {}
    (tmp_path / "run.yaml").write_text("models: []", encoding="utf-8")
    assert list(uncertainty_maps(mask, "case")) == ["entropy"]
