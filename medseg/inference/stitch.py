"""Overlapping windows become one field of logits that is never held whole.

The grid is cut, along the two axes in whose order windows come, where windows start or end. A
block between cuts is made when the first window touches it and let go after the last one: what is
held is the part of two layers of windows that is still growing, less than one layer, not the scan.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import torch

from medseg.inference.mirroring import Mirror
from medseg.inference.windows import Corner, WindowPlan

#: Windows thinner than this, such as slices, are cut apart only every so many voxels: upkeep of
#: thinner blocks costs more than they save.
THINNEST = 16

#: Logits in favour of background (against every region) where no window was asked.
OUTSIDE_LOGIT = 10.0

#: Classes that are converted at a time while a window is added.
CLASSES_AT_A_TIME = 8

#: Takes finished (K, x, y, z) logits and the working index of their first voxel.
Sink = Callable[[torch.Tensor, Corner], None]


@dataclass(frozen=True)
class Block:
    """A box of the padded grid between cuts, and when it is touched.

    Attributes:
        key: its number along the stream axis and along the second axis.
        low: first voxel along each axis, without the layer shared with the block before.
        high: one beyond the last voxel along each axis.
        first: the first window that touches it, in order.
        last: the last one.
    """

    key: tuple[int, int]
    low: Corner
    high: Corner
    first: int
    last: int

    def held(self, plan: WindowPlan) -> tuple[int, int, int]:
        """Voxels along each axis with the layers shared with the blocks before."""
        size = [high - low for low, high in zip(self.low, self.high, strict=True)]
        for axis in (plan.stream, plan.second):
            size[axis] += self.low[axis] > 0
        return size[0], size[1], size[2]


def plan_blocks(plan: WindowPlan) -> list[Block]:
    """The blocks of a window plan in the order in which they are finished."""
    cuts = [_cuts(plan, axis) for axis in (plan.stream, plan.second)]
    touched: dict[tuple[int, int], list[int]] = {}
    for number, corner in enumerate(plan.corners):
        for key in _touching(plan, cuts, corner):
            touched.setdefault(key, [number, number])[1] = number
    blocks = []
    for key, (first, last) in touched.items():
        low, high = [0, 0, 0], list(plan.padded)
        for axis, cut, at in zip((plan.stream, plan.second), cuts, key, strict=True):
            low[axis], high[axis] = cut[at], cut[at + 1]
        blocks.append(Block(key, _corner(low), _corner(high), first, last))
    return sorted(blocks, key=lambda block: (block.last, block.key))


def peak_voxels(plan: WindowPlan, batch: int) -> int:
    """The most working voxels that are held at a time, with `batch` windows in flight."""
    blocks = plan_blocks(plan)
    count = len(plan.corners)
    change = [0] * (count // batch + 2)
    for block in blocks:
        x, y, z = block.held(plan)
        change[block.first // batch] += x * y * z
        change[block.last // batch + 1] -= x * y * z
    faces = plan.padded[0] * plan.padded[1] * plan.padded[2] // plan.padded[plan.stream]
    return max(itertools.accumulate(change)) + faces


def largest_block(plan: WindowPlan) -> int:
    """Working voxels of the largest block, with the layers shared with the blocks before."""
    return max(math.prod(block.held(plan)) for block in plan_blocks(plan))


@dataclass
class _Growing:
    """A block that still receives windows."""

    logits: torch.Tensor  # (K, *held)
    weight: torch.Tensor  # held, without the shared layers
    joined: bool = False  # normalised, with the shared layers filled in


@dataclass
class Stitcher:
    """Adds windows in order and hands each finished box of logits to a sink.

    Boxes overlap by one layer of voxels, so that a sink can interpolate between them.

    Attributes:
        plan: where the windows lie.
        channels: K.
        weight: (*window) importance of a window's voxels.
        contributions: how often each window is added to a field (mirrors, and networks that are
            averaged).
        sink: takes what is finished, on the real grid without padding.
        background: the channel that wins where no window was asked; ``None`` for regions.
        device: where blocks are held.
        dtype: of the sums.
        members: fields that grow side by side: the sink takes (members * K, x, y, z).
    """

    plan: WindowPlan
    channels: int
    weight: torch.Tensor
    contributions: int
    sink: Sink
    background: int | None = 0
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    dtype: torch.dtype = torch.float32
    members: int = 1

    def __post_init__(self) -> None:
        self._cuts = [_cuts(self.plan, axis) for axis in (self.plan.stream, self.plan.second)]
        self._waiting = plan_blocks(self.plan)[::-1]
        self._blocks = {block.key: block for block in self._waiting}
        self._growing: dict[tuple[int, int], _Growing] = {}
        self._floor: dict[int, torch.Tensor] = {}
        self._side: dict[int, torch.Tensor] = {}
        self._weight = self.weight.to(self.device, self.dtype)

    def reserve(self, corner: Corner) -> None:
        """Make the blocks that a window touches, so that adding it cannot want for memory."""
        for key in _touching(self.plan, self._cuts, corner):
            if key not in self._growing:
                self._growing[key] = self._new(self._blocks[key])

    def weigh(self, corner: Corner) -> None:
        """Count a window's weight once, for all its contributions."""
        for block, own, theirs in self._pieces(corner):
            self._growing[block.key].weight[own] += self._weight[theirs] * self.contributions

    def add(self, corner: Corner, logits: torch.Tensor, mirror: Mirror, member: int = 0) -> None:
        """Add one contribution: the (K, *window) logits of a window that was mirrored so."""
        first = member * self.channels
        pieces = [(self._inner(block), own, theirs) for block, own, theirs in self._pieces(corner)]
        flips = [axis + 1 for axis in mirror.axes]
        for start in range(0, self.channels, CLASSES_AT_A_TIME):
            group = slice(start, min(self.channels, start + CLASSES_AT_A_TIME))
            source = logits[list(mirror.channels[group])] if mirror.channels else logits[group]
            source = source.to(self.device, self.dtype)
            if flips:
                source = source.flip(flips)
            for inner, own, theirs in pieces:
                target = inner[(slice(first + group.start, first + group.stop), *own)]
                target.addcmul_(source[(slice(None), *theirs)], self._weight[theirs])

    def finish(self, asked: int) -> None:
        """Hand over every block that none but the first `asked` windows touch."""
        while self._waiting and self._waiting[-1].last < asked:
            self._hand_over(self._waiting[-1])
            self._growing.pop(self._waiting.pop().key)

    def to_host(self) -> None:
        """Move everything that is held to the host."""
        self.device = torch.device("cpu")
        self._weight = self._weight.cpu()
        self._floor = {key: face.cpu() for key, face in self._floor.items()}
        self._side = {key: face.cpu() for key, face in self._side.items()}
        for growing in self._growing.values():
            growing.logits, growing.weight = growing.logits.cpu(), growing.weight.cpu()

    def _new(self, block: Block) -> _Growing:
        own = [high - low for low, high in zip(block.low, block.high, strict=True)]
        return _Growing(
            torch.zeros(
                (self.members * self.channels, *block.held(self.plan)),
                dtype=self.dtype,
                device=self.device,
            ),
            torch.zeros(own, dtype=self.dtype, device=self.device),
        )

    def _pieces(
        self, corner: Corner
    ) -> Iterator[tuple[Block, tuple[slice, ...], tuple[slice, ...]]]:
        """Blocks that a window touches, with the common box in the block and in the window."""
        for key in _touching(self.plan, self._cuts, corner):
            block = self._blocks[key]
            own, theirs = [], []
            for at, n, low, high in zip(
                corner, self.plan.window, block.low, block.high, strict=True
            ):
                start, stop = max(at, low), min(at + n, high)
                own.append(slice(start - low, stop - low))
                theirs.append(slice(start - at, stop - at))
            yield block, tuple(own), tuple(theirs)

    def _inner(self, block: Block) -> torch.Tensor:
        """A block's logits without the layers shared with the blocks before."""
        logits = self._growing[block.key].logits
        for axis in (self.plan.stream, self.plan.second):
            if block.low[axis] > 0:
                logits = logits.narrow(axis + 1, 1, logits.shape[axis + 1] - 1)
        return logits

    def _hand_over(self, block: Block) -> None:
        """Normalise a block and give it to the sink; may be repeated where memory ran out."""
        row, column = block.key
        if block.key not in self._growing:  # none of its windows was asked
            self._growing[block.key] = self._new(block)
        growing = self._growing[block.key]
        if not growing.joined:
            self._normalise(block, growing)
            self._join(block, growing)
        logits = growing.logits
        for axis, faces, key in (
            (self.plan.stream, self._floor, column),
            (self.plan.second, self._side, row),
        ):
            if block.high[axis] < self.plan.padded[axis]:
                faces[key] = logits.narrow(axis + 1, logits.shape[axis + 1] - 1, 1).clone()
        self.sink(*self._cropped(logits, block))

    def _normalise(self, block: Block, growing: _Growing) -> None:
        logits, unasked = self._inner(block), growing.weight == 0
        if bool(unasked.any()):
            logits.masked_fill_(unasked, -OUTSIDE_LOGIT)
            if self.background is not None:
                for background in logits[self.background :: self.channels]:
                    background.masked_fill_(unasked, OUTSIDE_LOGIT)
            growing.weight.masked_fill_(unasked, 1)
        logits.div_(growing.weight)

    def _join(self, block: Block, growing: _Growing) -> None:
        """Fill in the layers shared with the blocks before; wants no memory, so done once."""
        row, column = block.key
        if row > 0:
            growing.logits.narrow(self.plan.stream + 1, 0, 1).copy_(self._floor.pop(column))
        if column > 0:
            growing.logits.narrow(self.plan.second + 1, 0, 1).copy_(self._side.pop(row))
        growing.joined = True

    def _cropped(self, logits: torch.Tensor, block: Block) -> tuple[torch.Tensor, Corner]:
        """A finished box without what pads the real grid, and its corner there."""
        corner = []
        for axis, (before, _) in enumerate(self.plan.padding):
            shared = axis in (self.plan.stream, self.plan.second) and block.low[axis] > 0
            low = block.low[axis] - shared - before
            start, stop = max(0, low), min(self.plan.size[axis], low + logits.shape[axis + 1])
            logits = logits.narrow(axis + 1, start - low, stop - start)
            corner.append(start)
        return logits, _corner(corner)


def _cuts(plan: WindowPlan, axis: int) -> list[int]:
    """Where the padded grid is cut along an axis: wherever windows start or end.

    So no block is held for long because a window reaches a few voxels into it.
    """
    cuts, end, window = [0], plan.padded[axis], plan.window[axis]
    closest = 1 if window >= THINNEST else THINNEST
    edges = {start + more for start in plan.starts[axis] for more in (0, window)}
    for edge in sorted(edges):
        if edge - cuts[-1] >= closest and edge < end:
            cuts.append(edge)
    return [*cuts, end]


def _touching(
    plan: WindowPlan, cuts: Sequence[Sequence[int]], corner: Corner
) -> list[tuple[int, int]]:
    """The blocks that a window touches, by their numbers along the stream and second axes."""
    numbers = []
    for axis, cut in zip((plan.stream, plan.second), cuts, strict=True):
        low, high = corner[axis], corner[axis] + plan.window[axis]
        numbers.append([n for n in range(len(cut) - 1) if cut[n] < high and cut[n + 1] > low])
    return list(itertools.product(numbers[0], numbers[1]))


def _corner(values: Sequence[int]) -> Corner:
    return values[0], values[1], values[2]
