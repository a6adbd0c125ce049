"""nnU-Net's rules of preparing and deciding in the words of a model card."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from medseg.config import (
    InferConfig,
    Normalise,
    NormaliseInside,
    NormaliseNothing,
    NormalisePercentiles,
    NormaliseWindow,
    NormaliseZScore,
    PrepareConfig,
)
from medseg.errors import BadModel, MedsegError
from medseg.geometry import Alignment
from medseg.labels import LabelTable, Side
from medseg.manifests.nnunet import labels_of
from medseg.model_import.nnunet_plans import Plan

#: nnU-Net resamples an axis by itself where spacings are more than so many times apart.
SLICES_APART = 3.0

#: nnU-Net divides by this standard deviation at least.
_LEAST_SD = 1e-8

#: Windows at a time, by dimensions: memory allows more slices than volumes.
_BATCH = {2: 8, 3: 2}


def preparing(plan: Plan, channels: int, orientation: str | None) -> PrepareConfig:
    """How nnU-Net prepares a scan: crop, normalise, resample.

    Args:
        plan: of nnU-Net.
        channels: of a scan.
        orientation: axis codes of the scans it was trained on; ``None`` takes scans as stored,
            which is what nnU-Net itself does.

    Raises:
        BadModel: a rule is not known here; it says which.
    """
    spacing = [float(mm) for mm in plan.value("spacing")]
    if len(spacing) == 2:
        first: list[float | None] = [None]
        spacing_mm = (*first, *spacing)
    else:
        spacing_mm = tuple(spacing)
    x, y, z = (2 - axis for axis in plan.transpose)  # nnU-Net's arrays are (z, y, x)
    return PrepareConfig(
        spacing_mm=spacing_mm,
        axes=(x, y, z),
        turned_to=orientation or plan.turned_to,
        crop="zeros",
        alignment=Alignment.EDGES,
        normalise=_normalisations(plan, channels),
        normalise_on="scan",
        resampling="spline",
        slices_apart=_slices_apart(plan),
    )


def inferring(plan: Plan, mirror_axes: tuple[int, ...]) -> InferConfig:
    """How nnU-Net lays windows and joins them; `mirror_axes` are of the network's window."""
    first = 3 - plan.dims  # a 2D network slices along the first working axis
    return InferConfig(
        window=tuple(int(n) for n in plan.value("patch_size")),
        overlap=0.5,
        steps="even",
        padding="zeros",
        weighting="gaussian_nnunet",
        batch=_BATCH[plan.dims],
        mirror_axes=tuple(axis + first for axis in mirror_axes),
        cpu_precision="float32",
    )


def labels_and_remarks(
    dataset: Mapping[str, Any], path: Path, *, mirrored: bool
) -> tuple[LabelTable, tuple[str, ...]]:
    """The label table of dataset.json, and what is to be said of it.

    Where nnU-Net averages over mirrors it does not swap left and right, and neither did its
    training: labels keep no side then, for what the network learnt is what it must be asked.

    Raises:
        BadModel: regions are painted in a way that no label table can say.
    """
    try:
        labels = labels_of(dataset, path)
        names = [name for name in dataset["labels"] if name not in ("background", "ignore")]
        order = dataset.get("regions_class_order")
        if labels.regions:
            same = [region.name for region in labels.regions] == names
            if not same or list(labels.channel_values) != [0, *(order or ())]:
                raise BadModel(
                    "regions are painted in a way that is not known here",
                    path=path,
                    found=f"{dataset['labels']} in the order {order}",
                    expected="each region paints the one label that no later region paints over",
                )
        elif list(labels.values) != list(range(1, len(labels.values) + 1)):
            raise BadModel("label values are not 1, 2, 3 …", path=path, found=list(labels.values))
    except MedsegError as error:
        if isinstance(error, BadModel):
            raise
        raise BadModel(
            f"the labels cannot be used: {error.problem}",
            path=path,
            found=error.found,
            expected=error.expected,
        ) from None
    sided = [label.name for label in labels.labels if label.side is not Side.NONE]
    if not (sided and mirrored):
        return labels, ()
    sideless = replace(
        labels,
        labels=tuple(replace(label, side=Side.NONE) for label in labels.labels),
        mirror_pairs=(),
    )
    return sideless, (
        f"{', '.join(sided[:4])}{' …' if len(sided) > 4 else ''}: nnU-Net mirrored scans in "
        "training and averages over mirrors without swapping left and right, and so does this "
        "model",
    )


def _normalisations(plan: Plan, channels: int) -> tuple[Normalise, ...]:
    schemes, masked = plan.value("normalization_schemes"), plan.value("use_mask_for_norm")
    if not len(schemes) == len(masked) == channels:
        raise plan.refused(
            "normalisations do not fit the channels", found=schemes, expected=f"{channels} of them"
        )
    return tuple(
        _normalisation(plan, channel, str(scheme), bool(inside))
        for channel, (scheme, inside) in enumerate(zip(schemes, masked, strict=True))
    )


def _normalisation(plan: Plan, channel: int, scheme: str, inside: bool) -> Normalise:
    match scheme:
        case "ZScoreNormalization":
            return NormaliseInside() if inside else NormaliseZScore()
        case "CTNormalization":
            known = plan.intensities[channel]
            return NormaliseWindow(
                low=known["percentile_00_5"],
                high=known["percentile_99_5"],
                mean=known["mean"],
                sd=max(known["std"], _LEAST_SD),
            )
        case "RescaleTo01Normalization":
            return NormalisePercentiles(low=0, high=100)
        case "RGBTo01Normalization":
            return NormaliseWindow(low=0, high=255, mean=0, sd=255)
        case "NoNormalization":
            return NormaliseNothing()
    raise plan.refused(
        "a normalisation is not known here",
        found=scheme,
        expected="ZScore-, CT-, RescaleTo01-, RGBTo01- or NoNormalization",
    )


def _slices_apart(plan: Plan) -> float | None:
    """From which ratio of spacings on an axis is resampled by itself, to the nearest slice.

    Raises:
        BadModel: the plan resamples otherwise than nnU-Net's planner writes it.
    """
    wanted = {"data": 3, "probabilities": 1}
    forced = []
    for what, order in wanted.items():
        name = plan.values.get(f"resampling_fn_{what}", "resample_data_or_seg_to_shape")
        kwargs = plan.values.get(f"resampling_fn_{what}_kwargs", {})
        resampling = (name, kwargs.get("order", 3), kwargs.get("order_z", 0))
        if resampling != ("resample_data_or_seg_to_shape", order, 0):
            raise plan.refused(
                f"{what} are resampled in a way that is not known here",
                found=f"{resampling[0]}, order {resampling[1]}, order_z {resampling[2]}",
                expected=f"resample_data_or_seg_to_shape, order {order}, order_z 0",
            )
        forced.append(kwargs.get("force_separate_z", False))
    if forced == [None, None]:
        return SLICES_APART
    if forced == [False, False]:
        return None
    raise plan.refused(
        "slices are resampled in a way that is not known here",
        found=f"force_separate_z {forced}",
        expected="null or false",
    )
