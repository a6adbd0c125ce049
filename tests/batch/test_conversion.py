"""A conversion loses no more than the bad scan, goes on where it ended, and replaces nothing."""

import csv
import faulthandler
import os
import signal
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from medseg.batch.conversion import convert_scans, guarded_folder, held_folder
from medseg.batch.executors import Patience
from medseg.errors import BadConfig, BadOutput
from medseg.readers.entry import Status
from medseg.scans import scans_of
from medseg.scans.content import ImageFile
from medseg.scans.table import row
from medseg.writers import guard, write_volume
from tests.batch import stub

pytestmark = pytest.mark.usefixtures("forked_workers")


@dataclass(frozen=True)
class Trap(ImageFile):
    """An image file that does something to the process that reads it."""

    deed: str = ""

    def read(self, source, *, volume, nonfinite):
        match self.deed:
            case "killed":
                die_of(signal.SIGKILL)
            case "crashed":
                die_of(signal.SIGSEGV)
            case "hangs":
                time.sleep(3600)
            case "bug":
                raise ZeroDivisionError(source)
            case "memory":
                raise MemoryError
        return super().read(source, volume=volume, nonfinite=nonfinite)


def die_of(number):
    """The signal may reach another thread first: this one goes no further."""
    faulthandler.disable()  # a copy of pytest's process would print every stack
    os.kill(os.getpid(), number)
    time.sleep(3600)


@pytest.fixture(autouse=True)
def own_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("MEDSEG_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def scans(tmp_path):
    """A folder of five scans."""
    folder = tmp_path / "in"
    folder.mkdir()
    for number in range(5):
        write_volume(stub.scan(number), folder / f"s{number}.nii.gz")
    return folder


def convert(folder, output, deeds=None, *, overwrite=False, patience=None, **options):
    """Run one conversion; status and reason by case."""
    with (
        guarded_folder(output, [folder], overwrite=overwrite),
        held_folder(output, patience) as executor,
    ):
        listed = [trapped(one, deeds or {}) for one in scans_of([folder], without=output)]
        rows = [row(one.scan, str(one.place)) for one in listed]
        convert_scans(listed, rows, output, executor, overwrite=overwrite, **options)
    return table(output)


def trapped(one, deeds):
    content = one.scan.content
    if not isinstance(content, ImageFile):
        return one
    deed = deeds.get(one.scan.case, "")
    trap = Trap(content.file, deed)
    return replace(one, scan=replace(one.scan, content=trap))


def table(output):
    with (output / "scans.csv").open(newline="") as lines:
        return {row["case"]: (row["status"], row["reason"]) for row in csv.DictReader(lines)}


def stamps(output):
    return {path.name: path.stat().st_mtime_ns for path in output.glob("*.nii.gz")}


@pytest.mark.parametrize(
    ("deed", "reason"),
    [
        ("killed", "signal 9"),
        ("crashed", "signal 11"),
        ("hangs", "took longer than"),
        ("bug", "ZeroDivisionError"),
        ("memory", "MemoryError"),
    ],
)
def test_a_scan_that_brings_its_process_down_is_lost_alone(tmp_path, scans, deed, reason):
    out = tmp_path / "out"
    patience = Patience(read_s=1.5) if deed == "hangs" else None
    rows = convert(scans, out, {"s1": deed}, patience=patience)
    assert {case: status for case, (status, _) in rows.items()} == {
        **dict.fromkeys(["s0", "s2", "s3", "s4"], "converted"),
        "s1": "failed",
    }
    assert reason in rows["s1"][1]
    assert sorted(stamps(out)) == [f"s{n}.nii.gz" for n in (0, 2, 3, 4)]
    assert not list(out.glob(".part-*"))
    before = stamps(out)
    assert convert(scans, out)["s1"][0] == "converted"  # failed ones are tried again
    assert {name: time for name, time in stamps(out).items() if name != "s1.nii.gz"} == before


def test_what_is_converted_is_left_alone_and_what_changed_is_done_again(tmp_path, scans):
    out = tmp_path / "out"
    convert(scans, out)
    before = stamps(out)
    write_volume(stub.scan(7), scans / "s2.nii.gz")
    assert {status for status, _ in convert(scans, out).values()} == {"converted"}
    after = stamps(out)
    assert [name for name in before if before[name] != after[name]] == ["s2.nii.gz"]


def test_a_foreign_file_an_edited_one_and_an_input_stay(tmp_path, scans):
    out = tmp_path / "out"
    out.mkdir()
    (out / "s3.nii.gz").write_bytes(b"drawn by hand")
    rows = convert(scans, out)
    assert rows["s3"] == (
        "refused",
        "a file that this command did not write stands here (s3.nii.gz). "
        "Choose another --output, or give --overwrite to replace it.",
    )
    assert (out / "s3.nii.gz").read_bytes() == b"drawn by hand"
    write_volume(stub.scan(9), out / "s1.nii.gz")
    write_volume(stub.scan(8), scans / "s1.nii.gz")
    edited = (out / "s1.nii.gz").read_bytes()
    assert "edited since" in convert(scans, out)["s1"][1]
    assert (out / "s1.nii.gz").read_bytes() == edited
    assert convert(scans, out, overwrite=True)["s1"][0] == "converted"
    assert (out / "s1.nii.gz").read_bytes() != edited
    inputs = {path: path.read_bytes() for path in scans.iterdir()}
    rows = convert(scans, scans, overwrite=True)
    assert {path: path.read_bytes() for path in inputs} == inputs
    assert all("is an input" in rows[f"s{number}"][1] for number in range(5))


def test_a_damaged_volume_is_written_again(tmp_path, scans):
    out = tmp_path / "out"
    convert(scans, out)
    whole = (out / "s4.nii.gz").read_bytes()
    (out / "s4.nii.gz").write_bytes(whole[:200])
    assert convert(scans, out)["s4"][0] == "converted"
    assert (out / "s4.nii.gz").read_bytes() == whole


def test_two_archives_with_one_name_do_not_overwrite_each_other(tmp_path, scans):
    out = tmp_path / "out"
    convert(scans, out)
    before = stamps(out)
    other = tmp_path / "other"
    other.mkdir()
    write_volume(stub.scan(11), other / "s0.nii.gz")
    rows = convert(other, out)
    assert rows["s0"][0] == "refused"
    assert "another scan named s0" in rows["s0"][1]
    assert stamps(out) == before


def test_a_lost_folder_blames_no_scan(tmp_path, scans, monkeypatch):
    out = tmp_path / "out"
    real = os.fsync

    def full(descriptor):
        nameless = "(deleted)" in str(Path(f"/proc/self/fd/{descriptor}").readlink())
        if nameless and os.fstat(descriptor).st_size != guard.TRIED_BYTES:
            raise OSError(28, "No space left on device")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", full)  # before the workers are copied from this process
    with pytest.raises(BadOutput, match="No space left"):
        convert(scans, out)
    monkeypatch.undo()
    assert {status for status, _ in table(out).values()} == {Status.USABLE}
    assert {status for status, _ in convert(scans, out).values()} == {"converted"}


def test_a_folder_of_masks_is_refused(tmp_path, scans):
    from medseg.batch import open_ledger
    from medseg.batch.entry import Recipe

    out = tmp_path / "masks"
    out.mkdir()
    archive = stub.Archive(tmp_path / "of the batch")
    ledger = open_ledger(out)
    ledger.adopt(Recipe(("1234",), {}))
    ledger.add(archive.add("a"))
    ledger.close()
    with pytest.raises(BadConfig, match="masks of medseg segment"):
        convert(scans, out)


def test_values_of_a_converted_scan_are_those_of_the_scan(tmp_path, scans):
    import nibabel

    out = tmp_path / "out"
    convert(scans, out)
    for path in scans.iterdir():
        written = nibabel.load(out / path.name)
        np.testing.assert_array_equal(written.get_fdata(), nibabel.load(path).get_fdata())


def test_a_new_folder_is_not_left_behind_by_a_wrong_call(tmp_path):
    from medseg.errors import BadScan

    with pytest.raises(BadScan):
        convert(Path(tmp_path / "nowhere"), tmp_path / "out")
    assert not (tmp_path / "out").exists()
