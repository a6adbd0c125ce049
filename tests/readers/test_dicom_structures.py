"""SEG and RTSTRUCT put their structures on the voxels that were meant."""

from pathlib import Path

import highdicom
import nibabel as nib
import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sr.codedict import codes
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from medseg.errors import BadLabels, GridMismatch
from medseg.geometry import Geometry
from medseg.labels import LabelTable
from medseg.manifests.dicom import DicomOptions, build
from medseg.manifests.reading import read_truth
from medseg.readers.labels import read_labels
from medseg.scans import read
from medseg.volume import LabelMap
from medseg.writers import write_labels
from medseg.writers.dicom_series import write_dicom_series
from tests.writers.scans import GRIDS, scan

SARCOMA = Path(__file__).resolve().parents[3] / "shared" / "data" / "sarcoma"
TABLE = LabelTable.from_card({"labels": {"liver": 2, "tumour": 5}})
LPS = np.array([-1, -1, 1])


def labelled(volume, table=TABLE):
    data = np.random.default_rng(1).choice([0, *table.values], volume.geometry.shape)
    data[:, :, [0, 2]] = 0  # a gap: frames without a voxel are left out
    return LabelMap(data.astype(np.uint8), volume.geometry, table, volume.origin)


@pytest.mark.parametrize("kind", ["dicom-seg", "dicom-labelmap"])
@pytest.mark.parametrize("axes", GRIDS.values(), ids=GRIDS)
def test_seg_comes_back_voxel_for_voxel(axes, kind, tmp_path):
    write_dicom_series(scan(axes), tmp_path / "s")
    labelmap = labelled(read(tmp_path / "s"))
    write_labels(labelmap, tmp_path / "m.dcm", format=kind)
    back = read_labels(tmp_path / "m.dcm", labels=TABLE, grid=labelmap.geometry)
    assert np.array_equal(back.data, labelmap.data)
    assert read_labels(tmp_path / "m.dcm").labels.names == TABLE.names


def test_seg_lies_on_any_axis_order_of_its_image(tmp_path):
    write_dicom_series(scan(GRIDS["oblique"]), tmp_path / "s")
    labelmap = labelled(read(tmp_path / "s"))
    write_labels(labelmap, tmp_path / "m.dcm", format="dicom-seg")
    turned = labelmap.geometry.affine[:, [2, 0, 1, 3]].copy()
    turned[:3, 3] += turned[:3, 0] * (labelmap.geometry.shape[2] - 1)
    turned[:3, 0] *= -1
    shape = tuple(np.array(labelmap.geometry.shape)[[2, 0, 1]])
    back = read_labels(tmp_path / "m.dcm", labels=TABLE, grid=Geometry(shape, turned))
    assert np.array_equal(back.data, labelmap.data.transpose(2, 0, 1)[::-1])


def test_seg_without_its_image_has_the_grid_of_its_frames(tmp_path):
    write_dicom_series(scan(GRIDS["oblique"]), tmp_path / "s")
    labelmap = labelled(read(tmp_path / "s"))
    write_labels(labelmap, tmp_path / "m.dcm", format="dicom-seg")
    back = read_labels(tmp_path / "m.dcm")
    for value, own in zip(TABLE.values, (1, 2), strict=True):
        there = labelmap.geometry.to_world(np.argwhere(labelmap.data == value))
        index = np.rint(back.geometry.to_index(there)).astype(int)
        assert (back.data[tuple(index.T)] == own).all()
    assert np.count_nonzero(back.data) == np.count_nonzero(labelmap.data)


def test_seg_of_another_image_is_refused(tmp_path):
    write_dicom_series(scan(GRIDS["axial LPS"]), tmp_path / "s")
    labelmap = labelled(read(tmp_path / "s"))
    write_labels(labelmap, tmp_path / "m.dcm", format="dicom-seg")
    moved = labelmap.geometry.affine.copy()
    moved[0, 3] += 0.4
    with pytest.raises(GridMismatch, match="does not lie on the grid"):
        read_labels(tmp_path / "m.dcm", grid=Geometry(labelmap.geometry.shape, moved))


def foreign_seg(tmp_path, pixels, kind, **options):
    """Written by highdicom alone; pixels (frames, rows, columns, segments)."""
    files = write_dicom_series(scan(GRIDS["axial LPS"]), tmp_path / "s")
    descriptions = [
        highdicom.seg.SegmentDescription(n, name, codes.SCT.Tissue, codes.SCT.Tissue, "MANUAL")
        for n, name in enumerate(("Whole", "Core"), start=1)
    ]
    made = highdicom.seg.Segmentation(
        [pydicom.dcmread(file) for file in files],
        pixels,
        kind,
        descriptions,
        generate_uid(),
        1,
        generate_uid(),
        1,
        "m",
        "m",
        "1",
        "1",
        **options,
    )
    made.save_as(tmp_path / "seg.dcm")
    return tmp_path / "seg.dcm", read(tmp_path / "s").geometry


def test_fractions_count_from_one_half(tmp_path):
    fractions = np.zeros((5, 6, 7, 2), np.float32)
    fractions[1, 2, 3, 0], fractions[1, 2, 4, 0], fractions[1, 2, 5, 1] = 0.51, 0.4, 1
    path, grid = foreign_seg(tmp_path, fractions, "FRACTIONAL", max_fractional_value=200)
    back = read_labels(path, grid=grid)
    assert np.argwhere(back.data).tolist() == [[3, 2, 1], [5, 2, 1]]


def test_overlapping_segments_are_refused_by_name_or_are_regions(tmp_path):
    pixels = np.zeros((5, 6, 7, 2), np.uint8)
    pixels[1:4, 1:5, 1:5, 0] = 1
    pixels[2, 2:4, 2:4, 1] = 1
    path, grid = foreign_seg(tmp_path, pixels, "BINARY")
    with pytest.raises(BadLabels, match="'Whole' and 'Core' overlap"):
        read_labels(path, grid=grid)
    card = {"labels": {"oedema": 1, "centre": 2}, "regions": {"whole": [1, 2], "core": [2]}}
    back = read_labels(path, grid=grid, labels=LabelTable.from_card(card))
    assert [(back.data == n).sum() for n in (1, 2)] == [3 * 16 - 4, 4]


GRID = Geometry((40, 40, 6), np.array([[1, 0, 0, -3], [0, 1, 0, 7], [0, 0, 2, 1], [0, 0, 0, 1.0]]))


def rtstruct(path, structures, geometry, kind="CLOSED_PLANAR"):
    """Structures of contours that are (N, 3) vertices in voxel indices."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = (
        "1.2.840.10008.5.1.4.1.1.481.3"
    )
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = generate_uid()
    dataset.Modality = "RTSTRUCT"
    dataset.StructureSetROISequence, dataset.ROIContourSequence = [], []
    for number, (name, contours) in enumerate(structures.items(), start=1):
        roi, drawn = Dataset(), Dataset()
        roi.ROINumber, roi.ROIName = number, name
        drawn.ReferencedROINumber, drawn.ROIDisplayColor = number, [255, 0, 128]
        drawn.ContourSequence = []
        for points in contours:
            item = Dataset()
            item.ContourGeometricType = kind
            world = geometry.to_world(points) * LPS
            item.ContourData = [f"{mm:.4f}" for mm in world.ravel()]
            item.NumberOfContourPoints = len(points)
            drawn.ContourSequence.append(item)
        dataset.StructureSetROISequence.append(roi)
        dataset.ROIContourSequence.append(drawn)
    dataset.save_as(path, enforce_file_format=True)
    return path


def square(low, high, z):
    return np.array([[low, low, z], [high, low, z], [high, high, z], [low, high, z]], float)


def box(low, high, slices=(2, 3)):
    return [square(low - 0.4, high + 0.4, z) for z in slices]


def voxels(low, high, slices=(2, 3), shape=GRID.shape):
    mask = np.zeros(shape, bool)
    mask[low : high + 1, low : high + 1, list(slices)] = True
    return mask


def oblique():
    affine = np.eye(4)
    affine[:3, :3] = GRIDS["oblique mirrored"]
    affine[:3, 3] = (4, -50, 9)
    return Geometry(GRID.shape, affine)


@pytest.mark.parametrize("grid", [GRID, oblique()], ids=["upright", "oblique"])
def test_voxels_with_their_centre_inside_belong_to_a_contour(tmp_path, grid):
    path = rtstruct(tmp_path / "r.dcm", {"GTV": box(5, 12)}, grid)
    back = read_labels(path, grid=grid)
    assert np.array_equal(back.data > 0, voxels(5, 12))
    assert back.labels.labels[0].colour == "#ff0080"
    # off in plane by less than half a voxel: centres decide, whatever the outline touches
    moved = [points + np.array([0.3, 0, 0]) for points in box(5, 12)]
    again = read_labels(rtstruct(tmp_path / "q.dcm", {"GTV": moved}, grid), grid=grid)
    assert np.array_equal(again.data > 0, voxels(5, 12))


def test_a_contour_within_another_is_a_hole_and_so_is_a_keyhole(tmp_path):
    expected = voxels(5, 20) & ~voxels(9, 14)
    path = rtstruct(tmp_path / "r.dcm", {"ring": box(5, 20) + box(9, 14)}, GRID)
    assert np.array_equal(read_labels(path, grid=GRID).data > 0, expected)
    keyholes = [
        np.concatenate(
            [
                square(4.6, 20.4, z),
                square(4.6, 20.4, z)[:1],
                square(8.6, 14.4, z)[::-1],
                square(8.6, 14.4, z)[-1:],
            ]
        )
        for z in (2, 3)
    ]
    path = rtstruct(tmp_path / "k.dcm", {"ring": keyholes}, GRID)
    assert np.array_equal(read_labels(path, grid=GRID).data > 0, expected)


def test_contours_near_a_slice_belong_to_it_and_others_are_refused(tmp_path):
    near = rtstruct(tmp_path / "r.dcm", {"GTV": box(5, 12, (2.2, 2.8))}, GRID)
    assert np.array_equal(read_labels(near, grid=GRID).data > 0, voxels(5, 12))
    between = rtstruct(tmp_path / "b.dcm", {"GTV": box(5, 12, (2.5,))}, GRID)
    with pytest.raises(GridMismatch, match="does not lie in a slice"):
        read_labels(between, grid=GRID)
    tilted = [np.array([[4, 4, 1], [20, 4, 3], [20, 20, 3], [4, 20, 1.0]])]
    with pytest.raises(GridMismatch, match="does not lie in a slice"):
        read_labels(rtstruct(tmp_path / "t.dcm", {"GTV": tilted}, GRID), grid=GRID)


@pytest.mark.parametrize("drawn", [(1, 3, 5), (1, 3, 5, 7), (0, 3, 5, 9)])
def test_contours_with_gaps_between_all_slices_are_refused(tmp_path, drawn):
    grid = Geometry((40, 40, 12), GRID.affine)
    path = rtstruct(tmp_path / "r.dcm", {"GTV": box(5, 12, drawn)}, grid)
    with pytest.raises(BadLabels, match="some slices only"):
        read_labels(path, grid=grid)


def test_names_are_matched_by_alias_and_other_structures_left_out(tmp_path):
    card = {"labels": {"tumour": {"value": 3, "aliases": ["GTV*"]}, "cord": 7}}
    structures = {"BODY": box(1, 30), "gtv_mass": box(5, 12), "Cord": box(20, 22)}
    path = rtstruct(tmp_path / "r.dcm", structures, GRID)
    back = read_labels(path, labels=LabelTable.from_card(card), grid=GRID)
    assert np.array_equal(back.data, 3 * voxels(5, 12) + 7 * voxels(20, 22))
    assert any("BODY" in warning for warning in back.origin.warnings)
    with pytest.raises(BadLabels, match=r"found BODY, gtv_mass, Cord, expected lung"):
        read_labels(path, labels=LabelTable.from_card({"labels": {"lung": 1}}), grid=GRID)
    with pytest.raises(BadLabels, match="'BODY' and 'gtv_mass' overlap"):
        read_labels(path, grid=GRID)


def test_contours_without_an_image_and_open_ones_are_refused(tmp_path):
    path = rtstruct(tmp_path / "r.dcm", {"GTV": box(5, 12)}, GRID)
    with pytest.raises(BadLabels, match="need its grid"):
        read_labels(path)
    path = rtstruct(tmp_path / "o.dcm", {"GTV": box(5, 12)}, GRID, kind="OPEN_PLANAR")
    with pytest.raises(BadLabels, match="not made of closed contours"):
        read_labels(path, grid=GRID)


def test_import_pairs_structures_with_the_series_that_they_refer_to(tmp_path):
    for n, name in enumerate(("x", "y")):
        write_dicom_series(scan(GRIDS["oblique"]), tmp_path / "in" / name, seed=n, patient=name)
        labelmap = labelled(read(tmp_path / "in" / name))
        # names that would mislead: y's mask lies beside x
        other = tmp_path / "in" / ("y" if name == "x" else "x") / "mask.dcm"
        write_labels(labelmap, tmp_path / f"{name}.dcm", format="dicom-seg")
        (tmp_path / f"{name}.dcm").rename(tmp_path / f"{other.parent.name}-later.dcm")
    for place in ("x", "y"):
        (tmp_path / f"{place}-later.dcm").rename(tmp_path / "in" / place / "mask.dcm")
    cohort = build(tmp_path / "in", DicomOptions(modality="CT"))
    assert cohort.labels.names == ("liver", "tumour")
    assert len(cohort.cases) == 2
    for case in cohort.cases:
        image = next(iter(case.images.values()))
        assert str(case.label.parent.name) != image.name.partition("#")[0]
        assert read_truth(cohort, case).data.max() == 2


@pytest.mark.skipif(not SARCOMA.is_dir(), reason="the sarcoma data are not beside the project")
@pytest.mark.slow
@pytest.mark.parametrize("modality", ["CT", "PET", "MR_T1"])
@pytest.mark.parametrize("patient", ["STS_002", "STS_008", "STS_019", "STS_024", "STS_025"])
def test_contours_become_the_voxels_that_a_third_party_made_of_them(patient, modality):
    place = SARCOMA / "dicom" / patient / modality
    grid = read(place / "image").geometry
    ours = read_labels(place / "mask" / "RS.dcm", grid=grid).data > 0
    theirs = nib.load(SARCOMA / "nifti" / patient / f"{modality}_mask.nii.gz")
    index = np.argwhere(np.asarray(theirs.dataobj) > 0)
    index = np.rint(grid.to_index(nib.affines.apply_affine(theirs.affine, index))).astype(int)
    expected = np.zeros(grid.shape, bool)
    expected[tuple(index.T)] = True
    assert 2 * (ours & expected).sum() >= 0.999 * (ours.sum() + expected.sum())
