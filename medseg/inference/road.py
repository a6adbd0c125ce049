"""One scan's road through the networks: its image, grids and windows, and the machine."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from medseg.config import InferConfig
from medseg.errors import BadModel
from medseg.geometry import Geometry
from medseg.inference.budget import UNLIMITED, Allowance
from medseg.inference.stitch import Sink
from medseg.inference.windows import WindowPlan, plan_windows
from medseg.labels import LabelTable


@dataclass(frozen=True)
class Machine:
    """Where and within which limits a scan is segmented.

    Attributes:
        device: where the networks run.
        dtype: in which they calculate.
        allowance: memory to keep within.
    """

    device: torch.device
    dtype: torch.dtype
    allowance: Allowance = UNLIMITED

    @property
    def image_dtype(self) -> torch.dtype:
        """The number type in which windows reach the networks; mixed precision is theirs."""
        return self.sums

    @property
    def sums(self) -> torch.dtype:
        """The number type in which logits are added up."""
        return torch.float64 if self.dtype == torch.float64 else torch.float32


@dataclass(frozen=True, eq=False)
class Road:
    """One scan's way through the networks.

    Attributes:
        image: (C, X, Y, Z) on the working grid.
        working: the grid it lies on.
        native: the grid of the mask.
        labels: what the channels of the logits mean.
        infer: how windows are laid and joined.
        plan: where they lie.
        asked: (windows,) which of them the networks see.
        mask: (X, Y, Z) on `native`, where to write; a new one where there is none.
        also: take finished logits beside the mask, such as to keep probabilities.
        apart: take (M, K, x, y, z) finished logits of every network by itself; the logits of all
            of them then grow side by side.
        slice_axis: along which a 2D network slices.
        nearest_axes: working axes along which native voxels take the nearest logits.
    """

    image: torch.Tensor
    working: Geometry
    native: Geometry
    labels: LabelTable
    infer: InferConfig
    plan: WindowPlan
    asked: NDArray[np.bool_]
    slice_axis: int | None = None
    nearest_axes: Collection[int] = ()
    mask: NDArray[Any] | None = None
    also: Sequence[Sink] = ()
    apart: Sequence[Sink] = ()

    @property
    def restores_probabilities(self) -> bool:
        """Whether probabilities are interpolated, not logits.

        Raises:
            BadModel: the model has regions, whose probabilities say nothing about each other.
        """
        if self.infer.restore != "probabilities":
            return False
        if self.labels.regions:
            raise BadModel("infer.restore cannot be probabilities for regions", expected="logits")
        return True


@dataclass(frozen=True, eq=False)
class Ensemble:
    """Networks that are averaged as logits.

    Attributes:
        networks: on the machine's device already.
        window_bytes: peak of one forward pass of one window on that device.
    """

    networks: Sequence[nn.Module]
    window_bytes: int


def plan_road(
    working: Geometry, infer: InferConfig, *, dims: int, slice_axis: int | None
) -> WindowPlan:
    """Lay a model's windows over a working grid.

    Raises:
        BadModel: a 2D model does not say along which axis it slices, or the window is missing.
    """
    if dims == 2 and slice_axis is None:
        raise BadModel("a 2D model must say along which axis it slices", expected="slice_axis")
    if not infer.window:
        raise BadModel("the model does not say how large its windows are", expected="infer.window")
    axis = slice_axis if dims == 2 else None
    return plan_windows(
        working.shape,
        infer.window,
        infer.overlap,
        slice_axis=axis,
        steps=infer.steps,
        filling=infer.padding,
    )
