"""Folders as nnU-Net's training leaves them, and what nnU-Net would predict, written plainly.

The reference follows nnU-Net's steps one after the other over whole arrays with SciPy and
scikit-image, and shares nothing with medseg's road.
"""

from __future__ import annotations

import itertools
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from skimage.transform import resize
from torch import Tensor
from torch.nn import functional

TRAINER = "nnUNetTrainer"


@dataclass
class Made:
    """What a folder is made of; the defaults are a small 3D network for one T1 channel."""

    dims: int = 3
    spacing: tuple[float, ...] = (1.5, 1.1, 1.3)
    patch: tuple[int, ...] = (16, 16, 16)
    transpose: tuple[int, int, int] = (0, 1, 2)
    schemes: tuple[str, ...] = ("ZScoreNormalization",)
    masked: tuple[bool, ...] = (False,)
    channels: tuple[str, ...] = ("T1",)
    labels: dict[str, Any] = field(default_factory=lambda: {"background": 0, "a": 1, "b": 2})
    order: tuple[int, ...] | None = None
    mirrors: tuple[int, ...] | None = None
    residual: bool = False
    norm: str = "InstanceNorm"
    folds: tuple[str, ...] = ("0",)
    legacy: bool = False
    trainer: str = TRAINER
    reader: str = "SimpleITKIO"
    strides: tuple[int, ...] = (1, 2)
    widths: tuple[int, ...] = (4, 6)
    changes: dict[str, Any] = field(default_factory=dict)

    @property
    def configuration(self) -> str:
        return "2d" if self.dims == 2 else "3d_fullres"

    @property
    def heads(self) -> int:
        labels = {name: value for name, value in self.labels.items() if name != "ignore"}
        return len(labels) - (self.order is not None)


INTENSITIES = {"percentile_00_5": 40.0, "percentile_99_5": 900.0, "mean": 300.0, "std": 120.0}


def make_folder(place: Path, made: Made) -> Path:
    """Write plans.json, dataset.json and a checkpoint a fold, with numpy numbers in its log."""
    folder = place / f"{made.trainer}__nnUNetPlans__{made.configuration}"
    folder.mkdir(parents=True)
    (folder / "plans.json").write_text(json.dumps(plans(made)))
    (folder / "dataset.json").write_text(json.dumps(dataset(made)))
    for number, fold in enumerate(made.folds):
        (folder / f"fold_{fold}").mkdir()
        torch.save(checkpoint(made, number), folder / f"fold_{fold}" / "checkpoint_final.pth")
    return folder


def checkpoint(made: Made, seed: int = 0) -> dict[str, Any]:
    return {
        "network_weights": weights(made, seed),
        "optimizer_state": {"state": {}, "param_groups": [{"lr": 0.01}]},
        "logging": {"mean_fg_dice": [np.float64(0.5), np.float32(0.25)]},
        "_best_ema": np.float64(0.5),
        "init_args": {"configuration": made.configuration, "device": torch.device("cpu")},
        "trainer_name": made.trainer,
        "inference_allowed_mirroring_axes": made.mirrors,
    }


def dataset(made: Made) -> dict[str, Any]:
    return {
        "channel_names": {str(n): name for n, name in enumerate(made.channels)},
        "labels": made.labels,
        "numTraining": 1,
        "file_ending": ".nii.gz",
        **({} if made.order is None else {"regions_class_order": list(made.order)}),
    }


def plans(made: Made) -> dict[str, Any]:
    plain = {"is_seg": False, "order_z": 0, "force_separate_z": None}
    network = _legacy_network(made) if made.legacy else {"architecture": _architecture(made)}
    own = {
        "preprocessor_name": "DefaultPreprocessor",
        "patch_size": list(made.patch),
        "spacing": list(made.spacing),
        "normalization_schemes": list(made.schemes),
        "use_mask_for_norm": list(made.masked),
        "resampling_fn_data": "resample_data_or_seg_to_shape",
        "resampling_fn_probabilities": "resample_data_or_seg_to_shape",
        "resampling_fn_data_kwargs": {**plain, "order": 3},
        "resampling_fn_probabilities_kwargs": {**plain, "order": 1},
        **network,
        **made.changes,
    }
    return {
        "dataset_name": "Dataset001_Test",
        "plans_name": "nnUNetPlans",
        "image_reader_writer": made.reader,
        "transpose_forward": list(made.transpose),
        "transpose_backward": [made.transpose.index(axis) for axis in range(3)],
        "configurations": {made.configuration: own},
        "foreground_intensity_properties_per_channel": {
            str(n): INTENSITIES for n in range(len(made.channels))
        },
    }


def _strides(made: Made) -> list[list[int]]:
    return [[step] * made.dims for step in made.strides]


def _architecture(made: Made) -> dict[str, Any]:
    levels = len(made.widths)
    blocks = "n_blocks_per_stage" if made.residual else "n_conv_per_stage"
    kind = "ResidualEncoderUNet" if made.residual else "PlainConvUNet"
    return {
        "network_class_name": f"dynamic_network_architectures.architectures.unet.{kind}",
        "arch_kwargs": {
            "n_stages": levels,
            "features_per_stage": list(made.widths),
            "conv_op": f"torch.nn.modules.conv.Conv{made.dims}d",
            "kernel_sizes": [[3] * made.dims] * levels,
            "strides": _strides(made),
            blocks: [2] * levels,
            "n_conv_per_stage_decoder": [2] * (levels - 1),
            "conv_bias": True,
            "norm_op": f"torch.nn.modules.norm.{made.norm}{made.dims}d",
            "norm_op_kwargs": {"eps": 1e-05, "affine": True},
            "dropout_op": None,
            "dropout_op_kwargs": None,
            "nonlin": "torch.nn.LeakyReLU",
            "nonlin_kwargs": {"inplace": True},
        },
        "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
    }


def _legacy_network(made: Made) -> dict[str, Any]:
    levels = len(made.widths)
    return {
        "UNet_class_name": "PlainConvUNet",
        "UNet_base_num_features": made.widths[0],
        "unet_max_num_features": made.widths[-1],
        "n_conv_per_stage_encoder": [2] * levels,
        "n_conv_per_stage_decoder": [2] * (levels - 1),
        "conv_kernel_sizes": [[3] * made.dims] * levels,
        "pool_op_kernel_sizes": _strides(made),
    }


def weights(made: Made, seed: int = 0) -> dict[str, Tensor]:
    """Random weights under nnU-Net's names, every one told twice as its modules tell them."""
    generator = torch.Generator().manual_seed(seed)
    state: dict[str, Tensor] = {}

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    def layer(name: str, inside: int, outside: int, size: int = 3, *, bias: bool = True) -> None:
        own = {"conv.weight": normal(outside, inside, *[size] * made.dims) / inside**0.5 / size}
        if bias:
            own["conv.bias"] = normal(outside)
        own |= {"norm.weight": 1 + normal(outside) / 4, "norm.bias": normal(outside) / 4}
        if made.norm == "BatchNorm":
            own |= {"norm.running_mean": normal(outside), "norm.running_var": normal(outside) ** 2}
            own["norm.num_batches_tracked"] = torch.tensor(7)
        for key, value in own.items():
            part, _, last = key.partition(".")
            state[f"{name}.{key}"] = value
            state[f"{name}.all_modules.{int(part == 'norm')}.{last}"] = value

    inside = len(made.channels)
    if made.residual:
        layer("encoder.stem.convs.0", inside, made.widths[0])
        inside = made.widths[0]
    for level, width in enumerate(made.widths):
        for block in range(2):
            if not made.residual:
                layer(f"encoder.stages.{level}.0.convs.{block}", inside, width)
            else:
                name = f"encoder.stages.{level}.blocks.{block}"
                layer(f"{name}.conv1", inside, width)
                layer(f"{name}.conv2", width, width)
                if inside != width:
                    layer(f"{name}.skip.{int(level > 0)}", inside, width, 1, bias=False)
            inside = width
    levels = len(made.widths)
    for step in range(levels - 1):
        below, width = made.widths[levels - 1 - step], made.widths[levels - 2 - step]
        size = [made.strides[levels - 1 - step]] * made.dims
        state[f"decoder.transpconvs.{step}.weight"] = normal(below, width, *size) / below**0.5
        state[f"decoder.transpconvs.{step}.bias"] = normal(width)
        layer(f"decoder.stages.{step}.convs.0", 2 * width, width)
        layer(f"decoder.stages.{step}.convs.1", width, width)
        state[f"decoder.seg_layers.{step}.weight"] = normal(made.heads, width, *[1] * made.dims)
        state[f"decoder.seg_layers.{step}.bias"] = normal(made.heads) / 4
    return state | {
        f"decoder.encoder.{name.removeprefix('encoder.')}": value
        for name, value in state.items()
        if name.startswith("encoder.")
    }


def ask(made: Made, state: dict[str, Tensor], image: Tensor) -> Tensor:
    """(B, C, *spatial) to logits, layer by layer as nnU-Net's networks say it."""
    conv = functional.conv3d if made.dims == 3 else functional.conv2d
    rise = functional.conv_transpose3d if made.dims == 3 else functional.conv_transpose2d
    mean = functional.avg_pool3d if made.dims == 3 else functional.avg_pool2d

    def layer(name: str, x: Tensor, step: int = 1) -> Tensor:
        weight = state[f"{name}.conv.weight"]
        bias = state.get(f"{name}.conv.bias")
        x = conv(x, weight, bias, stride=step, padding=weight.shape[-1] // 2)
        affine = state[f"{name}.norm.weight"], state[f"{name}.norm.bias"]
        if made.norm == "InstanceNorm":
            return functional.instance_norm(x, None, None, *affine)
        running = state[f"{name}.norm.running_mean"], state[f"{name}.norm.running_var"]
        return functional.batch_norm(x, *running, *affine)

    def act(x: Tensor) -> Tensor:
        return functional.leaky_relu(x, 0.01)

    x = act(layer("encoder.stem.convs.0", image)) if made.residual else image
    skips = []
    for level, stride in enumerate(made.strides):
        for block in range(2):
            step = stride if block == 0 else 1
            if not made.residual:
                x = act(layer(f"encoder.stages.{level}.0.convs.{block}", x, step))
                continue
            name = f"encoder.stages.{level}.blocks.{block}"
            beside = mean(x, step, step) if step > 1 else x
            if f"{name}.skip.{int(level > 0)}.conv.weight" in state:
                beside = layer(f"{name}.skip.{int(level > 0)}", beside)
            x = act(layer(f"{name}.conv2", act(layer(f"{name}.conv1", x, step))) + beside)
        skips.append(x)
    x = skips.pop()
    for step, stride in enumerate(made.strides[:0:-1]):
        name = f"decoder.transpconvs.{step}"
        x = rise(x, state[f"{name}.weight"], state[f"{name}.bias"], stride=stride)
        x = torch.cat([x, skips.pop()], 1)
        for block in range(2):
            x = act(layer(f"decoder.stages.{step}.convs.{block}", x))
    last = f"decoder.seg_layers.{len(made.strides) - 2}"
    return conv(x, state[f"{last}.weight"], state[f"{last}.bias"])


def predict(
    made: Made, image: NDArray[np.float32], spacing_zyx: tuple[float, float, float]
) -> NDArray[np.uint8]:
    """The mask (z, y, x) of a (C, z, y, x) scan by nnU-Net's steps."""
    image = image.transpose(0, *(axis + 1 for axis in made.transpose))
    native = [spacing_zyx[axis] for axis in made.transpose]
    inside = ndimage.binary_fill_holes((image != 0).any(0))
    box = ndimage.find_objects(inside.astype(int))[0]
    whole, image, inside = image.shape[1:], image[(slice(None), *box)].copy(), inside[box]
    target = list(made.spacing) if made.dims == 3 else [native[0], *made.spacing]
    for channel, (scheme, masked) in enumerate(zip(made.schemes, made.masked, strict=True)):
        image[channel] = _normalised(image[channel], scheme, inside if masked else None)
    shape = [round(a / b * n) for a, b, n in zip(native, target, image.shape[1:], strict=True)]
    small = np.stack([_resampled(one, shape, 3, native, target) for one in image])
    total = sum(_windows(made, weights(made, n), small) for n in range(len(made.folds)))
    logits = np.stack(
        [_resampled(one, image.shape[1:], 1, target, native) for one in np.asarray(total)]
    )
    mask = np.zeros(whole, dtype=np.uint8)
    mask[box] = _decided(made, logits)
    return mask.transpose([made.transpose.index(axis) for axis in range(3)])


def _normalised(image: NDArray[Any], scheme: str, inside: NDArray[Any] | None) -> NDArray[Any]:
    if scheme == "CTNormalization":
        low, high = INTENSITIES["percentile_00_5"], INTENSITIES["percentile_99_5"]
        return (np.clip(image, low, high) - INTENSITIES["mean"]) / INTENSITIES["std"]
    if scheme == "RescaleTo01Normalization":
        return (image - image.min()) / (image.max() - image.min())
    if scheme == "RGBTo01Normalization":
        return image / 255
    if scheme == "NoNormalization":
        return image
    if inside is None:
        return (image - image.mean()) / image.std()
    known = image[inside]
    return np.where(inside, (image - known.mean()) / known.std(), image)


def _resampled(
    image: NDArray[Any], shape: Any, order: int, here: list[float], there: list[float]
) -> NDArray[Any]:
    if tuple(image.shape) == tuple(shape):
        return image
    plain: dict[str, Any] = {"mode": "edge", "anti_aliasing": False}
    for spacing in (here, there):
        coarsest = [axis for axis in range(3) if spacing[axis] == max(spacing)]
        if max(spacing) / min(spacing) > 3:
            if len(coarsest) > 1:
                break
            (axis,) = coarsest
            planes = [
                resize(plane, tuple(np.delete(shape, axis)), order, **plain)
                for plane in np.moveaxis(image.astype(float), axis, 0)
            ]
            places = (np.arange(shape[axis]) + 0.5) * image.shape[axis] / shape[axis] - 0.5
            nearest = np.floor(places + 0.5).astype(int).clip(0, image.shape[axis] - 1)
            return np.moveaxis(np.stack([planes[n] for n in nearest]), 0, axis)
    return resize(image.astype(float), tuple(shape), order, **plain)


def _windows(made: Made, state: dict[str, Tensor], image: NDArray[Any]) -> NDArray[Any]:
    """(C, …) to (K, …) logits, averaged over windows and mirrors."""
    patch = made.patch if made.dims == 3 else (1, *made.patch)
    margins = [max(0, p - n) for p, n in zip(patch, image.shape[1:], strict=True)]
    before = [margin // 2 for margin in margins]
    padded = np.pad(image, [(0, 0), *((b, m - b) for b, m in zip(before, margins, strict=True))])
    impulse = np.zeros(patch)
    impulse[tuple(n // 2 for n in patch)] = 1
    bell = ndimage.gaussian_filter(impulse, [n / 8 for n in patch], mode="constant")
    bell = np.maximum(bell / bell.max(), 6e-9)
    total = np.zeros((made.heads, *padded.shape[1:]))
    weight = np.zeros(padded.shape[1:])
    axes = [axis + 2 for axis in made.mirrors or ()]
    turns = [turn for n in range(len(axes) + 1) for turn in itertools.combinations(axes, n)]
    for corner in itertools.product(*map(_starts, padded.shape[1:], patch)):
        at = tuple(slice(c, c + n) for c, n in zip(corner, patch, strict=True))
        window = torch.from_numpy(padded[(slice(None), *at)].astype(np.float32))[None]
        window = window if made.dims == 3 else window[:, :, 0]
        with torch.no_grad():
            answers = [ask(made, state, window.flip(turn)).flip(turn) for turn in turns]
        logits = torch.stack(answers).mean(0)[0].double().numpy()
        total[(slice(None), *at)] += (logits if made.dims == 3 else logits[:, None]) * bell
        weight[at] += bell
    kept = tuple(slice(b, b + n) for b, n in zip(before, image.shape[1:], strict=True))
    return (total / weight)[(slice(None), *kept)]


def _starts(size: int, window: int) -> list[int]:
    if window == 1:
        return list(range(size))
    count = int(np.ceil((size - window) / (window / 2))) + 1
    step = (size - window) / (count - 1) if count > 1 else 0
    return [int(np.round(step * n)) for n in range(count)]


def _decided(made: Made, logits: NDArray[Any]) -> NDArray[Any]:
    if made.order is None:
        return logits.argmax(0)
    mask = np.zeros(logits.shape[1:], dtype=int)
    for value, region in zip(made.order, logits, strict=True):
        mask[region > 0] = value
    return mask
