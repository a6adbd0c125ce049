"""Which mirrored copies of a window are averaged, and how are their logits turned back?"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

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


def mirrors(labels: LabelTable, axes: Sequence[int], slice_axis: int | None) -> list[Mirror]:
    """Every combination of mirrors along the given working axes, the plain window first.

    Raises:
        BadModel: axis 0 (left to right) cannot be mirrored with these labels, or a 2D network
            does not see an axis.
    """
    unseen = sorted(axis for axis in axes if axis == slice_axis or axis not in (0, 1, 2))
    if unseen:
        raise BadModel("infer.mirror_axes holds axes that the network does not see", found=unseen)
    swapped = None
    if 0 in axes:
        pairs = labels.mirror_pairing()
        if pairs is None:
            raise BadModel(
                "a label's side has no partner, so left and right must not be averaged",
                found=", ".join(labels.names), expected="mirror_axes without 0",
                remedy="Name pairs under mirror_pairs in the card.",
            )  # fmt: skip
        swapped = _swapped_channels(labels, pairs)
    subsets = itertools.chain.from_iterable(
        itertools.combinations(sorted(set(axes)), n) for n in range(len(set(axes)) + 1)
    )
    return [Mirror(subset, swapped if 0 in subset else None) for subset in subsets]


def _swapped_channels(
    labels: LabelTable, pairs: Sequence[tuple[int, int]]
) -> tuple[int, ...] | None:
    """The channel to read for each channel of a left-right mirror; regions hold both sides."""
    if labels.regions or not pairs:
        return None
    twin = {a: b for pair in pairs for a, b in (pair, pair[::-1])}
    values = labels.channel_values
    return tuple(values.index(twin.get(value, value)) for value in values)
