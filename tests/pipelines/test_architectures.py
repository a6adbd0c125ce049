"""The study runs on painted hearts, goes on where it stopped, and says what it lacks."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
import torch

from tests.conftest import REPOSITORY

sys.path.insert(0, str(REPOSITORY / "pipelines"))
from study.cells import BY_NAME, CELLS
from study.cohorts import intensities, load, quantised, save
from study.phantoms import phantom_hearts
from study.probes import down_and_up
from study.scoring import score_cases
from study.stream import Stream
from study.training import built, centred_patches, train

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def hearts():
    return phantom_hearts(train=3, test=2, size=48)


def test_a_cohort_survives_its_file(hearts, tmp_path):
    save(hearts, tmp_path / "hearts.npz")
    again = load(tmp_path / "hearts.npz")
    assert (again.labels, again.patch, again.about) == (hearts.labels, hearts.patch, hearts.about)
    for one, other in zip(hearts.cases, again.cases, strict=True):
        assert (one.case, one.test, one.spacing_mm) == (other.case, other.test, other.spacing_mm)
        np.testing.assert_array_equal(one.image, other.image)
        np.testing.assert_array_equal(one.classes, other.classes)


def test_kept_intensities_are_off_by_half_a_step_at_most():
    values = np.linspace(-3, 5, 1000).astype(np.float32)
    assert np.abs(intensities(quantised(values)) - values).max() <= 8 / 255 / 2 + 1e-6


def test_every_network_of_a_seed_sees_the_same_batches(hearts):
    first, second, other = (Stream(hearts, seed, CPU) for seed in (1, 1, 2))
    for step in (0, 3):
        torch.testing.assert_close(first[step][0], second[step][0])
        assert torch.equal(first[step][1], second[step][1])
    assert not torch.equal(first[0][0], other[0][0])
    assert first[0][0].shape == (4, 1, 48, 48) and int(first[0][1].max()) <= 3


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.name)
def test_every_cell_names_a_network_that_learns_and_a_start_that_is_there(cell, hearts):
    network = built(cell, hearts, 0)
    before = [parameter.detach().clone() for parameter in network.parameters()]
    trained = train(network, Stream(hearts, 0, CPU), 1)
    moved = [not torch.equal(a, b) for a, b in zip(before, network.parameters(), strict=True)]
    assert any(moved) and np.isfinite(trained.last_loss)
    assert cell.starts_from is None or cell.starts_from in BY_NAME


def test_the_classifier_s_patches_are_around_a_voxel_of_their_class(hearts):
    image, classes = Stream(hearts, 0, CPU)[0]
    patches, targets = centred_patches(classes[:, None].float(), classes, step=0)
    assert patches.shape == (4, 1, 96, 96) and image.shape[0] == 4
    assert torch.equal(patches[:, 0, 48, 48].long(), targets)


@pytest.mark.parametrize("dims", [2, 3])
def test_the_ceiling_of_no_stride_is_the_truth_and_falls_with_the_stride(hearts, dims):
    case = hearts.test[0]
    dice = []
    for stride in (1, 2, 4, 16):
        mask = down_and_up(case.classes, 4, stride, dims, CPU)
        assert mask.shape == case.classes.shape
        scores = score_cases([case], [mask], hearts.labels, 1.0)
        chosen = scores[(scores["metric"] == "dice") & (scores["label"] == "myocardium")]
        dice.append(float(chosen["value"].iloc[0]))
    assert dice[0] == 1 and dice == sorted(dice, reverse=True) and dice[-1] < 0.6


def study(output, *words: str) -> str:
    script = REPOSITORY / "pipelines/architectures.py"
    call = [sys.executable, script, "--quick", "--output", output, "--device", "cpu", *words]
    return subprocess.run(call, check=True, capture_output=True, text=True).stdout


@pytest.mark.slow
def test_the_whole_study_runs_on_painted_hearts_and_writes_its_page(tmp_path):
    said = study(tmp_path, "--page", str(tmp_path / "page.md"))
    page = (tmp_path / "page.md").read_text(encoding="utf-8")
    assert "Painted hearts only" in page and "Not or not wholly run" not in page
    for number in range(1, 8):
        assert f"## {number}. " in page
    for cell in CELLS:
        if cell.network != "classifier":
            assert f"| {cell.title} |" in page
    for name in page.split("](pictures/")[1:]:
        assert (tmp_path / "pictures" / name.partition(")")[0]).is_file()
    report = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "http" not in report.replace("http://www.w3.org", "") and "data:image/svg+xml" in report
    facts = json.loads((tmp_path / "cells/phantoms/unet/seed_0/result.json").read_text())
    assert facts["dice"] > 0.5 and "phantoms unet 0" in said


@pytest.mark.slow
def test_a_study_goes_on_where_it_stopped_and_names_what_it_lacks(tmp_path):
    first = study(tmp_path, "--steps", "2", "--cells", "unet,unet_none")
    assert "phantoms unet 0: Dice" in first
    kept = (tmp_path / "cells/phantoms/unet/seed_0/result.json").stat().st_mtime_ns
    second = study(
        tmp_path, "--cells", "unet,fcn32s,fcn32s_classifier", "--page", str(tmp_path / "p.md")
    )
    assert "phantoms unet 0: Dice" not in second and "phantoms fcn32s 0: Dice" in second
    assert "fcn32s_classifier 0: not run, classifier is missing" in second
    assert (tmp_path / "cells/phantoms/unet/seed_0/result.json").stat().st_mtime_ns == kept
    assert "fcn8s (0 of 1 seeds)" in (tmp_path / "p.md").read_text(encoding="utf-8")
