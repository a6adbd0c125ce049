"""Whole-volume logits and masks, the reference for the streamed ones, class by class."""

import itertools

import numpy as np
import torch
from monai.inferers import sliding_window_inference

from medseg.geometry import left_right_axis
from medseg.inference.windows import importance, plan_windows
from medseg.transforms.prepare import prepare_volume
from medseg.transforms.resample import resample
from tests.inference.models import LABELS


def averaged(model, dtype, left_right):
    """One predictor that averages networks and mirrors as logits, left and right swapped."""
    networks = [network.to(dtype) for network in model.networks()]
    swap = list(range(model.labels.channels))
    if model.labels is LABELS:
        swap = [0, 1, 3, 2]  # the kidneys
    axes = model.infer.mirror_axes
    subsets = [s for n in range(len(axes) + 1) for s in itertools.combinations(axes, n)]

    def predict(windows):
        answers = []
        for network, subset in itertools.product(networks, subsets):
            flips = [axis + 2 for axis in subset]
            image = windows.flip(flips)
            if model.dims == 2:
                axis = model.slice_axis + 2
                logits = network(image.squeeze(axis)).unsqueeze(axis)
            else:
                logits = network(image)
            logits = logits.flip(flips)
            answers.append(logits[:, swap] if left_right in subset else logits)
        return torch.stack(answers).mean(0)

    return predict


def whole_volume(model, volume, dtype):
    """MONAI's sliding windows, then all classes on the whole native grid: mask and margin."""
    whole, spread = _on_native_grid(model, volume, dtype)
    values = np.array(model.labels.channel_values)
    if model.labels.regions:
        mask = np.zeros(whole.shape[1:], int)
        for logit, value in zip(whole, values[1:], strict=True):
            mask[logit > 0] = value
        return mask, np.abs(whole).min(0), spread
    ranked = np.sort(whole, axis=0)
    return values[whole.argmax(0)], ranked[-1] - ranked[-2], spread


def whole_logits(model, volume, dtype=torch.float64):
    """(K, X, Y, Z) logits by MONAI's sliding windows, on the whole native grid."""
    return _on_native_grid(model, volume, dtype)[0]


def _on_native_grid(model, volume, dtype):
    """The logits, and their standard deviation on the working grid."""
    prepared = prepare_volume(volume, model.prepare)
    window = list(model.infer.window)
    if model.dims == 2:
        window.insert(model.slice_axis, 1)
    with torch.inference_mode():
        logits = sliding_window_inference(
            prepared.image.to(dtype)[None],
            window,
            1,
            averaged(model, dtype, left_right_axis(prepared.working)),
            overlap=model.infer.overlap,
            mode=model.infer.weighting,
            padding_mode="replicate",
            roi_weight_map=importance(window, model.infer.weighting).to(dtype),
        )[0]
    spread = float(logits.std())
    whole = resample(logits, prepared.working, volume.geometry, antialias=False).numpy()
    return whole, spread


def class_by_class(model, volume, folder):
    """The same for one 3D network and a scan of which classes x voxels would not fit into memory.

    Logits on the working grid lie in a file in `folder`; one class at a time is interpolated onto
    the native grid, in float32. Returns mask and margin.
    """
    (network,) = model.networks()
    prepared = prepare_volume(volume, model.prepare)
    plan = plan_windows(prepared.working.shape, model.infer.window, model.infer.overlap)
    weight = importance(plan.window, model.infer.weighting).float().numpy()
    shape = (model.labels.channels, *plan.padded)
    total = np.memmap(folder / "logits", np.float32, "w+", shape=shape)
    weights = np.zeros(plan.padded, np.float32)
    padded = plan.pad(prepared.image)
    for corner in plan.corners:
        box = tuple(slice(c, c + n) for c, n in zip(corner, plan.window, strict=True))
        with torch.inference_mode():
            total[(slice(None), *box)] += (
                network(plan.cut(padded, corner)[None])[0].numpy() * weight
            )
        weights[box] += weight
    crop = tuple(slice(low, low + n) for (low, _), n in zip(plan.padding, plan.size, strict=True))
    mask = np.zeros(volume.geometry.shape, model.labels.dtype)
    best, second = (np.full(mask.shape, -np.inf, np.float32) for _ in range(2))
    for logit, value in zip(total, model.labels.channel_values, strict=True):
        field = (logit / weights)[crop][None]
        field = resample(field, prepared.working, volume.geometry, antialias=False).numpy()[0]
        np.maximum(second, np.minimum(best, field), out=second)
        mask[field > best] = value
        np.maximum(best, field, out=best)
    return mask, best - second
