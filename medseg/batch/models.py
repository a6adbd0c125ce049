"""How do model folders become a segment function, once, in whichever process runs the cases?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from medseg.batch.quality import Expectations
from medseg.batch.road import Segment
from medseg.errors import BadModel
from medseg.model import Model, load_model


@dataclass(frozen=True)
class ModelSegmenter:
    """Loads one model, or several as an ensemble; travels to workers.

    Attributes:
        folders: model folders, seen under these paths by every worker.
        device: as ``--device`` names it; ``auto`` is decided where the worker runs.
        options: for ``medseg.inference.segment``.
    """

    folders: tuple[Path, ...]
    device: str
    options: Mapping[str, Any] = field(default_factory=dict)

    def load(self) -> Segment:
        """Load networks onto the device."""
        import torch

        from medseg.inference import Segmenter

        device = self.device
        if device == "auto":
            device = "cuda:0" if torch.cuda.is_available() else "cpu"
        return Segmenter(load_models(self.folders), device=torch.device(device), **self.options)


def load_models(folders: tuple[Path, ...]) -> list[Model]:
    """Read model folders that are to be averaged.

    Raises:
        BadModel: one cannot be used, or their labels differ.
    """
    models = [load_model(folder) for folder in folders]
    for other in models[1:]:
        if other.labels.to_card() != models[0].labels.to_card():
            raise BadModel(
                "models of one ensemble need the same labels",
                path=other.folder,
                found=", ".join(other.labels.names),
                expected=", ".join(models[0].labels.names),
            )
    return models


def expectations(models: list[Model]) -> Expectations:
    """What the first model's training cohort leads one to expect."""
    card = models[0].card
    return Expectations(
        labels=models[0].labels,
        modality=card.modality,
        spacing_mm=card.fingerprint.spacing_mm,
        intensity=card.fingerprint.intensity,
        volume_ranges_ml=card.volume_ranges_ml,
    )
