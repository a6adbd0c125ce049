"""The losses that a config can name, each with its options and its formula."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from medseg.config import Options
from medseg.labels import LabelTable
from medseg.losses.segmentation import SegmentationLoss, scored_mean


class DiceCEOptions(Options):
    """Weights of the two terms; ``smooth`` in voxels keeps empty classes finite.

    In the cross-entropy a voxel weighs by how rare its class is in the batch, to the power of
    ``balance``: with 0 all voxels weigh the same, with 1 all classes that are there. A training
    tells a balanced loss how frequent the classes are (`SegmentationLoss.expect`).
    """

    dice: float = Field(default=1.0, ge=0)
    cross_entropy: float = Field(default=1.0, ge=0)
    smooth: float = Field(default=1.0, gt=0)
    balance: float = Field(default=0.0, ge=0, le=1)


class TverskyFocalOptions(Options):
    """``alpha`` weighs false positives, ``beta`` false negatives; ``gamma`` focuses."""

    alpha: float = Field(default=0.3, ge=0)
    beta: float = Field(default=0.7, ge=0)
    gamma: float = Field(default=2.0, ge=0)
    smooth: float = Field(default=1.0, gt=0)


class TopKDiceOptions(Options):
    """``share`` of the voxels, the worst ones, make the cross-entropy."""

    share: float = Field(default=0.1, gt=0, le=1)
    smooth: float = Field(default=1.0, gt=0)


def _tversky(
    tp: Tensor, fp: Tensor, fn: Tensor, *, alpha: float, beta: float, smooth: float
) -> Tensor:
    """1 - mean of TP / (TP + alpha FP + beta FN); Dice at alpha = beta = 0.5."""
    return 1 - ((tp + smooth) / (tp + alpha * fp + beta * fn + smooth)).mean()


def dice_ce(labels: LabelTable, options: DiceCEOptions) -> SegmentationLoss:
    """Soft Dice + cross-entropy, the default.

    Milletari et al. 2016, doi:10.1109/3DV.2016.79; Isensee et al. 2021,
    doi:10.1038/s41592-020-01008-z. Departure: Dice over the batch, background left out.
    """
    return SegmentationLoss(
        labels,
        lambda tp, fp, fn: (
            options.dice * _tversky(tp, fp, fn, alpha=0.5, beta=0.5, smooth=options.smooth)
        ),
        lambda losses, scored: options.cross_entropy * scored_mean(losses, scored),
        balance=options.balance,
    )


def tversky_focal(labels: LabelTable, options: TverskyFocalOptions) -> SegmentationLoss:
    """Tversky + focal cross-entropy, for small structures.

    Salehi et al. 2017, doi:10.1007/978-3-319-67389-9_44; Lin et al. 2017,
    doi:10.1109/ICCV.2017.324. With regions the focal factor is of the mean over regions.
    """

    def focal(losses: Tensor, scored: Tensor) -> Tensor:
        # where the network is all but sure a root's slope would be infinite
        doubt = (1 - (-losses).exp()).clamp(min=1e-6)
        return scored_mean(doubt**options.gamma * losses, scored)

    return SegmentationLoss(
        labels,
        lambda tp, fp, fn: _tversky(
            tp, fp, fn, alpha=options.alpha, beta=options.beta, smooth=options.smooth
        ),
        focal,
    )


def topk_dice(labels: LabelTable, options: TopKDiceOptions) -> SegmentationLoss:
    """Soft Dice + cross-entropy of the worst voxels.

    Wu et al. 2016, arXiv:1605.06885; Ma et al. 2021, doi:10.1016/j.media.2021.102035.
    """

    def worst(losses: Tensor, scored: Tensor) -> Tensor:
        """How many there are is counted on the device: no GPU waits for the host."""
        most = max(1, round(options.share * losses.numel()))
        ranked = losses.masked_fill(~scored, -torch.inf).flatten().topk(most).values
        count = (options.share * scored.sum()).round().clamp(min=1)
        counts = (torch.arange(most, device=losses.device) < count) & torch.isfinite(ranked)
        return torch.where(counts, ranked, 0).sum() / counts.sum().clamp(min=1)

    return SegmentationLoss(
        labels,
        lambda tp, fp, fn: _tversky(tp, fp, fn, alpha=0.5, beta=0.5, smooth=options.smooth),
        worst,
    )
