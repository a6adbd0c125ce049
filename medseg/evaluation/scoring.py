"""The scores of one case: both masks read, checked, and every metric applied."""

from __future__ import annotations

import logging
from typing import Any

from numpy.typing import NDArray

from medseg.checksums import sha256_of
from medseg.errors import GridMismatch, MedsegError
from medseg.evaluation.resample import nearest
from medseg.evaluation.rows import score_rows, unscored_rows
from medseg.evaluation.scores import MISSING, REFUSED, SCORED, UNSCORED
from medseg.evaluation.task import BETWEEN_WARNINGS, Outcome, Task
from medseg.evaluation.translation import same_names
from medseg.files import is_file
from medseg.manifests import read_case
from medseg.manifests.duplicates import likenesses
from medseg.manifests.looks import pack_looks
from medseg.manifests.reading import named_truth, read_grid, require
from medseg.readers.labels import read_labels
from medseg.scans.masks import mask_needs_image, read_mask
from medseg.tables import printable
from medseg.volume import LabelMap, is_blank, pixel_hash

log = logging.getLogger(__name__)


def score_case(task: Task) -> Outcome:
    """Score one case; a fault of this case is recorded, not raised."""
    facts: dict[str, str] = {}
    try:
        truth = _read_truth(task, facts)
        leaked, look = _seen(task)
    except Exception as error:  # noqa: BLE001 - one bad case never stops a cohort
        return unscored(task, _reason(error, task), facts)
    if task.prediction is None:
        rows = unscored_rows(task, truth, "prediction missing")
        return Outcome(rows, MISSING, "no prediction of that name", facts, leaked, look)
    try:
        prediction, note = _read_prediction(task, truth, facts)
        return Outcome(score_rows(task, truth, prediction, note), SCORED, note, facts, leaked, look)
    except Exception as error:  # noqa: BLE001 - one bad case never stops a cohort
        rows = unscored_rows(task, truth, "prediction refused")
        return Outcome(rows, REFUSED, _reason(error, task), facts, leaked, look)


def unscored(task: Task, reason: str, facts: dict[str, str] | None = None) -> Outcome:
    """The outcome of a case that could not be scored for no fault of its prediction."""
    rows = unscored_rows(task, None, "truth not usable")
    return Outcome(rows, UNSCORED, reason, facts or {}, leaked=False)


def _reason(error: Exception, task: Task) -> str:
    """What went wrong, without paths: they may name the patient, and the case is known."""
    if isinstance(error, MedsegError):
        text = str(error.about(None))
    elif isinstance(error, OSError):
        text = error.strerror or type(error).__name__
    elif isinstance(error, MemoryError):
        text = "not enough memory"
    else:
        log.exception("case %s", task.case.case)
        text = f"unforeseen {type(error).__name__}: {error}"
    places = {task.prediction: "the prediction", task.case.label: "the truth"}
    places |= dict.fromkeys(task.case.sources, "the scan")
    for path, word in places.items():
        for spelling in (str(path), path.name) if path is not None else ():
            text = text.replace(spelling, word)
    return " ".join(printable(text).split())


def read_pair(task: Task) -> tuple[LabelMap, NDArray[Any]]:
    """Truth and prediction of a case on the truth's grid, for looking at them.

    Raises:
        MedsegError: one of them cannot be used.
    """
    facts: dict[str, str] = {}
    truth = _read_truth(task, facts)
    return truth, _read_prediction(task, truth, facts)[0]


def _read_truth(task: Task, facts: dict[str, str]) -> LabelMap:
    path = task.case.label
    if path is None:
        raise MedsegError("the case has no truth", found="no label in the table")
    require(task.cohort, path)
    facts["truth_sha256"] = sha256_of(path) if is_file(path) else ""
    grid = None
    if task.case.images and mask_needs_image(path):
        grid = read_grid(task.cohort, task.case)
    mask = read_mask(path, labels=task.cohort.labels, grid=grid)
    _warn(facts, "the truth", mask)
    return named_truth(task.cohort, task.case, mask)


def _warn(facts: dict[str, str], whose: str, mask: LabelMap) -> None:
    """Add a reader's warnings to what is known of a case, without paths."""
    texts = [printable(text).replace(str(mask.origin.path), "it") for text in mask.origin.warnings]
    known = [facts["warnings"]] if facts.get("warnings") else []
    facts["warnings"] = BETWEEN_WARNINGS.join([*known, *(f"{whose}: {text}" for text in texts)])


def _seen(task: Task) -> tuple[bool, bytes]:
    """Whether this very scan trained the model, and else what it is recognised by.

    The scan is read only where the model says which scans it was trained on.
    """
    if not task.training_pixels or not task.case.images:
        return False, b""
    from medseg.transforms.channels import aligner

    scan = read_case(task.cohort, task.case, align=aligner(task.cohort.frames))
    if pixel_hash(scan) in task.training_pixels and not is_blank(scan):
        return True, b""
    return False, pack_looks(likenesses(scan)) if task.model_scans is not None else b""


def _read_prediction(
    task: Task, truth: LabelMap, facts: dict[str, str]
) -> tuple[NDArray[Any], str]:
    """The prediction's voxels on the truth's grid with the truth's values, and a note."""
    path = task.prediction
    if path is None:
        raise MedsegError("no prediction")
    facts["prediction_sha256"] = sha256_of(path)
    mask = read_labels(path, labels=task.labels)
    _warn(facts, "the prediction", mask)
    if mask.labels is not None:
        mask = mask.named(task.labels)
    values, note = mask.data, ""
    if not mask.geometry.fits(truth.geometry):
        if task.config.other_grid == "refuse":
            raise GridMismatch(
                "the prediction lies on another grid than the truth",
                path=path,
                found=mask.geometry.describe_beside(truth.geometry),
                expected=truth.geometry.describe(),
                remedy="Segment the same scan, or ask for --resample-nearest.",
            )
        values = nearest(mask, truth.geometry)
        note = "resampled to the truth's grid by nearest neighbour"
    return same_names(values, task.labels, task.cohort.labels, path=path), note
