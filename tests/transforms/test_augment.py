"""Image and truth change together, left stays left, and chance is a function of the seed."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from medseg.config import AugmentConfig
from medseg.labels import LabelTable
from medseg.transforms.augment import Augment, Patches, mirrored_axes, source_shape

KIDNEYS = LabelTable.from_card({"labels": {"left kidney": 1, "right kidney": 2, "liver": 5}})
ONE_SIDED = LabelTable.from_card({"labels": {"left kidney": 1, "liver": 2}})
ORGAN = LabelTable.from_card({"labels": {"liver": 1}})

INTENSITIES = ("brightness", "contrast", "gamma", "noise", "blur", "low_resolution", "bias")
OFF = dict.fromkeys((*INTENSITIES, "spatial"), 0.0)
STILL = AugmentConfig(**OFF)


def turning(**changes):
    return AugmentConfig(**{**OFF, "spatial": 1.0, **changes})


def patches(image, classes=None, spacing=(1.0, 1.0, 1.0), index=0):
    """A batch of one from a (X, Y, Z) or (X, Y) image and its class indices."""
    image = torch.as_tensor(np.asarray(image), dtype=torch.float32)
    classes = torch.zeros(image.shape) if classes is None else torch.as_tensor(classes)
    return Patches(
        image[None, None],
        classes.long()[None],
        torch.tensor([spacing[: image.ndim]], dtype=torch.float32),
        torch.tensor([index]),
    )


def ball(shape, centre, radius, spacing=(1.0, 1.0, 1.0)):
    """True inside a ball; centre and radius in mm."""
    lines = [np.arange(n) * mm for n, mm in zip(shape, spacing, strict=False)]
    mesh = np.stack(np.meshgrid(*lines, indexing="ij"), -1)
    return np.linalg.norm(mesh - np.array(centre), axis=-1) < radius


def noise(shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def overlap(a, b):
    return float(2 * (a & b).sum() / (a.sum() + b.sum()))


@pytest.mark.parametrize("patch", [(8, 10, 6), (9, 7, 5), (12, 11)])
def test_a_patch_that_nothing_happens_to_is_cropped_exactly(patch):
    config = AugmentConfig(**{**OFF, "spatial": 1e-9})
    source = source_shape(patch, config, (1.0,) * 3)
    assert all(s > p and (s - p) % 2 == 0 for s, p in zip(source, patch, strict=True))
    image, classes = noise(source), np.random.default_rng(1).integers(-1, 2, source)
    result = Augment(config, patch, (0, 1, 2)[: len(patch)], ORGAN, 0)(patches(image, classes))
    middle = tuple(
        slice((s - p) // 2, (s - p) // 2 + p) for s, p in zip(source, patch, strict=True)
    )
    # grid_sample takes positions in -1…1: float32 leaves 1e-6 of a voxel
    np.testing.assert_allclose(result.image[0, 0], image[middle], atol=1e-4)
    np.testing.assert_array_equal(result.classes[0], classes[middle])


def test_a_thick_slab_takes_little_more_than_itself():
    wide = source_shape((224, 224, 10), AugmentConfig(rotate_degrees=15), (1.4, 1.4, 10.0))
    assert wide[2] <= 24
    tall = source_shape((224, 224, 10), AugmentConfig(rotate_degrees=15), (1.0, 1.0, 1.0))
    assert tall[2] > 60


def test_without_deformation_no_voxel_is_read_in_vain():
    assert source_shape((8, 9, 10), STILL, (1.0,) * 3) == (8, 9, 10)


@pytest.mark.parametrize("index", range(4))
def test_image_and_truth_deform_together(index):
    patch = (32, 28, 24)
    config = turning(rotate_degrees=40, scale=(0.7, 1.4), elastic_voxels=3, mirror_axes=(0, 1, 2))
    source = source_shape(patch, config, (1.0,) * 3)
    inside = ball(source, np.array(source) * [0.6, 0.42, 0.55], 7)
    given = patches(inside, inside, index=index)
    result = Augment(config, patch, (0, 1, 2), ORGAN, 3)(given)
    bright = (result.image[0, 0] > 0.5).numpy()
    truth = (result.classes[0] == 1).numpy()
    assert truth.sum() > 100
    assert overlap(bright, truth) > 0.99
    still = tuple(slice((s - p) // 2, (s + p) // 2) for s, p in zip(source, patch, strict=True))
    assert overlap(inside[still], truth) < 0.95, "nothing moved: the test would see nothing"


def test_a_mirror_swaps_left_and_right_and_nothing_else():
    classes = np.zeros((8, 6, 4), int)
    classes[0:2], classes[6:8], classes[3, 0], classes[4, 5] = 1, 2, 3, -1
    config = AugmentConfig(**{**OFF, "mirror_axes": (0,)})
    augment = Augment(config, (8, 6, 4), (0, 1, 2), KIDNEYS, 0)
    seen = {}
    for index in range(12):
        result = augment(patches(classes, classes, index=index))
        mirrored = bool(np.abs(result.image[0, 0].numpy() - classes).max() > 0.5)
        seen[mirrored] = result
    assert set(seen) == {True, False}
    np.testing.assert_array_equal(seen[False].classes[0], classes)
    flipped = classes[::-1]
    expected = np.select([flipped == 1, flipped == 2], [2, 1], flipped)
    np.testing.assert_array_equal(seen[True].classes[0], expected)
    np.testing.assert_allclose(seen[True].image[0, 0], flipped, atol=1e-4)


def test_a_mirror_front_to_back_swaps_no_side():
    classes = np.zeros((8, 6, 4), int)
    classes[0:2, 0], classes[6:8, 0] = 1, 2
    augment = Augment(
        AugmentConfig(**{**OFF, "mirror_axes": (1,)}), (8, 6, 4), (0, 1, 2), KIDNEYS, 0
    )
    results = [augment(patches(classes, classes, index=index)) for index in range(12)]
    moved = [r.classes[0].numpy() for r in results if (r.classes[0].numpy() != classes).any()]
    assert 0 < len(moved) < 12
    for result in moved:
        np.testing.assert_array_equal(result, classes[:, ::-1])


def test_a_side_without_partner_is_never_mirrored_left_to_right():
    assert mirrored_axes((0, 1, 2), (0, 1, 2), 0, ONE_SIDED) == (1, 2)
    assert mirrored_axes((0, 1, 2), (0, 1, 2), 2, ONE_SIDED) == (0, 1)
    assert mirrored_axes((0, 1, 2), (0, 1, 2), 0, KIDNEYS) == (0, 1, 2)
    assert mirrored_axes(("left-right",), (0, 1, 2), 2, ONE_SIDED) == ()
    classes = np.zeros((8, 6, 4), int)
    classes[0:2] = 1
    augment = Augment(
        AugmentConfig(**{**OFF, "mirror_axes": (0,)}), (8, 6, 4), (0, 1, 2), ONE_SIDED, 0
    )
    for index in range(12):
        result = augment(patches(classes, classes, index=index))
        np.testing.assert_array_equal(result.classes[0], classes)


def test_a_coronal_slice_knows_which_of_its_axes_is_left_to_right():
    classes = np.zeros((8, 6), int)
    classes[0:2], classes[6:8] = 1, 2
    config = AugmentConfig(**{**OFF, "mirror_axes": ("left-right",)})
    for where in (0, 1, -1):
        augment = Augment(config, (8, 6), (0, 1), KIDNEYS, 0)
        given = [
            replace(patches(classes, classes, index=index), left_right=torch.tensor([where]))
            for index in range(12)
        ]
        results = [augment(batch).classes[0].numpy() for batch in given]
        flipped = np.flip(classes, where)
        swapped = np.select([flipped == 1, flipped == 2], [2, 1], flipped)
        assert all((r == classes).all() or (r == swapped).all() for r in results)
        assert any((r != classes).any() for r in results) == (where == 1)
        images = [augment(batch).image[0, 0].numpy() for batch in given]
        assert any((abs(image - classes) > 0.5).any() for image in images) == (where == 0)


def test_what_a_truth_was_drawn_for_swaps_with_the_sides():
    """A truth with the left kidney alone is, mirrored, one with the right kidney alone."""
    left_only = torch.tensor([[True, True, False, True]])
    classes = np.zeros((8, 6, 4), int)
    classes[0:2] = 1
    config = AugmentConfig(**{**OFF, "mirror_axes": (0,)})
    augment = Augment(config, (8, 6, 4), (0, 1, 2), KIDNEYS, 0)
    seen = set()
    for index in range(12):
        given = replace(patches(classes, classes, index=index), known=left_only)
        result = augment(given)
        (there,) = set(result.classes.unique().tolist()) - {0}
        assert result.known.tolist() == [[True, there == 1, there == 2, True]]
        assert torch.equal(given.known, left_only), "the batch that was given stays as it is"
        seen.add(there)
    assert seen == {1, 2}


def random_batch(indices):
    source = source_shape((10, 9, 8), AugmentConfig(), (1.0,) * 3)
    images = torch.stack([torch.as_tensor(noise(source, i))[None] for i in indices]).float()
    classes = (images[:, 0] > 0).long()
    return Patches(images, classes, torch.ones(len(indices), 3), torch.tensor(indices))


ALWAYS = AugmentConfig(**dict.fromkeys((*INTENSITIES, "spatial"), 1.0), mirror_axes=(0, 1, 2))


def test_a_patch_is_the_same_in_whatever_batch_it_comes():
    augment = Augment(ALWAYS, (10, 9, 8), (0, 1, 2), ORGAN, 5)
    together = augment(random_batch([3, 4, 5]))
    alone = augment(random_batch([4]))
    torch.testing.assert_close(together.image[1], alone.image[0], rtol=0, atol=0)
    torch.testing.assert_close(together.classes[1], alone.classes[0], rtol=0, atol=0)


def test_another_number_or_seed_gives_another_patch():
    batch = random_batch([4])
    first = Augment(ALWAYS, (10, 9, 8), (0, 1, 2), ORGAN, 5)(batch).image
    again = Augment(ALWAYS, (10, 9, 8), (0, 1, 2), ORGAN, 5)(batch).image
    seed = Augment(ALWAYS, (10, 9, 8), (0, 1, 2), ORGAN, 6)(batch).image
    number = Augment(ALWAYS, (10, 9, 8), (0, 1, 2), ORGAN, 5)(
        Patches(batch.image, batch.classes, batch.spacing_mm, torch.tensor([9]))
    ).image
    assert torch.equal(first, again)
    assert not torch.allclose(first, seed)
    assert not torch.allclose(first, number)


def test_torchs_own_random_numbers_are_neither_used_nor_moved():
    augment = Augment(ALWAYS, (10, 9, 8), (0, 1, 2), ORGAN, 5)
    torch.manual_seed(1)
    first = augment(random_batch([4])).image
    after = torch.rand(1)
    torch.manual_seed(1)
    assert torch.equal(torch.rand(1), after)
    torch.manual_seed(2)
    assert torch.equal(augment(random_batch([4])).image, first)


def test_the_given_batch_is_left_as_it_was():
    batch = random_batch([1, 2])
    image, classes = batch.image.clone(), batch.classes.clone()
    Augment(ALWAYS, (10, 9, 8), (0, 1, 2), ORGAN, 5)(batch)
    assert torch.equal(batch.image, image)
    assert torch.equal(batch.classes, classes)


@pytest.mark.parametrize("index", range(3))
def test_anisotropic_voxels_turn_in_millimetres(index):
    """A ball stays a ball, in mm, when it is turned; turned in voxels it would be sheared."""
    spacing, patch = (1.0, 1.0, 4.0), (48, 48, 14)
    config = turning(rotate_degrees=40, scale=(1, 1), elastic_voxels=0)
    source = source_shape(patch, config, (1.0,) * 3)
    middle = (np.array(source) - 1) / 2 * spacing
    inside = ball(source, middle + np.array([7, -5, 6]), 12, spacing)
    result = Augment(config, patch, (0, 1, 2), ORGAN, 1)(
        patches(inside, inside, spacing, index=index)
    )
    points = np.argwhere(result.classes[0].numpy() == 1) * spacing
    assert len(points) * 4 == pytest.approx(inside.sum() * 4, rel=0.06)
    spread = np.linalg.eigvalsh(np.cov(points.T))
    # a voxelised ball of radius 12: each variance r²/5 = 28.8; turned in voxels 2 to 1 and more
    assert spread.max() / spread.min() < 1.25
    apart = np.linalg.norm(points.mean(0) - (np.array(patch) - 1) / 2 * spacing)
    assert apart == pytest.approx(np.linalg.norm([7, -5, 6]), abs=1.0)


def test_zoom_up_to_its_limits_and_no_further():
    config = turning(rotate_degrees=0, scale=(1.25, 1.25), elastic_voxels=0)
    source = source_shape((30, 30, 30), config, (1.0,) * 3)
    inside = ball(source, [(n - 1) / 2 for n in source], 8)
    result = Augment(config, (30, 30, 30), (0, 1, 2), ORGAN, 0)(patches(inside, inside))
    assert int((result.classes == 1).sum()) == pytest.approx(inside.sum() * 1.25**3, rel=0.03)


def test_what_lies_outside_the_source_is_not_scored():
    config = turning(rotate_degrees=0, scale=(0.5, 0.5), elastic_voxels=0)
    augment = Augment(config, (16, 16, 16), (0, 1, 2), ORGAN, 0)
    result = augment(patches(np.ones((16, 16, 16)), np.ones((16, 16, 16))))
    inside = result.classes[0] == 1
    assert inside[4:12, 4:12, 4:12].all()
    assert (result.classes[0][:3] == -1).all()
    assert (result.image - 1).abs().max() < 1e-5, "the border goes on"


def test_ignored_voxels_stay_ignored_wherever_they_go():
    patch = (24, 24, 24)
    config = turning(rotate_degrees=30, elastic_voxels=2, mirror_axes=(0, 1, 2))
    source = source_shape(patch, config, (1.0,) * 3)
    left_out = ball(source, np.array(source) * [0.58, 0.45, 0.5], 7)
    given = patches(left_out, np.where(left_out, -1, 1))
    result = Augment(config, patch, (0, 1, 2), ORGAN, 2)(given)
    assert overlap((result.image[0, 0] > 0.5).numpy(), (result.classes[0] == -1).numpy()) > 0.98


@pytest.mark.parametrize("name", INTENSITIES)
@pytest.mark.parametrize("shape", [(12, 10, 8), (12, 10), (6, 5, 1)])
def test_every_intensity_change_changes_something_and_stays_finite(name, shape):
    config = AugmentConfig(**{**OFF, name: 1.0})
    augment = Augment(config, shape, (0, 1, 2)[: len(shape)], ORGAN, 0)
    given = patches(noise(shape) + 3)
    result = augment(given)
    assert torch.isfinite(result.image).all()
    assert not torch.allclose(result.image, given.image, atol=1e-3)
    assert torch.equal(result.classes, given.classes)
    for value in (0.0, -3.0, 5.0):
        constant = augment(patches(np.full(shape, value))).image
        assert torch.isfinite(constant).all()
        if name not in ("brightness", "bias"):
            assert constant.std() < 1e-3
            assert float(constant.mean()) == pytest.approx(value, abs=1e-3)


@pytest.mark.parametrize("name", ["contrast", "gamma", "blur", "noise", "low_resolution"])
def test_gentle_changes_keep_the_mean(name):
    config = AugmentConfig(**{**OFF, name: 1.0})
    given = patches(noise((20, 20, 20)))
    means = [
        float(Augment(config, (20, 20, 20), (0, 1, 2), ORGAN, seed)(given).image.mean())
        for seed in range(4)
    ]
    np.testing.assert_allclose(means, float(given.image.mean()), atol=0.08)


def test_each_channel_is_changed_but_all_move_together():
    config = turning(rotate_degrees=30, elastic_voxels=2)
    source = source_shape((16, 16, 16), config, (1.0,) * 3)
    one = torch.as_tensor(noise(source)).float()
    batch = Patches(
        torch.stack([one, 2 * one + 1])[None],
        torch.zeros(1, *source).long(),
        torch.ones(1, 3),
        torch.tensor([0]),
    )
    first, second = Augment(config, (16, 16, 16), (0, 1, 2), ORGAN, 0)(batch).image[0]
    torch.testing.assert_close(second, 2 * first + 1, rtol=1e-4, atol=1e-4)
