"""``export.yaml``: everything around an exported network that a runtime must do itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from medseg import __version__
from medseg.checksums import sha256_of
from medseg.export.networks import TOLERANCE, window_of
from medseg.inference.windows import LEAST_WEIGHT, SIGMA
from medseg.model import Model
from medseg.writers.atomic import atomic_path

CARD = "export.yaml"


def write_export_card(model: Model, to: str, paths: list[Path], folder: Path) -> Path:
    """Write the card of exported networks."""
    path = folder / CARD
    with atomic_path(path) as temporary:
        temporary.write_text(
            yaml.safe_dump(_content(model, to, paths), sort_keys=False, allow_unicode=True),
            encoding="utf-8",
        )
    return path


def _content(model: Model, to: str, paths: list[Path]) -> dict[str, Any]:
    card = model.card.model_dump(mode="json", exclude_none=True)
    return {
        "format": to,
        **({"opset": _opset()} if to == "onnx" else {}),
        "medseg": __version__,
        "model": {"name": model.card.name, "sha256": model.checksum},
        "networks": {path.name: sha256_of(path) for path in paths},
        "checked": f"logits equal the network's within {TOLERANCE:g} of their spread",
        "input": {
            "name": "windows",
            "shape": ["batch", len(model.card.channels), *window_of(model)],
            "dtype": "float32",
            "channels": list(model.card.channels),
        },
        "output": {
            "name": "logits",
            "shape": ["batch", model.labels.channels, *window_of(model)],
            "channels": _output_names(model),
        },
        "dims": model.dims,
        "slice_axis": model.slice_axis,
        "steps": _steps(model),
        "prepare": card["prepare"],
        "infer": card["infer"],
        "postprocess": card.get("postprocess", []),
        **model.labels.to_card(),
    }


def _opset() -> int:
    from medseg.export.onnx import OPSET

    return OPSET


def _output_names(model: Model) -> list[str]:
    labels = model.labels
    if labels.regions:
        return [region.name for region in labels.regions]
    return ["background", *labels.names]


def _steps(model: Model) -> list[str]:
    """What happens before and after the network, in order."""
    decide = (
        "sigmoid; paint the regions in their order where it is above 0.5"
        if model.labels.regions
        else "the label with the largest logit, or background"
    )
    weighting = (
        f"a Gaussian with a standard deviation of {SIGMA:g} window lengths, at least "
        f"{LEAST_WEIGHT:g} of its peak"
        if model.infer.weighting == "gaussian"
        else "equal weights"
    )
    several = len(model.card.weights)
    return [
        "read the scan as real-world values (HU for CT); voxel centres, affine to RAS mm",
        "turn and resample it onto the working grid (prepare.spacing_mm, prepare.alignment)",
        "normalise each channel by its rule (prepare.normalise), on the working grid",
        f"lay windows that overlap by {model.infer.overlap:.0%}; the last one of an axis ends "
        "where the grid ends; a grid smaller than a window is padded with its border",
        *([f"average the logits of the {several} networks"] if several > 1 else []),
        f"add up logits weighted by {weighting}, and divide by the sum of weights",
        "interpolate the logits linearly onto the scan's own grid",
        f"decide: {decide}",
        "post-process on the scan's own grid (postprocess)",
    ]
