"""Does a file appear whole or not at all?"""

import os

import pytest

from medseg.errors import BadOutput
from medseg.writers.atomic import atomic_path


def test_file_appears_when_the_block_ends(tmp_path):
    target = tmp_path / "new folder" / "mask.nii.gz"
    with atomic_path(target) as temporary:
        temporary.write_bytes(b"voxels")
        assert temporary.parent == target.parent
        assert temporary.name.startswith(".")
        assert temporary.name.endswith(".nii.gz")
        assert not target.exists()
    assert target.read_bytes() == b"voxels"
    assert [path.name for path in target.parent.iterdir()] == ["mask.nii.gz"]


@pytest.mark.parametrize("interruption", [ValueError, KeyboardInterrupt])
def test_old_file_stays_when_the_block_raises(tmp_path, interruption):
    target = tmp_path / "scores.csv"
    target.write_text("old")
    with pytest.raises(interruption), atomic_path(target) as temporary:
        temporary.write_text("half")
        raise interruption
    assert target.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["scores.csv"]


def test_full_disk_is_a_refusal(tmp_path):
    with (
        pytest.raises(BadOutput, match="cannot be written; found No space left"),
        atomic_path(tmp_path / "a.csv") as temporary,
    ):
        temporary.write_text("half")
        raise OSError(28, os.strerror(28))
    assert list(tmp_path.iterdir()) == []


def test_folder_in_the_way_is_a_refusal(tmp_path):
    (tmp_path / "a.csv").mkdir()
    with (
        pytest.raises(BadOutput, match="a folder stands"),
        atomic_path(tmp_path / "a.csv") as temporary,
    ):
        temporary.write_text("x")


def test_file_where_a_folder_should_be_is_a_refusal(tmp_path):
    (tmp_path / "out").write_text("")
    with (
        pytest.raises(BadOutput, match="cannot be written"),
        atomic_path(tmp_path / "out" / "a.csv") as temporary,
    ):
        temporary.write_text("x")


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() == 0, reason="permissions do not bind this user"
)
def test_unwritable_folder_is_a_refusal(tmp_path):
    tmp_path.chmod(0o500)
    with (
        pytest.raises(BadOutput, match="Permission denied"),
        atomic_path(tmp_path / "a.csv") as temporary,
    ):
        temporary.write_text("x")
    tmp_path.chmod(0o700)
