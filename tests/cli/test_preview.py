"""The contact sheet shows the patches that training will draw."""

from __future__ import annotations

import time
from pathlib import Path

import torch
import yaml

from medseg.cli import run
from medseg.config import TrainConfig, load_yaml, validate
from medseg.manifests import load_cohort
from medseg.phantoms import Population, write_phantom_cohort
from medseg.training.data import PatchData, prepare_cohort
from medseg.training.preview import drawn_patches
from medseg.training.run import Run
from medseg.training.setup import resolve


def _config(folder: Path) -> Path:
    write_phantom_cohort(folder, Population(spacing_mm=16.0, structures=("liver",)), cases=10)
    content = {
        "cohort": "cohort.yaml",
        "patch": [16, 16, 16],
        "training": {"steps": 1, "warmup": 1, "batch": 4},
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(content))
    return folder / "config.yaml"


def test_a_sheet_is_drawn(tmp_path: Path) -> None:
    path = _config(tmp_path)
    assert run("preview", path, "--output", tmp_path / "sheet.png", "--patches", 6, "--quiet") == 0
    assert (tmp_path / "sheet.png").read_bytes().startswith(b"\x89PNG")


def test_the_patches_shown_are_the_first_that_training_draws(tmp_path: Path) -> None:
    config = validate(TrainConfig, load_yaml(_config(tmp_path)))
    cohort = load_cohort(tmp_path / "cohort.yaml")
    shown = drawn_patches(config, cohort, tmp_path / "cache", 4, lambda done, total: None)
    data = prepare_cohort(config, cohort, tmp_path / "cache", lambda done, total: None)
    run = Run(tmp_path, torch.device("cpu"), time.monotonic())
    setup = resolve(config, cohort, data, run)
    patches = PatchData(data.train, setup.plan, workers=0)
    first = setup.augment()(next(iter(patches.train_dataloader())))
    assert torch.equal(shown.image, first.image)
    assert torch.equal(shown.classes, first.classes)
