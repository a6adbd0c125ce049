"""What segmenting needs of a model, and which models may be averaged."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import torch
from torch import nn

from medseg.config import InferConfig, PostprocessRule, PrepareConfig
from medseg.errors import BadModel
from medseg.labels import LabelTable


class SegmentationModel(Protocol):
    """What segmenting needs of a model; ``medseg.model.Model`` is one."""

    @property
    def dims(self) -> int:
        """2 for slices, 3 for volumes."""

    @property
    def slice_axis(self) -> int | None:
        """Working axis along which a 2D network slices."""

    @property
    def labels(self) -> LabelTable:
        """What the channels of the logits mean."""

    @property
    def prepare(self) -> PrepareConfig:
        """How scans become working tensors."""

    @property
    def infer(self) -> InferConfig:
        """How windows are laid and joined."""

    @property
    def postprocess(self) -> tuple[PostprocessRule, ...]:
        """Rules to clean a mask."""

    def networks(self, device: torch.device | str = "cpu") -> list[nn.Module]:
        """Ready networks, one a fold."""


@runtime_checkable
class HoldsModels(Protocol):
    """A model with a folder in which others may travel; one in training has none yet."""

    def inner(self, folder: str) -> SegmentationModel:
        """The model in a folder inside this one's, such as its locator."""


def check_alike(models: Sequence[SegmentationModel]) -> None:
    """Refuse models that cannot be averaged.

    Raises:
        BadModel: there is none, or they differ in labels or plan.
    """
    if not models:
        raise BadModel("no model to segment with")
    first = models[0]
    for other in models[1:]:
        for what in ("labels", "dims", "slice_axis", "prepare", "infer"):
            ours, theirs = getattr(first, what), getattr(other, what)
            if ours != theirs:
                raise BadModel(
                    f"models of one ensemble must agree on {what}",
                    found=theirs,
                    expected=ours,
                    remedy="Segment with each model by itself.",
                )


def input_channels(network: nn.Module) -> int | None:
    """Channels that a network's first convolution takes; ``None`` where it has none."""
    first = next((p for p in network.parameters() if p.ndim >= 4), None)
    return None if first is None else int(first.shape[1])
