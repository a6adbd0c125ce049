"""Scans and masks keep their numbers and their place through every library and back."""

import subprocess
import sys

import nibabel
import numpy as np
import pytest
import SimpleITK
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.data import MetaTensor
from monai.transforms import Compose, Orientation

import medseg
from medseg.errors import BadLabels, BadScan, MedsegError
from medseg.geometry import Geometry
from medseg.labels import LabelTable
from medseg.scans import read
from medseg.transforms.load import LoadScan, LoadScand, geometry_of, read_tensor
from medseg.transforms.save import SaveMask, SaveMaskd
from medseg.volume import LabelMap, Origin, Volume
from medseg.writers import write_labels, write_volume
from tests.transforms.grids import NATIVE

LABELS = {"left kidney": 1, "right kidney": 2}


class Image:
    """What TorchIO hands over, by its shape: a tensor (C, X, Y, Z) and an affine."""

    def __init__(self, data, affine):
        self.data, self.affine = data, affine


@st.composite
def grids(draw, sheared=False):
    """Any rotation, mirrored or not, any spacing and place."""
    quaternion = np.array(draw(st.tuples(*[st.integers(-9, 9)] * 4)), float)
    if not quaternion.any():
        quaternion[0] = 1
    w, x, y, z = quaternion / np.linalg.norm(quaternion)
    rotation = np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )
    signs = draw(st.tuples(*[st.sampled_from([-1, 1])] * 3))
    spacing = draw(st.tuples(*[st.floats(0.2, 8)] * 3))
    affine = np.eye(4)
    affine[:3, :3] = rotation * np.array(signs) * np.array(spacing)
    if sheared:
        affine[:3, 2] += 0.2 * affine[:3, 1]
    affine[:3, 3] = draw(st.tuples(*[st.floats(-400, 400)] * 3))
    return Geometry(draw(st.tuples(*[st.integers(1, 6)] * 3)), affine)


def scan_on(geometry, channels=1, slope=1.0, intercept=0.0):
    shape = (channels, *geometry.shape)
    data = np.random.default_rng(1).integers(-900, 900, shape).astype(np.int16)
    return Volume(data, geometry, slope, intercept)


def mask_on(geometry):
    data = np.random.default_rng(2).integers(0, 3, geometry.shape).astype(np.uint8)
    return LabelMap(data, geometry, LabelTable.from_card({"labels": LABELS}))


HERE = ["nibabel", "simpleitk", "monai"]


@pytest.mark.parametrize("library", HERE)
@given(geometry=grids(), channels=st.integers(1, 3), scaled=st.booleans())
def test_a_scan_comes_back_from_a_library(library, geometry, channels, scaled):
    scan = scan_on(geometry, channels, *((2.0, -1024.0) if scaled else (1.0, 0.0)))
    back = Volume.of(scan.to(library))
    np.testing.assert_array_equal(back.values(), scan.values())
    assert back.geometry.same_grid(geometry)
    np.testing.assert_allclose(back.affine, geometry.affine, atol=1e-3)


@pytest.mark.parametrize("library", HERE)
@given(geometry=grids(sheared=True))
@settings(max_examples=20)
def test_a_sheared_mask_comes_back_from_a_library(library, geometry):
    mask = mask_on(geometry)
    back = LabelMap.of(mask.to(library), labels=LABELS)
    np.testing.assert_array_equal(back.array, mask.array)
    assert back.geometry.same_grid(geometry)
    assert back.labels.names == ("left kidney", "right kidney")


@given(geometry=grids(), channels=st.integers(1, 3))
@settings(max_examples=20)
def test_what_looks_like_torchios_image_becomes_a_scan(geometry, channels):
    scan = scan_on(geometry, channels)
    back = Volume.of(Image(scan.tensor(), np.array(geometry.affine)))
    np.testing.assert_array_equal(back.values(), scan.values())
    assert back.geometry.same_grid(geometry)


@pytest.mark.parametrize("native", NATIVE.values(), ids=NATIVE)
def test_simpleitk_sees_each_voxel_where_it_lies_in_lps(native):
    image = scan_on(native).to("simpleitk")
    index = tuple(n - 1 for n in native.shape)
    here = native.to_world(index) * [-1, -1, 1]
    np.testing.assert_allclose(image.TransformIndexToPhysicalPoint(index), here, atol=1e-3)
    assert image.GetPixel(index) == scan_on(native).array[index]


def test_a_scan_is_the_same_through_the_readers_of_every_library(tmp_path):
    scan = scan_on(NATIVE["oblique"])
    path = tmp_path / "scan.nii.gz"
    scan.save(path)
    images = [
        nibabel.load(path),
        SimpleITK.ReadImage(str(path)),
        LoadScan()(str(path)),
        Image(*read_tensor(path)),
    ]
    for image in images:
        back = Volume.of(image)
        np.testing.assert_array_equal(back.array, scan.array)
        assert back.geometry.fits(scan.geometry)


def test_a_mask_from_nibabel_is_the_twin_of_its_scan_to_the_bit(tmp_path):
    raw = nibabel.Nifti1Image(np.zeros((5, 4, 3), np.int16), np.diag([-2, 2, 3, 1]))
    raw.header["sform_code"], raw.header["qform_code"] = 4, 2
    raw.header["xyzt_units"] = 10
    nibabel.save(raw, tmp_path / "scan.nii.gz")
    image = nibabel.load(tmp_path / "scan.nii.gz")
    image = nibabel.Nifti1Image(np.ones((5, 4, 3), np.uint8), image.affine, image.header)
    LabelMap.of(image, labels=LABELS).save(tmp_path / "mask.nii.gz")
    one, twin = (nibabel.load(tmp_path / f"{name}.nii.gz").header for name in ("scan", "mask"))
    for field in ("pixdim", "sform_code", "qform_code", "srow_x", "quatern_b", "xyzt_units"):
        np.testing.assert_array_equal(one[field], twin[field])


def test_a_nifti_in_metres_counts_in_millimetres():
    image = nibabel.Nifti1Image(np.zeros((3, 3, 3), np.int16), np.diag([0.001, 0.001, 0.002, 1]))
    image.header.set_xyzt_units("meter")
    assert Volume.of(image).spacing_mm == pytest.approx((1, 1, 2))


def test_a_4d_image_becomes_channels_in_every_library():
    data = np.random.default_rng(0).normal(size=(4, 5, 3, 2)).astype(np.float32)
    itk = SimpleITK.JoinSeries(
        [SimpleITK.GetImageFromArray(np.ascontiguousarray(data[..., c].T)) for c in range(2)]
    )
    for image in (nibabel.Nifti1Image(data, np.diag([-1, -1, 1, 1])), itk):
        scan = Volume.of(image)
        np.testing.assert_array_equal(scan.values(), np.moveaxis(data, -1, 0))
        np.testing.assert_array_equal(scan.affine, np.diag([-1, -1, 1, 1]))


def test_a_metatensor_in_lps_is_turned():
    image = MetaTensor(torch.zeros(1, 3, 4, 5), affine=torch.eye(4), meta={"space": "LPS"})
    np.testing.assert_array_equal(Volume.of(image).affine, np.diag([-1, -1, 1, 1]))


def test_a_metatensor_with_waiting_transforms_is_refused():
    image = scan_on(NATIVE["oblique"]).to("monai")
    waiting = Orientation("LPS", labels=None, lazy=True)(image)
    with pytest.raises(BadScan, match="wait to be carried out"):
        Volume.of(waiting)


def test_a_slice_of_a_metatensor_is_taken_for_no_volume():
    image = scan_on(NATIVE["oblique"]).to("monai")
    assert Volume.of(image[0]).array.shape == Volume.of(image).array.shape
    with pytest.raises(BadScan, match="nothing says which"):
        Volume.of(image[..., 2])


def test_an_array_needs_its_affine():
    array = np.arange(24.0).reshape(2, 3, 4)
    scan = Volume.of(array, affine=np.diag([1, 2, 3, 1]))
    assert (scan.array.shape, scan.spacing_mm) == ((2, 3, 4), (1, 2, 3))
    with pytest.raises(BadScan, match="array with affine="):
        Volume.of(array)


def test_what_is_no_mask_is_refused():
    affine = np.eye(4)
    with pytest.raises(BadLabels, match="no whole numbers"):
        LabelMap.of(np.full((2, 2, 2), 0.5), affine=affine)
    with pytest.raises(BadLabels, match="2 channels"):
        LabelMap.of(np.zeros((2, 2, 2, 2)), affine=affine)
    with pytest.raises(BadLabels, match="no label names"):
        LabelMap.of(np.full((2, 2, 2), 7), affine=affine, labels=LABELS)


def test_an_unknown_library_is_refused_by_name():
    with pytest.raises(MedsegError, match="found 'itk', expected nibabel, simpleitk"):
        scan_on(NATIVE["coarse"]).to("itk")


def test_without_torchio_the_message_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "torchio", None)
    with pytest.raises(MedsegError, match="pip install torchio"):
        scan_on(NATIVE["coarse"]).to("torchio")


def test_tensors_are_copies_with_a_channel_first():
    scan, mask = scan_on(NATIVE["coarse"], 2), mask_on(NATIVE["coarse"])
    assert (scan.tensor().shape, scan.tensor().dtype) == ((2, 9, 8, 7), torch.float32)
    assert (mask.tensor().shape, mask.tensor().dtype) == ((1, 9, 8, 7), torch.uint8)
    mask.tensor().zero_()
    assert mask.data.any()
    many = LabelMap(np.full((2, 2, 2), 300), Geometry((2, 2, 2), np.eye(4)))
    assert many.tensor().dtype == torch.int32
    assert many.tensor().unique().tolist() == [300]


@pytest.mark.parametrize("native", NATIVE.values(), ids=NATIVE)
def test_a_monai_pipeline_loads_with_us_and_saves_with_us(tmp_path, native):
    write_volume(scan_on(native), tmp_path / "scan.nii.gz")
    write_labels(mask_on(native), tmp_path / "truth.nii.gz")

    def threshold(data):
        return {**data, "mask": (data["image"] > 0).to(torch.uint8)}

    road = Compose(
        [LoadScand("image"), threshold, SaveMaskd("mask", tmp_path / "masks", labels={"bright": 1})]
    )
    road({"image": str(tmp_path / "scan.nii.gz")})
    mask = medseg.read_labels(tmp_path / "masks" / "scan.nii.gz")
    np.testing.assert_array_equal(mask.array, scan_on(native).array > 0)
    assert np.array_equal(mask.affine, read(tmp_path / "scan.nii.gz").affine)
    with pytest.raises(RuntimeError):  # nothing is replaced unasked
        road({"image": str(tmp_path / "scan.nii.gz")})


def test_a_turned_mask_is_saved_on_its_own_grid(tmp_path):
    scan_on(NATIVE["oblique"]).save(tmp_path / "scan.nii.gz")
    turned = Orientation("PSL", labels=None)(LoadScan()(str(tmp_path / "scan.nii.gz")))
    SaveMask(tmp_path / "masks", labels={"bright": 1})(turned > 0)
    mask = medseg.read_labels(tmp_path / "masks" / "scan.nii.gz")
    assert mask.geometry.fits(geometry_of(turned))
    expected = scan_on(NATIVE["oblique"]).array > 0
    assert mask.array.sum() == expected.sum()


def test_saving_one_hot_or_nameless_masks_is_refused(tmp_path):
    save = SaveMask(tmp_path, labels=LABELS)
    with pytest.raises(BadLabels, match="AsDiscrete"):
        save(MetaTensor(torch.zeros(2, 3, 3, 3), meta={"filename_or_obj": "a.nii"}))
    with pytest.raises(MedsegError, match="which scan"):
        save(MetaTensor(torch.zeros(1, 3, 3, 3)))


def test_values_are_light_to_import():
    program = (
        "import sys, medseg; medseg.Volume, medseg.LabelMap; "
        "print(sorted({'torch', 'monai', 'matplotlib', 'SimpleITK'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout == "[]\n", done.stderr


@pytest.mark.parametrize(
    "line",
    [
        "medseg.Volume.of(nibabel.Nifti1Image(data, affine))",
        "medseg.Volume.of(Like(data[None], affine))",
        "medseg.Volume.of(data, affine=affine)",
    ],
)
def test_an_object_of_one_library_loads_no_other(line):
    program = (
        "import sys, nibabel, numpy as np\n"
        "import medseg\n"
        "class Like:\n"
        "    def __init__(self, data, affine): self.data, self.affine = data, affine\n"
        "data, affine = np.zeros((2, 3, 4), np.int16), np.eye(4)\n"
        f"assert {line}.geometry.shape == (2, 3, 4)\n"
        "print(sorted({'torch', 'monai', 'SimpleITK'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout == "[]\n", done.stderr


def test_a_mask_of_a_mask_keeps_its_names():
    mask = LabelMap(np.ones((2, 2, 2), np.uint8), Geometry((2, 2, 2), np.eye(4)))
    named = mask.named(LabelTable.from_card({"labels": LABELS}))
    assert LabelMap.of(named).labels == named.labels
    other = LabelMap.of(named, labels={"liver": 1}).labels
    assert other is not None and other.names == ("liver",)


def test_the_module_lists_its_api_alone():
    names = dir(medseg)
    assert names == sorted(medseg.__all__)
    assert all(getattr(medseg, name) is not None for name in names)


def test_an_origin_keeps_no_path_of_a_converted_object():
    assert Volume.of(scan_on(NATIVE["coarse"]).to("monai")).origin == Origin()
