"""MONAI's inferers and transforms after the network in the words of a model card.

What MONAI does by default stands here as the default of each argument.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from medseg.config import InferConfig, PostprocessRule
from medseg.labels import LabelTable
from medseg.model_import.bundle_config import Configuration
from medseg.model_import.bundle_expressions import painting
from medseg.model_import.bundle_steps import Step, steps_of


def slicing(step: Step) -> int | None:
    """The axis along which a ``SliceInferer`` slices; ``None`` for inferers of volumes."""
    if step.name != "SliceInferer":
        return None
    axis = step.value("spatial_dim", 0)
    if axis not in (0, 1, 2):
        raise step.refused("spatial_dim is not known here", found=axis, expected="0, 1 or 2")
    return int(axis)


def inferring(step: Step, restore: Any) -> InferConfig:
    """How windows are laid and joined, from a ``SlidingWindowInferer`` or ``SliceInferer``.

    Raises:
        BadModel: another inferer, or an argument that is not known.
    """
    if step.name not in ("SlidingWindowInferer", "SliceInferer"):
        raise step.refused(
            f"{step.name} is not known here", expected="SlidingWindowInferer or SliceInferer"
        )
    dims = 2 if step.name == "SliceInferer" else 3
    step.only(
        *(["spatial_dim"] if dims == 2 else []),
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
    window = [window] * dims if isinstance(window, int) else window
    if not (isinstance(window, list) and len(window) == dims and all(int(n) > 0 for n in window)):
        raise step.refused("roi_size is not known here", found=window, expected=f"{dims} sizes")
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


def painted_layers(configuration: Configuration) -> list[tuple[int, int]]:
    """Channel and value of each region that the bundle paints, in this order; empty for labels.

    A bundle paints where it has ``Activationsd`` (sigmoid), ``AsDiscreted`` (threshold 0.5) and a
    ``Lambdad`` of ``torch.where`` alone.
    """
    for step in steps_of(configuration, "postprocessing"):
        if step.name == "Lambdad":
            step.only("func", "overwrite")
            written = str(step.arguments.get("func", ""))
            layers = painting(written.removeprefix("$")) if written.startswith("$") else None
            if layers is None:
                raise step.refused(
                    "Lambdad of this function is not known here",
                    found=written[:200],
                    expected="lambda x: torch.where(x[[1]] > 0, 2, torch.where(x[[0]] > 0, 1, 0))",
                )
            return layers
    return []


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
        rules += _checked(step, done, labels, spaced=spaced)
        if step.name == "Invertd" and spaced:
            nearest = bool(step.value("nearest_interp", default=True))
            restore = (
                "labels" if nearest else "probabilities" if "Activationsd" in done else restore
            )
        if step.name != "Activationsd" or step.value("softmax") or step.value("sigmoid"):
            done.append(step.name)
    painted = ["Activationsd", "Lambdad"] if labels.regions else []
    for name in ("AsDiscreted", *painted, *(["Invertd"] if spaced else [])):
        if name not in done:
            raise configuration.refused(f"postprocessing: there is no {name}")
    if labels.regions and spaced and restore != "labels":
        raise configuration.refused(
            "postprocessing: regions that are interpolated on the way to the scan's grid are not "
            "known here",
            expected="Invertd with nearest_interp true",
        )
    return Decision(restore, tuple(rules))


def _checked(
    step: Step, done: list[str], labels: LabelTable, *, spaced: bool
) -> list[PostprocessRule]:
    """The rules of a step, none for most; refused where it, or its place, is not known."""
    match step.name:
        case "Activationsd":
            step.only("softmax", "sigmoid", "other")
            step.expect(sigmoid=bool(labels.regions), other=None)
        case "Invertd":
            step.only("transform", "nearest_interp")
            _check_invert(step, spaced=spaced, decided="AsDiscreted" in done)
        case "AsDiscreted":
            step.only("argmax", "to_onehot", "threshold", "rounding")
            step.expect(to_onehot=None, rounding=None)
            step.expect(threshold=0.5 if labels.regions else None)
            if bool(step.value("argmax")) is bool(labels.regions):
                raise step.refused("AsDiscreted without argmax is not known here")
        case "Lambdad":
            if done[-1:] not in (["AsDiscreted"], ["Invertd"]) or "AsDiscreted" not in done:
                raise step.refused("Lambdad before AsDiscreted is not known here")
        case "KeepLargestConnectedComponentd":
            if "AsDiscreted" not in done or (spaced and "Invertd" not in done):
                raise step.refused(
                    f"{step.name} before the mask is on the scan's own grid is not known here"
                )
            return _largest(step, labels)
        case "EnsureTyped" | "SaveImaged":
            pass
        case _:
            raise step.refused(f"{step.name} is not in the table of known transforms")
    return []


def _check_invert(step: Step, *, spaced: bool, decided: bool) -> None:
    if str(step.arguments.get("transform", "")).lstrip("$") != "@preprocessing":
        raise step.refused(
            "Invertd of other transforms is not known here",
            found=step.arguments.get("transform"),
            expected="@preprocessing",
        )
    nearest = step.value("nearest_interp", default=True)
    if not isinstance(nearest, bool) or (spaced and decided and not nearest):
        raise step.refused(
            "Invertd that interpolates labels gives numbers between them",
            found=f"nearest_interp {nearest}, {'after' if decided else 'before'} AsDiscreted",
            expected="nearest_interp true, or Invertd before AsDiscreted",
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
