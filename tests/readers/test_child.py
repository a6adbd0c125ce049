"""A C++ library that crashes or hangs on a file costs that file alone."""

import os
import signal
import time

import numpy as np
import pytest

from medseg.errors import BadScan, NotAVolume
from medseg.geometry import Geometry
from medseg.readers import child
from medseg.readers.child import in_child
from medseg.readers.itk import others
from medseg.scans import discover
from medseg.volume import Volume
from medseg.writers import write_volume


def crash(path):
    os.kill(os.getpid(), signal.SIGKILL)


def test_what_the_call_returns_or_refuses_comes_back(tmp_path):
    array = np.arange(24.0).reshape(2, 3, 4)
    assert np.array_equal(in_child(tmp_path, lambda path: array), array)

    def refuse(path):
        raise NotAVolume("no volume", path=path, found=3)

    with pytest.raises(NotAVolume, match="no volume; found 3"):
        in_child(tmp_path, refuse)


def test_a_crash_is_a_refusal(tmp_path):
    with pytest.raises(BadScan, match=r"a\.mnc: the library .* crashed"):
        in_child(tmp_path / "a.mnc", crash)


def test_a_hang_is_a_refusal(tmp_path, monkeypatch):
    monkeypatch.setattr(child, "_SECONDS", 0.2)
    with pytest.raises(BadScan, match="hung"):
        in_child(tmp_path / "a.mnc", lambda path: time.sleep(60))


def test_a_file_that_crashes_its_library_hides_no_other(tmp_path, monkeypatch):
    monkeypatch.setattr(others, "_header", crash)
    (tmp_path / "bad.mnc").write_bytes(b"\x89HDF" + bytes(100))
    volume = Volume(np.zeros((1, 4, 5, 6), np.int16), Geometry((4, 5, 6), np.eye(4)))
    write_volume(volume, tmp_path / "good.nii.gz")
    found = {scan.case: scan.status for scan in discover(tmp_path)}
    assert found == {"bad": "refused", "good": "usable"}
