"""What lies beside the masks of a batch: cases.csv, labels.yaml and run.yaml."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from medseg.batch.entry import Entry
from medseg.labels import LabelTable
from medseg.manifests.looks import LOOKS_FILE
from medseg.scans.table import line
from medseg.tables import csv_text
from medseg.writers.atomic import atomic_path
from medseg.writers.label_tables import FOLDER, LABEL_TABLES
from medseg.writers.layout import DESCRIPTION

CASES, LABELS, RUN = "cases.csv", "labels.yaml", "run.yaml"

#: What a batch leaves beside the masks, the page included.
FILES = (
    CASES,
    LABELS,
    RUN,
    LOOKS_FILE,
    "report.html",
    *(f"{FOLDER}/{form.file_name}" for form in LABEL_TABLES.values()),
)

#: What it leaves besides in the layout of BIDS.
BIDS_FILES = (DESCRIPTION, LABEL_TABLES["bids"].file_name)


def write_cases(folder: Path, entries: Sequence[Entry], labels: LabelTable) -> None:
    """Write one row a case: ``case,status,reason,source,warnings,seconds,ml:<label>…``.

    Quality flags stand among the warnings.
    """
    columns = ["case", "status", "reason", "source", "warnings", "seconds"]
    volumes = {name: f"ml:{name}" for name in labels.names}
    rows = [
        {
            "case": entry.case,
            "status": entry.state.value,
            "reason": line(entry.reason),
            "source": line(entry.source),
            "warnings": line("; ".join([*entry.warnings, *(flag.text for flag in entry.flags)])),
            "seconds": f"{entry.seconds:.2f}" if entry.finished else "",
            **{column: _number(entry.volumes_ml.get(name)) for name, column in volumes.items()},
        }
        for entry in entries
    ]
    with atomic_path(folder / CASES) as temporary:
        text = csv_text([*columns, *volumes.values()], rows)
        temporary.write_text(text, encoding="utf-8", newline="")


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
