"""A run whose weights are of no use fails instead of leaving a model that refuses every scan."""

from __future__ import annotations

import logging
from collections.abc import Mapping

import torch
from torch import Tensor

from medseg.training.module import SegmentationTask, diverged
from medseg.training.patches import PatchStream
from medseg.training.saving import Outcome, weights_kept
from medseg.training.setup import Setup

_log = logging.getLogger(__name__)

#: Largest share of steps that may have been skipped, anywhere and at the end in a row.
MOST_SKIPPED, MOST_AT_THE_END = 0.25, 0.05

#: Fewer skipped steps at the end than this say nothing.
_FEW = 2

#: A patch that was learnt from has at most so many times the loss of knowing nothing.
_WORSE_THAN_NOTHING = 10.0


def check_converged(setup: Setup, task: SegmentationTask, outcome: Outcome) -> None:
    """Refuse what no scan could be segmented with.

    Raises:
        TrainingFailed: many steps were skipped, or all of the last ones; a weight is not
            finite, or the logits of a training patch are not, or are far off.
    """
    _check_steps(task)
    weights = weights_kept(setup, task, outcome)
    broken = [name for name, value in weights.items() if not bool(torch.isfinite(value).all())]
    if broken:
        raise diverged(f"NaN or infinity in {len(broken)} of {len(weights)} tensors of weights")
    _check_patch(setup, task, weights)


def _check_steps(task: SegmentationTask) -> None:
    skipped, last, steps = int(task.skipped), int(task.skipped_in_a_row), task.steps_done
    if skipped > MOST_SKIPPED * steps:
        raise diverged(f"{skipped} of {steps} steps skipped: loss or gradient was not finite")
    if last > max(_FEW, MOST_AT_THE_END * steps):
        raise diverged(f"the last {last} of {steps} steps skipped: nothing finite came any more")
    if skipped:
        _log.warning("%d of %d steps were skipped: loss or gradient was not finite", skipped, steps)


def _check_patch(setup: Setup, task: SegmentationTask, weights: Mapping[str, Tensor]) -> None:
    """Judge the network with these weights, in float32, on the first patch of the run."""
    network = setup.network()
    network.load_state_dict(dict(weights))
    network.to(setup.run.device).eval()
    patch = PatchStream(setup.data.train, setup.plan).batch_of(0)
    device = setup.run.device
    with torch.inference_mode():
        logits: Tensor = network(patch.image[:1].to(device).float())
        if not bool(torch.isfinite(logits).all()):
            raise diverged("NaN or infinity in the logits of a training patch")
        classes = patch.classes[:1].to(device).long()
        known = None if patch.known is None else patch.known[:1].to(device)
        loss, ignorant = (float(task.loss(each, classes, known)) for each in (logits, 0 * logits))
    if not loss <= _WORSE_THAN_NOTHING * max(ignorant, 1.0):
        raise diverged(
            f"a loss of {loss:.3g} on a training patch, where even logits of 0 have {ignorant:.3g}"
        )
