"""Dice of the present weights on whole scans, in their native grid, as users get it."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from medseg import pictures
from medseg.config import InferConfig, PostprocessRule, PrepareConfig
from medseg.inference import segment
from medseg.labels import LabelTable
from medseg.manifests import Case, Cohort, read_case, read_truth
from medseg.metrics import dice_by_label
from medseg.transforms.channels import aligner
from medseg.volume import LabelMap


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


@dataclass(frozen=True, eq=False)
class ScoredCase:
    """One validation scan: how well it was found, and the mask, small enough to keep for all.

    Attributes:
        case: which.
        dice: of each label where it is defined, by name.
        packed: the mask's bytes, compressed.
        dtype: of the mask.
    """

    case: Case
    dice: Mapping[str, float]
    packed: bytes
    dtype: np.dtype[Any]

    @property
    def mean(self) -> float:
        """Mean Dice over the labels; 0 where none is defined."""
        return sum(self.dice.values()) / max(1, len(self.dice))

    def mask(self, shape: Sequence[int]) -> NDArray[Any]:
        """(X, Y, Z) label values on the scan's own grid."""
        return np.frombuffer(zlib.decompress(self.packed), self.dtype).reshape(shape)


def score_cases(
    model: NetworkInTraining,
    cohort: Cohort,
    cases: Sequence[Case],
    device: torch.device,
    goes_on: Callable[[], bool],
) -> list[ScoredCase]:
    """Segment whole scans and compare with their truth, one after the other.

    Before each but the first it is asked whether time `goes_on`.
    """
    scored: list[ScoredCase] = []
    for case in cases:
        if scored and not goes_on():
            break
        volume = read_case(cohort, case, align=aligner(cohort.frames))
        truth = read_truth(cohort, case, grid=volume.geometry)
        mask = segment(model, volume, device=device).labelmap
        packed = zlib.compress(np.ascontiguousarray(mask.data).tobytes(), 1)
        scored.append(ScoredCase(case, _dice(case, truth, mask), packed, mask.data.dtype))
    return scored


def _dice(case: Case, truth: LabelMap, mask: LabelMap) -> dict[str, float]:
    """Dice of the labels that the truth was drawn for, where defined; ignored voxels left out."""
    labels = () if mask.labels is None else mask.labels.labels
    drawn = {label.name: label.value for label in labels if case.annotates(label.name)}
    ignore = None if truth.labels is None else truth.labels.ignore
    return dice_by_label(truth.data, mask.data, drawn, ignore=ignore)


def worst_median_best(scored: Sequence[ScoredCase]) -> dict[str, ScoredCase]:
    """The cases worth a picture, by name; fewer where there are fewer than three."""
    order = sorted(scored, key=lambda case: (case.mean, case.case.case))
    chosen = {"worst": order[0]}
    if len(order) > 1:
        chosen["best"] = order[-1]
    if len(order) > 2:
        chosen["median"] = order[(len(order) - 1) // 2]
    return chosen


def picture_of(cohort: Cohort, scored: ScoredCase, step: int) -> bytes:
    """A PNG of three planes through a validation scan with contours of truth and prediction."""
    volume = read_case(cohort, scored.case, align=aligner(cohort.frames))
    truth = read_truth(cohort, scored.case, grid=volume.geometry)
    return pictures.picture(
        volume.values()[0],
        volume.geometry,
        [
            pictures.truth_layer(truth.data),
            pictures.prediction_layer(scored.mask(volume.geometry.shape)),
        ],
        title=f"{scored.case.case} · Dice {scored.mean:.3f} · step {step}",
    ).png()
