"""``medseg cohort import``: write a card for data in a known layout."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from medseg.cli.cohort.cards import guard_card
from medseg.cli.console import open_console
from medseg.cli.options import Json, Overwrite, Quiet


def import_(
    convention: Annotated[str, typer.Argument(help="msd, nnunet, bids, folders or dicom.")],
    path: Annotated[Path, typer.Argument(help="Folder in that layout.")],
    options: Annotated[list[str] | None, typer.Argument(metavar="[key=value …]")] = None,
    *,
    output: Annotated[Path, typer.Option("--output", "-o", help="Card to write.")],
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Write a card and a table with checksums for data in a known layout; nothing is copied.

    Cases with a mask become train rows; divide them with `medseg cohort split`. The last lines
    say what was found and what was left out.

    \b
    Conventions and their options (key=value):
        msd      dataset.json of the Medical Segmentation Decathlon
                 unlabelled=keep           list scans without a mask as test rows
        nnunet   dataset.json, imagesTr/case_0000.nii.gz, labelsTr/case.nii.gz
                 unlabelled=keep           as above
        bids     sub-*/, derivatives/, participants.tsv
                 channels='[T1w, FLAIR]'   suffixes of the scans
                 mask=dseg|mask|…          suffix of the masks
                 only=[acq-iso]            words in the scans' names
                 mask_only=[label-lesion]  words in the masks' names
        folders  images/ and labels/ of equal names, case_0000 beside case, a folder per case,
                 img01 and msk01, or case and case_seg in one folder: recognised by the names
                 images=DIR masks=DIR      where they lie; . is PATH itself
                 mask_suffix=_seg          what a mask's name has after the case
                 channels='[T1, FLAIR]'    files are called case_T1, case_FLAIR
                 modality=CT|MR|PT|…
        dicom    any folder with DICOM series
                 masks=DIR                 masks named after the cases of `medseg convert`
                 modality=CT|MR|PT|…       only series of this one
        all but msd and nnunet: labels='{liver: 1, tumour: 2}' names the values of the masks

    \b
    Examples:
        medseg cohort import msd Task04_Hippocampus --output hippocampus.yaml
        medseg cohort import folders data --output liver.yaml labels='{liver: 1}' modality=CT
        medseg cohort import bids study --output study.yaml channels='[T1w, FLAIR]'
    """
    from medseg.config import override
    from medseg.manifests import findings, import_cohort, write_cohort

    with guard_card(output, overwrite), open_console(quiet=quiet, json=json) as console:
        cohort = import_cohort(
            convention,
            path,
            options=override({}, options or []),
            progress=console.progress("checksums"),
        )
        write_cohort(cohort, output)
        summary, *remarks = findings(cohort)
        console.say(
            f"{output}: {summary}",
            card=str(output),
            cases=len(cohort.cases),
            patients=len(cohort.patients),
            with_masks=sum(case.label is not None for case in cohort.cases),
        )
        for remark in remarks:
            console.warn(remark, remark=remark)
        console.say(f"  next: medseg cohort split {output}, then medseg cohort check {output}")
