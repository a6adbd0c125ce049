"""The table in docs/scans.md of where identifiers end up is what the verbs do."""

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from medseg.cli.app import app
from tests.batch.stub import small_model
from tests.readers.dicom_files import write_series

pytestmark = pytest.mark.usefixtures("forked_workers")

#: Marked identifiers: of the header, and of the user's own names.
HEADER = (b"ZZNAME", b"ZZIDENT", b"ZZACCESSION", b"ZZDESCRIPTION", b"ZZMODALITY", b"19770707")
NAMES = (b"ZZFOLDER", b"ZZFILE")

#: Words of a row of the table, by the command that it stands for.
COMMANDS = {
    "convert": ["convert", "in", "--output", "out"],
    "convert --with-identifiers": ["convert", "in", "--output", "out", "--with-identifiers"],
    "segment": ["segment", "model", "in", "--output", "out", "--executor", "inline"],
    "segment --format dicom-seg": [
        *("segment", "model", "in", "--output", "out", "--executor", "inline"),
        *("--format", "dicom-seg"),
    ],
}


def marked(dataset, k):
    dataset.PatientName, dataset.PatientID = "ZZNAME^ANNA", "ZZIDENT"
    dataset.AccessionNumber, dataset.PatientBirthDate = "ZZACCESSION", "19770707"
    dataset.SeriesDescription, dataset.StudyDescription = "ZZDESCRIPTION", "ZZDESCRIPTION"
    dataset.StudyDate, dataset.StudyTime, dataset.StudyID = "19770707", "", ""
    dataset.ReferringPhysicianName = dataset.PatientSex = ""


@pytest.fixture
def world(tmp_path, monkeypatch):
    """A series with marks, one with a marked free-text modality, and a damaged file."""
    monkeypatch.setenv("MEDSEG_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    write_series(tmp_path / "in" / "ZZFOLDER", 6, change=marked, prefix="ZZFILE")

    def free_text(dataset, k):
        marked(dataset, k)
        dataset.Modality = "ZZMODALITY"

    write_series(tmp_path / "in" / "other", 6, change=free_text, series="2.25.2")
    (tmp_path / "in" / "ZZFOLDER" / "plain.nii.gz").write_bytes(b"damaged")
    small_model(tmp_path / "model")
    return tmp_path


def kind_of(path: Path, out: Path) -> str:
    """How the table calls an output."""
    name = path.relative_to(out).as_posix()
    return "masks" if name.endswith(".dcm") else "logs" if name.startswith("logs/") else name


def found(out: Path, marks) -> set[str]:
    kinds = set()
    for path in out.rglob("*"):
        name = path.relative_to(out).as_posix().encode()
        content = path.read_bytes() if path.is_file() else b""
        if any(mark in name or mark in content for mark in marks):
            kinds.add(kind_of(path, out))
    return kinds


def promised(repository: Path) -> dict[str, tuple[set[str], set[str]]]:
    """Command to the outputs in which the header's and the user's own identifiers stand."""
    text = (repository / "docs" / "scans.md").read_text()
    table = text.partition("| command | identifiers of the header |")[2]
    rows = re.findall(r"^\| `([^`]+)` \| ([^|]+) \| ([^|]+) \|$", table, flags=re.MULTILINE)
    assert rows, "the table is gone"
    return {
        command: (set(re.findall(r"`([^`]+)`", one)), set(re.findall(r"`([^`]+)`", other)))
        for command, one, other in rows
    }


@pytest.mark.parametrize("command", COMMANDS)
def test_identifiers_are_where_the_table_says(world, repository, command):
    result = CliRunner().invoke(app, COMMANDS[command])
    assert result.exit_code == 1, result.output  # the damaged file is refused
    out = world / "out"
    header, names = promised(repository)[command]
    assert found(out, HEADER) == header
    assert found(out, NAMES) == names
    printed = result.output.encode()
    if command != "convert --with-identifiers":
        assert not any(mark in printed for mark in HEADER)
