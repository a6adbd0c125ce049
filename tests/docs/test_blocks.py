"""The shell blocks of the guide run as they stand, one after the other, on phantoms.

Only the length of training is the test's: ``medseg train`` gets two steps of a small network.
"""

from __future__ import annotations

import contextlib
import csv
import json
import shlex
import shutil
from pathlib import Path

import pytest

from medseg.cli import run
from medseg.manifests import Case, load_cohort
from medseg.phantoms import Population, write_phantom_archive, write_phantom_cohort
from tests.docs.test_commands import ROOT, blocks

pytestmark = pytest.mark.slow

#: Pages whose blocks are run after those of the first page.
PAGES_AFTER = ("data", "scans", "evaluation", "dicom", "export")

SHORT = [
    "training.minutes=null",
    "training.steps=2",
    "training.warmup=1",
    "training.validations=0",
    "patch=[24,24,24]",
    "network.name=unet",
    "network.options={features: [4, 8]}",
]

#: What asks for the shell, or for descriptions that phantoms do not have.
ELSEWHERE = ("--install-completion", "--description", "doctor")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with everything that the pages name."""
    home = tmp_path_factory.mktemp("guide")
    population = Population(grids=("axial",), spacing_mm=12.0, structures=("liver",))
    card = write_phantom_cohort(home / "phantoms", population, cases=10)
    cases = load_cohort(card).cases
    lay_out_folders(home / "data", cases)
    lay_out_task(home / "Task04_Hippocampus", cases)
    lay_out_nnunet(home / "Dataset001_Liver", cases)
    lay_out_bids(home / "study", cases)
    write_phantom_archive(home / "archive", population, cases=2)
    shutil.copy(cases[0].sources[0], home / "scan.nii.gz")
    return home


def lay_out_folders(home: Path, cases: tuple[Case, ...]) -> None:
    for case in cases:
        copy(case.sources[0], home / "images" / f"{case.case}.nii.gz")
        copy(case.label, home / "labels" / f"{case.case}.nii.gz")


def lay_out_task(home: Path, cases: tuple[Case, ...]) -> None:
    names = [f"{case.case}.nii.gz" for case in cases]
    for case, name in zip(cases, names, strict=True):
        copy(case.sources[0], home / "imagesTr" / name)
        copy(case.label, home / "labelsTr" / name)
    pairs = [{"image": f"./imagesTr/{n}", "label": f"./labelsTr/{n}"} for n in names]
    content = {"name": "x", "modality": {"0": "CT"}, "labels": {"0": "background", "1": "liver"}}
    (home / "dataset.json").write_text(json.dumps(content | {"training": pairs, "test": []}))


def lay_out_nnunet(home: Path, cases: tuple[Case, ...]) -> None:
    for case in cases:
        copy(case.sources[0], home / "imagesTr" / f"{case.case}_0000.nii.gz")
        copy(case.label, home / "labelsTr" / f"{case.case}.nii.gz")
    content = {
        "channel_names": {"0": "CT"},
        "labels": {"background": 0, "liver": 1},
        "numTraining": len(cases),
        "file_ending": ".nii.gz",
    }
    (home / "dataset.json").write_text(json.dumps(content))


def lay_out_bids(home: Path, cases: tuple[Case, ...]) -> None:
    rows = [["participant_id", "sex"]]
    for number, case in enumerate(cases):
        name = f"sub-{number:02}"
        for suffix in ("T1w", "FLAIR"):
            copy(case.sources[0], home / name / "anat" / f"{name}_{suffix}.nii.gz")
        mask = home / "derivatives" / "manual" / name / "anat" / f"{name}_dseg.nii.gz"
        copy(case.label, mask)
        rows.append([name, "F"])
    with (home / "participants.tsv").open("w", newline="") as file:
        csv.writer(file, delimiter="\t").writerows(rows)
    (home / "dataset_description.json").write_text('{"Name": "x", "BIDSVersion": "1.9.0"}')


def copy(source: Path | None, target: Path) -> None:
    assert source is not None
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(source, target)


@pytest.fixture(scope="module")
def started(place: Path) -> Path:
    """The same folder after the first page: cohort, plan, model, masks, truths, a second method."""
    shutil.copytree(place / "data" / "labels", place / "truths")
    shutil.copytree(place / "data" / "labels", place / "predictions")
    assert walk("getting-started", place) == []
    first = sorted((place / "truths").iterdir())[0]
    shutil.copy(first, place / "truth.nii.gz")
    shutil.copy(first, place / "mask.nii.gz")
    labels = ["--labels", "liver=1", "--output", place / "evaluation_fcn"]
    assert run("evaluate", place / "predictions", place / "truths", *labels, "--quiet") == 0
    return place


@pytest.mark.parametrize("page", PAGES_AFTER)
def test_the_blocks_of_a_page_run(started: Path, tmp_path: Path, page: str) -> None:
    home = shutil.copytree(started, tmp_path / "home")
    assert walk(page, home) == []


def walk(page: str, home: Path) -> list[str]:
    """The lines of a page's blocks that end with another exit code than 0, with the code."""
    with contextlib.chdir(home):
        lines = [one for block in blocks(ROOT / "docs" / f"{page}.md") for one in block.split("\n")]
        return [f"{line}: {code}" for line in lines if (code := exit_code(line))]


def exit_code(line: str) -> int:
    """Of one line; 0 for lines that are not medseg's."""
    if not line.startswith("medseg ") or any(word in line for word in ELSEWHERE):
        return 0
    words = shlex.split(line, comments=True)[1:]
    if words[0] == "train":
        words += SHORT
    if "--output" in words:
        clear(Path(words[words.index("--output") + 1]), keep=words[0] in ("segment", "train"))
    return run(*words, "--quiet")


def clear(output: Path, *, keep: bool) -> None:
    """Pages start over where the page before left the same file."""
    for path in (output, output.with_suffix(".csv")):
        if path.is_dir() and not keep:
            shutil.rmtree(path)
        elif path.is_file():
            path.unlink()
