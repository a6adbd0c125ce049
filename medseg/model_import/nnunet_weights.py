"""nnU-Net's weights under the names of medseg's networks.

A bias before an instance norm changes nothing, for the norm takes the mean away; before a batch
norm it moves the running mean. So medseg's blocks, which have none, give the same logits.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor

from medseg.errors import BadModel
from medseg.model_import.nnunet_shape import Shape


def weights_of(state: Mapping[str, Tensor], shape: Shape, path: Path) -> dict[str, Tensor]:
    """nnU-Net's weights under the names of medseg's network.

    Raises:
        BadModel: a weight is missing, or one has no place.
    """
    theirs = _Theirs(state, path)
    ours: dict[str, Tensor] = {}
    for there, (conv, norm) in _layers(shape):
        ours |= _layer(theirs, there, conv, norm, shape.norm)
    for step in range(len(shape.up)):
        rise = theirs.take(f"decoder.transpconvs.{step}.weight")
        shift = theirs.take_if_there(f"decoder.transpconvs.{step}.bias")
        ours[f"rise.{step}.conv.weight"] = rise
        ours[f"rise.{step}.conv.bias"] = torch.zeros(rise.shape[1]) if shift is None else shift
        merge = ours[f"merge.{step}.0.0.weight"]
        half = merge.shape[1] // 2  # theirs sees what came up first, ours what came across
        ours[f"merge.{step}.0.0.weight"] = torch.cat([merge[:, half:], merge[:, :half]], 1)
    for part in ("weight", "bias"):
        ours[f"heads.0.{part}"] = theirs.take(f"decoder.seg_layers.{len(shape.up) - 1}.{part}")
    theirs.check_all_taken()
    return {name: tensor.clone() for name, tensor in ours.items()}


class _Theirs:
    """nnU-Net's weights, and which of them were taken."""

    def __init__(self, state: Mapping[str, Tensor], path: Path) -> None:
        self._path = path
        self._left = {
            _plain(name): tensor
            for name, tensor in state.items()
            if ".all_modules." not in name and "decoder.encoder." not in name  # said twice
        }

    def take(self, name: str) -> Tensor:
        """A weight that must be there."""
        tensor = self.take_if_there(name)
        if tensor is None:
            raise BadModel(
                "the checkpoint lacks a weight of the plan's network",
                path=self._path,
                expected=name,
            )
        return tensor

    def take_if_there(self, name: str) -> Tensor | None:
        """A weight that may be missing."""
        return self._left.pop(name, None)

    def check_all_taken(self) -> None:
        """Refuse weights that had no place; heads of coarser levels are for training alone."""
        left = sorted(n for n in self._left if not n.startswith("decoder.seg_layers."))
        if left:
            raise BadModel(
                "the checkpoint holds weights that the plan's network has no place for",
                path=self._path,
                found=", ".join(left[:5]),
            )


def _layer(theirs: _Theirs, there: str, conv: str, norm: str, kind: str) -> dict[str, Tensor]:
    """A convolution with its norm under our names."""
    weight = theirs.take(f"{there}.conv.weight")
    bias = theirs.take_if_there(f"{there}.conv.bias")
    blank = torch.zeros(len(weight))
    if kind == "none":
        return {f"{conv}.weight": weight, f"{conv}.bias": blank if bias is None else bias}
    scale = theirs.take_if_there(f"{there}.norm.weight")
    shift = theirs.take_if_there(f"{there}.norm.bias")
    ours = {
        f"{conv}.weight": weight,
        f"{norm}.weight": torch.ones(len(weight)) if scale is None else scale,
        f"{norm}.bias": blank if shift is None else shift,
    }
    if kind == "batch":
        mean = theirs.take(f"{there}.norm.running_mean")
        ours[f"{norm}.running_mean"] = mean if bias is None else mean - bias
        for part in ("running_var", "num_batches_tracked"):
            ours[f"{norm}.{part}"] = theirs.take(f"{there}.norm.{part}")
    return ours


def _plain(name: str) -> str:
    """A weight's name without those of modules that wrapped the network."""
    for prefix in ("module.", "_orig_mod."):
        name = name.removeprefix(prefix)
    return name


def _layers(shape: Shape) -> Iterator[tuple[str, tuple[str, str]]]:
    """Each convolution of theirs, and our convolution with its norm."""
    if shape.residual:
        yield "encoder.stem.convs.0", ("stem.0", "stem.1")
    for level, count in enumerate(shape.down):
        for block in range(count):
            here = f"contract.{level}.{block}"
            if not shape.residual:
                yield f"encoder.stages.{level}.0.convs.{block}", (f"{here}.0", f"{here}.1")
                continue
            there = f"encoder.stages.{level}.blocks.{block}"
            yield f"{there}.conv1", (f"{here}.branch.0", f"{here}.branch.1")
            yield f"{there}.conv2", (f"{here}.branch.3", f"{here}.branch.4")
            if _projects(shape, level, block):
                at = 1 if _shrinks(shape, level, block) else 0
                yield f"{there}.skip.{at}", (f"{here}.shortcut.1", f"{here}.shortcut.2")
    for step, count in enumerate(shape.up):
        for block in range(count):
            here = f"merge.{step}.{block}"
            yield f"decoder.stages.{step}.convs.{block}", (f"{here}.0", f"{here}.1")


def _projects(shape: Shape, level: int, block: int) -> bool:
    """Whether a residual block changes its number of channels."""
    options = shape.choice.options
    entering = (options["stem"], *options["features"])
    return block == 0 and entering[level] != entering[level + 1]


def _shrinks(shape: Shape, level: int, block: int) -> bool:
    if level == 0 or block > 0:
        return False
    return any(step != 1 for step in shape.choice.options["strides"][level - 1])
