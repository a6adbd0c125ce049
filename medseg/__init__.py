"""medseg: train, segment and evaluate on CT and MR, from archive to paper.

The stable API for notebooks::

    scan = medseg.read("scan.nii.gz")
    truth = medseg.read_labels("truth.nii.gz")
    model = medseg.load_model("runs/liver/model")
    result = medseg.segment(model, scan)
    result.labelmap.plot(scan)
    scores = medseg.evaluate("masks", "cohort.yaml")
    table = medseg.score(truth, prediction, spacing_mm=(0.8, 0.8, 2.5), labels={"liver": 1})
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from medseg.evaluation import evaluate, score
    from medseg.inference.segment import segment
    from medseg.labels import LabelTable
    from medseg.manifests import load_cohort
    from medseg.model import load_model
    from medseg.readers.labels import read_labels
    from medseg.scans.read import read
    from medseg.volume import LabelMap, Volume

__version__ = "0.1.0"
__all__ = [
    "LabelMap",
    "LabelTable",
    "Volume",
    "__version__",
    "evaluate",
    "load_cohort",
    "load_model",
    "read",
    "read_labels",
    "score",
    "segment",
]

_HOMES = {
    "LabelMap": "medseg.volume",
    "LabelTable": "medseg.labels",
    "Volume": "medseg.volume",
    "read": "medseg.scans",
    "read_labels": "medseg.readers.labels",
    "segment": "medseg.inference",
    "evaluate": "medseg.evaluation",
    "score": "medseg.evaluation",
    "load_model": "medseg.model",
    "load_cohort": "medseg.manifests",
}


def __getattr__(name: str) -> Any:
    """Load a name of the public API when it is first used, so that importing stays light."""
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'medseg' has no attribute {name!r}")


def __dir__() -> list[str]:
    """The public API alone, for completion in notebooks."""
    return sorted(__all__)
