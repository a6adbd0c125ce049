"""A model's networks, rules and windows in one TorchScript module."""

from __future__ import annotations

import warnings

import numpy as np
import torch

from medseg.config import (
    Normalise,
    NormaliseNothing,
    NormalisePercentiles,
    NormaliseWindow,
    NormaliseZScore,
)
from medseg.errors import BadModel
from medseg.export.networks import window_of
from medseg.export.scripted_intensities import NONZERO, NOTHING, PERCENTILES, WINDOW, ZSCORE
from medseg.export.scripted_segmenter import ScriptedSegmenter
from medseg.geometry import RAS, Alignment
from medseg.geometry.roles import PLANES, SAME_PLANE_DEGREES, STACK_SHAPE, STACK_SPACING, TURN
from medseg.geometry.working import SAME_SPACING
from medseg.inference.mirroring import swapped_channels
from medseg.inference.windows import importance
from medseg.model import Model
from medseg.volume.scan import ABOVE_ANY_SIGNAL, BELOW_ANY_HU, STANDS_ALONE


def script_model(model: Model) -> torch.jit.ScriptModule:
    """A module that maps values (C, X, Y, Z) and affine (4, 4) of a scan to its mask (X, Y, Z).

    Raises:
        BadModel: its intensities are prepared in a way that TorchScript does not know here.
    """
    prepare, infer = model.prepare, model.infer
    window = list(window_of(model))
    slice_axis = -1
    if model.dims == 2 and model.slice_axis is not None:
        slice_axis = model.slice_axis
        window.insert(slice_axis, 1)
    segmenter = ScriptedSegmenter(
        _traced(model),
        importance(window, infer.weighting).float(),
        torch.tensor(prepare.frame or RAS, dtype=torch.float64),
        torch.tensor(PLANES, dtype=torch.float64),
        torch.tensor(np.array(TURN), dtype=torch.float64),
        torch.tensor(model.labels.channel_values),
        _swapped(model),
        torch.tensor([_rule(rule) for rule in prepare.normalise], dtype=torch.float64),
        [0.0 if mm is None else float(mm) for mm in prepare.spacing_mm],
        window,
        [BELOW_ANY_HU, STANDS_ALONE, ABOVE_ANY_SIGNAL],
        [-1 if axis == "left-right" else int(axis) for axis in infer.mirror_axes],
        cropped=prepare.crop == "zeros",
        emptied=infer.zeros == "background",
        fixed_frame=prepare.frame is not None,
        edges=prepare.alignment is Alignment.EDGES,
        overlap=infer.overlap,
        slice_axis=slice_axis,
        regions=bool(model.labels.regions),
        stack_spacing=STACK_SPACING,
        stack_shape=STACK_SHAPE,
        same_plane=float(np.cos(np.radians(SAME_PLANE_DEGREES))),
        same_spacing=SAME_SPACING,
    )
    return torch.jit.script(segmenter.eval())


def _traced(model: Model) -> list[torch.nn.Module]:
    example = torch.zeros(1, len(model.card.channels), *window_of(model))
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # of shapes that become constants: the size is fixed
        return [
            torch.jit.trace(network, example, check_trace=False) for network in model.networks()
        ]


def _swapped(model: Model) -> torch.Tensor:
    pairs = model.labels.mirror_pairing()
    if pairs is None:
        return torch.zeros(0, dtype=torch.int64)
    return torch.tensor(swapped_channels(model.labels, pairs) or (0,))


def _rule(rule: Normalise) -> list[float]:
    match rule:
        case NormaliseZScore(target=None):
            return [NONZERO if rule.nonzero else ZSCORE, 0, 0, 0, 1]
        case NormaliseWindow():
            mean = rule.mean if rule.mean is not None else (rule.low + rule.high) / 2
            sd = rule.sd if rule.sd is not None else (rule.high - rule.low) / 2
            return [WINDOW, rule.low, rule.high, mean, sd]
        case NormalisePercentiles(target=(0.0, 1.0)):
            return [PERCENTILES, rule.low, rule.high, 0, 1]
        case NormaliseNothing():
            return [NOTHING, 0, 0, 0, 1]
    raise BadModel("a bundle cannot normalise in this way", found=rule.kind)
