"""MONAI's LoadImage gives what medseg's readers read, and a refusal stays a refusal."""

import nibabel
import numpy as np
import pytest
from monai.data import MetaTensor
from monai.transforms import Compose, LoadImage

from medseg.errors import BadScan, GridMismatch, MedsegError
from medseg.scans import read
from medseg.transforms.channels import onto_grid
from medseg.transforms.load import (
    PIXELS,
    WARNINGS,
    LoadScan,
    MedsegReader,
    geometry_of,
)
from medseg.volume import Volume, pixel_hash
from medseg.writers import write_volume
from tests.transforms.grids import NATIVE


def volume_on(native, seed=0, **changes):
    data = np.random.default_rng(seed).integers(-1000, 1500, (1, *native.shape)).astype(np.int16)
    return Volume(data, native, **changes)


def saved(folder, native, seed=0, name="scan"):
    path = folder / f"{name}.nii.gz"
    write_volume(volume_on(native, seed), path)
    return path


@pytest.mark.parametrize("native", NATIVE.values(), ids=NATIVE)
def test_load_image_gives_values_and_grid_of_the_file(tmp_path, native):
    path = saved(tmp_path, native)
    image = LoadScan()(str(path))
    assert isinstance(image, MetaTensor)
    np.testing.assert_array_equal(image.numpy(), volume_on(native).values())
    assert geometry_of(image).same_grid(native)
    assert image.meta[PIXELS] == pixel_hash(read(path))


def test_monais_own_load_image_takes_the_reader_by_name(tmp_path):
    path = saved(tmp_path, NATIVE["oblique"])
    image = LoadImage(reader=MedsegReader, image_only=True, ensure_channel_first=True)(str(path))
    np.testing.assert_array_equal(image.numpy(), volume_on(NATIVE["oblique"]).values())


def test_several_files_become_channels_in_their_order(tmp_path):
    native = NATIVE["axial LPS"]
    paths = [saved(tmp_path, native, seed, f"channel_{seed}") for seed in (3, 1, 2)]
    image = LoadScan()([str(path) for path in paths])
    assert image.shape == (3, *native.shape)
    for channel, seed in zip(image.numpy(), (3, 1, 2), strict=True):
        np.testing.assert_array_equal(channel, volume_on(native, seed).values()[0])


def test_channels_on_two_grids_of_one_space_lie_on_the_first(tmp_path):
    paths = [str(saved(tmp_path, NATIVE[name], name=name)) for name in ("oblique", "coarse")]
    image = LoadScan()(paths)
    np.testing.assert_allclose(image.affine, NATIVE["oblique"].affine, atol=1e-4)
    moved = onto_grid(read(paths[1]), read(paths[0]).geometry)
    np.testing.assert_array_equal(image.numpy()[1], moved.values()[0])
    assert "resampled onto the grid" in " ".join(image.meta[WARNINGS])


def test_channels_of_no_named_space_are_refused_on_two_grids(tmp_path):
    paths = [saved(tmp_path, NATIVE[name], name=name) for name in ("oblique", "coarse")]
    for path in paths:
        file = nibabel.load(path)
        file.header["sform_code"] = file.header["qform_code"] = 2
        nibabel.save(nibabel.Nifti1Image(np.asarray(file.dataobj), None, file.header), path)
    with pytest.raises(GridMismatch):
        LoadScan()([str(path) for path in paths])


def test_a_refusal_is_not_answered_by_guessing_with_another_reader(tmp_path):
    path = tmp_path / "scan.nii.gz"
    path.write_bytes(saved(tmp_path, NATIVE["oblique"], name="whole").read_bytes()[:-200])
    with pytest.raises(MedsegError):
        LoadScan()(str(path))
    with pytest.raises(RuntimeError) as wrapped:
        Compose([LoadScan()])(str(path))
    assert isinstance(wrapped.value.__cause__, BadScan)
