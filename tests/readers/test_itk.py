"""NRRD and MetaImage files, sheared ones too, are read as ITK reads them, or refused."""

import re

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from medseg.errors import BadScan, MedsegError, NotAVolume
from medseg.readers.itk import volume as itk

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0])
NAMES = ["a.nrrd", "a.nhdr", "a.mha", "a.mhd"]
PACKED = pytest.mark.parametrize("packed", [False, True], ids=["raw", "packed"])
EVERY = pytest.mark.parametrize("name", NAMES)


def itk_image(dtype=np.int16):
    """Oblique, off-centre, every voxel different; ITK's arrays are (Z, Y, X)."""
    image = sitk.GetImageFromArray(np.arange(60).reshape(3, 4, 5).astype(dtype))
    image.SetSpacing((0.8, 1.2, 2.5))
    image.SetOrigin((5.5, -6.5, 7.5))
    turn = Rotation.from_euler("xyz", [20, -30, 50], degrees=True).as_matrix()
    image.SetDirection(turn.ravel().tolist())
    return image


def expected_affine(image):
    affine = np.eye(4)
    steps = np.array(image.GetDirection()).reshape(3, 3) * np.array(image.GetSpacing())
    affine[:3, :3] = LPS_TO_RAS @ steps
    affine[:3, 3] = LPS_TO_RAS @ np.array(image.GetOrigin())
    return affine


def save(path, image=None, *, packed=False):
    sitk.WriteImage(image or itk_image(), str(path), packed)
    return path


def edit(path, *pairs):
    """Replace lines of the text header."""
    content = path.read_bytes()
    for old, new in pairs:
        changed = re.sub(old.encode(), new.encode(), content, count=1)
        assert changed != content, old
        content = changed
    path.write_bytes(content)
    return path


@EVERY
@PACKED
@pytest.mark.parametrize("dtype", ["i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f4"])
def test_values_and_place_are_those_of_itk(tmp_path, name, packed, dtype):
    image = itk_image(dtype)
    volume = itk.read(save(tmp_path / name, image, packed=packed))
    assert volume.data.dtype == np.dtype(dtype)
    assert np.array_equal(volume.data[0], sitk.GetArrayFromImage(image).T)
    # 1e-9: digits that MetaImage's text keeps of directions and spacing
    assert np.allclose(volume.geometry.affine, expected_affine(image), rtol=0, atol=1e-9)
    assert volume.origin.case == "a"


@EVERY
def test_content_decides_not_the_name(tmp_path, name):
    path = save(tmp_path / name)
    renamed = path.rename(tmp_path / "renamed.dat")
    assert itk.recognises(renamed)
    assert np.array_equal(itk.read(renamed).data[0], sitk.GetArrayFromImage(itk_image()).T)


@pytest.mark.parametrize("name", ["a.nrrd", "a.mha"])
def test_big_endian_is_read(tmp_path, name):
    path = save(tmp_path / name)
    big = sitk.GetArrayFromImage(itk_image()).astype(">i2").tobytes()
    path.write_bytes(path.read_bytes()[: -len(big)] + big)
    edit(
        path,
        ("endian: little", "endian: big")
        if name == "a.nrrd"
        else ("ByteOrderMSB = False", "ByteOrderMSB = True"),
    )
    assert np.array_equal(itk.read(path).data[0], sitk.GetArrayFromImage(itk_image()).T)


@pytest.mark.parametrize(
    ("space", "flip"),
    [
        ("right-anterior-superior", (1, 1, 1)),
        ("RAS", (1, 1, 1)),
        ("LPS", (-1, -1, 1)),
        ("left-anterior-superior", (-1, 1, 1)),
    ],
)
def test_every_anatomical_space_becomes_ras(tmp_path, space, flip):
    path = edit(save(tmp_path / "a.nrrd"), ("space: left-posterior-superior", f"space: {space}"))
    lps = LPS_TO_RAS @ expected_affine(itk_image())[:3]
    assert np.allclose(itk.read(path).geometry.affine[:3], np.diag(flip) @ lps)


def test_sheared_nrrd_keeps_its_shear(tmp_path):
    path = edit(
        save(tmp_path / "a.nrrd"),
        (r"space directions: .*\n", "space directions: (1,0,0) (0,1,0) (0,0.5,2)\n"),
    )
    volume = itk.read(path)
    assert np.allclose(volume.geometry.affine[:3, 2], [0, -0.5, 2])
    assert "sheared" in volume.origin.warnings[0]


def test_voxels_at_the_end_of_their_file_are_found(tmp_path):
    path = save(tmp_path / "a.mhd")
    raw = tmp_path / "a.raw"
    raw.write_bytes(b"some header of another program" + raw.read_bytes())
    edit(path, ("ElementDataFile", "HeaderSize = -1\nElementDataFile"))
    assert np.array_equal(itk.read(path).data[0], sitk.GetArrayFromImage(itk_image()).T)


def test_4d_is_refused_until_a_volume_is_chosen(tmp_path):
    parts = [itk_image(), itk_image() + 100]
    series = sitk.JoinSeries(parts)
    path = save(tmp_path / "a.mha", series)
    with pytest.raises(BadScan, match="4D: the file holds 2 volumes"):
        itk.read(path)
    assert np.array_equal(itk.read(path, volume=1).data[0], sitk.GetArrayFromImage(parts[1]).T)


@EVERY
def test_several_components_a_voxel_are_no_volume(tmp_path, name):
    image = sitk.Compose([itk_image(), itk_image()])
    with pytest.raises(NotAVolume, match="several components per voxel"):
        itk.read(save(tmp_path / name, image))


@EVERY
def test_two_dimensions_are_no_volume(tmp_path, name):
    with pytest.raises(NotAVolume):
        itk.read(save(tmp_path / name, itk_image()[:, :, 0]))


@EVERY
@PACKED
@pytest.mark.parametrize("share", [0.1, 0.6, 0.97])
def test_truncated_file_is_refused(tmp_path, name, packed, share):
    path = save(tmp_path / name, packed=packed)
    voxels = next((p for p in tmp_path.iterdir() if p != path), path)
    for cut in {path, voxels} if share < 0.5 else {voxels}:
        content = cut.read_bytes()
        cut.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(BadScan):
        itk.read(path)


@pytest.mark.parametrize("name", ["a.nhdr", "a.mhd"])
@pytest.mark.parametrize("elsewhere", ["../secret.raw", "/etc/hostname", "sub/../../secret.raw"])
def test_detached_header_cannot_point_outside_its_folder(tmp_path, name, elsewhere):
    folder = tmp_path / "scans"
    folder.mkdir()
    (tmp_path / "secret.raw").write_bytes(bytes(120))
    path = edit(save(folder / name), (r"(data file: |ElementDataFile = ).*", rf"\g<1>{elsewhere}"))
    with pytest.raises(BadScan, match="outside its own folder"):
        itk.read(path)


@pytest.mark.parametrize("name", ["a.nhdr", "a.mhd"])
def test_detached_header_cannot_follow_a_link_outside(tmp_path, name):
    folder = tmp_path / "scans"
    folder.mkdir()
    path = save(folder / name)
    raw = folder / "a.raw"
    (tmp_path / "secret.raw").write_bytes(raw.read_bytes())
    raw.unlink()
    raw.symlink_to(tmp_path / "secret.raw")
    with pytest.raises(BadScan, match="outside its own folder"):
        itk.read(path)


@pytest.mark.parametrize("name", ["a.nhdr", "a.mhd"])
def test_missing_voxel_file_is_refused(tmp_path, name):
    path = save(tmp_path / name)
    (tmp_path / "a.raw").unlink()
    with pytest.raises(BadScan, match="points to is missing"):
        itk.read(path)


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        (r"sizes: .*", "sizes: 99999999 99999999 99999999", "truncated"),
        (r"sizes: .*", "sizes: -5 4 3", "dimensions are corrupt"),
        (r"sizes: .*", "sizes: 5 4", "sizes.*corrupt"),
        (r"space: .*\n", "", "no geometry"),
        (r"space: .*\n", "space: scanner-xyz\n", "left from right"),
        (r"space origin: .*\n", "", "no geometry"),
        (r"space directions: .*\n", "", "no geometry"),
        (r"space directions: .*\n", "space directions: (1,0,0) (0,1,0) (nan,0,1)\n", "corrupt"),
        (r"space directions: .*\n", "space directions: (1,0,0) (1,0,0) (0,0,1)\n", "singular"),
        (r"space directions: .*\n", "space directions: (1,0,0) (0,1,0)\n", "corrupt"),
        (r"encoding: raw", "encoding: bzip2", "encoding"),
        (r"endian: little\n", "", "endian"),
        (r"type: short", "type: block", "no single number"),
        (r"type: short", "type: half", "unknown type"),
        (r"type: short", "type: short\ntype: int", "twice"),
        (r"encoding: raw", 'space units: "cm" "cm" "cm"\nencoding: raw', "not mm"),
        (r"encoding: raw", "data file: LIST\nencoding: raw", "several files"),
        (r"encoding: raw", "byte skip: -7\nencoding: raw", "byte skip"),
    ],
)
def test_nrrd_field_that_cannot_be_trusted_is_refused(tmp_path, old, new, reason):
    with pytest.raises(MedsegError, match=reason):
        itk.read(edit(save(tmp_path / "a.nrrd"), (old, new)))


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        (r"DimSize = .*", "DimSize = 99999999 99999999 99999999", "truncated"),
        (r"DimSize = .*", "DimSize = 0 4 3", "dimensions are corrupt"),
        (r"NDims = 3", "NDims = 7", "not a volume"),
        (r"TransformMatrix = .*\n", "", "no geometry"),
        (r"Offset = .*\n", "", "no geometry"),
        (r"TransformMatrix = .*", "TransformMatrix = 1 0 0 0 1 0 0 0", "corrupt"),
        (r"TransformMatrix = .*", "TransformMatrix = 2 0 0 0 1 0 0 0 1", "unit vectors"),
        (r"TransformMatrix = .*", "TransformMatrix = 1 0 0 1 0 0 0 0 1", "singular"),
        (r"ElementSpacing = .*", "ElementSpacing = 1 -1 1", "ElementSpacing"),
        (r"ElementSpacing = .*", "ElementSpacing = 1 1e9 1", "absurd"),
        (r"ElementType = .*", "ElementType = MET_STRING", "no single number"),
        (r"BinaryData = True", "BinaryData = False", "as text"),
        (r"ElementDataFile = LOCAL", "ElementDataFile = LIST", "several files"),
        (r"ElementDataFile = LOCAL", "ElementDataFile = s%03d.raw 1 3 1", "several files"),
        (r"ObjectType = Image", "ObjectType = Tube", "no image"),
        (r"NDims = 3", "NDims = 3\nElementToIntensityFunctionSlope = 2", "scaling"),
    ],
)
def test_metaimage_field_that_cannot_be_trusted_is_refused(tmp_path, old, new, reason):
    with pytest.raises(MedsegError, match=reason):
        itk.read(edit(save(tmp_path / "a.mha"), (old, new)))


@pytest.mark.parametrize("content", [b"", b"hello", b"NRRD0005", b"NDims = 3\n"])
@EVERY
def test_other_content_is_refused(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(BadScan):
        itk.read(path)


def test_missing_file_is_refused(tmp_path):
    with pytest.raises(BadScan):
        itk.read(tmp_path / "a.nrrd")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=st.sampled_from(["a.nrrd", "a.mha"]), where=st.floats(0, 1), bit=st.integers(0, 7))
def test_flipped_header_bit_never_crashes(tmp_path, name, where, bit):
    path = tmp_path / name
    if not (kept := tmp_path / f"kept {name}").exists():
        save(path)
        kept.write_bytes(path.read_bytes())
    content = bytearray(kept.read_bytes())
    content[int(where * (len(content) - 121))] ^= 1 << bit
    path.write_bytes(content)
    try:
        volume = itk.read(path)
    except MedsegError:
        return
    assert volume.data.size >= 1


@pytest.mark.parametrize("word", ["T", "t", "true", "TRUE", "1", "yes"])
@pytest.mark.parametrize("name", ["a.mha", "a.mhd"])
def test_yes_is_read_in_every_form_that_metaio_knows(tmp_path, name, word):
    path = edit(save(tmp_path / name), ("BinaryData = True", f"BinaryData = {word}"))
    assert np.array_equal(itk.read(path).data[0], sitk.GetArrayFromImage(itk_image()).T)


@pytest.mark.parametrize("word", ["F", "False", "0", "no", "maybe"])
def test_voxels_as_text_are_refused_in_every_form(tmp_path, word):
    with pytest.raises(BadScan):
        itk.read(edit(save(tmp_path / "a.mha"), ("BinaryData = True", f"BinaryData = {word}")))
