"""What training minimises: a short table of losses, each aware of ignored voxels and regions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from medseg.config import Choice, Options, validate
from medseg.errors import BadConfig
from medseg.labels import LabelTable
from medseg.losses.deep import deep_loss, thinned
from medseg.losses.kinds import (
    DiceCEOptions,
    TopKDiceOptions,
    TverskyFocalOptions,
    dice_ce,
    topk_dice,
    tversky_focal,
)
from medseg.losses.segmentation import IGNORE, SegmentationLoss

__all__ = ["IGNORE", "LOSSES", "SegmentationLoss", "build_loss", "deep_loss", "thinned"]

#: Name -> (options, builder).
LOSSES: dict[str, tuple[type[Options], Callable[[LabelTable, Any], SegmentationLoss]]] = {
    "dice_ce": (DiceCEOptions, dice_ce),
    "tversky_focal": (TverskyFocalOptions, tversky_focal),
    "topk_dice": (TopKDiceOptions, topk_dice),
}


def build_loss(choice: Choice, labels: LabelTable) -> SegmentationLoss:
    """The loss a config names.

    Raises:
        BadConfig: no such loss, or options it does not know.
    """
    if choice.name not in LOSSES:
        raise BadConfig("no loss of that name", found=repr(choice.name), expected=", ".join(LOSSES))
    options, build = LOSSES[choice.name]
    return build(labels, validate(options, choice.options))
