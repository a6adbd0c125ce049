"""Predicts whole test cases and scores them: Dice, HD95 and NSD of every label."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from medseg.evaluation.scores import COLUMNS, MEAN
from medseg.metrics import METRICS, Structure, pairs
from study.cohorts import StudyCase, StudyCohort, intensities

#: What every cell is scored by.
SCORED = ("dice", "hd95", "nsd")


@dataclass(frozen=True)
class Predicted:
    """Class indices (X, Y, Z) of every test case, and the median seconds a case."""

    masks: tuple[NDArray[np.uint8], ...]
    seconds: float


def network_input(case: StudyCase, dims: int, device: torch.device) -> Tensor:
    """(Z, 1, X, Y) slices, or (1, 1, X, Y, Z)."""
    image = torch.from_numpy(intensities(case.image)).to(device)
    return image.movedim(-1, 0)[:, None] if dims == 2 else image[None, None]


@torch.no_grad()
def predict(network: nn.Module, cohort: StudyCohort, device: torch.device) -> Predicted:
    """Every test case whole: no windows, no resizing, whatever its size."""
    masks, seconds = [], []
    for case in cohort.test:
        image = network_input(case, cohort.dims, device)
        started = time.perf_counter()
        answer = network(image).argmax(1).to(torch.uint8).cpu().numpy()
        seconds.append(time.perf_counter() - started)
        masks.append(np.moveaxis(answer, 0, -1) if cohort.dims == 2 else answer[0])
    return Predicted(tuple(masks), float(np.median(seconds)))


def score_cases(
    cases: Sequence[StudyCase],
    masks: Sequence[NDArray[np.uint8]],
    labels: Sequence[str],
    tolerance_mm: float,
) -> pd.DataFrame:
    """The tidy table of `medseg.evaluation`, with the mean over the labels of each case."""
    rows: list[tuple[Any, ...]] = []
    structures = [Structure(name, (value,)) for value, name in enumerate(labels, 1)]
    tolerances = dict.fromkeys(labels, tolerance_mm)
    for case, mask in zip(cases, masks, strict=True):
        found: dict[str, list[float]] = {metric: [] for metric in SCORED}
        for structure, pair in pairs(
            case.classes, mask, structures, np.diag(case.spacing_mm), tolerances_mm=tolerances
        ):
            for metric in SCORED:
                value = METRICS[metric].value(pair)
                found[metric].append(value)
                rows.append(_row(case, structure.name, metric, value, tolerance_mm))
        for metric, values in found.items():
            defined = [value for value in values if not np.isnan(value)]
            mean = float(np.mean(defined)) if defined else float("nan")
            rows.append(_row(case, MEAN, metric, mean, tolerance_mm))
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _row(case: StudyCase, label: str, metric: str, value: float, mm: float) -> tuple[Any, ...]:
    unit = {"hd95": "mm", "nsd": f"tolerance {mm:g} mm"}.get(metric, "")
    return case.case, case.patient, label, metric, value, unit, ""
