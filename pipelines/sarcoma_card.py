"""Writes card and table of the sarcoma cohort from the DICOM files, byte for byte.

    python pipelines/sarcoma_card.py DATA --output data_manifests/sarcoma.yaml

DATA holds ``dicom/STS_NNN/{CT,PET,MR_T1}/{image,mask}``: three series of one patient on three grids
in one frame of reference, each with an RTSTRUCT. The truth is that of the CT, the first channel. Of
the sorted patient names every fifth is a test row, from the first on; each other patient is a fold.
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from medseg.labels import LabelTable
from medseg.manifests import Case, Cohort, write_cohort
from medseg.manifests.cohort import Split
from medseg.manifests.importing import with_checksums

sys.path.insert(0, str(Path(__file__).parent))  # also where this is imported
from hippocampus_card import EVERY, beside, divided

#: Channel -> folder of its series.
SERIES = {"CT": "CT", "PET": "PET", "T1": "MR_T1"}

LABELS = {
    "labels": {
        "tumour": {
            "value": 1,
            "colour": "#e07a5f",
            "code": ["SCT", "4147007", "Mass"],
            "aliases": ["GTV*"],
        }
    }
}
ORIGIN = {
    "name": "sarcoma",
    "modality": "",
    "source": "Soft-tissue sarcoma collection of The Cancer Imaging Archive, five patients as "
    "prepared by the Image Biomarker Standardisation Initiative: CT, FDG PET and T1-weighted MR, "
    "each with the contours of the gross tumour volume (RTSTRUCT).",
    "licence": "CC-BY-3.0",
    "citation": "Vallières et al., A radiomics model from joint FDG-PET and MRI texture features "
    "for the prediction of lung metastases in soft-tissue sarcomas of the extremities, Phys Med "
    "Biol 2015; data: doi:10.7937/K9/TCIA.2015.7GO2GSKS",
    "notes": "Five patients: enough to see that a road works, too few for a figure. The channels "
    "lie on three grids in one frame of reference; the truth is drawn on the CT. Test patients: "
    "of the sorted names, index j with j % 5 == 0. Folds: each remaining patient is one.",
}


def sarcoma(folder: Path, home: Path) -> Cohort:
    """The cohort in a folder, as if its card lay beside the files.

    Args:
        folder: see the head of this file.
        home: where the card will lie; its ``root`` is ``.``, which ``--root`` overrides.
    """
    patients = sorted(path.name for path in (folder / "dicom").iterdir() if path.is_dir())
    train = [name for place, name in enumerate(patients) if place % EVERY]
    cases = [divided(_case(folder, n), train.index(n) if n in train else None) for n in patients]
    cohort = Cohort(
        channels=tuple(SERIES),
        labels=LabelTable.from_card(LABELS),
        cases=tuple(cases),
        root=folder,
        **ORIGIN,
    )
    summed = with_checksums(cohort)
    cases = [beside(home, folder, case) for case in summed.cases]
    return replace(summed, root=home, cases=tuple(cases))


def _case(folder: Path, patient: str) -> Case:
    series = {channel: folder / "dicom" / patient / name for channel, name in SERIES.items()}
    (contours,) = sorted((series["CT"] / "mask").glob("*.dcm"))
    images = {channel: place / "image" for channel, place in series.items()}
    return Case(patient, patient, Split.TRAIN, None, images=images, label=contours)


def main(
    folder: Annotated[Path, typer.Argument(help="Holds dicom/.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Card to write.")],
) -> None:
    """Write the card and its table."""
    cohort = sarcoma(folder, output.parent)
    write_cohort(cohort, output)
    print(json.dumps({"card": str(output), "cases": len(cohort.cases)}))


if __name__ == "__main__":
    typer.run(main)
