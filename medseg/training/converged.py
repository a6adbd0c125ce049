"""A run whose weights are of no use fails instead of leaving a model that refuses every scan."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from medseg.training.module import SegmentationTask, diverged
from medseg.training.patches import PatchStream
from medseg.training.saving import Outcome, weights_kept
from medseg.training.setup import Setup

#: Largest share of steps that may have been skipped.
MOST_SKIPPED = 0.5


def check_converged(setup: Setup, task: SegmentationTask, outcome: Outcome) -> None:
    """Refuse what no scan could be segmented with.

    Raises:
        TrainingFailed: most steps were skipped, a weight is not finite, or the logits of a
            training patch are not.
    """
    skipped, steps = int(task.skipped), task.steps_done
    if skipped > MOST_SKIPPED * steps:
        raise diverged(f"{skipped} of {steps} steps skipped for a gradient that was not finite")
    weights = weights_kept(setup, task, outcome)
    broken = [name for name, value in weights.items() if not bool(torch.isfinite(value).all())]
    if broken:
        raise diverged(f"NaN or infinity in {len(broken)} of {len(weights)} tensors of weights")
    if not _gives_finite_logits(setup, weights):
        raise diverged("NaN or infinity in the logits of a training patch")


def _gives_finite_logits(setup: Setup, weights: Mapping[str, Tensor]) -> bool:
    """The network with these weights, in float32, on the first patch of the run."""
    network = setup.network()
    network.load_state_dict(dict(weights))
    network.to(setup.run.device).eval()
    patch = PatchStream(setup.data.train, setup.plan).batch_of(0).image[:1]
    with torch.inference_mode():
        logits: Tensor = network(patch.to(setup.run.device).float())
    return bool(torch.isfinite(logits).all())
