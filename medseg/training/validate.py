"""How good are the weights so far?  Dice on whole scans, in their native grid, as users get it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from medseg.config import InferConfig, PostprocessRule, PrepareConfig
from medseg.inference import segment
from medseg.labels import LabelTable
from medseg.manifests import Case, Cohort, read_case, read_truth
from medseg.metrics import METRICS


@dataclass(frozen=True, eq=False)
class NetworkInTraining:
    """A network with what segmenting needs to know, before there is a model folder."""

    network: nn.Module
    labels: LabelTable
    dims: int
    slice_axis: int | None
    prepare: PrepareConfig
    infer: InferConfig
    postprocess: tuple[PostprocessRule, ...] = ()

    def networks(self, device: torch.device | str = "cpu") -> list[nn.Module]:
        """The one network, where it is."""
        del device
        return [self.network.eval()]


def whole_scan_dice(
    model: NetworkInTraining, cohort: Cohort, cases: Sequence[Case], device: torch.device
) -> dict[str, float]:
    """Mean Dice of each label over the cases where it is defined, keyed by name."""
    dice = METRICS["dice"].compute
    found: dict[str, list[float]] = {name: [] for name in model.labels.names}
    for case in cases:
        volume = read_case(cohort, case)
        truth = read_truth(cohort, case, grid=volume.geometry)
        mask = segment(model, volume, device=device).labelmap
        for label in model.labels.labels:
            value = dice(
                truth.data == label.value, mask.data == label.value, volume.geometry.spacing_mm
            )
            if np.isfinite(value):
                found[label.name].append(value)
    return {name: float(np.mean(values)) for name, values in found.items() if values}
