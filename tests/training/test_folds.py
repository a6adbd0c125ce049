"""Cross-validation leaves a mask of every train row and an ensemble of all folds."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from medseg.cli import run
from medseg.manifests import load_cohort
from medseg.model import load_model
from medseg.phantoms import Population, write_phantom_cohort


@pytest.fixture
def config(tmp_path: Path) -> Path:
    write_phantom_cohort(tmp_path, Population(spacing_mm=16.0, structures=("liver",)), cases=10)
    content = {
        "cohort": "cohort.yaml",
        "patch": [16, 16, 16],
        "network": {"name": "unet", "options": {"features": [4, 8]}},
        "training": {"steps": 2, "warmup": 1},
        "folds": 5,
    }
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def test_every_train_row_is_segmented_by_the_fold_that_never_saw_it(
    config: Path, tmp_path: Path
) -> None:
    learn = "training.rules=learn"
    assert run("train", config, learn, "--output", tmp_path / "run", "--quiet") == 0
    model = load_model(tmp_path / "run/model")
    assert sorted(model.card.weights) == [f"fold_{i}.safetensors" for i in range(5)]
    assert len(model.networks()) == 5
    train = load_cohort(tmp_path / "cohort.yaml").select(split="train")
    masks = {path.name for path in (tmp_path / "run/out_of_fold").glob("*.nii.gz")}
    assert masks == {f"{case.case}.nii.gz" for case in train.cases}
    assert len(model.card.provenance.training_pixels) == len(train.cases)
    fold = load_model(tmp_path / "run/fold_0/model").card
    assert model.card.provenance.learnt_rules is not None, "on all folds' masks together"
    assert fold.provenance.learnt_rules is None, "and on no fold's alone"
    seen = fold.provenance.training_pixels
    assert len(seen) == len(train.cases) - len(train.select(fold=0).cases)


def test_folds_that_the_table_does_not_have_are_refused(
    config: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run("train", config, "folds=3", "--output", tmp_path / "run", "--quiet") == 1
    assert "divided into other folds" in capfd.readouterr().err
