"""Whatever replaces a file or its other half, its state is another one."""

import os

import numpy as np
import pytest

from medseg.geometry import Geometry
from medseg.readers.parts import other_halves, state_of
from medseg.scans import discover
from medseg.volume import Volume
from medseg.writers import write_volume

META = """\
ObjectType = Image
NDims = 3
DimSize = 4 5 6
ElementType = MET_SHORT
ElementSpacing = 1 1 1
ElementDataFile = values.dat
"""
NRRD = """\
NRRD0004
type: short
dimension: 3
space: left-posterior-superior
sizes: 4 5 6
space directions: (1,0,0) (0,1,0) (0,0,1)
space origin: (0,0,0)
endian: little
encoding: raw
data file: values.dat

"""


def scan_in(folder, kind):
    """A scan of its kind in a folder: the path that names it, and the file of its voxels."""
    if kind in ("mhd", "nhdr"):
        (folder / f"ct.{kind}").write_text(META if kind == "mhd" else NRRD)
        (folder / "values.dat").write_bytes(np.arange(120, dtype="<i2").tobytes())
        return folder / f"ct.{kind}", folder / "values.dat"
    grid = Geometry((4, 5, 6), np.diag([-1.0, -1.0, 2.0, 1.0]))
    write_volume(Volume(np.arange(120, dtype=np.int16).reshape(1, 4, 5, 6), grid), folder / "a.nii")
    if kind == "nii":
        return folder / "a.nii", folder / "a.nii"
    content = bytearray((folder / "a.nii").read_bytes())
    content[344:348] = b"ni1\0"
    content[108:112] = np.float32(0).tobytes()  # vox_offset
    (folder / "a.hdr").write_bytes(content[:348])
    (folder / "a.img").write_bytes(content[352:])
    (folder / "a.nii").unlink()
    return folder / "a.hdr", folder / "a.img"


@pytest.mark.parametrize("kind", ["nii", "hdr", "mhd", "nhdr", "folder"])
@pytest.mark.parametrize("how", ["written again", "another file in its place", "a hard link"])
def test_voxels_of_the_same_size_and_time_are_another_state(tmp_path, kind, how):
    (tmp_path / "in").mkdir()
    path, voxels = scan_in(tmp_path / "in", "nii" if kind == "folder" else kind)
    path = path.parent if kind == "folder" else path
    before = state_of(path)
    listed = discover(tmp_path / "in")[0].content.sources
    times, content = voxels.stat(), bytearray(voxels.read_bytes())
    content[-1] ^= 1
    if how == "written again":
        voxels.write_bytes(content)
    else:
        other = tmp_path / "other"
        other.write_bytes(content)
        voxels.unlink()
        other.rename(voxels) if how.startswith("another") else os.link(other, voxels)
    os.utime(voxels, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert state_of(path) != before
    assert discover(tmp_path / "in")[0].content.sources != listed


def test_nothing_has_no_state_and_a_whole_file_no_other_half(tmp_path):
    path, _ = scan_in(tmp_path, "nii")
    assert state_of(tmp_path / "gone.mhd") == []
    assert other_halves(path) == []
