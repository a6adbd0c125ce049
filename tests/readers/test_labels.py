"""A mask file is read as whole numbers, or refused with the value."""

from unicodedata import normalize

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from medseg.errors import BadLabels, BadScan
from medseg.labels import LabelTable
from medseg.readers.labels import read_labels

VALUES = np.arange(24).reshape(2, 3, 4) % 4


def save(path, data, *, slope=None, inter=0.0):
    image = nib.Nifti1Image(data, np.diag([2, 2, 3, 1]), dtype=data.dtype)
    if slope is not None:
        image.header.set_slope_inter(slope, inter)
    nib.save(image, path)
    return path


@pytest.mark.parametrize("dtype", ["u1", "i1", "i2", "u2", "i4", "i8", "f4", "f8"])
def test_whole_numbers_are_read_from_any_type(tmp_path, dtype):
    labelmap = read_labels(save(tmp_path / "m.nii.gz", VALUES.astype(dtype)))
    assert np.array_equal(labelmap.data, VALUES)
    assert labelmap.data.dtype == np.uint8
    assert labelmap.labels is None


def test_large_labels_widen_the_type(tmp_path):
    labelmap = read_labels(save(tmp_path / "m.nii", (VALUES * 300).astype("i4")))
    assert np.array_equal(labelmap.data, VALUES * 300)
    assert labelmap.data.dtype == np.uint16


def test_scaled_labels_come_back_whole(tmp_path):
    stored = (VALUES * 16384).astype("u2")
    labelmap = read_labels(save(tmp_path / "m.nii", stored, slope=1 / 16384))
    assert np.array_equal(labelmap.data, VALUES)


def test_negative_label_is_refused_with_value_and_count(tmp_path):
    data = VALUES.astype("i2")
    data[0, 0, :3] = -2
    with pytest.raises(BadLabels, match=r"negative voxels; found 3 of them \(values -2\)"):
        read_labels(save(tmp_path / "m.nii", data))


def test_fractional_label_is_refused_with_value_and_count(tmp_path):
    data = VALUES.astype("f4")
    data[1, 1, 1:3] = 0.5, 1.25
    with pytest.raises(BadLabels, match=r"found 2 of them \(values 0\.5, 1\.25\)"):
        read_labels(save(tmp_path / "m.nii", data))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_label_that_is_not_finite_is_refused(tmp_path, value):
    data = VALUES.astype("f4")
    data[1, 1, 1] = value
    with pytest.raises(BadLabels, match="no whole numbers"):
        read_labels(save(tmp_path / "m.nii", data))


def test_label_beyond_any_table_is_refused(tmp_path):
    with pytest.raises(BadLabels, match="too large for a label; found 6 of them"):
        read_labels(save(tmp_path / "m.nii", (VALUES * 30000).astype("i4")))


@pytest.mark.parametrize("name", ["m.nrrd", "m.mha"])
def test_other_formats_are_read(tmp_path, name):
    sitk.WriteImage(sitk.GetImageFromArray(VALUES.T.astype("u1")), str(tmp_path / name))
    assert np.array_equal(read_labels(tmp_path / name).data, VALUES)


def test_mask_without_forms_keeps_its_voxel_sizes(tmp_path):
    image = nib.Nifti1Image(VALUES.astype("u1"), None)
    image.header.set_zooms((2, 3, 4))
    nib.save(image, tmp_path / "m.nii")
    labelmap = read_labels(tmp_path / "m.nii")
    assert labelmap.geometry.spacing_mm == (2, 3, 4)
    assert any("unknown" in warning for warning in labelmap.origin.warnings)


def test_missing_file_is_refused(tmp_path):
    with pytest.raises(BadScan, match="No such file"):
        read_labels(tmp_path / "m.nii.gz")


@pytest.mark.parametrize("factor", [0.9999999, 1.000001, 0.99999])
def test_labels_that_float32_rounded_are_whole(tmp_path, factor):
    data = (VALUES * np.float32(factor)).astype("f4")
    assert np.array_equal(read_labels(save(tmp_path / "m.nii", data)).data, VALUES)


def test_large_rounded_labels_are_whole(tmp_path):
    data = (VALUES * np.float32(21845) / np.float32(3) * np.float32(3)).astype("f4")
    assert np.array_equal(read_labels(save(tmp_path / "m.nii", data)).data, VALUES * 21845)


@pytest.mark.parametrize("value", [0.5, 0.99, 0.999, 1.01, 2.4])
def test_probabilities_are_no_labels(tmp_path, value):
    data = VALUES.astype("f4")
    data[0, 0, 0] = value
    with pytest.raises(BadLabels, match="no whole numbers"):
        read_labels(save(tmp_path / "m.nii", data))


SEGMENTS = {"Tumour": (1, 0), "Liver": (2, 0)}


def seg_nrrd(path, layers, segments):
    """A 3D Slicer segmentation as its writer spells it; several layers are a first axis."""
    several = len(layers) > 1
    sizes = [*([len(layers)] if several else []), *layers[0].shape]
    kinds = "list domain domain domain" if several else "domain domain domain"
    head = (
        "NRRD0004\n# Complete NRRD file format specification at:\n"
        f"type: unsigned char\ndimension: {len(sizes)}\nspace: left-posterior-superior\n"
        f"sizes: {' '.join(map(str, sizes))}\n"
        f"space directions: {'none ' if several else ''}(-1,0,0) (0,-1,0) (0,0,1.5)\n"
        f"kinds: {kinds}\nencoding: raw\nspace origin: (10,20,30)\n"
    )
    for n, (name, (value, layer)) in enumerate(segments.items()):
        head += (
            f"Segment{n}_ID:=Segment_{n + 1}\nSegment{n}_Name:={name}\n"
            f"Segment{n}_LabelValue:={value}\nSegment{n}_Layer:={layer}\n"
            f"Segment{n}_Color:=0.5 0.25 1\n"
        )
    voxels = np.stack(layers) if several else layers[0]
    path.write_bytes((head + "\n").encode() + voxels.astype("u1").tobytes(order="F"))
    return path


def test_segment_names_come_with_the_mask(tmp_path):
    labelmap = read_labels(seg_nrrd(tmp_path / "m.seg.nrrd", [VALUES % 3], SEGMENTS))
    assert labelmap.labels.names == ("Tumour", "Liver")
    assert labelmap.labels.labels[0].colour == "#8040ff"
    card = LabelTable.from_card({"labels": {"liver": 1, "tumour": 2}})
    named = labelmap.named(card)
    assert np.array_equal(named.data, np.array([0, 2, 1])[VALUES % 3])


def test_segment_that_the_card_does_not_know_is_refused_by_name(tmp_path):
    labelmap = read_labels(seg_nrrd(tmp_path / "m.seg.nrrd", [VALUES % 3], SEGMENTS))
    with pytest.raises(BadLabels, match="'Tumour' = 1"):
        labelmap.named(LabelTable.from_card({"labels": {"liver": 1, "spleen": 2}}))
    generic = {"Segment_1": (1, 0), "Segment_2": (2, 0)}
    labelmap = read_labels(seg_nrrd(tmp_path / "g.seg.nrrd", [VALUES % 3], generic))
    assert labelmap.named(LabelTable.from_card({"labels": {"liver": 1, "spleen": 2}})).data.max()


def test_layers_become_one_mask(tmp_path):
    layers = [VALUES == 1, VALUES == 2]
    path = seg_nrrd(tmp_path / "m.seg.nrrd", layers, {"Tumour": (1, 0), "Liver": (1, 1)})
    labelmap = read_labels(path)
    assert labelmap.labels.names == ("Tumour", "Liver")
    assert np.array_equal(labelmap.data, np.where(VALUES == 3, 0, VALUES))
    assert np.allclose(labelmap.geometry.affine[:3, 3], (-10, -20, 30))
    assert np.allclose(np.diag(labelmap.geometry.affine), (1, 1, 1.5, 1))
    card = LabelTable.from_card({"labels": {"liver": 5, "tumour": 9}})
    assert sorted(np.unique(labelmap.named(card).data)) == [0, 5, 9]


def test_layers_that_overlap_are_refused_by_name_or_painted_as_regions(tmp_path):
    layers = [VALUES >= 1, VALUES >= 2]
    path = seg_nrrd(tmp_path / "m.seg.nrrd", layers, {"Whole": (1, 0), "Core": (1, 1)})
    with pytest.raises(BadLabels, match="'Whole' and 'Core' overlap"):
        read_labels(path)
    card = LabelTable.from_card(
        {"labels": {"oedema": 1, "core": 2}, "regions": {"whole": [1, 2], "core": [2]}}
    )
    labelmap = read_labels(path, labels=card)
    assert np.array_equal(labelmap.data, np.minimum(VALUES, 2))


CARD = LabelTable.from_card({"labels": {"liver": 1, "tumour": 2, "vésicule": 9}})


def test_segments_of_one_name_are_parts_of_one_label(tmp_path):
    path = seg_nrrd(tmp_path / "m.seg.nrrd", [VALUES], {"Tumour": (1, 0), "Liver": (2, 0)})
    path.write_bytes(
        path.read_bytes().replace(
            b"Segment1_Color", b"Segment2_Name:=tumour\nSegment2_LabelValue:=3\nX"
        )
    )
    named = read_labels(path).named(CARD)
    assert np.array_equal(named.data, np.array([0, 2, 1, 2])[VALUES])


def test_value_without_a_name_is_refused_beside_values_that_move(tmp_path):
    stays = seg_nrrd(tmp_path / "a.seg.nrrd", [VALUES % 3], {"Segment_2": (2, 0), "liver": (1, 0)})
    assert np.array_equal(read_labels(stays).named(CARD).data, VALUES % 3)
    for names in ({"Segment_1": (1, 0), "liver": (2, 0)}, {"liver": (2, 0)}):
        path = seg_nrrd(tmp_path / "b.seg.nrrd", [VALUES % 3], names)
        with pytest.raises(BadLabels, match=r"\[1\] without a name, 'liver' = 2"):
            read_labels(path).named(CARD)


def test_named_value_is_not_what_the_card_ignores(tmp_path):
    card = LabelTable.from_card({"labels": {"liver": 1, "tumour": 2}, "ignore": 3})
    path = seg_nrrd(tmp_path / "m.seg.nrrd", [np.where(VALUES, 3, 0)], {"liver": (3, 0)})
    assert set(np.unique(read_labels(path).named(card).data)) == {0, 1}
    path = seg_nrrd(tmp_path / "i.seg.nrrd", [np.where(VALUES, 3, 0)], {"ignored": (3, 0)})
    assert set(np.unique(read_labels(path).named(card).data)) == {0, 3}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.permutations(["liver", "tumour", "vésicule"]), st.data())
def test_segments_go_by_their_names_whatever_their_values(tmp_path, names, data):
    """Case, blanks and composed or decomposed accents make no difference; nor do layers."""
    spell = data.draw(st.sampled_from([str, str.upper, str.title, lambda n: normalize("NFD", n)]))
    values = data.draw(st.lists(st.integers(1, 255), min_size=3, max_size=3, unique=True))
    layered = data.draw(st.booleans())
    if layered:
        layers = [np.where(k == VALUES, value, 0) for k, value in enumerate(values, start=1)]
    else:
        layers = [np.array([0, *values])[VALUES]]
    segments = {
        spell(name): (value, k if layered else 0)
        for k, (name, value) in enumerate(zip(names, values, strict=True))
    }
    path = seg_nrrd(tmp_path / "m.seg.nrrd", layers, segments)
    expected = np.array([0, *(CARD.value_of(name) for name in names)])[VALUES]
    assert np.array_equal(read_labels(path, labels=CARD).named(CARD).data, expected)
