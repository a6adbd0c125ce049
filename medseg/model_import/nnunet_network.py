"""nnU-Net's networks are U-Nets of medseg: which options, and which weight goes where.

A bias before an instance norm changes nothing, for the norm takes the mean away; before a batch
norm it moves the running mean. So medseg's blocks, which have none, give the same logits.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from medseg.config import Choice
from medseg.errors import BadModel
from medseg.model_import.nnunet_plans import Plan

#: nnU-Net's class -> key of its blocks a stage; medseg's network.
_CLASSES = {
    "PlainConvUNet": ("n_conv_per_stage", "unet"),
    "ResidualEncoderUNet": ("n_blocks_per_stage", "residual_unet"),
}

_NORMS = {"InstanceNorm": "instance", "BatchNorm": "batch"}
_ACTIVATIONS = {"LeakyReLU": "leaky_relu", "ReLU": "relu"}

#: Options of theirs that are read below, or that change nothing when a network is asked.
_READ = {
    "n_stages",
    "features_per_stage",
    "conv_op",
    "kernel_sizes",
    "strides",
    "n_conv_per_stage",
    "n_blocks_per_stage",
    "n_conv_per_stage_decoder",
    "conv_bias",
    "norm_op",
    "norm_op_kwargs",
    "dropout_op",
    "dropout_op_kwargs",
    "nonlin",
    "nonlin_kwargs",
    "deep_supervision",
    "stem_channels",
    "nonlin_first",
    "block",
    "bottleneck_channels",
}

#: Spread that norms add before they divide, here and there.
_EPS = 1e-5


@dataclass(frozen=True)
class Shape:
    """A network of nnU-Net in medseg's options.

    Attributes:
        choice: the network and its options.
        norm: ``instance``, ``batch`` or ``none``.
        residual: whether the encoder is of residual blocks.
        down: blocks of each level, finest first.
        up: convolutions of each level on the way up, deepest first.
    """

    choice: Choice
    norm: str
    residual: bool
    down: tuple[int, ...]
    up: tuple[int, ...]


def shape_of(plan: Plan, *, batch_norm: bool = False) -> Shape:
    """The network that the plans describe.

    Args:
        plan: of nnU-Net.
        batch_norm: whether the trainer replaced the plan's norm by batch norm.

    Raises:
        BadModel: it has something that medseg's U-Net has not; it says what.
    """
    name, kwargs = _architecture(plan)
    if name not in _CLASSES:
        raise plan.refused(
            "the network is not known here", found=name, expected=" or ".join(_CLASSES)
        )
    blocks, network = _CLASSES[name]
    _refuse_unknown(plan, kwargs)
    levels = int(kwargs["n_stages"])
    widths = _each(kwargs["features_per_stage"], levels)
    down = _each(kwargs[blocks], levels)
    up = _each(kwargs["n_conv_per_stage_decoder"], levels - 1)
    norm = "batch" if batch_norm else _norm(plan, kwargs)
    residual = name == "ResidualEncoderUNet"
    options: dict[str, Any] = {
        "features": widths,
        "kernels": [_axes(kernel, plan.dims) for kernel in _each(kwargs["kernel_sizes"], levels)],
        "strides": [_axes(step, plan.dims) for step in _each(kwargs["strides"], levels)][1:],
        "convs_per_level": down,
        "convs_per_level_up": up[::-1],
        "block": "residual" if residual else "plain",
        "shrink": "strided_conv",
        "norm": norm,
        "activation": _activation(plan, kwargs),
    }
    if residual:
        options["stem"] = int(kwargs.get("stem_channels") or widths[0])
    return Shape(Choice(name=network, options=options), norm, residual, tuple(down), tuple(up))


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


def _architecture(plan: Plan) -> tuple[str, dict[str, Any]]:
    """Class and options, from the plans of any version 2."""
    if "architecture" in plan.values:
        architecture = plan.value("architecture")
        return str(architecture["network_class_name"]).rpartition(".")[2], dict(
            architecture["arch_kwargs"]
        )
    name = str(plan.value("UNet_class_name"))
    blocks = _CLASSES.get(name, ("n_conv_per_stage", ""))[0]
    stages = plan.value("n_conv_per_stage_encoder")
    base, most = plan.value("UNet_base_num_features"), plan.value("unet_max_num_features")
    return name, {
        "n_stages": len(stages),
        "features_per_stage": [min(base * 2**stage, most) for stage in range(len(stages))],
        "kernel_sizes": plan.value("conv_kernel_sizes"),
        "strides": plan.value("pool_op_kernel_sizes"),
        blocks: stages,
        "n_conv_per_stage_decoder": plan.value("n_conv_per_stage_decoder"),
        "norm_op": "InstanceNorm",
        "norm_op_kwargs": {"eps": _EPS},
        "nonlin": "LeakyReLU",
    }


def _refuse_unknown(plan: Plan, kwargs: Mapping[str, Any]) -> None:
    """Refuse what changes the network and is not read."""
    unknown = sorted(set(kwargs) - _READ)
    if unknown:
        raise plan.refused(
            "the network has options that are not known here", found=", ".join(unknown)
        )
    if kwargs.get("nonlin_first"):
        raise plan.refused("the network's activations come before its norms", found="nonlin_first")
    block = str(kwargs.get("block") or "BasicBlockD")
    if not block.endswith("BasicBlockD") or kwargs.get("bottleneck_channels"):
        raise plan.refused(
            "the network has blocks that are not known here", found=block, expected="BasicBlockD"
        )
    first = _axes(_each(kwargs["strides"], int(kwargs["n_stages"]))[0], plan.dims)
    if any(step != 1 for step in first):
        raise plan.refused("the network shrinks the image before its first level", found=first)


def _norm(plan: Plan, kwargs: Mapping[str, Any]) -> str:
    if kwargs.get("norm_op") is None:
        return "none"
    name = str(kwargs["norm_op"]).rpartition(".")[2].rstrip("123d")
    eps = float((kwargs.get("norm_op_kwargs") or {}).get("eps", _EPS))
    if name not in _NORMS or eps != _EPS:
        raise plan.refused(
            "the network's norm is not known here",
            found=f"{kwargs['norm_op']} with eps {eps:g}",
            expected=f"{' or '.join(_NORMS)} with eps {_EPS:g}",
        )
    return _NORMS[name]


def _activation(plan: Plan, kwargs: Mapping[str, Any]) -> str:
    name = str(kwargs.get("nonlin")).rpartition(".")[2]
    slope = float((kwargs.get("nonlin_kwargs") or {}).get("negative_slope", 0.01))
    if name not in _ACTIVATIONS or slope != 0.01:
        raise plan.refused(
            "the network's activation is not known here",
            found=f"{kwargs.get('nonlin')} with slope {slope:g}",
            expected=f"{' or '.join(_ACTIVATIONS)} with slope 0.01",
        )
    return _ACTIVATIONS[name]


def _each(value: Any, count: int) -> list[Any]:
    """One value a level from a list, or from one for all."""
    return list(value) if isinstance(value, Sequence) else [value] * count


def _axes(value: Any, dims: int) -> list[int]:
    """One number an axis from a list, or from one for all."""
    return [int(n) for n in value] if isinstance(value, Sequence) else [int(value)] * dims
