"""What every entry of READERS owes: its endings, recognition, a glimpse, a volume, a refusal."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from medseg import readers
from medseg.errors import BadScan, MedsegError, NotAVolume
from medseg.geometry import Geometry
from medseg.readers import READERS
from medseg.readers.entry import Endings
from medseg.volume import Volume
from medseg.writers import write_volume
from tests.readers.dicom_files import enhanced_of, pixels_of, save

#: (X, Y, Z) of every sample; voxels say where they are.
SHAPE = (5, 6, 4)
VALUES = np.stack([pixels_of(k).T for k in range(4)], axis=-1)
#: Columns of 0.5 mm, rows of 0.8 mm, slices of 2 mm, as `dicom_files` places them, in RAS.
AFFINE = np.array([[-0.5, 0, 0, -10], [0, -0.8, 0, 20], [0, 0, 2, 30], [0, 0, 0, 1.0]])


def by_medseg(path: Path) -> None:
    write_volume(Volume(VALUES[None], Geometry(SHAPE, AFFINE)), path)


def by_itk(path: Path, to_world: np.ndarray) -> None:
    """Write as SimpleITK does; `to_world` turns our RAS into the world that it writes."""
    image = sitk.GetImageFromArray(np.ascontiguousarray(VALUES.T))
    steps = to_world @ AFFINE[:3, :3]
    spacing = np.linalg.norm(steps, axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetDirection((steps / spacing).ravel().tolist())
    image.SetOrigin((to_world @ AFFINE[:3, 3]).tolist())
    sitk.WriteImage(image, str(path))


def lps(path: Path) -> None:
    by_itk(path, np.diag([-1.0, -1.0, 1.0]))


def ras(path: Path) -> None:
    by_itk(path, np.eye(3))


def enhanced(path: Path) -> None:
    save(enhanced_of([{"k": k} for k in range(4)]), path)


#: Entry -> ending -> how a file of it is made. A new entry needs a line here.
SAMPLES: dict[str, dict[str, Callable[[Path], None]]] = {
    "nifti": {".nii": by_medseg, ".nii.gz": by_medseg},
    "dicom": {".dcm": enhanced, ".ima": enhanced},
    "itk": {".nrrd": lps, ".nhdr": lps, ".mha": lps, ".mhd": lps},
    "others": {".mnc": ras},
}
EVERY = pytest.mark.parametrize(
    ("name", "ending"), [(name, end) for name, made in SAMPLES.items() for end in made]
)


def test_every_entry_has_a_sample():
    assert set(SAMPLES) == set(READERS)


@pytest.mark.parametrize("name", READERS)
def test_endings_are_its_own_and_in_lower_case(name):
    endings = readers._module(name).ENDINGS
    assert isinstance(endings, Endings)
    every = endings.every
    assert every
    assert all(ending.startswith(".") and ending == ending.lower() for ending in every)
    others = {end for other in READERS if other != name for end in readers._endings(other).named}
    assert not others & set(endings.named)
    assert set(SAMPLES[name]) <= set(endings.named)


@EVERY
def test_a_file_is_recognised_glimpsed_and_read(tmp_path, name, ending):
    path = tmp_path / f"scan{ending}"
    SAMPLES[name][ending](path)
    module = readers._module(name)
    assert module.recognises(path)
    assert next(n for n in READERS if readers._module(n).recognises(path)) == name
    glimpse = module.glimpse(path)
    assert (glimpse.problem, glimpse.skip, glimpse.volumes) == ("", "", 1)
    volume = module.read(path)
    np.testing.assert_allclose(volume.geometry.affine, AFFINE, atol=1e-5)
    np.testing.assert_array_equal(glimpse.geometry.affine, volume.geometry.affine)
    np.testing.assert_array_equal(volume.values()[0], VALUES)
    with pytest.raises(BadScan, match="no volume"):
        module.read(path, volume=7)


@EVERY
@pytest.mark.parametrize("share", [0.0, 0.3, 0.6, 0.95])
def test_a_truncated_file_is_refused(tmp_path, name, ending, share):
    path = tmp_path / f"scan{ending}"
    SAMPLES[name][ending](path)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    if ending in (".nhdr", ".mhd") and share > 0:
        raw = next(p for p in tmp_path.iterdir() if p.suffix in (".raw", ".zraw"))
        raw.write_bytes(raw.read_bytes()[: raw.stat().st_size // 2])
    with pytest.raises(MedsegError):
        readers.read(path)


def test_minc_stands_in_ras_and_simpleitk_hands_it_on_unchanged(tmp_path):
    """MINC's world is RAS. If SimpleITK begins to turn it into LPS, `others` must turn it back."""
    import struct

    image = sitk.GetImageFromArray(np.zeros((3, 4, 5), np.int16))
    image.SetOrigin((123.25, 0, 0))
    sitk.WriteImage(image, str(tmp_path / "a.mnc"))
    content = (tmp_path / "a.mnc").read_bytes()
    assert struct.pack("<d", 123.25) in content
    assert struct.pack("<d", -123.25) not in content


@pytest.mark.parametrize(
    ("ending", "kind", "reason"),
    [
        (".gipl", BadScan, "does not say left from right"),
        (".gipl.gz", BadScan, "does not say left from right"),
        (".vtk", BadScan, "does not say left from right"),
        (".tif", NotAVolume, "neither where it lies"),
        (".tiff", NotAVolume, "neither where it lies"),
    ],
)
def test_formats_without_a_grid_say_what_to_do(tmp_path, ending, kind, reason):
    lps(tmp_path / f"scan{ending}")
    with pytest.raises(kind, match=f"{reason}.*Convert it"):
        readers.read(tmp_path / f"scan{ending}")


def test_a_vtk_surface_is_no_volume(tmp_path):
    (tmp_path / "s.vtk").write_text("# vtk DataFile Version 3.0\nx\nASCII\nDATASET POLYDATA\n")
    with pytest.raises(NotAVolume, match="no image on a grid"):
        readers.read(tmp_path / "s.vtk")


def test_minc_that_is_none_is_refused(tmp_path):
    (tmp_path / "s.mnc").write_bytes(b"CDF\x01" + bytes(500))
    with pytest.raises(BadScan, match="mincconvert"):
        readers.read(tmp_path / "s.mnc")
