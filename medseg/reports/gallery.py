"""The best, the median and the worst cases: pictures and slices of truth and prediction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from medseg.batch.scrolling import paired_slices
from medseg.ct_windows import WINDOWS, window_for
from medseg.errors import MedsegError
from medseg.evaluation.scores import MEAN, SCORED, Scores
from medseg.evaluation.scoring import read_pair
from medseg.evaluation.tables import figure
from medseg.evaluation.task import Task
from medseg.labels import present_values
from medseg.manifests import read_case
from medseg.pictures import picture as overlay
from medseg.pictures import prediction_layer, truth_layer
from medseg.reports.page import Picture, data_uri, picture
from medseg.volume import LabelMap, Volume

#: Cases with a picture of three planes; the others of the worst are shown slice by slice alone.
PICTURED = ("best", "median", "worst")
ORDINALS = ("second", "third", "fourth", "fifth")


@dataclass(frozen=True, eq=False)
class ShownCase:
    """One case on the page.

    Attributes:
        picture: three planes, or a caption alone.
        case: its name.
        slices: for the page's script; empty where the case cannot be read again.
    """

    picture: Picture
    case: str
    slices: Mapping[str, Any] = field(default_factory=dict)


def chosen_cases(scores: Scores, metric: str = "dice") -> tuple[tuple[str, str, float], ...]:
    """(rank, case, mean over labels) of the best, the median and the worst scored cases."""
    rows = scores.table[(scores.table["metric"] == metric) & (scores.table["label"] == MEAN)]
    scored = set(scores.with_status(SCORED))
    rows = rows[rows["value"].notna() & rows["case"].isin(scored)]
    rows = rows.sort_values(["value", "case"], ascending=[False, True], ignore_index=True)
    if rows.empty:
        return ()
    last, median = len(rows) - 1, len(rows) // 2
    places = {"best": 0, "median": median, "worst": last}
    for number, ordinal in enumerate(ORDINALS, start=1):
        if last - number > median:
            places[f"{ordinal} worst"] = last - number
    chosen: dict[int, tuple[str, str, float]] = {}
    for rank, place in places.items():
        chosen.setdefault(place, (rank, str(rows["case"][place]), float(rows["value"][place])))
    return tuple(chosen.values())


def shown_cases(scores: Scores, tasks: Sequence[Task]) -> list[ShownCase]:
    """Those cases; one that cannot be read again is shown without pictures, with its reason."""
    by_case = {task.case.case: task for task in tasks}
    return [_shown(rank, value, by_case[case]) for rank, case, value in chosen_cases(scores)]


def _shown(rank: str, value: float, task: Task) -> ShownCase:
    case = task.case.case
    caption = f"{rank}: {case}, mean Dice {figure(value, 'dice')}"
    try:
        pair = _read(task)
        content = None if rank not in PICTURED else _planes(pair)
        slices = _slices(pair)
    except (MedsegError, OSError) as error:
        reason = error.problem if isinstance(error, MedsegError) else "it cannot be read"
        return ShownCase(Picture("", caption, f"{caption} (no picture: {reason})"), case)
    alt = f"Truth and prediction of the {rank} case in three planes"
    if content is None:
        return ShownCase(Picture("", alt, caption), case, slices)
    files = {f"case_{rank}.png": content}
    return ShownCase(picture(content, caption=caption, alt=alt, files=files), case, slices)


@dataclass(frozen=True, eq=False)
class _Pair:
    """What is drawn of a case, all of it on the truth's grid."""

    scan: Volume
    truth: LabelMap
    prediction: LabelMap


def _read(task: Task) -> _Pair:
    """The first channel, or black without one; truth without what is ignored; prediction.

    Raises:
        MedsegError: the scan or a mask cannot be read.
    """
    from medseg.transforms.channels import aligner

    truth, prediction = read_pair(task)
    cohort, labels = task.cohort, task.cohort.labels
    if task.case.images:
        scan = read_case(cohort, task.case, align=aligner(cohort.frames))
        scan = replace(scan, origin=replace(scan.origin, modality=cohort.modality.upper()))
    else:
        scan = Volume(np.zeros((1, *truth.geometry.shape), dtype=np.float32), truth.geometry)
    mask = truth.data
    if labels.ignore is not None:
        mask = mask * (mask != labels.ignore)
    return _Pair(
        scan,
        LabelMap(mask, truth.geometry, labels),
        LabelMap(prediction, truth.geometry, labels),
    )


def _planes(pair: _Pair) -> bytes:
    """A PNG of three planes, truth and prediction over the scan."""
    names = pair.truth.labels.names if pair.truth.labels else ()
    is_ct = pair.scan.origin.modality == "CT"
    return overlay(
        pair.scan.values()[0],
        pair.truth.geometry,
        [truth_layer(pair.truth.data), prediction_layer(pair.prediction.data)],
        window=WINDOWS[window_for(names)] if is_ct else None,
    ).png()


def _slices(pair: _Pair) -> dict[str, Any]:
    """What the page's script shows slice by slice, pictures inlined."""
    drawn = paired_slices(pair.scan, pair.truth, pair.prediction)
    labels = pair.truth.labels.labels if pair.truth.labels else ()
    present = present_values(pair.truth.data) | present_values(pair.prediction.data)
    return {
        **drawn.column._asdict(),
        "scan": data_uri(drawn.prediction.scan),
        "layers": [
            {"name": "prediction", "source": data_uri(drawn.prediction.labels)},
            {"name": "truth, its outline", "source": data_uri(drawn.truth), "is_line": True},
        ],
        "present": [number for number, label in enumerate(labels) if label.value in present],
    }
