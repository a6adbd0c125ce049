"""Masks of train rows by the network that never saw them, kept beside the run."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import yaml

from medseg.config import load_json
from medseg.errors import BadOutput, MedsegError
from medseg.inference import segment
from medseg.manifests import Cohort, read_case
from medseg.model import Model
from medseg.training.run import DAMAGED, Run
from medseg.transforms.channels import aligner
from medseg.writers import write_labels
from medseg.writers.atomic import atomic_path

_log = logging.getLogger(__name__)

#: Masks of train rows, by the network whose fold they validated.
OUT_OF_FOLD = "out_of_fold"


#: Case -> SHA-256 of the weights that made its mask.
_MADE_BY = "made_by.json"


def masks_made(run: Run) -> dict[str, str]:
    """Cases of which a mask is there, with the SHA-256 of the weights that made it."""
    folder = run.folder / OUT_OF_FOLD
    path = folder / _MADE_BY
    made = load_json(path, refusal=BadOutput, remedy=DAMAGED) if path.is_file() else {}
    there = {mask.name for mask in folder.glob("*.nii.gz")}
    return {case: str(by) for case, by in made.items() if f"{case}.nii.gz" in there}


def gather_predictions(model: Model, rows: Cohort, run: Run) -> Path:
    """Segment the rows a network never saw, as ``medseg evaluate … --split folds`` reads them.

    Returns:
        The folder of the masks; those that these very weights made before stay.
    """
    folder = run.folder / OUT_OF_FOLD
    made_by = masks_made(run)
    weights = "".join(model.card.weights.values())
    folder.mkdir(parents=True, exist_ok=True)
    with atomic_path(folder / "labels.yaml") as temporary:
        temporary.write_text(yaml.safe_dump(model.labels.to_card(), sort_keys=False))
    for case in rows.cases:
        path = folder / f"{case.case}.nii.gz"
        if path.is_file() and made_by.get(case.case) == weights:
            continue
        path.unlink(missing_ok=True)
        try:
            result = segment(
                model, read_case(rows, case, align=aligner(rows.frames)), device=run.device
            )
        except MedsegError as error:
            _log.warning("case %s has no out-of-fold mask: %s", case.case, error)
            continue
        write_labels(result.labelmap, path)
        made_by[case.case] = weights
        with atomic_path(folder / _MADE_BY) as temporary:
            temporary.write_text(json.dumps(made_by, indent=1) + "\n", encoding="utf-8")
    return folder
