"""Where definitions coincide, other tools say the same; where they differ, by how much."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage

from medseg.metrics import METRICS, Structure, pairs
from tests.metrics.shapes import ball, box, made_pairs


def warped(random, mask):
    """A prediction: every voxel looked up a little aside, smoothly, and some islands."""
    coarse = random.normal(size=(3, 5, 5, 5)) * random.uniform(0.3, 1.6)
    places = [
        np.arange(n).reshape([-1 if a == axis else 1 for a in range(3)])
        + ndimage.zoom(coarse[axis], [n / 5 for n in mask.shape], order=1)
        for axis, n in enumerate(mask.shape)
    ]
    moved = ndimage.map_coordinates(mask, places, order=0)
    spots = random.random(mask.shape) < 0.0005
    return np.where(spots, random.integers(0, 3, mask.shape), moved).astype(np.uint8)


@pytest.mark.slow
def test_200_hippocampi_score_as_with_surface_distance(shared_data):
    sd = pytest.importorskip("surface_distance", reason="pip install medseg[bench]")
    random = np.random.default_rng(12)
    compared = 0
    for path in sorted((shared_data / "hippocampus/labels").glob("*.nii.gz")):
        truth = np.asarray(nib.load(path).dataobj).astype(np.uint8)
        prediction = warped(random, truth)
        spacing = tuple(random.uniform(0.5, 3, size=3))
        structures = [
            Structure("anterior", (1,)),
            Structure("posterior", (2,)),
            Structure("whole", (1, 2)),
        ]
        for structure, pair in pairs(truth, prediction, structures, np.diag(spacing)):
            one, other = (np.isin(mask, structure.values) for mask in (truth, prediction))
            told = sd.compute_surface_distances(one, other, spacing)
            back = told["distances_pred_to_gt"], told["surfel_areas_pred"]
            there = told["distances_gt_to_pred"], told["surfel_areas_gt"]
            expected = {
                "dice": sd.compute_dice_coefficient(one, other),
                "hd95": sd.compute_robust_hausdorff(told, 95),
                "nsd": sd.compute_surface_dice_at_tolerance(told, 1.0),
                "assd": (there[0] @ there[1] + back[0] @ back[1])
                / (there[1].sum() + back[1].sum()),
            }
            for name, value in expected.items():
                ours = METRICS[name].value(pair)
                assert ours == pytest.approx(value, abs=1e-6), (path.name, name)
        compared += 1
    assert compared >= 200


@pytest.mark.parametrize("pair", list(made_pairs(24)), ids=lambda pair: pair[0])
def test_dice_and_area_weighted_nsd_are_those_of_monai(pair):
    torch = pytest.importorskip("torch")
    monai = pytest.importorskip("monai.metrics")
    _, truth, prediction, spacing = pair
    one, other = (torch.from_numpy(mask[None, None]) for mask in (truth, prediction))
    dice = float(monai.compute_dice(other, one)[0, 0])
    nsd = float(
        monai.compute_surface_dice(
            other, one, [1.0], include_background=True, spacing=list(spacing), use_subvoxels=True
        )[0, 0]
    )
    assert METRICS["dice"].compute(truth, prediction, spacing) == pytest.approx(dice, abs=1e-6)
    assert METRICS["nsd"].compute(truth, prediction, spacing) == pytest.approx(nsd, abs=1e-5)


def test_monai_s_hd95_counts_voxels_where_ours_weighs_area():
    """An example of how definitions differ: a box with a thin spur, voxels of 1 x 1 x 4 mm.

    MONAI takes the 95th percentile over boundary voxels, every one alike, between their
    centres: the spur's 14 are fewer than 5 % of them. Here each piece of surface counts with
    its area, and the spur's surface is more than 5 % of the whole.
    """
    torch = pytest.importorskip("torch")
    monai = pytest.importorskip("monai.metrics")
    size = (40, 24, 12)
    truth = box(size, (4, 4, 3), (20, 20, 9))
    prediction = truth | box(size, (20, 11, 5), (34, 12, 6))
    one, other = (torch.from_numpy(mask[None, None]) for mask in (truth, prediction))
    theirs = float(
        monai.compute_hausdorff_distance(
            other, one, include_background=True, percentile=95, spacing=[1.0, 1.0, 4.0]
        )[0, 0]
    )
    ours = METRICS["hd95"].compute(truth, prediction, (1, 1, 4))
    assert theirs == 0.0
    assert ours == pytest.approx(1.0)


def test_monai_calls_a_structure_that_is_absent_from_both_undefined_too():
    torch = pytest.importorskip("torch")
    monai = pytest.importorskip("monai.metrics")
    nothing, something = np.zeros((9, 9, 9), bool), ball((9, 9, 9), (4, 4, 4), 2)
    empty, full = (torch.from_numpy(mask[None, None]) for mask in (nothing, something))
    assert np.isnan(float(monai.compute_dice(empty, empty)[0, 0]))
    assert np.isnan(METRICS["dice"].compute(nothing, nothing, (1, 1, 1)))
    # A false positive where the truth is empty: MONAI's default says nan, the rule here 0.
    assert np.isnan(float(monai.compute_dice(full, empty)[0, 0]))
    assert METRICS["dice"].compute(nothing, something, (1, 1, 1)) == 0.0
