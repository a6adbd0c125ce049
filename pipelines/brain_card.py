"""Writes card and table of the brain cohort from the scans, byte for byte.

    python pipelines/brain_card.py DATA --output data_manifests/brain.yaml

DATA holds ``images/``, ``labels/``, ``labels.yaml`` with the names and values of 144 structures,
and ``patients.csv`` (case, patient, sex, age). The division needs no seed: of the sorted case ids
every fifth is a test row, from the first on; the rest are dealt to five folds in turn. Every
structure of the left half has its partner on the right under ``mirror_pairs``.
"""

from __future__ import annotations

import csv
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from medseg.config import load_yaml
from medseg.manifests import Case, Cohort, import_cohort, write_cohort

sys.path.insert(0, str(Path(__file__).parent))  # also where this is imported
from hippocampus_card import EVERY, FOLDS, beside, divided

ORIGIN = {
    "name": "brain",
    "source": "MICCAI 2012 Grand Challenge and Workshop on Multi-Atlas Labeling, the 15 training "
    "scans: T1-weighted MR of 1 mm from the OASIS project, skull-stripped; labels provided by "
    "Neuromorphometrics, Inc. (http://Neuromorphometrics.com/) under academic subscription.",
    "licence": "CC-BY-NC-3.0",
    "citation": "Landman and Warfield (eds.), MICCAI 2012 Workshop on Multi-Atlas Labeling; Marcus "
    "et al., Open Access Series of Imaging Studies, J Cogn Neurosci 2007, "
    "doi:10.1162/jocn.2007.19.9.1498",
    "notes": "One scan a person. Test cases: of the sorted case ids, index j with j % 5 == 0. "
    "Folds: the i-th of the remaining ids is in fold i % 5. Some structures occur in some brains "
    "only.",
}


def brain(folder: Path, home: Path) -> Cohort:
    """The cohort in a folder, as if its card lay beside the scans.

    Args:
        folder: see the head of this file.
        home: where the card will lie; its ``root`` is ``.``, which ``--root`` overrides.
    """
    labels = load_yaml(folder / "labels.yaml")["labels"]
    options = {"channels": ["T1"], "modality": "MR", "labels": labels}
    cohort = import_cohort("folders", folder, options=options)
    cases = sorted(cohort.cases, key=lambda case: case.case)
    train = [case.case for place, case in enumerate(cases) if place % EVERY]
    fold_of = {name: place % FOLDS for place, name in enumerate(train)}
    people = persons(folder / "patients.csv")
    rows = (divided(beside(home, folder, case), fold_of.get(case.case)) for case in cases)
    return replace(
        cohort,
        root=home,
        labels=replace(cohort.labels, mirror_pairs=pairs(labels)),
        cases=tuple(_with_person(case, people[case.case]) for case in rows),
        **ORIGIN,
    )


def pairs(labels: dict[str, Any]) -> tuple[tuple[str, str], ...]:
    """Each structure of the left half with its partner on the right."""
    lefts = (name for name in labels if name.startswith("Left "))
    return tuple(
        (left, right) for left in lefts if (right := left.replace("Left", "Right", 1)) in labels
    )


def persons(table: Path) -> dict[str, dict[str, str]]:
    """Case to its row of ``patients.csv``."""
    with table.open(encoding="utf-8", newline="") as lines:
        return {row["case"]: row for row in csv.DictReader(lines)}


def _with_person(case: Case, row: dict[str, str]) -> Case:
    covariates = {"sex": row["sex"], "age": row["age"]}
    return replace(case, patient=row["patient"], covariates=covariates)


def main(
    folder: Annotated[Path, typer.Argument(help="Holds images/ and labels/.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Card to write.")],
) -> None:
    """Write the card and its table."""
    cohort = brain(folder, output.parent)
    write_cohort(cohort, output)
    print(json.dumps({"card": str(output), "cases": len(cohort.cases)}))


if __name__ == "__main__":
    typer.run(main)
