"""Options of an importer of models, and its result."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from medseg.labels import LabelTable
from medseg.model import ModelCard


@dataclass(frozen=True)
class ImportOptions:
    """What to take of another tool's model.

    Attributes:
        name: of the model; empty takes the tool's own.
        folds: of an ensemble; empty takes all.
        checkpoint: ``final``, ``best`` or ``latest``.
        orientation: axis codes of the scans it was trained on, where they all had the same.
        any_trainer: take weights of a trainer that is not known, if they fit the plan's network.
    """

    name: str = ""
    folds: tuple[str, ...] = ()
    checkpoint: str = "final"
    orientation: str | None = None
    any_trainer: bool = False


@dataclass(frozen=True, eq=False)
class Foreign:
    """Another tool's model in medseg's words.

    Attributes:
        card: its ``labels`` and ``weights`` are left open.
        labels: the label table.
        weights: file stem to state dict.
        remarks: what the user should know.
    """

    card: ModelCard
    labels: LabelTable
    weights: Mapping[str, Mapping[str, Tensor]]
    remarks: tuple[str, ...] = ()
