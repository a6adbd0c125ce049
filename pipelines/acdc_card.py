"""Writes cards and tables of the ACDC heart cohort from the scans, byte for byte.

    python pipelines/acdc_card.py DATA --output data_manifests/acdc.yaml
    python pipelines/acdc_card.py DATA --output data_manifests/acdc_scribbles.yaml --scribbles

DATA holds ``images/``, ``labels/`` and ``scribbles/`` with files ``patientNNN_frameNN.nii.gz``. The
second card trains on scribbles, in which the value 4 means "not drawn" and is ignored, and scores
on the full masks. The division needs no seed: of the sorted patient names every fifth is a test
patient, from the first on; the rest are dealt to five folds in turn.
"""

from __future__ import annotations

import csv
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from medseg.manifests import Case, Cohort, Split, import_cohort, write_cohort

sys.path.insert(0, str(Path(__file__).parent))  # also where this is imported
from hippocampus_card import EVERY, FOLDS, beside, divided

#: The patients that the committed table lists, of the 100 of the training set.
CASES = Path(__file__).parent.parent / "data_manifests/acdc.csv"

#: Its images are copies of those of patient074, who is in another split.
COPY = "patient076"

#: Value of voxels on which nothing was drawn, in the scribbles alone.
NOT_DRAWN = 4

#: The five groups that the data set is made of, twenty patients each in the order of the names.
GROUPS = ("DCM", "HCM", "MINF", "NOR", "RV")

LABELS = {
    "right ventricle": {
        "value": 1,
        "colour": "#3d8bba",
        "side": "none",
        "code": ["SCT", "53085002", "Right ventricle"],
    },
    "myocardium": {
        "value": 2,
        "colour": "#81b29a",
        "side": "none",
        "code": ["SCT", "74281007", "Myocardium"],
    },
    "left ventricle": {
        "value": 3,
        "colour": "#e07a5f",
        "side": "none",
        "code": ["SCT", "87878005", "Left ventricle"],
    },
}
ORIGIN = {
    "source": "ACDC 2017 training set (University Hospital of Dijon), https://www.creatis.insa-lyon.fr"
    "/Challenge/acdc: short-axis cine MR of the heart at end diastole and end systole.",
    "licence": "non-commercial research, by the terms of the challenge",
    "citation": "Bernard et al., Deep Learning Techniques for Automatic MRI Cardiac "
    "Multi-Structures Segmentation and Diagnosis, IEEE TMI 2018, doi:10.1109/TMI.2018.2837502",
}
NOTES = (
    "79 of the 100 patients, both phases. Test patients: of the sorted patient names (with "
    f"{COPY}), index j with j % 5 == 0, without {COPY}, whose images are copies of patient074's. "
    "Folds: the i-th of the remaining patients is in fold i % 5. Group and phase follow from the "
    "names: twenty patients a group, the earlier frame is end diastole."
)
SCRIBBLED = (
    " Train rows are scribbles (Valvano et al. 2021, doi:10.1109/TMI.2021.3069634): voxels of "
    f"value {NOT_DRAWN} were not drawn and are ignored. Test rows are the full masks."
)


def acdc(folder: Path, home: Path, patients: set[str], *, scribbles: bool = False) -> Cohort:
    """The cohort of the named patients, as if its card lay beside the scans.

    Args:
        folder: holds ``images/``, ``labels/`` and, for them, ``scribbles/``.
        home: where the card will lie; its ``root`` is ``.``, which ``--root`` overrides.
        patients: names; those in the data set beyond them are left out.
        scribbles: whether the train rows are scribbles.
    """
    full = _imported(folder, "labels")
    drawn = _imported(folder, "scribbles") if scribbles else full
    names = sorted({patient_of(case.case) for case in full.cases} & (patients | {COPY}))
    train = [name for place, name in enumerate(names) if place % EVERY and name != COPY]
    fold_of = {name: place % FOLDS for place, name in enumerate(train)}
    truths = {case.case: case for case in full.cases}
    cases = [
        _row(home, folder, case if patient_of(case.case) in fold_of else truths[case.case], fold_of)
        for case in sorted(drawn.cases, key=lambda case: case.case)
        if patient_of(case.case) in names and patient_of(case.case) != COPY
    ]
    return replace(
        drawn,
        name="acdc_scribbles" if scribbles else "acdc",
        root=home,
        cases=tuple(_with_phase(case, cases) for case in cases),
        notes=NOTES + (SCRIBBLED if scribbles else ""),
        **ORIGIN,
    )


def _imported(folder: Path, masks: str) -> Cohort:
    labels = dict(LABELS)
    options = {"channels": ["cine"], "modality": "MR", "masks": masks, "labels": labels}
    cohort = import_cohort("folders", folder, options=options)
    if masks == "labels":
        return cohort
    return replace(cohort, labels=replace(cohort.labels, ignore=NOT_DRAWN))


def patient_of(case: str) -> str:
    """``patient001`` of ``patient001_frame12``."""
    return case.partition("_")[0]


def _row(home: Path, folder: Path, case: Case, fold_of: dict[str, int]) -> Case:
    patient = patient_of(case.case)
    group = GROUPS[(int(patient.removeprefix("patient")) - 1) // 20]
    row = divided(beside(home, folder, case), fold_of.get(patient))
    return replace(row, patient=patient, covariates={"group": group})


def _with_phase(case: Case, cases: list[Case]) -> Case:
    first = min(other.case for other in cases if other.patient == case.patient)
    phase = "ED" if case.case == first else "ES"
    return replace(case, covariates={**case.covariates, "phase": phase})


def listed(table: Path = CASES) -> set[str]:
    """The patients of the committed table."""
    with table.open(encoding="utf-8", newline="") as lines:
        return {row["patient"] for row in csv.DictReader(lines)}


def main(
    folder: Annotated[Path, typer.Argument(help="Holds images/, labels/ and scribbles/.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Card to write.")],
    scribbles: Annotated[bool, typer.Option("--scribbles", help="Train on scribbles.")] = False,
) -> None:
    """Write the card and its table."""
    cohort = acdc(folder, output.parent, listed(), scribbles=scribbles)
    write_cohort(cohort, output)
    test = sum(case.split is Split.TEST for case in cohort.cases)
    print(json.dumps({"card": str(output), "cases": len(cohort.cases), "test": test}))


if __name__ == "__main__":
    typer.run(main)
