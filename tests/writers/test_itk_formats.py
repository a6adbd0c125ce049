"""Masks written as NRRD and MetaImage lie where ITK and our reader look for them."""

import numpy as np
import pytest
import SimpleITK as sitk

from medseg.errors import BadOutput
from medseg.geometry import Geometry
from medseg.readers.labels import read_labels
from medseg.volume import LabelMap
from medseg.writers import WRITERS, ending, write_labels
from tests.writers.scans import GRIDS, SHAPE, TILTED

FORMATS = ["nrrd", "mha"]


def labelmap_on(axes, dtype=np.uint8):
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = axes, (12.3, -45.6, 7.8)
    data = np.arange(np.prod(SHAPE)).reshape(SHAPE).astype(dtype) % 251
    return LabelMap(data, Geometry(SHAPE, affine))


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("grid", GRIDS)
def test_itk_and_our_reader_find_every_voxel(tmp_path, form, grid):
    labelmap = labelmap_on(GRIDS[grid])
    path = tmp_path / f"m{ending(form)}"
    write_labels(labelmap, path, format=form)
    image = sitk.ReadImage(str(path))
    assert np.array_equal(sitk.GetArrayFromImage(image).T, labelmap.data)
    for index in ((0, 0, 0), (6, 0, 0), (0, 5, 0), (0, 0, 4)):
        world = np.array(image.TransformIndexToPhysicalPoint(index)) * (-1, -1, 1)
        assert np.allclose(world, labelmap.geometry.to_world(index), atol=1e-6)
    back = read_labels(path)
    assert np.array_equal(back.data, labelmap.data)
    assert np.allclose(back.geometry.affine, labelmap.geometry.affine, rtol=0, atol=1e-12)


def test_nrrd_keeps_a_shear_and_metaimage_refuses_it(tmp_path):
    labelmap = labelmap_on(TILTED)
    write_labels(labelmap, tmp_path / "m.nrrd", format="nrrd")
    assert np.array_equal(
        read_labels(tmp_path / "m.nrrd").geometry.affine, labelmap.geometry.affine
    )
    with pytest.raises(BadOutput, match="sheared grid does not fit into MetaImage"):
        write_labels(labelmap, tmp_path / "m.mha", format="mha")


@pytest.mark.parametrize("form", FORMATS)
def test_wide_labels_keep_their_values(tmp_path, form):
    data = np.zeros(SHAPE, np.int32)
    data[1:3, 2, 3] = 1000, 65535
    path = tmp_path / f"m{ending(form)}"
    write_labels(LabelMap(data, Geometry(SHAPE, np.eye(4))), path, format=form)
    assert np.array_equal(sitk.GetArrayFromImage(sitk.ReadImage(str(path))).T, data)


@pytest.mark.parametrize("form", FORMATS)
def test_equal_masks_are_equal_bytes(tmp_path, form):
    for name in ("one", "two"):
        write_labels(labelmap_on(GRIDS["oblique"]), tmp_path / (name + ending(form)), format=form)
    one, two = sorted(tmp_path.iterdir())
    assert one.read_bytes() == two.read_bytes()


@pytest.mark.parametrize("form", WRITERS)
def test_every_writer_refuses_a_name_of_another_format(tmp_path, form):
    with pytest.raises(BadOutput, match="does not fit its format"):
        write_labels(labelmap_on(GRIDS["oblique"]), tmp_path / "mask.txt", format=form)
    assert list(tmp_path.iterdir()) == []
