"""The working tensor is the scan, on its working grid, whichever way it was read."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from medseg.config import NormaliseWindow, NormaliseZScore, PrepareConfig
from medseg.errors import BadConfig, BadScan, MedsegError
from medseg.geometry import Alignment, Geometry, role_grid, working_grid
from medseg.labels import LabelTable
from medseg.scans import read, read_channels
from medseg.transforms import resample as resample_module
from medseg.transforms.load import geometry_of
from medseg.transforms.prepare import prepare_truth, prepare_volume
from medseg.transforms.resample import resample
from medseg.transforms.steps import ToWorkingGrid, prepare_files
from medseg.volume import LabelMap, Origin, Volume, pixel_hash
from medseg.writers import write_volume
from tests.transforms.grids import NATIVE, grid

LABELS = LabelTable.from_card({"labels": {"liver": 3, "spleen": 7}, "ignore": 255})
CONFIGS = {
    "as it is": PrepareConfig(),
    "finer and coarser": PrepareConfig(spacing_mm=(0.8, 2.0, 1.5)),
    "edges": PrepareConfig(spacing_mm=(1.5, 1.5, 1.5), alignment=Alignment.EDGES),
    "cubic window": PrepareConfig(
        spacing_mm=(1.5, None, 1.5),
        resampling="cubic",
        normalise=(NormaliseWindow(low=-200, high=300),),
    ),
}


def ball_scan(native, centre=(0.62, 0.4, 0.55), radius_mm=5.0, value=1200):
    """Zero but for an off-centre ball of `value`; and where the ball is."""
    corners = native.corners_mm()
    middle = corners.min(0) + np.array(centre) * (corners.max(0) - corners.min(0))
    index = np.stack(np.meshgrid(*map(np.arange, native.shape), indexing="ij"), -1)
    inside = np.linalg.norm(native.to_world(index) - middle, axis=-1) < radius_mm
    return Volume((inside[None] * value).astype(np.int16), native), middle


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_reading_by_load_image_and_by_hand_give_the_same_tensor(tmp_path, config):
    volume, _ = ball_scan(NATIVE["oblique"])
    path = tmp_path / "scan.nii.gz"
    write_volume(volume, path)
    by_file, by_hand = prepare_files([path], config), prepare_volume(read(path), config)
    assert torch.equal(by_file.image, by_hand.image)
    for one, other in ((by_file.working, by_hand.working), (by_file.native, by_hand.native)):
        assert one.shape == other.shape
        np.testing.assert_allclose(one.affine, other.affine, atol=1e-9)
    assert by_file.pixels == pixel_hash(read(path))
    assert by_hand.pixels == ""


@pytest.mark.parametrize("native", NATIVE.values(), ids=NATIVE)
def test_a_ball_is_where_it_was_on_every_grid(native):
    config = PrepareConfig(
        spacing_mm=(1.0, 1.0, 1.0), normalise=(NormaliseWindow(low=0, high=1200),)
    )
    volume, middle = ball_scan(native, radius_mm=1.5 * max(native.spacing_mm))
    prepared = prepare_volume(volume, config)
    bright = np.argwhere(prepared.image[0].numpy() > 0)
    weight = prepared.image[0].numpy()[prepared.image[0].numpy() > 0]
    found = prepared.working.to_world(np.average(bright, axis=0, weights=weight))
    ordered = role_grid(native)
    apart = np.abs(ordered.to_index(found) - ordered.to_index(middle))
    resolved = [size > 1 for size in ordered.shape]
    # the ball is made of whole voxels, so its own centre is only known to a third of one
    assert (apart[resolved] < 0.35).all()


def test_the_working_tensor_lies_on_the_working_grid_in_the_order_of_roles():
    native = NATIVE["sagittal first"]
    config = PrepareConfig(spacing_mm=(2.0, 1.0, None))
    prepared = prepare_volume(ball_scan(native)[0], config)
    expected = working_grid(native, (2.0, 1.0, None))
    assert prepared.image.shape == (1, *expected.shape)
    assert prepared.working.same_grid(expected)
    assert prepared.working.orientation == "RSA", "its slices lie across A"
    assert prepared.native.same_grid(native)
    assert prepared.image.is_contiguous()
    assert prepared.image.dtype == torch.float32


def test_padding_does_not_bleed_into_the_body():
    native = grid((24, 24, 24), (1.0, 1.0, 1.0))
    data = np.full((1, 24, 24, 24), 40, np.int16)
    data[:, :8] = -3024
    volume = Volume(data, native, origin=Origin(padding_value=-3024.0))
    config = PrepareConfig(
        spacing_mm=(3.0, 3.0, 3.0), normalise=(NormaliseWindow(low=-160, high=240),)
    )
    assert prepare_volume(volume, config).image.abs().max() < 1e-3  # 40 HU, the window's centre


def test_channels_are_prepared_each_by_its_rule(tmp_path):
    native = NATIVE["coarse"]
    paths = []
    for channel, offset in enumerate((0, 5000)):
        volume, _ = ball_scan(native)
        paths.append(tmp_path / f"{channel}.nii.gz")
        write_volume(Volume(volume.data + offset, native), paths[-1])
    rules = (NormaliseWindow(low=0, high=1200), NormaliseZScore())
    by_file = prepare_files(paths, PrepareConfig(normalise=rules))
    by_hand = prepare_volume(read_channels(paths, ["T1", "T2"]), PrepareConfig(normalise=rules))
    assert by_file.image.shape[0] == 2
    assert torch.equal(by_file.image, by_hand.image)
    assert float(by_file.image[0].min()) == -1
    assert abs(float(by_file.image[1].mean())) < 1e-5


@pytest.mark.parametrize("native", NATIVE.values(), ids=NATIVE)
def test_a_scan_is_prepared_by_blocks_as_if_it_were_whole(native, monkeypatch):
    volume = ball_scan(native)[0]
    volume.data[:, :2] = -3024
    volume = replace(volume, origin=replace(volume.origin, padding_value=-3024.0))
    config = PrepareConfig(spacing_mm=(2.1, 1.9, 2.3))
    target = working_grid(native, config.spacing_mm, alignment=config.alignment)
    whole = resample(volume.measured(), native, target)
    monkeypatch.setattr(resample_module, "BLOCK_VOXELS", 500)
    blocks = ToWorkingGrid(config)(volume)
    assert geometry_of(blocks).same_grid(target)
    torch.testing.assert_close(blocks.as_tensor(), whole, rtol=1e-6, atol=1e-3)


def test_a_constant_scan_becomes_zeros():
    volume = Volume(np.full((1, 9, 8, 7), 77, np.int16), NATIVE["coarse"])
    prepared = prepare_volume(volume, PrepareConfig(spacing_mm=(2.0, 2.0, 2.0)))
    assert float(prepared.image.abs().max()) < 1e-3


def test_warnings_of_the_reader_arrive():
    volume = ball_scan(NATIVE["coarse"])[0].with_warning("slices are thick")
    assert prepare_volume(volume, PrepareConfig()).warnings == ("slices are thick",)


def test_refusals_come_out_as_themselves(tmp_path):
    path = tmp_path / "scan.nii.gz"
    path.write_bytes(b"\x1f\x8b not much of a scan")
    with pytest.raises(MedsegError):
        prepare_files([path], PrepareConfig())
    with pytest.raises(BadScan):
        prepare_files([tmp_path / "nowhere.nii.gz"], PrepareConfig())
    with pytest.raises(BadConfig, match="1 rule or 1"):
        prepare_volume(
            ball_scan(NATIVE["coarse"])[0],
            PrepareConfig(normalise=(NormaliseZScore(), NormaliseZScore())),
        )


def test_truth_becomes_class_indices_in_order_of_value_and_ignored_voxels():
    native = grid((6, 5, 4), codes="LPS")
    data = np.zeros((6, 5, 4), np.uint8)
    data[0], data[1], data[2] = 3, 7, 255
    classes = prepare_truth(LabelMap(data, native, LABELS), LABELS, working_grid(native))
    assert classes.dtype == np.int16
    # L becomes R: the first sagittal plane is now the last
    assert [int(classes[n, 0, 0]) for n in range(6)] == [0, 0, 0, -1, 2, 1]


def test_truth_and_image_stay_together_on_a_coarser_oblique_grid():
    native = Geometry((40, 38, 30), grid((1, 1, 1), (0.9, 1.1, 1.3), "LPS", degrees=20).affine)
    volume, _ = ball_scan(native, radius_mm=8)
    truth = LabelMap((volume.data[0] > 0).astype(np.uint8) * 7, native, LABELS)
    config = PrepareConfig(
        spacing_mm=(1.5, 1.5, 1.5), normalise=(NormaliseWindow(low=0, high=1200),)
    )
    prepared = prepare_volume(volume, config)
    inside = prepare_truth(truth, LABELS, prepared.working) == 2
    bright = prepared.image[0].numpy() > 0
    overlap = 2 * (inside & bright).sum() / (inside.sum() + bright.sum())
    assert overlap > 0.97  # half a working voxel off gives 0.93
    volume_ml = inside.sum() * prepared.working.voxel_ml
    assert volume_ml == pytest.approx((truth.data > 0).sum() * native.voxel_ml, rel=0.03)


def test_a_thin_sheet_is_not_lost_between_voxels_of_the_same_spacing():
    native = grid((20, 20, 20), (1.0, 1.0, 1.0), "PIR")
    data = np.zeros((20, 20, 20), np.uint8)
    data[:, :, 11] = 3
    classes = prepare_truth(LabelMap(data, native, LABELS), LABELS, working_grid(native, (1, 1, 1)))
    assert (classes == 1).sum() == 400
    assert (classes[11] == 1).all()
