"""``export.yaml``: everything around an exported network that a runtime must do itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from medseg import __version__
from medseg.checksums import sha256_of
from medseg.export.networks import TOLERANCE, window_of
from medseg.export.steps import steps_around
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
        "steps": steps_around(model),
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
