"""What training minimises: one short table of losses, each aware of ignored voxels and regions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from medseg.config import Choice, Options, validate
from medseg.errors import BadConfig
from medseg.labels import LabelTable

#: Class index of voxels that are not scored.
IGNORE = -1


class DiceCEOptions(Options):
    """Weights of the two terms; ``smooth`` in voxels keeps empty classes finite."""

    dice: float = Field(default=1.0, ge=0)
    cross_entropy: float = Field(default=1.0, ge=0)
    smooth: float = Field(default=1.0, gt=0)


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


class SegmentationLoss(nn.Module):
    """Overlap term + voxel term over the scored voxels of a batch.

    ``forward`` takes logits (B, K, *spatial) and class indices (B, *spatial), -1 where a voxel
    is not scored. Without regions, channel 0 is background and probabilities are the softmax;
    with regions, channel r is region r and probabilities are the sigmoid. The overlap term
    sums over the batch before dividing, so that patches without a class do not dominate.
    """

    members: Tensor

    def __init__(
        self,
        labels: LabelTable,
        overlap: Callable[[Tensor, Tensor, Tensor], Tensor],
        voxelwise: Callable[[Tensor, Tensor], Tensor],
    ) -> None:
        super().__init__()
        self.overlap = overlap
        self.voxelwise = voxelwise
        self.has_regions = bool(labels.regions)
        self.register_buffer("members", _members(labels), persistent=False)

    def forward(self, logits: Tensor, classes: Tensor) -> Tensor:
        """Scalar loss, in float32 whatever the logits' precision."""
        logits = logits.float()
        scored = classes != IGNORE
        index = classes.clamp(min=0).long()
        if self.has_regions:
            truth = self.members[:, index].movedim(0, 1).to(logits.dtype)
            probability = logits.sigmoid()
            voxel_losses = F.binary_cross_entropy_with_logits(logits, truth, reduction="none").mean(
                1
            )
        else:
            truth = F.one_hot(index, logits.shape[1]).movedim(-1, 1).to(logits.dtype)[:, 1:]
            log_probability = logits.log_softmax(1)
            probability = log_probability.exp()[:, 1:]
            voxel_losses = -log_probability.gather(1, index[:, None])[:, 0]
        weight = scored[:, None].to(logits.dtype)
        tp, fp, fn = _counts(probability * weight, truth * weight)
        return self.overlap(tp, fp, fn) + self.voxelwise(voxel_losses, scored)


def _members(labels: LabelTable) -> Tensor:
    """(regions, classes) which class indices make each region."""
    table = torch.zeros(len(labels.regions), len(labels.values) + 1)
    for row, region in enumerate(labels.regions):
        for value in region.values:
            table[row, labels.values.index(value) + 1] = 1
    return table


def _counts(probability: Tensor, truth: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Soft true positives, false positives and false negatives, one of each a channel."""
    axes = [0, *range(2, probability.ndim)]
    tp = (probability * truth).sum(axes)
    return tp, probability.sum(axes) - tp, truth.sum(axes) - tp


def _scored_mean(voxel_losses: Tensor, scored: Tensor) -> Tensor:
    return (voxel_losses * scored).sum() / scored.sum().clamp(min=1)


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
        lambda losses, scored: options.cross_entropy * _scored_mean(losses, scored),
    )


def tversky_focal(labels: LabelTable, options: TverskyFocalOptions) -> SegmentationLoss:
    """Tversky + focal cross-entropy, for small structures.

    Salehi et al. 2017, doi:10.1007/978-3-319-67389-9_44; Lin et al. 2017,
    doi:10.1109/ICCV.2017.324. With regions the focal factor is of the mean over regions.
    """

    def focal(losses: Tensor, scored: Tensor) -> Tensor:
        # where the network is all but sure a root's slope would be infinite
        doubt = (1 - (-losses).exp()).clamp(min=1e-6)
        return _scored_mean(doubt**options.gamma * losses, scored)

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
        kept = losses[scored]
        count = max(1, round(options.share * kept.numel()))
        return kept.topk(count).values.mean() if kept.numel() else losses.sum() * 0

    return SegmentationLoss(
        labels,
        lambda tp, fp, fn: _tversky(tp, fp, fn, alpha=0.5, beta=0.5, smooth=options.smooth),
        worst,
    )


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


def deep_loss(loss: nn.Module, logits: list[Tensor], classes: Tensor) -> Tensor:
    """Deep supervision: the loss at each depth, weights halving, truth thinned to its grid.

    Lee et al. 2015 (arXiv:1409.5185); weights as in doi:10.1038/s41592-020-01008-z.
    """
    weights = [0.5**depth for depth in range(len(logits))]
    total = logits[0].new_zeros(())
    for weight, scale in zip(weights, logits, strict=True):
        size = scale.shape[2:]
        target = (
            classes
            if size == classes.shape[1:]
            else (
                F.interpolate(classes[:, None].float(), size=size, mode="nearest-exact")[
                    :, 0
                ].long()
            )
        )
        total = total + weight / sum(weights) * loss(scale, target)
    return total
