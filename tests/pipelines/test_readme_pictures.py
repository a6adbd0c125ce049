"""The pictures of the README are drawn from what a demo and a run leave."""

from __future__ import annotations

import shutil
import sys

import pandas as pd

from medseg.manifests import load_cohort
from medseg.phantoms.cohorts import Population, write_phantom_cohort
from tests.conftest import REPOSITORY

sys.path.insert(0, str(REPOSITORY / "pipelines"))
from readme_pictures import main


def test_overlay_and_curves_are_written(tmp_path):
    demo, run = tmp_path / "demo", tmp_path / "run"
    write_phantom_cohort(demo / "phantoms", Population(spacing_mm=10.0), cases=10)
    case = load_cohort(demo / "phantoms" / "cohort.yaml").cases[0]
    (demo / "masks").mkdir()
    shutil.copy(case.label, demo / "masks" / f"{case.case}.nii.gz")
    (demo / "evaluation").mkdir()
    scores = {"case": [case.case], "metric": ["dice"], "label": ["mean"], "value": [1.0]}
    pd.DataFrame(scores).to_csv(demo / "evaluation" / "scores.csv")
    run.mkdir()
    pd.DataFrame({"step": [1, 2], "loss": [1.0, 0.5]}).to_csv(run / "curves.csv", index=False)
    main(demo, run, tmp_path / "pictures")
    assert (tmp_path / "pictures" / "overlay.png").read_bytes().startswith(b"\x89PNG")
    assert b"<svg" in (tmp_path / "pictures" / "curve.svg").read_bytes()
