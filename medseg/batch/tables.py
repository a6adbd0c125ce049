"""What lies beside the masks of a batch?  cases.csv, labels.yaml and run.yaml."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from medseg.batch.entry import Entry
from medseg.labels import LabelTable
from medseg.writers.atomic import atomic_path

CASES, LABELS, RUN = "cases.csv", "labels.yaml", "run.yaml"


def write_cases(folder: Path, entries: Sequence[Entry], labels: LabelTable) -> None:
    """Write one row a case: ``case,status,reason,source,warnings,seconds,ml:<label>…``.

    Quality flags stand among the warnings.
    """
    with (
        atomic_path(folder / CASES) as temporary,
        temporary.open("w", encoding="utf-8", newline="") as file,
    ):
        rows = csv.writer(file, lineterminator="\n")
        head = ["case", "status", "reason", "source", "warnings", "seconds"]
        rows.writerow([*head, *(f"ml:{name}" for name in labels.names)])
        for entry in entries:
            warnings = [*entry.warnings, *(flag.text for flag in entry.flags)]
            seconds = f"{entry.seconds:.2f}" if entry.finished else ""
            volumes = [_number(entry.volumes_ml.get(name)) for name in labels.names]
            rows.writerow(
                [
                    entry.case,
                    entry.state.value,
                    entry.reason,
                    entry.source,
                    "; ".join(warnings),
                    seconds,
                    *volumes,
                ]
            )


def write_labels_card(folder: Path, labels: LabelTable) -> None:
    """Write what the integers of the masks mean."""
    _write_yaml(folder / LABELS, labels.to_card())


def write_run_card(folder: Path, facts: Mapping[str, Any]) -> None:
    """Write how the masks were made: models and checksums, options, versions."""
    _write_yaml(folder / RUN, facts)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"


def _write_yaml(path: Path, content: Mapping[str, Any]) -> None:
    text = yaml.safe_dump(dict(content), sort_keys=False, allow_unicode=True)
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
