"""What does a network find in train rows it never saw?  Their masks, kept beside the run."""

from __future__ import annotations

import logging
from pathlib import Path

import yaml

from medseg.errors import MedsegError
from medseg.inference import segment
from medseg.manifests import Cohort, read_case
from medseg.model import CARD, Model
from medseg.training.run import Run
from medseg.transforms.channels import onto_grid
from medseg.writers import write_labels
from medseg.writers.atomic import atomic_path

_log = logging.getLogger(__name__)

#: Masks of train rows, by the network whose fold they validated.
OUT_OF_FOLD = "out_of_fold"


def gather_predictions(model: Model, rows: Cohort, run: Run) -> Path:
    """Segment the rows a network never saw, as ``medseg evaluate … --split folds`` reads them.

    Returns:
        The folder of the masks; those that lie there already stay, unless the model is newer.
    """
    folder = run.folder / OUT_OF_FOLD
    folder.mkdir(parents=True, exist_ok=True)
    with atomic_path(folder / "labels.yaml") as temporary:
        temporary.write_text(yaml.safe_dump(model.labels.to_card(), sort_keys=False))
    trained = (model.folder / CARD).stat().st_mtime_ns
    for case in rows.cases:
        path = folder / f"{case.case}.nii.gz"
        if path.is_file() and path.stat().st_mtime_ns >= trained:
            continue
        path.unlink(missing_ok=True)
        try:
            result = segment(model, read_case(rows, case, align=onto_grid), device=run.device)
        except MedsegError as error:
            _log.warning("case %s has no out-of-fold mask: %s", case.case, error)
            continue
        write_labels(result.labelmap, path)
    return folder
