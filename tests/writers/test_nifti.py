"""A mask is the twin of its scan, and a converted scan is equal to it."""

import gzip
import itertools

import nibabel as nib
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from medseg.errors import BadLabels, BadOutput
from medseg.geometry import Geometry
from medseg.labels import LabelTable
from medseg.readers.labels import read_labels
from medseg.readers.nifti import volume as nifti
from medseg.volume import LabelMap, Origin, Volume
from medseg.writers import write_labels, write_volume

SHAPE = (5, 6, 4)
FIELDS = (
    "pixdim",
    "sform_code",
    "qform_code",
    "quatern_b",
    "quatern_c",
    "quatern_d",
    "qoffset_x",
    "qoffset_y",
    "qoffset_z",
    "xyzt_units",
)
FREE_TEXT = {"descrip": b"Jane Doe", "aux_file": b"doe.txt", "db_name": b"doe", "intent_name": b"d"}


def orientations():
    """The eight sign patterns, two other axis orders, and an oblique of each handedness."""
    spacing = np.diag([0.9, 1.3, 2.7])
    found = {}
    for signs in itertools.product((1, -1), repeat=3):
        code = "".join(pair[sign < 0] for pair, sign in zip(("RL", "AP", "SI"), signs, strict=True))
        found[code] = np.diag(signs) @ spacing
    found["ASR"] = np.eye(3)[:, [1, 2, 0]] @ spacing
    found["SRA"] = np.eye(3)[:, [2, 0, 1]] @ spacing
    turn = Rotation.from_euler("xyz", [17, -31, 53], degrees=True).as_matrix()
    found["oblique"] = turn @ spacing
    found["oblique mirrored"] = turn @ np.diag([1, -1, 1]) @ spacing
    return found


ORIENTATIONS = orientations()
FORMS = {"both": (True, True), "sform only": (True, False), "qform only": (False, True)}


def scan_file(path, axes, *, sform_code, qform_code, kind=nib.Nifti1Image, units=10):
    affine = nib.affines.from_matvec(axes, (11.3, -27.9, 5.1))
    image = kind(np.zeros(SHAPE, "i2"), None)
    image.header.set_qform(affine, qform_code)
    image.header.set_sform(affine if sform_code else None, sform_code)
    image.header["xyzt_units"] = units
    for name in FREE_TEXT.keys() & set(image.header.keys()):
        image.header[name] = FREE_TEXT[name]
    image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"Jane Doe"))
    image.header["pixdim"][1:4] = np.linalg.norm(axes, axis=0)
    image.header["pixdim"][4] = 2.5
    image.to_filename(path)
    return path


def mask_of(volume, labels=None):
    data = np.zeros(volume.geometry.shape, np.uint8)
    data[1:3, 2:5, 1] = 1
    return LabelMap(data, volume.geometry, labels, volume.origin)


def assert_twins(scan_path, mask_path):
    scan, mask = nib.load(scan_path), nib.load(mask_path)
    assert mask.shape == scan.shape[:3]
    assert mask.affine.tobytes() == scan.affine.tobytes()
    assert mask.header.sizeof_hdr == scan.header.sizeof_hdr
    for name in FIELDS:
        assert np.array_equal(mask.header[name], scan.header[name]), name
    for get in ("get_sform", "get_qform"):
        ours, theirs = getattr(mask, get)(coded=True), getattr(scan, get)(coded=True)
        assert ours[1] == theirs[1]
        assert np.array_equal(ours[0], theirs[0])


@pytest.mark.parametrize("code", [1, 2, 3, 4])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_mask_repeats_the_scans_geometry_to_the_bit(tmp_path, orientation, form, code):
    sform, qform = FORMS[form]
    scan = scan_file(
        tmp_path / "scan.nii.gz",
        ORIENTATIONS[orientation],
        sform_code=code * sform,
        qform_code=code * qform,
    )
    volume = nifti.read(scan)
    write_labels(mask_of(volume), tmp_path / "mask.nii.gz")
    assert_twins(scan, tmp_path / "mask.nii.gz")
    assert np.array_equal(volume.geometry.affine, nib.load(scan).affine)


@pytest.mark.parametrize("units", [0, 1, 2, 3, 10])
@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
def test_mask_repeats_units_and_version(tmp_path, kind, units):
    scan = scan_file(
        tmp_path / "scan.nii",
        ORIENTATIONS["oblique"] * (0.001 if units == 1 else 1),
        sform_code=1,
        qform_code=2,
        kind=kind,
        units=units,
    )
    write_labels(mask_of(nifti.read(scan)), tmp_path / "mask.nii.gz")
    assert_twins(scan, tmp_path / "mask.nii.gz")


def test_mask_keeps_both_of_two_forms_that_disagree(tmp_path):
    image = nib.Nifti1Image(np.zeros(SHAPE, "i2"), None)
    image.set_sform(nib.affines.from_matvec(ORIENTATIONS["oblique"], (1, 2, 3)), 2)
    image.set_qform(np.diag([1, 1, 2, 1]), 1)
    nib.save(image, tmp_path / "scan.nii")
    write_labels(mask_of(nifti.read(tmp_path / "scan.nii")), tmp_path / "mask.nii")
    assert_twins(tmp_path / "scan.nii", tmp_path / "mask.nii")


def test_mask_of_a_big_endian_scan_is_its_twin(tmp_path):
    image = nib.Nifti1Image(np.zeros(SHAPE, "i2"), None, nib.Nifti1Header(endianness=">"))
    image.set_sform(nib.affines.from_matvec(ORIENTATIONS["oblique"], (1, 2, 3)), 2)
    nib.save(image, tmp_path / "scan.nii")
    write_labels(mask_of(nifti.read(tmp_path / "scan.nii")), tmp_path / "mask.nii")
    assert_twins(tmp_path / "scan.nii", tmp_path / "mask.nii")


def test_no_free_text_reaches_the_mask_or_the_converted_scan(tmp_path):
    scan = scan_file(tmp_path / "scan.nii.gz", ORIENTATIONS["RAS"], sform_code=1, qform_code=1)
    volume = nifti.read(scan)
    write_labels(mask_of(volume), tmp_path / "mask.nii")
    write_volume(volume, tmp_path / "copy.nii")
    assert b"Doe" in gzip.decompress(scan.read_bytes())
    for path in (tmp_path / "mask.nii", tmp_path / "copy.nii"):
        assert b"Doe" not in path.read_bytes()
        assert b"doe" not in path.read_bytes()


def test_forms_of_another_grid_are_not_repeated(tmp_path):
    volume = nifti.read(
        scan_file(tmp_path / "scan.nii", ORIENTATIONS["LPS"], sform_code=4, qform_code=1)
    )
    moved = volume.geometry.affine.copy()
    moved[:3, 3] += 10
    cropped = LabelMap(
        np.zeros((2, 3, 2), np.uint8), Geometry((2, 3, 2), moved), origin=volume.origin
    )
    write_labels(cropped, tmp_path / "mask.nii")
    assert np.allclose(nib.load(tmp_path / "mask.nii").affine, moved, atol=1e-5)


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_mask_without_forms_says_its_grid_twice_in_mm(tmp_path, orientation):
    affine = nib.affines.from_matvec(ORIENTATIONS[orientation], (11.3, -27.9, 5.1))
    labelmap = LabelMap(np.ones(SHAPE, np.uint8), Geometry(SHAPE, affine))
    write_labels(labelmap, tmp_path / "mask.nii.gz")
    mask = nib.load(tmp_path / "mask.nii.gz")
    for read, code in (mask.get_sform(coded=True), mask.get_qform(coded=True)):
        assert code == 1
        assert np.allclose(read, affine, atol=1e-4)  # float32 of positions up to 28 mm
    assert mask.header.get_xyzt_units()[0] == "mm"
    assert np.allclose(mask.header.get_zooms(), np.linalg.norm(affine[:3, :3], axis=0))


def test_sheared_grid_is_said_by_the_sform_alone(tmp_path):
    affine = np.array([[1, 0, 0.4, 3], [0, 1, 0.1, 5], [0, 0, 2, 7], [0, 0, 0, 1]])
    write_labels(LabelMap(np.ones(SHAPE, np.uint8), Geometry(SHAPE, affine)), tmp_path / "m.nii")
    mask = nib.load(tmp_path / "m.nii")
    assert (int(mask.header["sform_code"]), int(mask.header["qform_code"])) == (1, 0)
    assert np.allclose(mask.affine, affine)
    assert np.allclose(mask.header["pixdim"][:4], [1, *np.linalg.norm(affine[:3, :3], axis=0)])


@pytest.mark.parametrize(("largest", "dtype"), [(3, "u1"), (255, "u1"), (256, "u2")])
def test_type_is_the_smallest_that_holds_the_table(tmp_path, largest, dtype):
    table = LabelTable.from_card({"labels": {"a": 1, "b": largest}})
    labelmap = LabelMap(np.ones(SHAPE, np.int64), Geometry(SHAPE, np.eye(4)), table)
    write_labels(labelmap, tmp_path / "m.nii.gz")
    assert nib.load(tmp_path / "m.nii.gz").get_data_dtype() == np.dtype(dtype)


def test_ignored_voxels_widen_the_type_rather_than_wrap(tmp_path):
    table = LabelTable.from_card({"labels": {"a": 1}, "ignore": 1000})
    data = np.ones(SHAPE, np.int32)
    data[0] = 1000
    write_labels(LabelMap(data, Geometry(SHAPE, np.eye(4)), table), tmp_path / "m.nii.gz")
    assert np.array_equal(read_labels(tmp_path / "m.nii.gz").data, data)


def test_negative_voxels_are_refused(tmp_path):
    labelmap = LabelMap(np.full(SHAPE, -2, np.int16), Geometry(SHAPE, np.eye(4)))
    with pytest.raises(BadLabels, match=r"no negative values; found -2"):
        write_labels(labelmap, tmp_path / "m.nii.gz")
    assert list(tmp_path.iterdir()) == []


def test_equal_masks_are_equal_bytes_without_name_or_time(tmp_path):
    labelmap = LabelMap(np.ones(SHAPE, np.uint8), Geometry(SHAPE, np.eye(4)))
    for name in ("one.nii.gz", "two.nii.gz"):
        write_labels(labelmap, tmp_path / name)
    content = (tmp_path / "one.nii.gz").read_bytes()
    assert content == (tmp_path / "two.nii.gz").read_bytes()
    assert content[3] == 0  # no file name in the gzip header
    assert content[4:8] == bytes(4)  # no time


@pytest.mark.parametrize("order", ["C", "F"])
def test_voxels_stay_in_place_whatever_the_memory_order(tmp_path, order):
    data = np.arange(np.prod(SHAPE)).reshape(SHAPE).astype(np.uint8, order=order)
    write_labels(LabelMap(data, Geometry(SHAPE, np.eye(4))), tmp_path / "m.nii.gz")
    assert np.array_equal(np.asarray(nib.load(tmp_path / "m.nii.gz").dataobj), data)


@pytest.mark.parametrize("name", ["m.gz", "m", "m.nrrd", "m.nii.bz2"])
def test_other_endings_are_refused(tmp_path, name):
    with pytest.raises(BadOutput, match="does not fit its format"):
        write_labels(
            LabelMap(np.ones(SHAPE, np.uint8), Geometry(SHAPE, np.eye(4))), tmp_path / name
        )


def test_unknown_format_is_refused(tmp_path):
    with pytest.raises(BadOutput, match="unknown format; found 'minc', expected nifti"):
        write_labels(
            LabelMap(np.ones(SHAPE, np.uint8), Geometry(SHAPE, np.eye(4))),
            tmp_path / "m",
            format="minc",
        )


@pytest.mark.parametrize(
    ("dtype", "slope", "intercept", "expected"),
    [
        ("i2", 1, 0, "i2"),
        ("u1", 1, 0, "u1"),
        ("i8", 1, 0, "i8"),
        ("u2", 1, -1024, "i2"),
        ("u2", 2, 0, "i2"),
        ("i2", 1000, 0, "i4"),
        ("u2", 0.5, 0, "f4"),
        ("f4", 1, 0, "i2"),
        ("f4", 0.25, 0, "f4"),
        ("i2", -1, 10, "i2"),
    ],
)
def test_converted_scan_holds_integers_where_its_values_are(
    tmp_path, dtype, slope, intercept, expected
):
    data = np.arange(np.prod(SHAPE)).reshape(SHAPE).astype(dtype)
    volume = Volume(data[None], Geometry(SHAPE, np.eye(4)), slope, intercept)
    write_volume(volume, tmp_path / "v.nii.gz")
    image = nib.load(tmp_path / "v.nii.gz")
    assert image.get_data_dtype() == np.dtype(expected)
    assert np.array_equal(image.get_fdata(), data * float(slope) + intercept)


def test_unsigned_values_below_their_intercept_do_not_wrap(tmp_path):
    data = np.array([0, 1, 65535], np.uint16).reshape(3, 1, 1)
    write_volume(
        Volume(data[None], Geometry((3, 1, 1), np.eye(4)), 1.0, -1000.0), tmp_path / "v.nii"
    )
    assert nib.load(tmp_path / "v.nii").get_fdata().ravel().tolist() == [-1000, -999, 64535]


def test_nan_is_written_as_it_is(tmp_path):
    data = np.array([1, np.nan, np.inf], np.float32).reshape(1, 3, 1, 1)
    write_volume(Volume(data, Geometry((3, 1, 1), np.eye(4))), tmp_path / "v.nii")
    assert np.array_equal(
        nib.load(tmp_path / "v.nii").get_fdata().ravel(), data.ravel(), equal_nan=True
    )


def test_channels_become_the_fourth_dimension(tmp_path):
    data = np.arange(2 * np.prod(SHAPE), dtype=np.int16).reshape(2, *SHAPE)
    write_volume(Volume(data, Geometry(SHAPE, np.eye(4)), origin=Origin()), tmp_path / "v.nii")
    assert np.array_equal(np.moveaxis(nib.load(tmp_path / "v.nii").get_fdata(), 3, 0), data)
