"""The cost of a training step in multiplications, and the shape of the network that pays it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

Precision = Literal["bfloat16", "float32"]

#: Multiplications (with additions) a second that training reaches: on one CPU core by precision,
#: and on a GPU. Rough: the run measures its own speed and sets its steps by that.
MACS_A_CORE: dict[Precision, float] = {"bfloat16": 3.4e10, "float32": 1.6e10}
MACS_A_GPU = 5e12

#: A step costs its forward pass about three times: forward, gradients of inputs, of weights.
PASSES = 3

#: Softmax, loss and their gradients take as long as so many multiplications of each pass for each
#: voxel and class. Measured with 145 classes on two cores: a rough figure, for memory's speed
#: counts as well.
LOSS_MACS = 200.0

#: Below this many steps nothing useful is learnt from scratch.
LEAST_STEPS = 350

#: Time buys so many steps before patches beyond half a scan.
GOOD_STEPS = 1000

#: Fewer will do where a patch then holds a typical scan whole.
WHOLE_STEPS = 600


@dataclass(frozen=True)
class Machine:
    """What training may use.

    Attributes:
        minutes: wall time of the whole command.
        memory_bytes: of this process, or of the GPU.
        macs_a_second: speed of training.
        name: for people.
        kind: what computes.
        precision: of its products.
    """

    minutes: float
    memory_bytes: float
    macs_a_second: float
    name: str
    kind: Literal["cpu", "cuda"] = "cpu"
    precision: Precision = "bfloat16"

    def steps(self, macs: float) -> int:
        """Steps of so many multiplications that fit; a tenth goes to preparing and ending."""
        return int(0.9 * 60 * self.minutes * self.macs_a_second / (PASSES * macs))


@dataclass(frozen=True)
class Levels:
    """The shape of a U-Net.

    Attributes:
        features: channels at each level, finest first.
        kernels: of each level, a number an axis.
        strides: between levels, a number an axis.
    """

    features: tuple[int, ...]
    kernels: tuple[tuple[int, ...], ...]
    strides: tuple[tuple[int, ...], ...]

    @property
    def divisor(self) -> tuple[int, ...]:
        """What each axis of a patch should be a multiple of."""
        return tuple(math.prod(axis) for axis in zip(*self.strides, strict=True)) or (1,) * len(
            self.kernels[0]
        )

    def shares(self) -> list[float]:
        """Voxels at each level for one at the finest."""
        shares = [1.0]
        for stride in self.strides:
            shares.append(shares[-1] / math.prod(stride))
        return shares

    def macs_a_voxel(self, channels: int, classes: int) -> float:
        """Multiplications of a forward pass for each voxel of a patch, the loss among them."""
        total, before = classes * (self.features[0] + LOSS_MACS), channels
        for level, (width, share) in enumerate(zip(self.features, self.shares(), strict=True)):
            pairs = before * width + width * width
            if level < len(self.features) - 1:
                pairs += 2 * width * width + width * width
            total += share * math.prod(self.kernels[level]) * pairs
            before = width
        return total

    def values_a_voxel(self) -> float:
        """Outputs of convolutions for each voxel of a patch."""
        deepest = len(self.features) - 1
        return sum(
            share * width * (2 if level == deepest else 5)
            for level, (width, share) in enumerate(zip(self.features, self.shares(), strict=True))
        )

    def weights(self, channels: int) -> float:
        """Numbers to learn, roughly."""
        total, before = 0.0, channels
        for level, width in enumerate(self.features):
            taps = math.prod(self.kernels[level])
            total += taps * (before * width + width * width)
            total += taps * 3 * width * width if level < len(self.features) - 1 else 0
            before = width
        return total

    def options(self) -> dict[str, Any]:
        """The same as options of a U-Net."""
        return {"features": self.features, "kernels": self.kernels, "strides": self.strides}


def levels_for(
    patch: Sequence[float], spacing_mm: Sequence[float], first: int, most: int, deepest: int
) -> Levels:
    """As many levels as a patch can be halved; coarse axes wait until the others are as coarse.

    Args:
        patch: voxels along each spatial axis.
        spacing_mm: of these axes.
        first: features of the finest level; they double with each level.
        most: features at most.
        deepest: levels at most.
    """
    size, spacing = [float(n) for n in patch], list(spacing_mm)
    kernels, strides = [_kernel(spacing)], []
    while len(kernels) < deepest:
        halved = [n >= 8 for n in size]
        if not any(halved):
            break
        finest = min(mm for mm, can in zip(spacing, halved, strict=True) if can)
        stride = tuple(
            2 if can and mm < 2 * finest else 1 for mm, can in zip(spacing, halved, strict=True)
        )
        size = [n / s for n, s in zip(size, stride, strict=True)]
        spacing = [mm * s for mm, s in zip(spacing, stride, strict=True)]
        strides.append(stride)
        kernels.append(_grown(kernels[-1], _kernel(spacing)))
    features = tuple(min(most, first * 2**level) for level in range(len(kernels)))
    return Levels(features, tuple(kernels), tuple(strides))


def _kernel(spacing_mm: Sequence[float]) -> tuple[int, ...]:
    """3 along an axis, but 1 while its neighbours are twice as far as the nearest."""
    return tuple(3 if mm < 2 * min(spacing_mm) else 1 for mm in spacing_mm)


def _grown(above: Sequence[int], wanted: Sequence[int]) -> tuple[int, ...]:
    """A level's kernel: once 3, never 1 again, for pooling makes no axis of a scan coarse."""
    return tuple(max(pair) for pair in zip(above, wanted, strict=True))
