"""The whole road: phantoms are drawn, learnt, segmented and scored, verb by verb."""

from __future__ import annotations

import csv
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import yaml

from medseg.cli import run
from medseg.manifests import load_cohort
from medseg.model import load_model
from medseg.phantoms import Population, write_phantom_cohort

ROADS = {
    "3D U-Net": {"dims": 3, "network": {"name": "unet", "options": {"features": [8, 16, 32]}}},
    "2D U-Net": {"dims": 2, "network": {"name": "unet", "options": {"features": [8, 16, 32]}}},
    "3D FCN-8s": {"dims": 3, "network": {"name": "fcn8s"}},
}


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("phantoms")
    population = Population(grids=("axial", "sagittal"), spacing_mm=12.0, structures=("liver",))
    return write_phantom_cohort(folder, population, cases=10)


def config(cohort: Path, **changes: object) -> Path:
    content = {
        "cohort": cohort.name,
        "patch": [24, 24, 24],
        "prepare": {"normalise": [{"kind": "window", "low": -160, "high": 240}]},
        "training": {"steps": 60, "batch": 4, "learning_rate": 0.004, "warmup": 5, "ema": 0.9},
        "postprocess": [{"rule": "keep_largest"}],
        **changes,
    }
    path = cohort.parent / "config.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def mean_dice(evaluation: Path) -> float:
    with (evaluation / "summary.csv").open(newline="") as file:
        rows = {(row["label"], row["metric"]): row for row in csv.DictReader(file)}
    return float(rows["mean", "dice"]["mean"])


def held_out_dice(path: Path, cohort: Path, folder: Path) -> float:
    """Train, segment the test rows, evaluate; the mean Dice over cases and labels."""
    scans = ("--split", "test", "--executor", "inline")
    curves = folder / "run/curves.csv"
    for words in (
        ("train", path, "--output", folder / "run"),
        ("segment", folder / "run/model", cohort, *scans, "--output", folder / "masks"),
        ("evaluate", folder / "masks", cohort, "--output", folder / "scores", "--curves", curves),
    ):
        assert run(*words, "--quiet") == 0
    return mean_dice(folder / "scores")


def test_a_network_learns_phantoms_and_finds_held_out_livers(cohort: Path, tmp_path: Path) -> None:
    path = config(cohort, **ROADS["3D U-Net"])
    # chance gives 0.05; sixty steps of a tiny network are enough to know a liver from the rest
    assert held_out_dice(path, cohort, tmp_path) > 0.6
    assert "data:image" in (tmp_path / "scores/report.html").read_text()


@pytest.mark.parametrize("road", ROADS.values(), ids=ROADS)
def test_a_mask_is_the_twin_of_its_scan_on_every_road(
    road: dict[str, object], cohort: Path, tmp_path: Path
) -> None:
    path = config(cohort, **road, training={"steps": 2, "warmup": 1})
    assert run("train", path, "--output", tmp_path / "run", "--quiet") == 0
    case = load_cohort(cohort).select(split="test").cases[0]
    assert (
        run(
            "segment",
            tmp_path / "run/model",
            case.sources[0],
            "--output",
            tmp_path / "masks",
            "--executor",
            "inline",
            "--quiet",
        )
        == 0
    )
    facts = load_model(tmp_path / "run/model").card.network_facts
    assert facts is not None
    assert len(facts.receptive_field) == road["dims"]
    assert facts.parameters > 10_000
    scan, mask = nib.load(case.sources[0]), nib.load(tmp_path / f"masks/{case.case}.nii.gz")
    assert mask.shape == scan.shape
    assert np.array_equal(mask.affine, scan.affine)
    assert mask.get_data_dtype() == np.uint8
    for key in ("pixdim", "sform_code", "qform_code", "xyzt_units"):
        assert np.array_equal(mask.header[key], scan.header[key])


def test_one_bad_scan_gets_its_reason_and_the_rest_is_done(cohort: Path, tmp_path: Path) -> None:
    path = config(cohort, training={"steps": 2, "warmup": 1})
    assert run("train", path, "--output", tmp_path / "run", "--quiet") == 0
    scans = tmp_path / "scans"
    scans.mkdir()
    (scans / "notes.nii.gz").write_text("this is no scan")
    case = load_cohort(cohort).cases[0]
    (scans / "good.nii.gz").write_bytes(case.sources[0].read_bytes())
    assert (
        run(
            "segment",
            tmp_path / "run/model",
            scans,
            "--output",
            tmp_path / "masks",
            "--executor",
            "inline",
            "--quiet",
        )
        == 1
    )
    with (tmp_path / "masks/cases.csv").open(newline="") as file:
        rows = {row["source"]: row for row in csv.DictReader(file)}
    assert rows["good.nii.gz"]["status"] == "done"
    assert rows["notes.nii.gz"]["status"] == "refused"
    assert rows["notes.nii.gz"]["reason"]
    assert (tmp_path / "masks/good.nii.gz").exists()


def test_bad_input_at_every_door_is_one_line_and_the_right_exit_code(
    cohort: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    good = config(cohort)
    misspelt = tmp_path / "misspelt.yaml"
    misspelt.write_text(good.read_text().replace("patch:", "pach:"))
    doors = {
        "no such file": (2, ("train", tmp_path / "none.yaml", "--output", tmp_path / "r")),
        "unknown key 'pach'": (2, ("train", misspelt, "--output", tmp_path / "r")),
        "unknown key 'training.speed'": (
            2,
            ("train", good, "training.speed=9", "--output", tmp_path / "r"),
        ),
        "no model given": (2, ("segment", tmp_path, cohort, "--output", tmp_path / "m")),
    }
    for words, (code, call) in doors.items():
        assert run(*call) == code, words
        told = capfd.readouterr().err.strip()
        assert words in told
        assert "Traceback" not in told
        assert len(told.splitlines()) == 1


@pytest.mark.slow
def test_sides_are_kept_when_left_and_right_are_mirrored_in_training(tmp_path: Path) -> None:
    population = Population(
        grids=("axial", "mirrored", "sagittal"),
        spacing_mm=8.0,
        structures=("left kidney", "right kidney"),
    )
    cohort = write_phantom_cohort(tmp_path / "phantoms", population, cases=15)
    path = config(
        cohort,
        patch=[48, 40, 32],
        augment={"mirror_axes": [0], "rotate_degrees": 10},
        network={"name": "unet", "options": {"features": [8, 16, 32, 64]}},
        infer={"mirror_axes": [0]},
        training={"steps": 250, "batch": 2, "learning_rate": 0.003, "ema": 0.97},
    )
    # a side that is mixed up scores near 0, a coin toss near 0.5
    assert held_out_dice(path, cohort, tmp_path) > 0.8
