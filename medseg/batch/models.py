"""Model folders become one segment function, in the process that runs the cases."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Literal

from medseg.batch.case import Segment
from medseg.batch.quality import Expectations
from medseg.config import LocateModel, Measure, SegmentConfig
from medseg.errors import BadConfig, BadModel
from medseg.model import Model, load_model, read_model

_DEFAULTS = SegmentConfig()


@dataclass(frozen=True)
class Ways:
    """What changes masks besides the models: part of the recipe of an output folder.

    Attributes:
        tta: mirrored copies to average: those of the model's card, or none.
        all_windows: whether windows with nothing in them go through the networks, too.
        probabilities: write those of every label beside the mask.
        uncertainty: maps of it that are written beside the mask.
        locator: folder of a coarse model that finds the region to look at, or ``None`` for
            what the model's card says.
        margin_mm: kept around what that model finds.
    """

    tta: Literal["model", "none"] = _DEFAULTS.tta
    all_windows: bool = _DEFAULTS.all_windows
    probabilities: bool = False
    uncertainty: tuple[Measure, ...] = _DEFAULTS.measures
    locator: Path | None = None
    margin_mm: float = _DEFAULTS.margin_mm


@dataclass(frozen=True)
class Limits:
    """Memory to keep within and what runs the networks; changes the way, not the mask.

    Attributes:
        memory_bytes: of this process and its workers together, or ``None``.
        device_memory_bytes: on the device; what is free there when ``None``.
        engine: as ``engine=`` names it.
        elsewhere_bytes: what other scans and processes take of `memory_bytes`.
    """

    memory_bytes: int | None = None
    device_memory_bytes: int | None = None
    engine: str = _DEFAULTS.engine
    elsewhere_bytes: int = 0


@dataclass(frozen=True)
class ModelSegmenter:
    """Loads one model, or several as an ensemble; travels to workers.

    Attributes:
        folders: model folders, seen under these paths by every worker.
        device: as ``--device`` names it; ``auto`` is decided where the worker runs.
        ways: part of the recipe.
        limits: of the worker.
        scratch: folder on whose disk probabilities and uncertainty wait until they are written.
    """

    folders: tuple[Path, ...]
    device: str
    ways: Ways = field(default_factory=Ways)
    limits: Limits = field(default_factory=Limits)
    scratch: Path | None = None

    def load(self) -> Segment:
        """Load networks onto the device."""
        import torch

        from medseg.inference import Allowance, Engine, Keeping, Locator, Segmenter

        models = load_models(self.folders)
        if self.ways.tta == "none":
            models = [_without_mirrors(model) for model in models]
        auto = "cuda:0" if torch.cuda.is_available() else "cpu"
        coarse, limits = self.ways.locator, self.limits
        segmenter = Segmenter(
            models,
            device=auto if self.device == "auto" else self.device,
            allowance=Allowance(
                limits.memory_bytes, limits.device_memory_bytes, limits.elsewhere_bytes
            ),
            all_windows=self.ways.all_windows,
            locator=Locator(load_model(coarse), self.ways.margin_mm) if coarse else None,
            engine=Engine(limits.engine),
        )
        if self.scratch is None:
            return segmenter
        keeping = Keeping(self.scratch, self.ways.probabilities, self.ways.uncertainty)
        return partial(segmenter, keeping=keeping)


def load_models(folders: tuple[Path, ...]) -> list[Model]:
    """Read model folders that are to be averaged.

    Raises:
        BadModel: one cannot be used, or their labels differ.
    """
    models = [read_model(folder) for folder in folders]
    for other in models[1:]:
        ours, theirs = models[0].card.channels, other.card.channels
        if len(ours) != len(theirs) or (len(ours) > 1 and ours != theirs):
            raise BadModel(
                "models of one ensemble need the same channels in one order",
                path=other.folder,
                found=", ".join(theirs),
                expected=", ".join(ours),
            )
        if other.labels != models[0].labels:
            raise BadModel(
                "models of one ensemble need the same labels",
                path=other.folder,
                found=", ".join(other.labels.names),
                expected=", ".join(models[0].labels.names),
            )
    return models


def require_networks(models: Sequence[Model], ways: Ways) -> None:
    """Refuse to measure the disagreement of a single network.

    Raises:
        BadConfig: it is wanted, and there is one network.
    """
    networks = sum(len(model.card.weights) for model in models)
    if "disagreement" in ways.uncertainty and networks < 2:
        raise BadConfig(
            "disagreement is that of several networks",
            found=f"{networks} network",
            expected="several models, or one with the weights of several folds",
            remedy="uncertainty=entropy needs one network only.",
        )


def try_networks(folders: tuple[Path, ...]) -> None:
    """Build each model's network once, without numbers; this loads torch.

    Raises:
        BadModel: one cannot be built.
    """
    for folder in folders:
        load_model(folder)


def locator_checksum(model: Model, ways: Ways) -> str:
    """Which coarse model finds the region: its checksum, or empty where none does.

    Raises:
        BadModel: it cannot be used.
    """
    if ways.locator is not None:
        return read_model(ways.locator).checksum
    rule = model.infer.locate
    return model.inner(rule.folder).checksum if isinstance(rule, LocateModel) else ""


def expectations(models: list[Model]) -> Expectations:
    """What the first model's training cohort leads one to expect."""
    card = models[0].card
    return Expectations(
        labels=models[0].labels,
        modality=card.modality,
        spacing_mm=card.fingerprint.spacing_mm,
        intensity=card.fingerprint.intensity,
        volume_ranges_ml=card.volume_ranges_ml,
        limits=card.limits,
        frames=card.fingerprint.frames,
        frame=card.prepare.frame,
    )


def _without_mirrors(model: Model) -> Model:
    infer = model.infer.model_copy(update={"mirror_axes": ()})
    return replace(model, card=model.card.model_copy(update={"infer": infer}))
