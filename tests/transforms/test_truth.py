"""Labels on another grid: the strongest class wins, and no structure loses its volume."""

import numpy as np
import pytest

from medseg.geometry import working_grid
from medseg.transforms import truth
from medseg.transforms.resample import resample
from medseg.transforms.truth import resample_labels
from tests.transforms.grids import NATIVE, grid

SPACING = (1.3, 1.4, 1.5)
everywhere = pytest.mark.parametrize("native", NATIVE.values(), ids=NATIVE)


def ball(geometry, centre_mm, radius_mm):
    index = np.stack(np.meshgrid(*map(np.arange, geometry.shape), indexing="ij"), axis=-1)
    return np.linalg.norm(geometry.to_world(index) - centre_mm, axis=-1) <= radius_mm


@everywhere
def test_a_majority_of_labels_equals_all_classes_at_once(native, monkeypatch):
    rng = np.random.default_rng(5)
    coarse = rng.choice(
        np.array([0, 0, 3, 7, -1], np.int16), size=[n // 3 + 1 for n in native.shape]
    )
    labels = coarse.repeat(3, 0).repeat(3, 1).repeat(3, 2)[tuple(map(slice, native.shape))]
    target = working_grid(native, SPACING)
    monkeypatch.setattr(truth, "BLOCK_VOXELS", 500)
    monkeypatch.setattr(truth, "COARSER", np.inf)  # nothing is given back
    values = [-1, 0, 3, 7]
    scores = np.stack([resample((labels == v)[None] * 1.0, native, target)[0] for v in values])
    expected = np.array(values)[scores.argmax(0)]
    second = np.sort(scores, axis=0)[-2:]
    clear = second[1] - second[0] > 1e-5
    result = resample_labels(labels, native, target, [3, 7, 0, -1])
    assert result.dtype == labels.dtype
    assert np.array_equal(result[clear], expected[clear])
    assert clear.mean() > 0.5


def test_a_ball_keeps_its_volume_and_place():
    native, spacing = grid((60, 64, 40), (0.8, 0.8, 1.2), "LPS", degrees=9), (1.5, 1.5, 1.5)
    centre = native.corners_mm().mean(0) + np.array([5, -4, 6])  # off centre: a mirror must show
    target = working_grid(native, spacing)
    result = resample_labels(ball(native, centre, 11).astype(np.uint8), native, target, [0, 1])
    expected = ball(target, centre, 11)
    dice = 2 * (result & expected).sum() / (result.sum() + expected.sum())
    assert dice > 0.96  # the staircase alone; half a voxel off gives 0.93
    assert result.sum() * target.voxel_ml == pytest.approx(4 / 3 * np.pi * 1.1**3, rel=0.02)


def test_a_tie_goes_to_the_lower_value():
    native, target = grid((4, 1, 1)), grid((3, 1, 1), origin=(12.5, -30, 7))
    labels = np.array([5, 2, 2, 9], np.uint8).reshape(4, 1, 1)
    assert resample_labels(labels, native, target, [2, 5, 9]).ravel().tolist() == [2, 2, 2]


def test_values_that_are_not_asked_for_become_background():
    native = grid((4, 1, 1))
    labels = np.array([5, 2, 2, 9], np.uint8).reshape(4, 1, 1)
    assert resample_labels(labels, native, native, [2]).ravel().tolist() == [0, 2, 2, 0]


def structure(kind, size_mm, seed):
    """(48, 48, 48) of 1 mm: a ball, a rod of 30 mm or a plate of 24 mm, turned and off centre."""
    rng = np.random.default_rng([seed, size_mm])
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    index = np.stack(np.meshgrid(*[np.arange(48) - 24.0] * 3, indexing="ij"), -1)
    x, y, z = np.moveaxis((index + rng.uniform(-2, 2, 3)) @ turn, -1, 0)
    if kind == "ball":
        inside = x**2 + y**2 + z**2 < (size_mm / 2) ** 2
    elif kind == "rod":
        inside = (x**2 + y**2 < (size_mm / 2) ** 2) & (np.abs(z) < 15)
    else:
        inside = (np.abs(x) < size_mm / 2) & (y**2 + z**2 < 144)
    return inside.astype(np.uint8)


@pytest.mark.parametrize("spacing", [2.0, 3.0, 4.0])
@pytest.mark.parametrize(
    ("kind", "size_mm"),
    [(kind, size) for kind in ("ball", "rod", "plate") for size in (4, 6, 8, 10)],
)
def test_small_structures_keep_their_volume_on_coarser_grids(kind, size_mm, spacing):
    native = grid((48, 48, 48))
    target = working_grid(native, (spacing,) * 3)
    for seed in range(4):
        fine = structure(kind, size_mm, seed)
        coarse = resample_labels(fine, native, target, [0, 1])
        due = fine.sum() / spacing**3
        # whole voxels; what touches the edge of the grid is counted outside the scan, too
        assert abs(coarse.sum() - due) <= max(1.0, 0.06 * due), (seed, coarse.sum(), due)


def test_a_majority_would_lose_a_lesion_that_is_kept(monkeypatch):
    native = grid((48, 48, 48))
    target = working_grid(native, (4.0,) * 3)
    lesions = [structure("ball", 6, seed) for seed in range(12)]
    kept = [resample_labels(one, native, target, [0, 1]).sum() for one in lesions]
    monkeypatch.setattr(truth, "COARSER", np.inf)
    by_majority = [resample_labels(one, native, target, [0, 1]).sum() for one in lesions]
    assert min(kept) >= 1
    assert min(by_majority) == 0


def test_neighbours_keep_their_volumes_and_ignored_voxels_stay():
    native = grid((40, 40, 40))
    labels = np.zeros((40, 40, 40), np.int16)
    labels[6:34, 6:34, 6:34] = 1
    labels[18:23, 18:23, 18:23] = 2  # inside the first
    labels[:, :, :3] = -1
    target = working_grid(native, (3.0, 3.0, 3.0))
    coarse = resample_labels(labels, native, target, [-1, 0, 1, 2])
    for value, share in ((1, 0.12), (2, 0.01)):  # a cube's side is 9 or 10 voxels, not 9.3
        due = (labels == value).sum() / 27
        assert (coarse == value).sum() == pytest.approx(due, rel=share, abs=1)
    assert (coarse[:, :, 0] == -1).all()


def test_thin_scribbles_are_seen_on_a_coarser_grid():
    native = grid((48, 48, 12), (1.0, 1.0, 8.0))
    labels = np.full((48, 48, 12), -1, np.int16)
    labels[4:44, 6, :] = labels[4:44, 42, :] = 0  # lines one voxel wide, around and across
    labels[14:34, 24, :] = 1
    labels[24, 10:20, 3:9] = 2
    target = working_grid(native, (2.6, 2.6, 8.0))
    coarse = resample_labels(labels, native, target, [-1, 0, 1, 2])
    for value in (0, 1, 2):  # by a majority none would be left
        due = (labels == value).sum() / 2.6**2
        assert (coarse == value).sum() == pytest.approx(due, rel=0.25)
