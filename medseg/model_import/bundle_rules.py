"""MONAI's transforms and inferers in the words of a model card, by a table of known ones.

What MONAI does by default stands here as the default of each argument.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from medseg.config import (
    InferConfig,
    Normalise,
    NormaliseNothing,
    NormalisePercentiles,
    NormaliseWindow,
    NormaliseZScore,
    PostprocessRule,
    PrepareConfig,
)
from medseg.geometry import Alignment
from medseg.labels import LabelTable
from medseg.model_import.bundle_config import Configuration
from medseg.model_import.bundle_steps import Step, steps_of

#: MONAI's names of the three directions, each with its two ends, that axis codes rest on.
_ENDS = [["L", "R"], ["P", "A"], ["I", "S"]]


def preparing(steps: Sequence[Step], channels: int, orientation: str | None) -> PrepareConfig:
    """How the scan is prepared, from the transforms before the network.

    Args:
        steps: of ``preprocessing``.
        channels: of a scan.
        orientation: axis codes of the training scans, for a bundle that turns nothing.

    Raises:
        BadModel: a transform that is not known, or not in this place; it says which.
    """
    names: list[str] = []
    turned_to = orientation
    spacing_mm: tuple[float | None, float | None, float | None] = (None, None, None)
    rules: list[tuple[bool, Normalise]] = []
    for step in steps:
        match step.name:
            case "LoadImaged":
                step.only("dtype")
                step.expect(dtype="float32")
            case "EnsureChannelFirstd":
                step.only("channel_dim")
            case "EnsureTyped" | "CastToTyped":
                step.only("dtype")
                step.expect(dtype=step.value("dtype") and "float32")
            case "Orientationd":
                turned_to = _orientation(step)
                if orientation not in (None, turned_to):
                    raise step.refused(
                        "--orientation is not the bundle's", found=orientation, expected=turned_to
                    )
                if "Spacingd" in names:
                    raise step.refused("Orientationd after Spacingd is not known here")
            case "Spacingd":
                spacing_mm = _spacing(step)
            case _:
                rules.append(("Spacingd" in names, _normalisation(step, channels)))
        if step.name in names and step.name in ("Orientationd", "Spacingd"):
            raise step.refused(f"{step.name} stands twice")
        names.append(step.name)
    if len(rules) > 1:
        raise steps[0].refused(
            "more than one transform of intensities is not known here", found=", ".join(names)
        )
    after, rule = rules[0] if rules else (True, NormaliseNothing())
    return PrepareConfig(
        spacing_mm=spacing_mm,
        axes=(0, 1, 2),
        turned_to=turned_to,
        alignment=Alignment.MONAI,
        normalise=(rule,),
        normalise_on="working" if after or "Spacingd" not in names else "scan",
        resampling="linear_narrow",
    )


def inferring(step: Step, restore: Any) -> InferConfig:
    """How windows are laid and joined, from a ``SlidingWindowInferer``.

    Raises:
        BadModel: another inferer, or an argument that is not known.
    """
    if step.name != "SlidingWindowInferer":
        raise step.refused(f"{step.name} is not known here", expected="SlidingWindowInferer")
    step.only(
        "roi_size",
        "sw_batch_size",
        "overlap",
        "mode",
        "sigma_scale",
        "padding_mode",
        "cval",
        "sw_device",
        "progress",
        "cache_roi_weight_map",
        "cpu_thresh",
    )
    step.expect(sigma_scale=0.125, cval=0)
    window, mode = step.value("roi_size"), step.value("mode", "constant")
    padding = {"constant": "zeros", "replicate": "border"}.get(
        step.value("padding_mode", "constant")
    )
    if not (isinstance(window, list) and len(window) == 3 and all(int(n) > 0 for n in window)):
        raise step.refused("roi_size is not known here", found=window, expected="three sizes")
    if mode not in ("constant", "gaussian") or padding is None:
        raise step.refused(
            "windows are joined in a way that is not known here",
            found=f"mode {mode}, padding_mode {step.value('padding_mode')}",
            expected="constant or gaussian; constant or replicate",
        )
    overlap = step.value("overlap", 0.25)
    if not isinstance(overlap, int | float) or not 0 <= overlap < 1:
        raise step.refused("overlap is not known here", found=overlap, expected="0 to below 1")
    return InferConfig(
        window=tuple(int(n) for n in window),
        overlap=float(overlap),
        padding=padding,
        weighting=mode,
        restore=restore,
        batch=int(step.value("sw_batch_size", 1)),
        cpu_precision="float32",
    )


@dataclass(frozen=True)
class Decision:
    """How logits become a mask: ``infer.restore`` and the rules of cleaning."""

    restore: str
    rules: tuple[PostprocessRule, ...]


def deciding(configuration: Configuration, labels: LabelTable, *, spaced: bool) -> Decision:
    """What happens to logits, from the transforms after the network.

    Args:
        configuration: of the bundle, with a section ``postprocessing``.
        labels: what masks hold.
        spaced: whether scans are resampled.

    Raises:
        BadModel: a transform that is not known, or not in this place; it says which.
    """
    done: list[str] = []
    rules: list[PostprocessRule] = []
    restore = "logits"
    for step in steps_of(configuration, "postprocessing"):
        match step.name:
            case "Activationsd":
                step.only("softmax", "sigmoid", "other")
                step.expect(sigmoid=False, other=None)
            case "Invertd":
                step.only("transform", "nearest_interp")
                _check_invert(step, spaced=spaced, decided="AsDiscreted" in done)
                restore = "probabilities" if "Activationsd" in done and spaced else "logits"
            case "AsDiscreted":
                step.only("argmax", "to_onehot", "threshold", "rounding")
                step.expect(to_onehot=None, threshold=None, rounding=None)
                if step.value("argmax") is not True:
                    raise step.refused("AsDiscreted without argmax is not known here")
            case "KeepLargestConnectedComponentd":
                if "AsDiscreted" not in done or (spaced and "Invertd" not in done):
                    raise step.refused(
                        f"{step.name} before the mask is on the scan's own grid is not known here"
                    )
                rules += _largest(step, labels)
            case "EnsureTyped" | "SaveImaged":
                pass
            case _:
                raise step.refused(f"{step.name} is not in the table of known transforms")
        if step.name == "Activationsd" and step.value("softmax") is not True:
            continue
        done.append(step.name)
    for name in ("AsDiscreted", *(["Invertd"] if spaced else [])):
        if name not in done:
            raise configuration.refused(f"postprocessing: there is no {name}")
    return Decision(restore, tuple(rules))


def _orientation(step: Step) -> str:
    step.only("axcodes", "as_closest_canonical", "labels")
    if step.value("as_closest_canonical"):
        return "RAS"
    if step.value("labels") not in (None, _ENDS):
        raise step.refused("Orientationd with labels of its own is not known here")
    codes = str(step.value("axcodes", "")).upper()
    pairs = {"LR" if code in "LR" else "AP" if code in "AP" else "IS" for code in codes}
    if len(codes) != 3 or len(pairs) != 3 or not set(codes) <= set("LRAPIS"):
        raise step.refused("Orientationd's axcodes are not known here", found=codes, expected="RAS")
    return codes


def _spacing(step: Step) -> tuple[float | None, float | None, float | None]:
    step.only(
        "pixdim",
        "mode",
        "diagonal",
        "padding_mode",
        "dtype",
        "scale_extent",
        "recompute_affine",
        "min_pixdim",
        "max_pixdim",
    )
    step.expect(
        mode="bilinear",
        diagonal=False,
        padding_mode="border",
        scale_extent=False,
        recompute_affine=False,
        min_pixdim=None,
        max_pixdim=None,
    )
    sizes = step.value("pixdim")
    numbers = isinstance(sizes, list) and all(isinstance(mm, int | float) for mm in sizes)
    if not numbers or len(sizes) != 3:
        raise step.refused(
            "Spacingd's pixdim is not known here", found=sizes, expected="three numbers in mm"
        )
    x, y, z = (float(mm) if mm > 0 else None for mm in sizes)
    return x, y, z


def _normalisation(step: Step, channels: int) -> Normalise:
    match step.name:
        case "ScaleIntensityRanged":
            step.only("a_min", "a_max", "b_min", "b_max", "clip", "dtype")
            return _window(step)
        case "NormalizeIntensityd":
            step.only("subtrahend", "divisor", "nonzero", "channel_wise", "dtype")
            step.expect(subtrahend=None, divisor=None)
            _check_each_channel(step, channels)
            return NormaliseZScore(nonzero=bool(step.value("nonzero")))
        case "ScaleIntensityRangePercentilesd":
            step.only(
                "lower", "upper", "b_min", "b_max", "clip", "relative", "channel_wise", "dtype"
            )
            step.expect(b_min=0, b_max=1, relative=False)
            _check_clips(step)
            _check_each_channel(step, channels)
            return NormalisePercentiles(low=_number(step, "lower"), high=_number(step, "upper"))
        case "ScaleIntensityd":
            step.only("minv", "maxv", "factor", "channel_wise", "dtype")
            step.expect(minv=0, maxv=1, factor=None)
            _check_each_channel(step, channels)
            return NormalisePercentiles(low=0, high=100)
    raise step.refused(f"{step.name} is not in the table of known transforms")


def _window(step: Step) -> NormaliseWindow:
    """(x - a_min) / (a_max - a_min) goes to b_min … b_max."""
    low, high, first, last = (_number(step, key) for key in ("a_min", "a_max", "b_min", "b_max"))
    _check_clips(step)
    if high <= low or last <= first:
        raise step.refused(
            "ScaleIntensityRanged with an empty or turned range is not known here",
            found=[low, high, first, last],
        )
    sd = (high - low) / (last - first)
    return NormaliseWindow(low=low, high=high, mean=low - first * sd, sd=sd)


def _number(step: Step, argument: str) -> float:
    value = step.value(argument)
    if not isinstance(value, int | float):
        raise step.refused(f"{step.name} needs {argument}", found=value, expected="a number")
    return float(value)


def _check_clips(step: Step) -> None:
    if step.value("clip") is not True:
        raise step.refused(f"{step.name} that does not clip is not known here", expected="clip")


def _check_each_channel(step: Step, channels: int) -> None:
    if channels > 1 and step.value("channel_wise") is not True:
        raise step.refused(
            f"{step.name} over all channels at once is not known here", expected="channel_wise"
        )


def _check_invert(step: Step, *, spaced: bool, decided: bool) -> None:
    if str(step.arguments.get("transform", "")).lstrip("$") != "@preprocessing":
        raise step.refused(
            "Invertd of other transforms is not known here",
            found=step.arguments.get("transform"),
            expected="@preprocessing",
        )
    nearest = step.value("nearest_interp", default=True)
    if spaced and (decided or nearest is not False):
        raise step.refused(
            "Invertd that takes nearest voxels, or labels, back to the scan is not known here",
            found=f"nearest_interp {nearest}, {'after' if decided else 'before'} AsDiscreted",
            expected="nearest_interp false, before AsDiscreted",
        )


def _largest(step: Step, labels: LabelTable) -> list[PostprocessRule]:
    step.only("applied_labels", "is_onehot", "independent", "connectivity", "num_components")
    step.expect(
        is_onehot=step.value("is_onehot") and False,
        independent=True,
        connectivity=step.value("connectivity") and 3,
    )
    applied, count = step.value("applied_labels"), int(step.value("num_components", 1))
    if applied is None:
        return [PostprocessRule(rule="keep_largest", count=count)]
    values = applied if isinstance(applied, list) else [applied]
    if not set(values) <= set(labels.values):
        raise step.refused(
            "labels that the metadata does not name", found=values, expected=list(labels.values)
        )
    return [
        PostprocessRule(rule="keep_largest", label=labels.name_of(value), count=count)
        for value in values
    ]
