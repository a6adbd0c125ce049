"""What a network sees and costs: receptive field, parameters, multiply-adds, memory.

Everything but the effective receptive field is arithmetic on shapes: no voxel is computed, so any
patch can be asked about, however large.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.func import functional_call
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd
from torch.nn.modules.dropout import _DropoutNd
from torch.utils.flop_counter import FlopCounterMode

from medseg.networks.blocks import MeanShrink, ResidualBlock
from medseg.networks.norms import InstanceNorm
from medseg.networks.upsampling import Resize, SubPixel, Transposed

#: Layers whose every output voxel depends on its own place alone. (A norm's statistics come from
#: the whole image; as usual they are not counted as seeing.)
POINTWISE = (
    InstanceNorm,
    _BatchNorm,
    nn.GroupNorm,
    nn.Identity,
    nn.LeakyReLU,
    nn.ReLU,
    nn.GELU,
    _DropoutNd,
)

#: First and last voxel of an interval along one axis.
Interval = tuple[int, int]


@dataclass(frozen=True)
class Cost:
    """What one pass of a patch takes.

    Attributes:
        parameters: learned numbers.
        multiply_adds: of the forward pass; about three times as many with the backward.
        activation_bytes: what autograd keeps for the backward pass (float32).
    """

    parameters: int
    multiply_adds: int
    activation_bytes: int


def receptive_field(network: nn.Module, dims: int) -> tuple[int, ...]:
    """Voxels along each axis of the image that can change one output voxel.

    Exact integer arithmetic, from an output voxel backwards along ``network.deepest_path()``;
    where output voxels of a cell differ, the largest.
    """
    fields = []
    for axis in range(dims):
        steps = _interval_steps(network.deepest_path(), axis)  # type: ignore[operator]
        ends = [_through_all(steps, (place, place)) for place in range(_period(steps))]
        fields.append(max(last - first + 1 for first, last in ends))
    return tuple(fields)


def effective_receptive_field(
    network: nn.Module, image: Tensor, *, share: float = 0.95
) -> tuple[int, ...]:
    """Voxels along each axis that hold ``share`` of the middle output voxel's squared gradient.

    Luo et al. 2016 (doi:10.48550/arXiv.1701.04128): much smaller than the theoretical field.

    Args:
        network: is asked as it stands (evaluating or training).
        image: (B, C, *spatial), random for the network's own field; the batch is averaged.
        share: of the squared gradient, summed over the other axes, in a middle interval.
    """
    image = image.detach().requires_grad_()
    logits = network(image)
    middle = tuple(n // 2 for n in logits.shape[2:])
    (gradient,) = torch.autograd.grad(logits[(..., *middle)].sum(), image)
    energy = gradient.square().sum((0, 1))
    fields = []
    for axis, centre in enumerate(middle):
        others = tuple(a for a in range(energy.ndim) if a != axis)
        fields.append(_middle_holding(energy.sum(others), centre, share))
    return tuple(fields)


def count_parameters(network: nn.Module) -> int:
    """Learned numbers."""
    return sum(parameter.numel() for parameter in network.parameters())


def cost(network: nn.Module, shape: Sequence[int]) -> Cost:
    """What a patch of this shape (B, C, *spatial) takes, without computing it."""
    with FakeTensorMode() as fake:
        weights: dict[str, Tensor] = {
            name: fake.from_tensor(value)
            for name, value in network.state_dict(keep_vars=True).items()
        }
        image = torch.empty(tuple(shape))
        saved = _SavedBytes(weights.values())
        with (
            FlopCounterMode(display=False) as counter,
            torch.autograd.graph.saved_tensors_hooks(saved.keep, lambda kept: kept),
        ):
            functional_call(network, weights, (image,))
    return Cost(count_parameters(network), counter.get_total_flops() // 2, saved.total)


class _SavedBytes:
    """Adds up the memory that autograd keeps, each piece once, the weights not counted."""

    def __init__(self, weights: Iterable[Tensor]) -> None:
        self.kept: list[Tensor] = []  # alive, so that no address is given out twice
        self.seen = {value.untyped_storage()._cdata for value in weights}
        self.total = 0

    def keep(self, tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in self.seen:
            self.seen.add(storage._cdata)
            self.kept.append(tensor)
            self.total += storage.nbytes()
        return tensor


def _middle_holding(energy: Tensor, centre: int, share: float) -> int:
    """Width of the smallest interval around ``centre`` that holds ``share`` of the energy."""
    whole = float(energy.sum())
    reach = 0
    while float(energy[max(0, centre - reach) : centre + reach + 1].sum()) < share * whole:
        reach += 1
    return 2 * reach + 1


def _leaves(modules: Iterable[nn.Module]) -> Iterator[nn.Module]:
    """Single layers in the order that the image passes them."""
    for module in modules:
        if isinstance(module, nn.Sequential):
            yield from _leaves(module)
        elif isinstance(module, Resize):
            yield from (module, module.conv)
        elif isinstance(module, SubPixel):
            yield from (module.conv, module)
        elif not isinstance(module, POINTWISE):
            yield module


@dataclass(frozen=True)
class _IntervalStep:
    """One layer along one axis: from an interval of its output to the input that it needs."""

    needs: Callable[[Interval], Interval]
    shrinks: int = 1


def _interval_step(layer: nn.Module, axis: int) -> _IntervalStep:
    if isinstance(layer, ResidualBlock):
        ways = [_interval_steps([way], axis) for way in (layer.branch, layer.shortcut)]
        return _IntervalStep(partial(_through_either, ways), _period(ways[0]))
    if isinstance(layer, Transposed):
        kernel, stride = layer.conv.kernel_size[axis], layer.stride[axis]
        return _IntervalStep(partial(_through_transposed, kernel, stride, layer.padding[axis]))
    if isinstance(layer, _ConvNd):
        kernel, stride = layer.kernel_size[axis], layer.stride[axis]
        padding = int(layer.padding[axis])
        return _IntervalStep(partial(_through_conv, kernel, stride, padding), stride)
    if isinstance(layer, nn.MaxPool2d | nn.MaxPool3d | nn.AvgPool2d | nn.AvgPool3d):
        size = layer.kernel_size
        cell = size if isinstance(size, int) else size[axis]
        return _IntervalStep(partial(_through_conv, cell, cell, 0), cell)
    if isinstance(layer, MeanShrink):
        cell = layer.stride[axis]
        return _IntervalStep(partial(_through_conv, cell, cell, 0), cell)
    if isinstance(layer, Resize) and layer.mode != "nearest":
        return _IntervalStep(partial(_through_linear, layer.stride[axis]))
    if isinstance(layer, Resize | SubPixel):
        return _IntervalStep(partial(_through_copies, layer.stride[axis]))
    raise TypeError(f"no interval arithmetic for {type(layer).__name__}")


def _interval_steps(modules: Iterable[nn.Module], axis: int) -> list[_IntervalStep]:
    return [_interval_step(layer, axis) for layer in _leaves(modules)]


def _period(steps: Iterable[_IntervalStep]) -> int:
    """Output voxels after which fields repeat."""
    return math.prod(step.shrinks for step in steps)


def _through_all(steps: Sequence[_IntervalStep], interval: Interval) -> Interval:
    for step in reversed(steps):
        interval = step.needs(interval)
    return interval


def _through_either(ways: Sequence[Sequence[_IntervalStep]], interval: Interval) -> Interval:
    ends = [_through_all(way, interval) for way in ways]
    return min(first for first, _ in ends), max(last for _, last in ends)


def _through_conv(kernel: int, stride: int, padding: int, interval: Interval) -> Interval:
    first, last = interval
    return first * stride - padding, last * stride - padding + kernel - 1


def _through_transposed(kernel: int, stride: int, padding: int, interval: Interval) -> Interval:
    first, last = interval
    return math.ceil((first + padding - kernel + 1) / stride), (last + padding) // stride


def _through_copies(stride: int, interval: Interval) -> Interval:
    return interval[0] // stride, interval[1] // stride


def _through_linear(stride: int, interval: Interval) -> Interval:
    first, last = ((2 * place + 1 - stride) / (2 * stride) for place in interval)
    return math.floor(first), math.ceil(last)
