"""What segmenting one scan gives: mask, volumes, confidence, warnings, memory and time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from medseg.errors import MedsegError
from medseg.inference.budget import Budget
from medseg.inference.probabilities import Probabilities
from medseg.inference.uncertainty import UncertaintyMap
from medseg.volume import LabelMap


@dataclass(frozen=True, eq=False)
class Segmentation:
    """What segmenting one scan gives.

    Attributes:
        labelmap: the mask on the scan's own grid, with the scan's header fields.
        volumes_ml: volume of each label, in ml.
        confidence: 0-1 for each label that has a surface: how sure the network was there.
        warnings: what the user should know about the scan and the run.
        budget: predicted memory.
        seconds: wall time of each part: ``prepare``; ``trial`` of one window, for its memory,
            once a process; ``network`` (on a GPU, its own time); ``restore``, which is blending
            and the way back to the scan's grid; ``clean``, which is rules and volumes.
        probabilities: of every label, on disk and to be closed, where they were wanted; before
            post-processing.
        uncertainty: maps of it, on disk and to be closed, where they were wanted; before
            post-processing.
    """

    labelmap: LabelMap
    volumes_ml: Mapping[str, float]
    confidence: Mapping[str, float]
    warnings: tuple[str, ...]
    budget: Budget
    seconds: Mapping[str, float]
    probabilities: Probabilities | None = None
    uncertainty: tuple[UncertaintyMap, ...] = ()


def volumes_ml(labelmap: LabelMap) -> dict[str, float]:
    """Volume of each label in ml, from the determinant of the affine; plane by plane."""
    if labelmap.labels is None:
        raise MedsegError("the mask has no label table")
    highest = max(labelmap.labels.values)
    counts = np.zeros(highest + 1, dtype=np.int64)
    thickest = int(np.argmax(labelmap.data.strides))
    for plane in np.moveaxis(labelmap.data, thickest, 0):
        counts += np.bincount(plane.ravel(order="K"), minlength=highest + 1)
    return {
        label.name: int(counts[label.value]) * labelmap.geometry.voxel_ml
        for label in labelmap.labels.labels
    }
