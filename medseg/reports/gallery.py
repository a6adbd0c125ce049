"""Pictures of the best, the median and the worst case, truth and prediction overlaid."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from medseg.ct_windows import WINDOWS, window_for
from medseg.errors import MedsegError
from medseg.evaluation.scores import MEAN, SCORED, Scores
from medseg.evaluation.scoring import Task, read_pair
from medseg.evaluation.tables import figure
from medseg.manifests import read_case
from medseg.pictures import picture as overlay
from medseg.pictures import prediction_layer, truth_layer
from medseg.reports.page import Picture, picture


def chosen_cases(scores: Scores, metric: str = "dice") -> tuple[tuple[str, str, float], ...]:
    """(rank, case, mean over labels) of the best, the median and the worst scored case."""
    rows = scores.table[(scores.table["metric"] == metric) & (scores.table["label"] == MEAN)]
    scored = set(scores.with_status(SCORED))
    rows = rows[rows["value"].notna() & rows["case"].isin(scored)]
    rows = rows.sort_values(["value", "case"], ascending=[False, True], ignore_index=True)
    if rows.empty:
        return ()
    places = {"best": 0, "median": len(rows) // 2, "worst": len(rows) - 1}
    chosen: dict[int, tuple[str, str, float]] = {}
    for rank, place in places.items():
        chosen.setdefault(place, (rank, str(rows["case"][place]), float(rows["value"][place])))
    return tuple(chosen.values())


def best_median_worst(scores: Scores, tasks: Sequence[Task]) -> list[Picture]:
    """Pictures of those cases; one that cannot be read again is left out with its reason."""
    by_case = {task.case.case: task for task in tasks}
    pictures = []
    for rank, case, value in chosen_cases(scores):
        caption = f"{rank}: {case}, mean Dice {figure(value, 'dice')}"
        try:
            content = draw_pair(by_case[case])
        except (MedsegError, OSError) as error:
            reason = error.problem if isinstance(error, MedsegError) else "it cannot be read"
            pictures.append(Picture("", caption, f"{caption} (no picture: {reason})"))
            continue
        pictures.append(
            picture(
                content,
                caption=caption,
                alt=f"Truth and prediction of the {rank} case in three planes",
                files={f"case_{rank}.png": content},
            )
        )
    return pictures


def draw_pair(task: Task) -> bytes:
    """A PNG of one case: truth and prediction over the first channel, or over black without one.

    Raises:
        MedsegError: the scan or a mask cannot be read.
    """
    from medseg.transforms.channels import aligner

    truth, prediction = read_pair(task)
    image = np.zeros(truth.geometry.shape, dtype=np.float32)
    if task.case.images:
        align = aligner(task.cohort.frames)
        image = read_case(task.cohort, task.case, align=align).values()[0]
    is_ct = task.cohort.modality.upper() == "CT"
    window = WINDOWS[window_for(task.cohort.labels.names)] if is_ct else None
    table = task.cohort.labels
    mask = truth.data * (truth.data != table.ignore) if table.ignore is not None else truth.data
    return overlay(
        image,
        truth.geometry,
        [truth_layer(mask), prediction_layer(prediction)],
        window=window,
    ).png()
