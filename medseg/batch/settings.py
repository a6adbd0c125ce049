"""The settings of a batch, and the part of them that changes masks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from medseg.batch.entry import Recipe
from medseg.batch.executors import Patience
from medseg.batch.models import Limits, Ways, locator_checksum
from medseg.batch.resume import Check
from medseg.batch.shards import Shard
from medseg.batch.task import State
from medseg.model import Model
from medseg.writers.layout import Layout


class OtherRecipe(StrEnum):
    """What to do with masks in the folder that another model or other options made."""

    REFUSE = "refuse"
    REDO = "redo"


@dataclass(frozen=True)
class Settings:
    """Everything a batch needs besides its cases.

    Attributes:
        models: model folders; several are an ensemble.
        output: made where missing.
        device: as ``--device`` names it; ``auto`` is decided where the worker runs.
        format: of the masks, a name from ``WRITERS``.
        layout: of the output folder.
        one_file_per_label: write one mask a label, too.
        ways: what changes masks.
        limits: what does not.
        executor: a name from ``EXECUTORS``.
        cluster: the scheduler's address, or a Dask cluster, for the executor of that name.
        patience: time-outs.
        check: how closely masks that are already there are looked at.
        retry: settled states to try again.
        other_recipe: what to do with masks made another way.
        shard: of a job array, or ``None`` for all cases.
        break_lock: take the folder over from a process of another host.
        overwrite: replace masks that medseg did not write, or that were edited since.
        early: a worker process that was started already, for the executor of that name.
    """

    models: tuple[Path, ...]
    output: Path
    device: str = "auto"
    format: str = "nifti"
    layout: Layout = Layout.FLAT
    one_file_per_label: bool = False
    ways: Ways = field(default_factory=Ways)
    limits: Limits = field(default_factory=Limits)
    executor: str = "process"
    cluster: Any = None
    patience: Patience = field(default_factory=Patience)
    check: Check = Check.QUICK
    retry: frozenset[State] = frozenset()
    other_recipe: OtherRecipe = OtherRecipe.REFUSE
    shard: Shard | None = None
    break_lock: bool = False
    overwrite: bool = False
    early: Any = None

    @property
    def home(self) -> Path:
        """Where ledger and lock lie: the output folder, or the shard's below it."""
        return self.output if self.shard is None else self.shard.home(self.output)


def recipe_of(settings: Settings, models: Sequence[Model]) -> Recipe:
    """What an output folder is bound to: the models, and the options that change masks."""
    checksums = tuple(model.checksum for model in models)
    ways = settings.ways
    options = {
        "format": settings.format,
        "tta": ways.tta,
        "all_windows": ways.all_windows,
        "probabilities": ways.probabilities,
        "locator": locator_checksum(models[0], ways),
        "margin_mm": ways.margin_mm if ways.locator else None,
    }
    if settings.layout is not Layout.FLAT:
        options["layout"] = settings.layout.value
    if settings.one_file_per_label:
        options["one_file_per_label"] = True
    if ways.uncertainty:
        options["uncertainty"] = list(ways.uncertainty)
    return Recipe(checksums, options)
