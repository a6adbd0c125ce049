"""A cohort stored or turned otherwise gives the same plan, patches, network input and masks."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from medseg.config import InferConfig, NormalisePercentiles, NormaliseZScore, PrepareConfig
from medseg.geometry import Geometry, role_grid
from medseg.inference import segment
from medseg.planning.fingerprint import CaseLooks, CohortLooks
from medseg.planning.frames import typical_frame
from medseg.training.cache import cached_case
from medseg.training.patch_plan import PatchPlan
from medseg.training.patches import PatchStream
from medseg.transforms.prepare import prepare_volume
from medseg.volume import Volume
from medseg.writers import write_labels, write_volume
from tests.inference.models import TinyModel, scan
from tests.test_geometry import FRAME, grids, storage_orders, stored
from tests.training.cohorts import tiny_cohort

CONFIG = PrepareConfig(spacing_mm=(1.7, 1.9, 3.0), normalise=(NormaliseZScore(nonzero=True),))


def twin_of(volume, order, flips):
    """The same scan with array axes in another order, some of them backwards."""
    data = volume.data.transpose([0, *(1 + axis for axis in order)])
    data = np.flip(data, tuple(1 + axis for axis, flip in enumerate(flips) if flip))
    return replace(volume, data=data, geometry=stored(volume.geometry, order, flips))


@settings(max_examples=25, deadline=None)
@given(grids(), storage_orders(), st.sampled_from([None, FRAME]))
def test_storage_order_changes_no_bit_of_what_the_network_sees(native, storage, frame):
    volume = scan(native, seed=1)
    for rule in (NormaliseZScore(nonzero=True), NormalisePercentiles()):
        config = CONFIG.model_copy(update={"frame": frame, "normalise": (rule,)})
        one = prepare_volume(volume, config)
        other = prepare_volume(twin_of(volume, *storage), config)
        assert torch.equal(one.image, other.image)


@settings(max_examples=8, deadline=None)
@given(storage_orders(), st.sampled_from([2, 3]))
def test_masks_of_a_scan_and_its_twin_are_each_others_twins(storage, dims):
    native = Geometry((22, 9, 25), np.diag([0.9, 4.0, 0.8, 1.0]))
    volume = scan(native, seed=2)
    model = TinyModel(
        prepare=CONFIG,
        dims=dims,
        slice_axis=2 if dims == 2 else None,
        infer=InferConfig(window=(8, 10, 6)[:dims], mirror_axes=("left-right",)),
    )
    order, flips = storage
    mask = segment(model, volume, precision="float32").labelmap.data
    twin = segment(model, twin_of(volume, *storage), precision="float32").labelmap.data
    turned = mask.transpose(order)
    assert np.array_equal(np.flip(turned, tuple(np.flatnonzero(flips))), twin)


def turned_cohort(folder, turn, **options):
    """A tiny cohort whose files are written again by `turn`, which changes scan and truth."""
    from medseg.manifests import read_case, read_truth

    cohort = tiny_cohort(folder, **options)
    for index, case in enumerate(cohort.select(split="train").cases):
        volume, truth = read_case(cohort, case), read_truth(cohort, case)
        image = turn(index, volume)
        label = turn(index, Volume(truth.data[None], truth.geometry))
        write_volume(Volume(image.data, image.geometry), case.sources[0])
        write_labels(replace(truth, data=label.data[0], geometry=label.geometry), case.label)
    return cohort


def batches_of(cohort, folder, config=CONFIG):
    """The first batches of a run over a cohort's train rows."""
    rows = cohort.select(split="train").cases
    cases = [cached_case(cohort, case, config, folder) for case in rows]
    plan = PatchPlan((10, 8, 4), (14, 12, 4), (0, 1, 2), 0.5, 2, 3)
    return [PatchStream(cases, plan).batch_of(step) for step in range(3)]


def assert_same_batches(one, other):
    for here, there in zip(one, other, strict=True):
        assert torch.equal(here.image, there.image)
        assert torch.equal(here.classes, there.classes)
        assert torch.equal(here.left_right, there.left_right)


STACK = {"cases": 3, "shape": (24, 22, 7), "spacing": (1.5, 1.5, 6.0), "codes": "LPS"}


@pytest.mark.parametrize("seed", range(3))
def test_a_cohort_in_other_storage_orders_trains_on_the_same_patches(tmp_path, seed):
    rng = np.random.default_rng(seed)

    def turn(index, volume):
        del index
        return twin_of(volume, rng_order, rng_flips)

    rng_order, rng_flips = tuple(rng.permutation(3)), tuple(rng.random(3) < 0.5)
    plain = tiny_cohort(tmp_path / "plain", **STACK)
    twin = turned_cohort(tmp_path / "twin", turn, **STACK)
    assert_same_batches(batches_of(plain, tmp_path / "a"), batches_of(twin, tmp_path / "b"))


def test_hearts_across_r_a_and_s_train_on_the_patches_of_the_axis_aligned_ones(tmp_path):
    """Slices nearest R in some, A in others, S in the rest: the same voxels, other directions."""
    slices_near = [
        ((0, 1, 0), (0, 0, 1), (1, 0, 0)),
        ((1, 0, 0), (0, 0, 1), (0, 1, 0)),
        ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    ]

    def turn(index, volume):
        oblique = np.linalg.qr(
            np.array(slices_near[index]).T + 0.1 * np.array([[0, 1, -2], [-1, 0, 1], [2, -1, 0]])
        )[0]
        oblique *= np.sign(np.sum(oblique * np.array(slices_near[index]).T, axis=0))
        affine = np.eye(4)
        affine[:3, :3] = oblique * volume.geometry.spacing_mm
        return replace(volume, geometry=Geometry(volume.geometry.shape, affine))

    options = {**STACK, "codes": "RAS"}
    aligned = tiny_cohort(tmp_path / "plain", **options)
    oblique = turned_cohort(tmp_path / "oblique", turn, **options)
    config = CONFIG.model_copy(update={"spacing_mm": (1.5, 1.5, 6.0)})
    one = batches_of(aligned, tmp_path / "a", config)
    other = batches_of(oblique, tmp_path / "b", config)
    for here, there in zip(one, other, strict=True):
        assert torch.equal(here.image, there.image)
        assert torch.equal(here.classes, there.classes)


def hearts(seed, spread=0.15, cases=21):
    """What a plan sees of short-axis stacks about one direction between R and A."""
    rng = np.random.default_rng(seed)
    made = []
    for _ in range(cases):
        directions = np.linalg.qr(np.array(FRAME).T + spread * rng.uniform(-1, 1, (3, 3)))[0]
        affine = np.eye(4)
        affine[:3, :3] = directions * [1.4, 1.4, 8.0]
        grid = role_grid(Geometry((200, 220, 10), affine))
        made.append(
            CaseLooks(
                grid.spacing_mm, grid.shape, grid.shape, {"a": 1.0}, 0.1, 0.0, ((1.0,),), grid.frame
            )
        )
    return CohortLooks(tuple(made), {})


@pytest.mark.parametrize("seed", range(5))
def test_a_cohort_between_two_body_planes_gets_one_frame_for_all(seed):
    looks = hearts(seed)
    assert len({tuple(np.abs(case.directions[2]).round(0)) for case in looks.cases}) > 1
    frame = typical_frame(looks)
    assert frame is not None
    turned = np.array([case.directions for case in looks.turned(frame).cases])
    # every role points one way in every scan
    assert (np.einsum("nij,ij->ni", turned, np.array(frame)) > 0.85).all()
    assert typical_frame(looks.turned(frame)) == frame, "whatever the order was before"


@pytest.mark.parametrize("codes", ["RAS", "ASR", "RSA"])
def test_a_cohort_along_one_body_plane_needs_no_frame(codes):
    axes = {"R": (1.0, 0.0, 0.0), "A": (0.0, 1.0, 0.0), "S": (0.0, 0.0, 1.0)}
    rows = tuple(axes[letter] for letter in codes)
    shape = (200, 220, 20)
    case = CaseLooks((0.8, 0.8, 5.0), shape, shape, {"a": 1.0}, 0.1, 0.0, ((1.0,),), rows)
    assert typical_frame(CohortLooks((case,) * 5, {})) is None
