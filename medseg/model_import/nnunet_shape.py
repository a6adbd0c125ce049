"""nnU-Net's networks are U-Nets of medseg: which options."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from medseg.config import Choice
from medseg.model_import.nnunet_plans import Plan

#: nnU-Net's class -> key of its blocks a stage; medseg's network.
_CLASSES = {
    "PlainConvUNet": ("n_conv_per_stage", "unet"),
    "ResidualEncoderUNet": ("n_blocks_per_stage", "residual_unet"),
}

_NORMS = {"InstanceNorm": "instance", "BatchNorm": "batch"}
_ACTIVATIONS = {"LeakyReLU": "leaky_relu", "ReLU": "relu"}

#: Options of theirs that are read below, or that change nothing when a network is asked.
_READ_WORDS = """
    n_stages features_per_stage conv_op kernel_sizes strides n_conv_per_stage n_blocks_per_stage
    n_conv_per_stage_decoder conv_bias norm_op norm_op_kwargs dropout_op dropout_op_kwargs nonlin
    nonlin_kwargs deep_supervision stem_channels nonlin_first block bottleneck_channels
"""
_READ = set(_READ_WORDS.split())

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
