"""The table in docs/scans.md of where identifiers end up is what the verbs do."""

import re
from pathlib import Path

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from medseg.cli.app import app
from medseg.config import override
from medseg.scans import read
from medseg.volume import LabelMap
from medseg.writers import write_labels
from tests.batch.stub import small_model
from tests.readers.dicom_files import write_series
from tests.training.plans import PLAN

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

#: The same of verbs over a cohort whose card and scans lie in a marked folder.
IMPORT = ("cohort", "import")
COHORT_COMMANDS = {
    "cohort import": [*IMPORT, "dicom", "ZZFOLDER", "labels={spot: 1}", "--output", "out/c.yaml"],
    "cohort split": ["cohort", "split", "CARD", "--folds", "2", "--output", "out/c.yaml"],
    "cohort check": ["cohort", "check", "CARD"],
}
LONG_COMMANDS = {
    "plan": ["plan", "CARD", "--minutes", "1", "--device", "cpu", "--output", "out/plan.yaml"],
    "evaluate": [
        *("evaluate", "masks", "CARD", "--split", "train", "--labels", "cohort"),
        *("--workers", "1", "--output", "out"),
    ],
    "train": ["train", "plan.yaml", "--device", "cpu", "--output", "out"],
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


@pytest.fixture
def cohort(tmp_path, monkeypatch):
    """Three series with marks, their masks, and a card; its folder and files have marked names."""
    monkeypatch.setenv("MEDSEG_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    home = tmp_path / "ZZFOLDER"
    lines = ["case,patient,split,fold,image,label"]
    for number in range(3):

        def change(dataset, k, number=number):
            marked(dataset, k)
            dataset.PatientID = f"ZZIDENT{number}"
            values = np.random.default_rng(9 * number + k).integers(
                0, 900, dataset.pixel_array.shape
            )
            dataset.PixelData = values.astype(dataset.pixel_array.dtype).tobytes()

        folder = write_series(
            home / f"ZZFILE{number}", 6, change=change, series=f"2.25.{number + 1}"
        )
        grid = read(folder).geometry
        data = np.zeros(grid.shape, np.uint8)
        data[2:5, 2:5, 2:4] = 1
        for path in (home / f"masks/ZZFILE{number}.nii.gz", tmp_path / f"masks/c{number}.nii.gz"):
            write_labels(LabelMap(data, grid), path)
        lines.append(
            f"c{number},p{number},train,{number % 2},ZZFILE{number},masks/ZZFILE{number}.nii.gz"
        )
    (home / "card.csv").write_text("\n".join(lines))
    card = {"name": "small", "modality": "MR", "channels": ["T1"], "labels": {"spot": 1}}
    (home / "card.yaml").write_text(yaml.safe_dump(card | {"table": "card.csv"}))
    plan = override(PLAN | {"cohort": "ZZFOLDER/card.yaml"}, ["training.steps=2"])
    (tmp_path / "plan.yaml").write_text(yaml.safe_dump(plan))
    return tmp_path


def kind_of(path: Path, out: Path) -> str:
    """How the table calls an output."""
    name = path.relative_to(out).as_posix()
    if name in ("c.yaml", "c.csv"):
        return {"c.yaml": "card", "c.csv": "table"}[name]
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


@pytest.mark.parametrize(
    ("command", "words"),
    [
        *COHORT_COMMANDS.items(),
        *(pytest.param(*item, marks=pytest.mark.slow) for item in LONG_COMMANDS.items()),
    ],
)
def test_identifiers_of_a_cohort_are_where_the_table_says(cohort, repository, command, words):
    words = ["ZZFOLDER/card.yaml" if word == "CARD" else word for word in words]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    header, names = promised(repository)[command]
    assert found(cohort / "out", HEADER) == header
    assert found(cohort / "out", NAMES) == names
    assert not any(mark in result.output.encode() for mark in HEADER)
