"""Keeps what a cell gave: facts, scores and weights, each in the cell's own folder."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from medseg.evaluation.scores import write_table
from medseg.writers.atomic import atomic_path

FACTS, SCORES, WEIGHTS = "result.json", "scores.csv", "weights.safetensors"


@dataclass(frozen=True)
class Folder:
    """The folder of a study: one folder a cohort, in it one a cell, in it one a seed."""

    path: Path

    def of(self, cohort: str, cell: str, seed: int) -> Path:
        """Where a run keeps its results."""
        return self.path / cohort / cell / f"seed_{seed}"

    def facts(self, cohort: str, cell: str, seed: int) -> dict[str, Any] | None:
        """What a finished run says of itself; ``None`` where it is not finished."""
        path = self.of(cohort, cell, seed) / FACTS
        if not path.is_file():
            return None
        facts: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return facts

    def scores(self, cohort: str, cell: str, seed: int) -> pd.DataFrame | None:
        """The scores of a finished run."""
        path = self.of(cohort, cell, seed) / SCORES
        return (
            pd.read_csv(path, keep_default_na=False, na_values={"value": [""]})
            if path.is_file()
            else None
        )

    def weights(self, cohort: str, cell: str, seed: int) -> dict[str, Tensor] | None:
        """The weights of a run that kept them."""
        path = self.of(cohort, cell, seed) / WEIGHTS
        return load_file(path) if path.is_file() else None

    def keep_weights(self, cohort: str, cell: str, seed: int, network: nn.Module) -> None:
        """Write the weights."""
        path = self.of(cohort, cell, seed) / WEIGHTS
        path.parent.mkdir(parents=True, exist_ok=True)
        state = {name: value.contiguous().cpu() for name, value in network.state_dict().items()}
        with atomic_path(path) as temporary:
            save_file(state, temporary)

    def keep(
        self, cohort: str, cell: str, seed: int, facts: dict[str, Any], scores: pd.DataFrame | None
    ) -> None:
        """Write scores, then the facts, whose presence says that the run is finished."""
        place = self.of(cohort, cell, seed)
        place.mkdir(parents=True, exist_ok=True)
        if scores is not None:
            write_table(scores, place / SCORES)
        write_json(place / FACTS, facts)


def write_json(path: Path, content: Any) -> None:
    """Write whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1), encoding="utf-8")
