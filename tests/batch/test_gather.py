"""A row of a cohort that cannot be looked at is refused alone; the others are segmented."""

import os
from pathlib import Path

import pytest

from medseg.batch.gather import gather
from medseg.batch.task import Task
from medseg.writers import write_volume
from tests.batch import stub

CARD = "name: c\nmodality: MR\nchannels: [T1]\nlabels: {ball: 1}\ntable: c.csv\nroot: .\n"


def cases(folder: Path, image: str) -> dict[str, object]:
    write_volume(stub.scan(0), folder / "good.nii.gz")
    (folder / "c.yaml").write_text(CARD)
    rows = ["case,patient,split,fold,image,label", f"bad,p0,train,0,{image},"]
    (folder / "c.csv").write_text("\n".join([*rows, "good,p1,train,1,good.nii.gz,"]) + "\n")
    return {case.case: case for case in gather([folder / "c.yaml"])}


@pytest.mark.parametrize("kind", ["long", "broken", "itself", "pipe", "nowhere"])
def test_a_row_that_leads_to_no_file_is_refused_alone(tmp_path, kind):
    match kind:
        case "broken":
            (tmp_path / "broken.nii.gz").symlink_to("gone.nii.gz")
        case "itself":
            (tmp_path / "itself.nii.gz").symlink_to("itself.nii.gz")
        case "pipe":
            os.mkfifo(tmp_path / "pipe.nii.gz")
    name = "x" * 300 if kind == "long" else f"{kind}.nii.gz"
    found = cases(tmp_path, name)
    assert found["bad"].state == "refused"
    assert str(tmp_path) not in found["bad"].reason
    assert isinstance(found["good"], Task)


def test_a_row_in_a_folder_without_permission_is_refused_alone(tmp_path, monkeypatch):
    real = Path.stat

    def stat(path, **options):
        if "locked" in path.parts:
            raise PermissionError(13, "Permission denied", str(path))
        return real(path, **options)

    monkeypatch.setattr(Path, "stat", stat)
    found = cases(tmp_path, "locked/scan.nii.gz")
    assert "Permission denied" in found["bad"].reason
    assert isinstance(found["good"], Task)


def test_links_that_loop_and_links_that_break_in_a_folder_of_dicom_do_not_stop_it(tmp_path):
    folder = tmp_path / "series"
    for name in ("a", "b"):
        (folder / name).mkdir(parents=True)
        for other in ("a", "b"):
            (folder / name / f"to {other}").symlink_to(folder / other)
    (folder / "broken").symlink_to("gone")
    (folder / "0.dcm").write_bytes(b"?")
    found = cases(tmp_path, "series")
    assert isinstance(found["bad"], Task)
    assert found["bad"].size_bytes == 1
