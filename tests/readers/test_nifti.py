"""A NIfTI file is read to the bit, or refused with the reason."""

import gzip
import struct

import nibabel as nib
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from medseg.errors import BadScan, MedsegError, NotAVolume
from medseg.geometry import Geometry
from medseg.readers.nifti import volume as nifti
from medseg.readers.nifti.forms import MissingForm
from medseg.readers.values import NonFinite
from medseg.writers import write_volume

OBLIQUE = np.array([[-1.9, 0.3, 0.1, 20], [0.4, 1.4, 0.2, -30], [0.1, -0.2, 2.9, 7], [0, 0, 0, 1]])
SHAPE = (5, 6, 4)


def voxels(dtype="int16", shape=SHAPE):
    """Every voxel differs, so that any mix-up of order shows."""
    return np.arange(np.prod(shape)).reshape(shape).astype(dtype)


def save(path, data, affine=OBLIQUE, *, kind=nib.Nifti1Image, slope=None, inter=0.0, **fields):
    image = kind(data, affine, dtype=data.dtype)
    for name, value in fields.items():
        image.header[name] = value
    if slope is not None:
        image.header.set_slope_inter(slope, inter)
    nib.save(image, path)
    return path


def patch(path, offset, fmt, *values):
    """Overwrite header bytes of an uncompressed file."""
    content = bytearray(path.read_bytes())
    struct.pack_into(fmt, content, offset, *values)
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("dtype", ["u1", "i1", "i2", "u2", "i4", "u4", "i8", "u8", "f4"])
@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "a.img"])
def test_stored_values_and_type_survive(tmp_path, dtype, name):
    kind = nib.Nifti1Pair if name == "a.img" else nib.Nifti1Image
    path = save(tmp_path / name, voxels(dtype), kind=kind)
    volume = nifti.read(path)
    assert volume.data.dtype == np.dtype(dtype)
    assert np.array_equal(volume.data[0], voxels(dtype))
    assert np.array_equal(volume.geometry.affine, nib.load(path).affine)


def test_float64_becomes_float32(tmp_path):
    volume = nifti.read(save(tmp_path / "a.nii", voxels("f8") / 8))
    assert volume.data.dtype == np.float32
    assert np.array_equal(volume.data[0], voxels("f8") / 8)


def test_nifti2_is_read_with_its_double_affine(tmp_path):
    path = save(
        tmp_path / "a.nii.gz",
        voxels(),
        OBLIQUE / 3 + np.diag([0, 0, 0, 2 / 3]),
        kind=nib.Nifti2Image,
    )
    volume = nifti.read(path)
    assert np.array_equal(volume.geometry.affine, nib.load(path).affine)
    assert volume.origin.forms.nifti_version == 2


@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
def test_big_endian_is_read_in_native_order(tmp_path, kind):
    image = kind(voxels(), OBLIQUE, kind.header_class(endianness=">"))
    nib.save(image, tmp_path / "a.nii")
    volume = nifti.read(tmp_path / "a.nii")
    assert np.array_equal(volume.data[0], voxels())
    assert volume.data.dtype.isnative


@pytest.mark.parametrize("given_name", ["a.hdr", "a.img"])
def test_either_file_of_a_pair_may_be_named(tmp_path, given_name):
    save(tmp_path / "a.img", voxels(), kind=nib.Nifti1Pair)
    assert nifti.recognises(tmp_path / given_name)
    volume = nifti.read(tmp_path / given_name)
    assert np.array_equal(volume.data[0], voxels())
    assert volume.origin.case == "a"


def test_pair_without_its_voxels_is_refused(tmp_path):
    save(tmp_path / "a.img", voxels(), kind=nib.Nifti1Pair)
    (tmp_path / "a.img").unlink()
    with pytest.raises(BadScan, match=r"\.img file is missing"):
        nifti.read(tmp_path / "a.hdr")


def test_compression_is_told_from_the_content_not_the_name(tmp_path):
    path = save(tmp_path / "a.nii.gz", voxels())
    plain, packed = tmp_path / "plain.nii.gz", tmp_path / "packed.nii"
    plain.write_bytes(gzip.decompress(path.read_bytes()))
    packed.write_bytes(path.read_bytes())
    for wrong in (plain, packed):
        assert np.array_equal(nifti.read(wrong).data[0], voxels())


def test_scaling_stays_beside_stored_integers(tmp_path):
    path = save(tmp_path / "a.nii", voxels(), slope=2.5, inter=-7)
    volume = nifti.read(path)
    assert (volume.data.dtype, volume.slope, volume.intercept) == (np.int16, 2.5, -7.0)
    assert np.allclose(volume.values()[0], nib.load(path).get_fdata())


def test_slope_zero_means_no_scaling(tmp_path):
    path = patch(save(tmp_path / "a.nii", voxels()), 112, "<ff", 0.0, 5.0)
    volume = nifti.read(path)
    assert (volume.slope, volume.intercept) == (1.0, 0.0)


def test_scaling_out_of_range_is_refused(tmp_path):
    path = patch(save(tmp_path / "a.nii", voxels()), 112, "<ff", 3e37, 0.0)
    with pytest.raises(BadScan, match="out of range"):
        nifti.read(path)


def test_4d_of_one_volume_is_3d(tmp_path):
    volume = nifti.read(save(tmp_path / "a.nii", voxels(shape=(*SHAPE, 1))))
    assert volume.geometry.shape == SHAPE


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
@pytest.mark.parametrize("chosen", [0, 1, 2])
def test_4d_is_refused_until_a_volume_is_chosen(tmp_path, name, chosen):
    data = voxels(shape=(*SHAPE, 3))
    path = save(tmp_path / name, data)
    with pytest.raises(BadScan, match=r"4D: the file holds 3 volumes.*--volume"):
        nifti.read(path)
    assert np.array_equal(nifti.read(path, volume=chosen).data[0], data[..., chosen])
    with pytest.raises(BadScan, match="no volume 3"):
        nifti.read(path, volume=3)


def test_sform_wins_over_another_qform_and_says_so(tmp_path):
    image = nib.Nifti1Image(voxels(), OBLIQUE)
    image.set_sform(OBLIQUE, 1)
    image.set_qform(np.diag([2, 1.5, 3, 1]), 1)
    nib.save(image, tmp_path / "a.nii")
    volume = nifti.read(tmp_path / "a.nii")
    assert np.allclose(volume.geometry.affine, OBLIQUE)
    assert any("sform and qform disagree by" in w for w in volume.origin.warnings)


def test_equal_forms_give_no_warning(tmp_path):
    rigid = np.array([[0, 0, 2.0, 5], [-1.5, 0, 0, 6], [0, 3, 0, 7], [0, 0, 0, 1]])
    image = nib.Nifti1Image(voxels(), rigid)
    image.set_qform(rigid, 1)
    nib.save(image, tmp_path / "a.nii")
    assert nifti.read(tmp_path / "a.nii").origin.warnings == ()


def test_sheared_sform_is_kept_and_named(tmp_path):
    sheared = np.array([[2, 0, 0.7, 0], [0, 2, 0, 0], [0, 0, 3.0, 0], [0, 0, 0, 1]])
    volume = nifti.read(save(tmp_path / "a.nii", voxels(), sheared))
    assert np.allclose(volume.geometry.affine, sheared)
    angle = np.degrees(np.arctan2(0.7, 3))
    assert any(f"sheared by {angle:.2f} degrees" in w for w in volume.origin.warnings)


def test_no_form_is_refused_unless_told(tmp_path):
    image = nib.Nifti1Image(voxels(), None)
    image.header.set_zooms((2, 3, 4))
    nib.save(image, tmp_path / "a.nii")
    with pytest.raises(BadScan, match=r"no geometry.*sform and qform"):
        nifti.read(tmp_path / "a.nii")
    volume = nifti.read(tmp_path / "a.nii", missing_form=MissingForm.SPACING)
    assert volume.geometry.spacing_mm == (2, 3, 4)
    assert np.array_equal(volume.geometry.affine, nib.load(tmp_path / "a.nii").affine)
    assert any("orientation and position are unknown" in w for w in volume.origin.warnings)


@pytest.mark.parametrize(("code", "scale"), [(1, 1000.0), (3, 0.001)])
def test_metres_and_micrometres_become_millimetres(tmp_path, code, scale):
    affine = np.diag([0.02, 0.02, 0.03, 1]) if code == 1 else np.diag([20.0, 20, 30, 1])
    volume = nifti.read(save(tmp_path / "a.nii", voxels(), affine, xyzt_units=code))
    assert np.allclose(volume.geometry.spacing_mm, np.diag(affine)[:3] * scale)
    assert any("metres" in w for w in volume.origin.warnings)


@pytest.mark.parametrize("slope", [1.0, -1.0])
def test_nan_and_infinity_become_the_smallest_finite_value(tmp_path, slope):
    data = voxels("f4") + 3
    data[0, 0, 0], data[1, 0, 0], data[2, 0, 0] = np.nan, np.inf, -np.inf
    path = patch(save(tmp_path / "a.nii", data), 112, "<ff", slope, 0.0)
    volume = nifti.read(path)
    finite = data[np.isfinite(data)] * slope
    assert np.allclose(volume.values()[0, :3, 0, 0], finite.min())
    assert any("3 voxels are not finite (1 NaN, 2 infinite)" in w for w in volume.origin.warnings)


def test_nan_is_kept_when_told(tmp_path):
    data = voxels("f4")
    data[0, 0, 0] = np.nan
    volume = nifti.read(save(tmp_path / "a.nii", data), nonfinite=NonFinite.KEEP)
    assert np.isnan(volume.data[0, 0, 0, 0])
    assert "kept as they are" in volume.origin.warnings[0]


def test_all_nan_is_refused(tmp_path):
    with pytest.raises(BadScan, match="no voxel has a finite value"):
        nifti.read(save(tmp_path / "a.nii", np.full(SHAPE, np.nan, "f4")))


def test_one_slice_is_read_and_said(tmp_path):
    volume = nifti.read(save(tmp_path / "a.nii", voxels(shape=(5, 6))))
    assert volume.geometry.shape == (5, 6, 1)
    assert "the scan is a single slice" in volume.origin.warnings


@pytest.mark.parametrize(
    "dtype",
    [np.complex64, np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")])],
    ids=["complex", "rgb"],
)
def test_voxels_of_several_numbers_are_no_volume(tmp_path, dtype):
    with pytest.raises(NotAVolume, match="not one value each"):
        nifti.read(save(tmp_path / "a.nii", np.zeros(SHAPE, dtype)))


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
@pytest.mark.parametrize("share", [0.002, 0.3, 0.6, 0.99])
def test_truncated_file_is_refused(tmp_path, name, share):
    data = np.random.default_rng(1).integers(0, 1000, (20, 20, 20)).astype("i2")
    path = save(tmp_path / name, data)
    content = path.read_bytes()
    path.write_bytes(content[: max(1, int(len(content) * share))])
    with pytest.raises(BadScan, match=r"truncated|not a NIfTI"):
        nifti.read(path)


def test_flipped_bit_in_a_compressed_file_is_found_by_its_checksum(tmp_path):
    path = save(tmp_path / "a.nii.gz", np.random.default_rng(1).integers(0, 999, (20, 20, 20)))
    content = bytearray(path.read_bytes())
    content[-6] ^= 1
    path.write_bytes(content)
    with pytest.raises(BadScan, match="corrupt"):
        nifti.read(path)


@pytest.mark.parametrize("content", [b"", b"hello", b"hello " * 400, b"\x1f\x8b", b"\x1f\x8bjunk"])
@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_other_content_is_refused_by_a_name_that_promises_nifti(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content)
    assert nifti.recognises(path)
    with pytest.raises(BadScan, match=r"NIfTI|compressed") as refusal:
        nifti.read(path)
    assert "hello" not in str(refusal.value)


def test_missing_file_is_refused(tmp_path):
    with pytest.raises(BadScan, match="No such file"):
        nifti.read(tmp_path / "a.nii.gz")


def test_analyze_is_refused_for_its_missing_side(tmp_path):
    nib.save(nib.AnalyzeImage(voxels(), np.eye(4)), tmp_path / "a.img")
    with pytest.raises(BadScan, match=r"ANALYZE 7\.5"):
        nifti.read(tmp_path / "a.hdr")


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("dim", [(32767, 32767, 32767), (0, 6, 4), (-5, 6, 4), (5, 6, 30000)])
def test_absurd_dimensions_are_refused_before_memory_is_taken(tmp_path, dim, packed):
    path = patch(save(tmp_path / "a.nii", voxels()), 42, "<hhh", *dim)
    if packed:
        path.write_bytes(gzip.compress(path.read_bytes()))
    with pytest.raises(BadScan, match=r"truncated|dimensions"):
        nifti.read(path)


@pytest.mark.parametrize(
    ("offset", "fmt", "values", "reason"),
    [
        (252, "<h", (99,), "unknown kind"),  # qform_code
        (254, "<h", (-3,), "unknown kind"),  # sform_code
        (280, "<ffff", (0, 0, 0, 0), "singular"),  # srow_x
        (280, "<f", (float("nan"),), "affine"),
        (280, "<f", (1e30,), "affine is absurd"),
        (280, "<f", (5000.0,), "spacing is absurd"),
        (292, "<f", (1e20,), "affine is absurd"),
        (70, "<h", (77,), "unknown type"),  # datatype
        (72, "<h", (8,), "contradicts itself"),  # bitpix
        (108, "<f", (100.0,), "vox_offset"),
        (108, "<f", (float("nan"),), "vox_offset"),
        (123, "<b", (7,), "unit of length"),
        (112, "<ff", (float("inf"), 0), "not finite"),
        (40, "<h", (1,), "one dimension"),
    ],
)
def test_field_that_cannot_be_trusted_is_refused(tmp_path, offset, fmt, values, reason):
    path = patch(save(tmp_path / "a.nii", voxels()), offset, fmt, *values)
    with pytest.raises(MedsegError, match=reason):
        nifti.read(path)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(where=st.integers(0, 351), bit=st.integers(0, 7))
def test_flipped_header_bit_never_crashes(tmp_path, where, bit):
    path = save(tmp_path / "a.nii", voxels())
    content = bytearray(path.read_bytes())
    content[where] ^= 1 << bit
    path.write_bytes(content)
    try:
        volume = nifti.read(path)
    except MedsegError:
        return
    assert isinstance(volume.geometry, Geometry)
    assert np.isfinite(volume.values()).all()


def test_no_free_text_of_the_header_is_kept(tmp_path):
    path = save(tmp_path / "a.nii", voxels(), descrip=b"Jane Doe", aux_file=b"Doe", db_name=b"Doe")
    volume = nifti.read(path)
    assert "Doe" not in repr(volume.origin)


@pytest.mark.parametrize("squared", [1 + 1e-6, 1 + 1e-4, 1.005])
@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
@pytest.mark.parametrize("qfac", [1, -1, 0, 3])
def test_a_quaternion_that_rounding_made_too_long_is_a_half_turn(tmp_path, squared, kind, qfac):
    image = kind(voxels(), np.diag([1.2, 1.1, 2, 1]))
    image.header["sform_code"], image.header["qform_code"] = 0, 1
    axis = np.array([0.6, 0.0, 0.8])
    for name, value in zip("bcd", axis * np.sqrt(squared), strict=True):
        image.header[f"quatern_{name}"] = value
    path = tmp_path / "a.nii"
    with path.open("wb") as file:
        image.header["pixdim"][0] = qfac
        image.header["vox_offset"] = 544 if kind is nib.Nifti2Image else 352
        file.write(image.header.binaryblock + bytes(4) + voxels().tobytes("F"))
    turn = 2 * np.outer(axis, axis) - np.eye(3)
    steps = turn * (1.2, 1.1, -2 if qfac < 0 else 2)
    # 5e-3: what a quaternion half a hundredth too long leaves open
    scan = nifti.read(path)
    np.testing.assert_allclose(scan.geometry.affine[:3, :3], steps, atol=5e-3)
    write_volume(scan, tmp_path / "again.nii.gz")
    again = nib.load(tmp_path / "again.nii.gz").get_qform()
    np.testing.assert_allclose(again, scan.geometry.affine, atol=1e-5)


def test_a_quaternion_far_too_long_is_refused(tmp_path):
    path = patch(save(tmp_path / "a.nii", voxels()), 252, "<2h", 1, 0)
    with pytest.raises(BadScan, match="qform"):
        nifti.read(patch(path, 256, "<3f", 0.9, 0.9, 0.0))


@pytest.mark.parametrize("value", [0.0, float("nan"), 1.0])
@pytest.mark.parametrize("count", [12, 1])
def test_a_void_sform_beside_a_good_qform_is_passed_over(tmp_path, value, count):
    path = save(tmp_path / "a.nii", voxels(), affine=np.diag([2, 3, 4, 1]), qform_code=1)
    patch(path, 280, "<12f", 0.0, *[0.0] * 11)
    patch(path, 280, f"<{count}f", *[value] * count)
    scan = nifti.read(path)
    np.testing.assert_allclose(scan.geometry.spacing_mm, (2, 3, 4))
    assert "qform is used" in str(scan.origin.warnings)
    assert (scan.origin.forms.sform, scan.origin.forms.sform_code) == (None, 0)


def test_a_blank_sform_alone_is_no_geometry(tmp_path):
    path = save(tmp_path / "a.nii", voxels(), qform_code=0)
    with pytest.raises(BadScan, match="geometry"):
        nifti.read(patch(path, 280, "<12f", *[0.0] * 12))


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_a_file_with_more_volumes_than_its_header_counts_is_refused(tmp_path, name):
    data = voxels(shape=(16, 16, 8))
    path = save(tmp_path / name, data)
    assert np.array_equal(nifti.read(path).data[0], data)
    content = gzip.decompress(path.read_bytes()) if name.endswith("gz") else path.read_bytes()
    content += data.tobytes()
    path.write_bytes(gzip.compress(content) if name.endswith("gz") else content)
    with pytest.raises(BadScan, match="ambiguous"):
        nifti.read(path)


@pytest.mark.parametrize("words", ["/annex/objects/MD5E-s9--1.nii.gz", "version https://git-lfs."])
def test_what_stands_for_a_file_that_was_not_fetched_is_named(tmp_path, words):
    (tmp_path / "a.nii.gz").write_text(words)
    with pytest.raises(BadScan, match="not fetched"):
        nifti.read(tmp_path / "a.nii.gz")


@pytest.mark.parametrize(
    "dim", [(4, *SHAPE, 0), (4, *SHAPE, -1), (5, *SHAPE, 1, 0), (5, *SHAPE, 0, 0), (7, *SHAPE)]
)
def test_axes_of_size_zero_that_nobody_uses_count_as_one(tmp_path, dim):
    path = save(tmp_path / "a.nii", voxels())
    volume = nifti.read(patch(path, 40, f"<{len(dim)}h", *dim))
    assert np.array_equal(volume.data[0], voxels())


@pytest.mark.parametrize("axis", [1, 2, 3])
def test_a_spatial_axis_of_size_zero_is_refused(tmp_path, axis):
    with pytest.raises(BadScan, match="dimensions are corrupt"):
        nifti.read(patch(save(tmp_path / "a.nii", voxels()), 40 + 2 * axis, "<h", 0))


@pytest.mark.parametrize("intent", [1005, 1006, 1007, 1008, 2003, 3001, 3002, 3007])
def test_vectors_surfaces_and_cifti_are_no_volumes(tmp_path, intent):
    path = save(tmp_path / "a.nii", np.zeros((3, 4, 5, 1, 3), np.float32))
    with pytest.raises(NotAVolume):
        nifti.read(path)
    flat = save(tmp_path / "b.nii", voxels(), intent_code=intent)
    with pytest.raises(NotAVolume):
        nifti.glimpse(flat)


def test_a_packed_file_that_claims_far_more_than_its_size_is_refused(tmp_path):
    path = save(tmp_path / "a.nii", voxels())
    patch(path, 40, "<4h", 3, 2000, 2000, 1000)
    packed = tmp_path / "a.nii.gz"
    packed.write_bytes(gzip.compress(path.read_bytes() + bytes(1 << 20)))
    with pytest.raises(BadScan, match="at most 1073741824"):
        nifti.read(packed)
