"""Temporary folders are gone after their process, also where that was killed."""

import os
import signal
import subprocess
import sys
import time

import pytest

from medseg.scratch import PREFIX, scratch_folder

_HOLD = """
import sys, time
from medseg.scratch import scratch_folder
with scratch_folder() as folder:
    (folder / "scan.nii").write_text("voxels")
    print(folder, flush=True)
    time.sleep(600)
"""


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr("medseg.scratch._YOUNG_S", -1.0)
    return tmp_path


@pytest.fixture
def holder(place):
    environment = os.environ | {"TMPDIR": str(place)}
    process = subprocess.Popen(
        [sys.executable, "-c", _HOLD], stdout=subprocess.PIPE, text=True, env=environment
    )
    process.stdout.readline()
    yield process
    process.kill()
    process.wait()


def test_a_folder_is_gone_afterwards(place):
    with scratch_folder() as folder:
        assert folder.name.startswith(PREFIX)
        assert folder.stat().st_mode & 0o777 == 0o700
    assert list(place.iterdir()) == []


def test_what_a_killed_process_left_goes_with_the_next(place, holder):
    (left,) = place.iterdir()
    with scratch_folder():
        assert left.exists()  # its process lives
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert (left / "scan.nii").exists()
    with scratch_folder() as folder:
        assert list(place.iterdir()) == [folder]


def test_young_folders_and_other_things_stay(place, monkeypatch):
    monkeypatch.setattr("medseg.scratch._YOUNG_S", 60.0)
    (place / f"{PREFIX}young").mkdir()
    old = place / f"{PREFIX}file"
    old.write_text("not a folder")
    os.utime(old, (time.time() - 1000,) * 2)
    with scratch_folder():
        pass
    assert {path.name for path in place.iterdir()} == {f"{PREFIX}young", f"{PREFIX}file"}
