"""Draws the pictures of the README and the benchmarks page from a demo and a training run.

    make demo
    python pipelines/readme_pictures.py demo RUN docs/pictures

``demo`` gives the overlay of a phantom, RUN the training curves.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pandas as pd

from medseg.manifests import load_cohort, read_case, read_truth
from medseg.pictures import picture, prediction_layer, truth_layer
from medseg.readers.labels import read_labels
from medseg.reports.figure_style import drawn
from medseg.reports.training import curve_chart


def draw_overlay(demo: Path, case_id: str) -> bytes:
    """Truth and prediction of one held-out phantom."""
    cohort = load_cohort(demo / "phantoms/cohort.yaml")
    case = cohort.case(case_id)
    scan = read_case(cohort, case)
    truth = read_truth(cohort, case, grid=scan.geometry)
    mask = read_labels(demo / f"masks/{case_id}.nii.gz")
    return picture(
        scan.values()[0],
        scan.geometry,
        [truth_layer(truth.data), prediction_layer(mask.data)],
        window=(-160, 240),
    ).png()


def draw_curve(curves: pd.DataFrame) -> bytes:
    """The curves of a training run as SVG."""
    return drawn(curve_chart(curves))


def main(demo: Path, run: Path, output: Path) -> None:
    """Draw both pictures."""
    output.mkdir(parents=True, exist_ok=True)
    scores = pd.read_csv(demo / "evaluation/scores.csv")
    means = scores[(scores["metric"] == "dice") & (scores["label"] == "mean")]
    median = means.sort_values("value")["case"].iloc[len(means) // 2]
    (output / "overlay.png").write_bytes(draw_overlay(demo, str(median)))
    (output / "curve.svg").write_bytes(draw_curve(pd.read_csv(run / "curves.csv")))


if __name__ == "__main__":
    main(*(Path(word) for word in sys.argv[1:4]))
