"""What a runtime does before and after an exported network, one sentence a step, in order.

Every option of ``prepare`` and ``infer`` that changes a mask changes a sentence here.
"""

from __future__ import annotations

from medseg.geometry import Alignment
from medseg.inference.windows import LEAST_NNUNET_WEIGHT, LEAST_WEIGHT, SIGMA
from medseg.model import Model
from medseg.volume.scan import ABOVE_ANY_SIGNAL, BELOW_ANY_HU, STANDS_ALONE

_ALIGNMENTS = {
    Alignment.COVER: "centred on the scan's grid and covering its voxel centres",
    Alignment.EDGES: "with the scan's outer voxel edges; the spacing gives way to whole voxels",
    Alignment.MONAI: "from the scan's first voxel centre on, as MONAI's Spacing lays it",
}

_KERNELS = {
    "linear": "linearly, with a kernel widened where an axis shrinks",
    "linear_narrow": "linearly",
    "cubic": "by cubic convolution, with a kernel widened where an axis shrinks",
    "spline": "by cubic B-splines, clipped to the range of the values",
}

_RESTORED = {
    "logits": "interpolate the logits linearly onto the scan's own grid",
    "probabilities": "softmax; interpolate the probabilities linearly onto the scan's own grid",
    "labels": "give each voxel of the scan the logits of the nearest voxel of the working grid",
}

_FRAMES = {
    "check": "channels of one frame of reference alone",
    "trust": "channels by their positions, whatever frame of reference they name",
    "register": "channels registered onto the first one",
}

_WEIGHTS = {
    "constant": "equal weights",
    "gaussian": f"a Gaussian about the middle with a standard deviation of {SIGMA:g} window "
    f"lengths, at least {LEAST_WEIGHT:g} of its peak",
    "gaussian_nnunet": f"a Gaussian about voxel size // 2 with a standard deviation of {SIGMA:g} "
    f"window lengths, at least {LEAST_NNUNET_WEIGHT:.2g} of its peak",
}


def steps_around(model: Model) -> list[str]:
    """What a runtime must do around a model's networks, in order."""
    return [*_reading(model), *_preparing(model), *_asking(model), *_deciding(model)]


def _reading(model: Model) -> list[str]:
    steps = ["read the scan as real-world values (HU for CT); voxel centres, affine to RAS mm"]
    if len(model.card.channels) > 1:
        steps.append(f"bring every channel onto the first one's grid: {_FRAMES[model.card.frames]}")
    steps.append(
        "give padding (one extreme value that stands alone: the lowest, at most "
        f"{BELOW_ANY_HU:g} and {STANDS_ALONE:g} below the next, or one of at least "
        f"{ABOVE_ANY_SIGNAL:g} far above all others) the lowest measured value"
    )
    return steps


def _preparing(model: Model) -> list[str]:
    """From real-world values to the working tensor."""
    prepare = model.prepare
    normalise = "normalise each channel by its rule (prepare.normalise), on the "
    on_scan = prepare.normalise_on == "scan"
    slices = (
        f"; where the coarsest spacing is more than {prepare.slices_apart:g} times the finest, "
        "that axis takes the nearest slice instead"
        if prepare.slices_apart is not None
        else ""
    )
    return [
        *(["correct the slow shading of each channel by N4"] if prepare.bias_field == "n4" else []),
        *(
            ["cut off planes at the faces that are 0 in every channel; masks are 0 there"]
            if prepare.crop == "zeros"
            else []
        ),
        *([f"{normalise}scan's own voxels"] if on_scan else []),
        _turning(model),
        f"resample {_KERNELS[prepare.resampling]} to {_spacing(model)}, on a grid "
        f"{_ALIGNMENTS[prepare.alignment]}{slices}",
        *([] if on_scan else [f"{normalise}working grid"]),
    ]


def _turning(model: Model) -> str:
    """How a scan's axes become working axes."""
    prepare = model.prepare
    if prepare.axes is None:
        towards = "R, A, S" if prepare.frame is None else "the directions of prepare.frame"
        return (
            "order the axes as in plane, in plane, through plane (where slices lie apart), and "
            f"turn them as near to {towards} as that allows"
        )
    first = "as it is stored" if prepare.turned_to is None else f"turned to {prepare.turned_to}"
    return f"take the scan {first}, and its axes in the order {list(prepare.axes)}"


def _spacing(model: Model) -> str:
    sizes = ["the scan's" if mm is None else f"{mm:g}" for mm in model.prepare.spacing_mm]
    return f"a spacing of {' x '.join(sizes)} mm"


def _asking(model: Model) -> list[str]:
    """From the working tensor to logits on the working grid."""
    infer = model.infer
    ends = (
        "the last one of an axis ends where the grid ends"
        if infer.steps == "fixed"
        else "as few as that takes, evenly spread from one end of an axis to the other"
    )
    filling = "its border" if infer.padding == "border" else "zeros"
    several = len(model.card.weights)
    lines = [
        f"lay windows that overlap by {infer.overlap:.0%}; {ends}; a grid smaller than a window is "
        f"padded on both sides with {filling}"
    ]
    if infer.locate is not None:
        lines.insert(0, "keep to the region that infer.locate describes; the rest is background")
    if infer.skip_below is not None:
        lines.append(f"windows wholly below {infer.skip_below:g} in every channel are background")
    if model.dims == 2:
        lines.append(f"the networks see slices across working axis {model.slice_axis}, one by one")
    if infer.mirror_axes:
        axes = ", ".join(str(axis) for axis in infer.mirror_axes)
        lines.append(
            f"average the logits over every combination of mirrors along working axes {axes}, each "
            f"mirrored back{_left_right(model)}"
        )
    if several > 1:
        lines.append(f"average the logits of the {several} networks")
    lines.append(
        f"add up logits weighted by {_WEIGHTS[infer.weighting]}, and divide by the sum of weights"
    )
    return lines


def _left_right(model: Model) -> str:
    """What else is to be said of mirrors along the scan's left-right axis."""
    pairs = model.labels.mirror_pairing()
    if pairs is None:
        return "; none along the scan's left-right axis"
    if model.labels.regions or not pairs:
        return ""
    return "; along the scan's left-right axis the channels of mirror_pairs change places"


def _deciding(model: Model) -> list[str]:
    """From logits on the working grid to the mask."""
    regions = model.labels.regions
    nearest = (
        "; along an axis of slices far apart take the nearest one"
        if model.prepare.slices_apart is not None and model.infer.restore != "labels"
        else ""
    )
    return [
        f"{_RESTORED[model.infer.restore]}{nearest}",
        "decide: sigmoid; paint the regions in their order where it is above 0.5"
        if regions
        else "decide: the label with the largest logit, or background",
        *(
            ["set voxels whose values are 0 in every channel to background"]
            if model.infer.zeros == "background"
            else []
        ),
        *(["post-process on the scan's own grid (postprocess)"] if model.card.postprocess else []),
    ]
