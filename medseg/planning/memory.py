"""Memory of a training step, predicted for a CPU or a GPU without having one.

On a GPU the values that a network keeps for its backward pass are counted, by walking it without
data on torch's ``meta`` device. On a CPU they are counted by the rule of a U-Net, at a cost each
that was measured with the allocator as ``medseg train`` sets it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import torch
from torch import Tensor, nn

from medseg.config import Choice
from medseg.networks import build_network
from medseg.planning.cost import Levels, Machine

#: Bytes that training on a CPU holds for each output value of a convolution: before and after norm
#: and activation, gradients, workspaces, and what the allocator keeps for the next step. Measured
#: with float32 on a processor without bfloat16 (patches of 32x32x32, 40x56x40 and 96x96x96 voxels,
#: batch 2: within 8 %); with bfloat16 on one that has it (40x56x40), by an earlier version.
BYTES_A_VALUE = {"float32": 15, "bfloat16": 73}

#: Bytes for each voxel and class of the answer where the loss goes by in portions: logits and
#: their gradient, on a CPU with what the convolution before makes of them (measured).
BYTES_A_CLASS, GPU_BYTES_A_CLASS = 18, 4

#: The same where the loss is written out, counted: 16-bit logits (2) and their float32 copy (4),
#: log-softmax and softmax (8), truth one-hot (4), and the gradients of these (14).
BYTES_A_CLASS_WRITTEN_OUT = 32

#: Python and libraries with one prepared batch.
BASE_BYTES = 0.66e9

#: Weight, gradient, two moments of Adam and the average, each float32.
BYTES_A_WEIGHT = 20

#: On a GPU: the same and a 16-bit copy for the products.
GPU_BYTES_A_WEIGHT = 22

#: What the driver and its libraries take of a card for a process, and what cuDNN works in.
GPU_CONTEXT_BYTES, GPU_WORKSPACE_BYTES = 0.6e9, 0.3e9

#: A caching allocator holds blocks that fit nothing at the moment.
GPU_SLACK = 1.05

#: Gradients alive at once where the backward pass begins, at the finest level: of a block's
#: output, its norm's and its convolution's, and of what it was joined from, which is twice as wide.
GPU_GRADIENTS = 4

#: Bytes a voxel of the patch while a batch is augmented: positions, the 8 voxels around each with
#: their shares twice, the source of 2 to 3 times the patch, and image and classes.
GPU_AUGMENT_BYTES = 260


@dataclass(frozen=True)
class StepMemory:
    """Memory of a training step: so much in any case, and so much a voxel.

    Attributes:
        fixed: bytes of weights, libraries and workspaces.
        a_voxel: bytes for each voxel of the batch's patches.
        slack: share that the allocator holds beyond what is in use.
    """

    fixed: float
    a_voxel: float
    slack: float = 1.0

    def bytes_of(self, voxels: float) -> float:
        """Peak of the process, or of the card."""
        return self.fixed + self.slack * voxels * self.a_voxel

    def voxels_in(self, room: float) -> float:
        """Voxels a step for which there is room."""
        return max(0.0, room - self.fixed) / (self.slack * self.a_voxel)


def step_memory(
    machine: Machine,
    levels: Levels,
    channels: int,
    classes: int,
    *,
    network: str = "unet",
    loss: Literal["portions", "written out"] = "portions",
) -> StepMemory:
    """Memory of a step of a network on a machine.

    Args:
        machine: its kind counts, and the bytes of a value.
        levels: shape of a U-Net; other networks have their own.
        channels: of the image.
        classes: channels of the answer.
        network: a name from ``NETWORKS``.
        loss: written out for regions, and where truths were drawn for some labels alone.
    """
    a_class = BYTES_A_CLASS if machine.kind == "cpu" else GPU_BYTES_A_CLASS
    if loss == "written out":
        a_class = BYTES_A_CLASS_WRITTEN_OUT
    if machine.kind == "cpu":
        weights = levels.weights(channels) * BYTES_A_WEIGHT
        a_voxel = levels.values_a_voxel() * BYTES_A_VALUE[machine.precision] + classes * a_class
        return StepMemory(BASE_BYTES + weights, a_voxel)
    choice = Choice(name=network, options=levels.options() if network.endswith("unet") else {})
    kept = kept_values(choice, len(levels.kernels[0]), channels, classes)
    first = 2 * levels.features[0]
    backward = kept.bytes_a_voxel + max(GPU_GRADIENTS * first, classes * a_class + first)
    return StepMemory(
        fixed=kept.weights * GPU_BYTES_A_WEIGHT + GPU_WORKSPACE_BYTES + GPU_CONTEXT_BYTES,
        a_voxel=max(backward, GPU_AUGMENT_BYTES),
        slack=GPU_SLACK,
    )


@dataclass(frozen=True)
class Kept:
    """What a network keeps for its backward pass in 16 bits.

    Attributes:
        bytes_a_voxel: of activations, for each voxel of the image.
        weights: numbers to learn.
    """

    bytes_a_voxel: float
    weights: int


def kept_values(choice: Choice, dims: int, channels: int, classes: int) -> Kept:
    """Count what a network keeps, a tensor that several layers keep once.

    Args:
        choice: name and options.
        dims: 2 or 3.
        channels: of the image.
        classes: channels of the answer.
    """
    return _kept_values(choice.model_dump_json(), dims, channels, classes)


@lru_cache(maxsize=256)
def _kept_values(choice: str, dims: int, channels: int, classes: int) -> Kept:
    named = Choice.model_validate_json(choice)
    with torch.device("meta"):
        network = build_network(
            named.name,
            dims=dims,
            in_channels=channels,
            out_channels=classes,
            options=named.options,
        )
        side = 128 if dims == 3 else 256
        image = torch.empty(1, channels, *[side] * dims)
    kept = _Keeper(network)
    with torch.autograd.graph.saved_tensors_hooks(kept.note, lambda tensor: tensor):
        answers: Any = network.forward_deep(image)  # type: ignore[operator]
        del answers
    return Kept(kept.bytes / side**dims, sum(each.numel() for each in network.parameters()))


class _Keeper:
    """Adds up the tensors that autograd keeps; weights and what is kept twice are left out."""

    def __init__(self, network: nn.Module) -> None:
        self.bytes = 0
        self._seen = {each.untyped_storage()._cdata for each in network.parameters()}
        self._alive: list[Tensor] = []  # so that no address comes twice

    def note(self, tensor: Tensor) -> Tensor:
        """Called for each tensor kept."""
        place = tensor.untyped_storage()._cdata
        if place not in self._seen:
            self._seen.add(place)
            self._alive.append(tensor)
            size = 2 if tensor.is_floating_point() else tensor.element_size()
            self.bytes += tensor.numel() * size
        return tensor
