"""A file appears whole or not at all."""

import os
import subprocess
import sys

import pytest

from medseg.errors import BadOutput
from medseg.writers.atomic import atomic_file, atomic_path, sweep


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


WRITE = (
    "import os, sys, time\nfrom pathlib import Path\nfrom medseg.writers import atomic\n"
    "if sys.argv[2] == 'named': del os.O_TMPFILE\n"
    "with getattr(atomic, sys.argv[3])(Path(sys.argv[1])) as target:\n"
    "    file = target if hasattr(target, 'write') else target.open('wb')\n"
    "    file.write(b'voxels'); file.flush(); print('written', flush=True); time.sleep(60)"
)


@pytest.fixture
def half_written(tmp_path):
    """Starts a process that writes a file of `tmp_path` and never ends; gives the process."""
    processes = []

    def start(kind: str, function: str) -> subprocess.Popen:
        call = [sys.executable, "-c", WRITE, str(tmp_path / "mask.nii.gz"), kind, function]
        process = subprocess.Popen(call, stdout=subprocess.PIPE, text=True)
        processes.append(process)
        assert process.stdout.readline() == "written\n"
        return process

    yield start
    for process in processes:
        process.kill()
        process.wait()


@pytest.mark.parametrize(
    ("kind", "function"),
    [("named", "atomic_path"), ("any", "atomic_path"), ("named", "atomic_file")],
)
def test_the_next_writer_removes_what_a_killed_one_left(tmp_path, half_written, kind, function):
    process = half_written(kind, function)
    (left,) = tmp_path.iterdir()
    sweep(tmp_path)
    assert left.exists(), "its writer is alive"
    process.kill()
    process.wait()
    assert left.exists()
    sweep(tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_killed_writer_of_voxels_leaves_nothing(tmp_path, half_written):
    try:
        os.close(os.open(tmp_path, os.O_TMPFILE | os.O_RDWR))
    except OSError:
        pytest.skip("no files without a name on this file system")
    process = half_written("any", "atomic_file")
    process.kill()
    process.wait()
    assert not list(tmp_path.iterdir())


def test_the_first_file_in_a_folder_is_preceded_by_a_sweep(tmp_path):
    folder = tmp_path / "never written to before"
    folder.mkdir()
    (folder / ".part-0123456789abcdef.csv").write_text("half")
    with atomic_path(folder / "scores.csv") as temporary:
        temporary.write_text("whole")
    assert [path.name for path in folder.iterdir()] == ["scores.csv"]


@pytest.mark.parametrize(
    "name", [".part-0123", ".part-0123456789abcdeg.csv", "part-0123456789abcdef", ".participants"]
)
def test_other_hidden_files_are_not_swept(tmp_path, name):
    (tmp_path / name).write_text("somebody else's")
    (tmp_path / ".part-0123456789abcdef").symlink_to(name)
    (tmp_path / ".part-0123456789abcdee").mkdir()
    os.mkfifo(tmp_path / ".part-0123456789abcded")
    sweep(tmp_path)
    assert len(list(tmp_path.iterdir())) == 4


def test_an_open_file_becomes_the_file_and_replaces_what_stood_there(tmp_path):
    target = tmp_path / "new" / "mask.nii.gz"
    for content in (b"first", b"second"):
        with atomic_file(target) as file:
            file.write(content)
        assert target.read_bytes() == content
    assert target.stat().st_mode & 0o777 == 0o666 & ~umask()
    with pytest.raises(ValueError, match="a bug"), atomic_file(target) as file:
        file.write(b"half")
        raise ValueError("a bug")
    assert target.read_bytes() == b"second"
    assert [path.name for path in target.parent.iterdir()] == ["mask.nii.gz"]


def umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
