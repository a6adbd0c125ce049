"""What training minimises: a short table of losses, each aware of ignored voxels and regions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from medseg.config import Choice, Options, validate
from medseg.errors import BadConfig
from medseg.labels import LabelTable

#: Class index of voxels that are not scored.
IGNORE = -1


#: Truth and probability of each channel, loss of each voxel, and which channels are known.
_Terms = tuple[Tensor, Tensor, Tensor, Tensor | None]


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
    sums over the batch before dividing, so that patches without a class do not dominate. Where
    several processes share a batch, sums are over all of it.

    Where a truth was drawn for some classes alone, its background may hide the others: there
    their probabilities count as background (the marginal loss of Shi et al. 2021,
    doi:10.1016/j.media.2021.101979), and they have no part in the overlap term. Of regions,
    those with all their classes drawn are learnt. Departure: no exclusion loss; the softmax's
    cross-entropy already keeps a voxel of one class from being of another.
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

    def forward(self, logits: Tensor, classes: Tensor, known: Tensor | None = None) -> Tensor:
        """Scalar loss, in float32 whatever the logits' precision.

        Args:
            logits: (B, K, *spatial).
            classes: (B, *spatial) class indices, -1 where not scored.
            known: (B, classes) whether a truth was drawn for the class; ``None``: for all.
        """
        logits = logits.float()
        scored = classes != IGNORE
        index = classes.clamp(min=0).long()
        if self.has_regions:
            truth, probability, voxel_losses, drawn = self._regions(logits, index, known)
        else:
            truth, probability, voxel_losses, drawn = self._labels(logits, index, known)
        weight = scored[:, None].to(logits.dtype)
        if drawn is not None:
            weight = weight * _over_space(drawn, logits).to(logits.dtype)
            scored = scored & _over_space(drawn.any(1), scored)
        tp, fp, fn = _counts(probability * weight, truth * weight)
        return self.overlap(tp, fp, fn) + self.voxelwise(voxel_losses, scored)

    def _regions(self, logits: Tensor, index: Tensor, known: Tensor | None) -> _Terms:
        """Truth and sigmoid of each region, voxels' loss over the regions that are known."""
        truth = self.members[:, index].movedim(0, 1).to(logits.dtype)
        losses = F.binary_cross_entropy_with_logits(logits, truth, reduction="none")
        if known is None:
            return truth, logits.sigmoid(), losses.mean(1), None
        drawn = (~known).to(logits.dtype) @ self.members.T == 0
        share = drawn / drawn.sum(1, keepdim=True).clamp(min=1)
        return truth, logits.sigmoid(), (losses * _over_space(share, losses)).sum(1), drawn

    def _labels(self, logits: Tensor, index: Tensor, known: Tensor | None) -> _Terms:
        """Truth and softmax of each label, voxels' loss with what is not known as background."""
        truth = F.one_hot(index, logits.shape[1]).movedim(-1, 1).to(logits.dtype)[:, 1:]
        log_probability = logits.log_softmax(1)
        probability = log_probability.exp()[:, 1:]
        if known is not None:
            hidden = ~known
            hidden[:, 0] = True  # the background itself
            merged = log_probability.masked_fill(~_over_space(hidden, logits), -torch.inf)
            rest = log_probability[:, 1:]
            log_probability = torch.cat([merged.logsumexp(1, keepdim=True), rest], 1)
        voxel_losses = -log_probability.gather(1, index[:, None])[:, 0]
        return truth, probability, voxel_losses, None if known is None else known[:, 1:]


def _over_space(flags: Tensor, like: Tensor) -> Tensor:
    """Trailing axes of length 1, so that a table of (B, …) spreads over space."""
    return flags.reshape(*flags.shape, *[1] * (like.ndim - flags.ndim))


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
    sums = _over_processes(torch.stack([tp, probability.sum(axes), truth.sum(axes)]))
    return sums[0], sums[1] - sums[0], sums[2] - sums[0]


def _scored_mean(voxel_losses: Tensor, scored: Tensor) -> Tensor:
    sums = _over_processes(torch.stack([(voxel_losses * scored).sum(), scored.sum()]))
    return sums[0] / sums[1].clamp(min=1)


def _over_processes(sums: Tensor) -> Tensor:
    """The same sums over the parts of the batch that all processes of a run have."""
    if dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1:
        summed: Tensor = _SumOverProcesses.apply(sums)  # type: ignore[no-untyped-call]
        return summed
    return sums


class _SumOverProcesses(torch.autograd.Function):
    """All processes compute the same loss of the sum, so what flows back is summed as well.

    The mean of their gradients, which is what they exchange, is then that of one process with
    the whole batch.
    """

    @staticmethod
    def forward(ctx: Any, sums: Tensor) -> Tensor:
        """Sum over processes."""
        del ctx
        total = sums.detach().clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        """Sum over processes."""
        del ctx
        total = gradients[0].clone()
        dist.all_reduce(total)
        return total


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


def deep_loss(
    loss: nn.Module,
    logits: Sequence[Tensor],
    classes: Tensor,
    known: Tensor | None = None,
    *,
    strides: Sequence[Sequence[int]] | None = None,
) -> Tensor:
    """Deep supervision: the loss at each level, weights halving, truth thinned to its cells.

    Lee et al. 2015 (doi:10.48550/arXiv.1409.5185); weights as in doi:10.1038/s41592-020-01008-z.
    Departure: the truth of a cell is that of its middle voxel, so that patches whose size is no
    multiple of the strides are not stretched. Coarse voxel j is the cell of the fine voxels
    s*j to s*j + s - 1; the last cell of an axis may be a part.

    Args:
        loss: of logits, classes and known.
        logits: (B, K, *spatial) of each level, finest first.
        classes: (B, *spatial) class indices of the finest level, -1 where not scored.
        known: (B, classes) whether a truth was drawn for the class.
        strides: fine voxels a cell of each level, along each axis; ``None`` takes the smallest
            that give the levels' sizes.
    """
    shapes = [tuple(level.shape[2:]) for level in logits]
    cells = strides or _smallest_strides(tuple(classes.shape[1:]), shapes)
    weights = [0.5**depth for depth in range(len(logits))]
    total = logits[0].new_zeros(())
    for weight, level, stride in zip(weights, logits, cells, strict=True):
        target = thinned(classes, stride)
        total = total + weight / sum(weights) * loss(level, target, known)
    return total


def thinned(classes: Tensor, stride: Sequence[int]) -> Tensor:
    """The middle voxel of each cell of `stride` voxels; (B, *spatial) to (B, *cells).

    >>> thinned(torch.tensor([[0, 1, 2, 3, 4]]), [2])  # the last cell is a part
    tensor([[1, 3, 4]])
    """
    for axis, step in enumerate(stride, start=1):
        if step > 1:
            size = classes.shape[axis]
            starts = torch.arange(0, size, step, device=classes.device)
            middles = starts + (size - starts).clamp(max=step) // 2
            classes = classes.index_select(axis, middles)
    return classes


def _smallest_strides(
    size: tuple[int, ...], shapes: Sequence[tuple[int, ...]]
) -> list[tuple[int, ...]]:
    """Voxels a cell of each level, each level made from the one before it."""
    strides = []
    total, before = (1,) * len(size), size
    for shape in shapes:
        steps = [
            next(s for s in range(1, n + 1) if -(-n // s) <= m)
            for n, m in zip(before, shape, strict=True)
        ]
        total = tuple(a * b for a, b in zip(total, steps, strict=True))
        strides.append(total)
        before = shape
    return strides
