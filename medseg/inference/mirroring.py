"""Mirrored copies of a window that are averaged, and the way their logits are turned back."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from medseg.config import MirrorAxis
from medseg.errors import BadModel
from medseg.labels import LabelTable


@dataclass(frozen=True)
class Mirror:
    """How logits of a mirrored window are turned back.

    Attributes:
        axes: working axes along which the window was mirrored.
        channels: the channel to read for each channel, where left and right swap.
    """

    axes: tuple[int, ...] = ()
    channels: tuple[int, ...] | None = None


def mirrors(
    labels: LabelTable,
    wanted: Sequence[MirrorAxis],
    slice_axis: int | None,
    left_right: int,
) -> list[Mirror]:
    """Every combination of mirrors of one scan's windows, the plain window first.

    Along the scan's left-right axis channels of twins swap; where a label has a side and no
    twin, the scan is not mirrored along it.

    Args:
        labels: what the channels mean.
        wanted: working axes by role, or ``left-right``, as the model says.
        slice_axis: along which a 2D network slices.
        left_right: the working axis of this scan that runs most nearly left to right.

    Raises:
        BadModel: a 2D network does not see an axis that is named by its role, or ``left-right``
            is asked of labels that cannot be swapped.
    """
    unseen = sorted(axis for axis in wanted if axis != "left-right" and axis == slice_axis)
    if unseen:
        raise BadModel("infer.mirror_axes holds axes that the network does not see", found=unseen)
    pairs = labels.mirror_pairing()
    if pairs is None and "left-right" in wanted:
        raise BadModel(
            "left and right must not be averaged",
            found=labels.mirror_obstacle,
            expected="mirror_axes without left-right",
            remedy="Name pairs under mirror_pairs in the card.",
        )
    axes = {left_right if axis == "left-right" else axis for axis in wanted} - {slice_axis}
    if pairs is None:
        axes.discard(left_right)
    swapped = None if pairs is None else swapped_channels(labels, pairs)
    subsets = itertools.chain.from_iterable(
        itertools.combinations(sorted(axes), n) for n in range(len(axes) + 1)
    )
    return [Mirror(subset, swapped if left_right in subset else None) for subset in subsets]


def swapped_channels(
    labels: LabelTable, pairs: Sequence[tuple[int, int]]
) -> tuple[int, ...] | None:
    """The channel to read for each channel of a left-right mirror; regions hold both sides."""
    if labels.regions or not pairs:
        return None
    twin = {a: b for pair in pairs for a, b in (pair, pair[::-1])}
    values = labels.channel_values
    return tuple(values.index(twin.get(value, value)) for value in values)
