"""Training: prepared cases, a stream of patches, the loop on Lightning, the model folder."""

from __future__ import annotations

from medseg.training.callbacks import read_curves
from medseg.training.loop import Run, begin_run, train

__all__ = ["Run", "begin_run", "read_curves", "train"]
