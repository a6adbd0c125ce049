"""MONAI's transforms before the network in the words of a model card, by a table of known ones.

What MONAI does by default stands here as the default of each argument.
"""

from __future__ import annotations

from collections.abc import Sequence

from medseg.config import (
    Normalise,
    NormaliseNothing,
    NormalisePercentiles,
    NormaliseWindow,
    NormaliseZScore,
    PrepareConfig,
)
from medseg.geometry import Alignment
from medseg.model_import.bundle_steps import Step

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
    rule: Normalise | None = None
    on_scan = False
    for step in steps:
        match step.name:
            case "LoadImaged" | "EnsureTyped" | "CastToTyped" | "ToTensord" | "ToDeviced":
                _check_reading(step)
            case "EnsureChannelFirstd" | "AddChanneld" | "AsChannelFirstd":
                step.only("channel_dim")
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
                before = "Spacingd" not in names
                if rule is not None and on_scan is not before:
                    raise step.refused(
                        f"{step.name} after Spacingd and another one before it is not known here"
                    )
                rule, on_scan = _followed(rule, _normalisation(step, channels), step), before
        if step.name in names and step.name in ("Orientationd", "Spacingd"):
            raise step.refused(f"{step.name} stands twice")
        names.append(step.name)
    return PrepareConfig(
        spacing_mm=spacing_mm,
        axes=(0, 1, 2),
        turned_to=turned_to,
        alignment=Alignment.MONAI,
        normalise=(rule or NormaliseNothing(),),
        normalise_on="scan" if on_scan and "Spacingd" in names else "working",
        resampling="linear_narrow",
    )


def _check_reading(step: Step) -> None:
    """Scans are read as float32 with their channels first, whatever the transforms spell out."""
    step.only("dtype")
    optional = step.name != "LoadImaged"
    step.expect(dtype=step.value("dtype") and "float32" if optional else "float32")


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
            step.expect(factor=None)
            _check_each_channel(step, channels)
            target = float(step.value("minv", 0.0)), float(step.value("maxv", 1.0))
            return NormalisePercentiles(low=0, high=100, target=target)
    raise step.refused(f"{step.name} is not in the table of known transforms")


def _followed(first: Normalise | None, second: Normalise, step: Step) -> Normalise:
    """One rule for two transforms, one after the other.

    A z-score of every voxel forgets a shift and a scale before it, and the range of all values
    forgets a z-score of all of them.

    Raises:
        BadModel: there is no such rule.
    """
    if first is None:
        return second
    whole = [
        isinstance(r, NormalisePercentiles) and (r.low, r.high) == (0, 100) for r in (first, second)
    ]
    if whole[0] and isinstance(second, NormaliseZScore) and not second.nonzero:
        return second
    if isinstance(first, NormaliseZScore) and isinstance(second, NormalisePercentiles) and whole[1]:
        return first.model_copy(update={"target": second.target}) if first.nonzero else second
    raise step.refused(
        f"{step.name} after another transform of intensities is not known here",
        expected="ScaleIntensityd, then NormalizeIntensityd of all voxels; or NormalizeIntensityd, "
        "then ScaleIntensityd",
    )


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
    if channels > 1 and not step.value("channel_wise"):
        raise step.refused(
            f"{step.name} over all channels at once is not known here", expected="channel_wise"
        )
