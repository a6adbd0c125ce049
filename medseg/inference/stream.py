"""Stream a working image through the networks into a mask: windows in, blocks of logits out."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray

from medseg.geometry import left_right_axis
from medseg.inference.budget import (
    Budget,
    Demand,
    plan_budget,
    wished_batch,
)
from medseg.inference.confidence import BoundaryConfidence
from medseg.inference.forward import Forward
from medseg.inference.mirroring import Mirror, mirrors
from medseg.inference.road import Ensemble, Machine, Road
from medseg.inference.stitch import Sink, Stitcher
from medseg.inference.windows import Corner, importance
from medseg.memory import is_out_of_memory
from medseg.progress import Progress
from medseg.transforms.restore import Observer, Restorer


@dataclass(frozen=True, eq=False)
class Streamed:
    """What came out.

    Attributes:
        mask: on the native grid.
        confidence: how sure the surfaces are.
        budget: what it was predicted to take.
        network_seconds: of all forward passes; on a GPU, its own time.
    """

    mask: NDArray[np.integer]
    confidence: dict[str, float]
    budget: Budget
    network_seconds: float


def stream(
    road: Road,
    ensemble: Ensemble,
    machine: Machine,
    *,
    warn: Callable[[str], None],
    progress: Progress | None = None,
    tell: Callable[[Budget], object] | None = None,
) -> Streamed:
    """Segment one working image.

    Args:
        road: the image, its grids and windows.
        ensemble: the networks.
        machine: where and within which limits.
        warn: told of retreats when memory runs out.
        progress: told of windows done.
        tell: told of the budget before the first window.
    """
    left_right = left_right_axis(road.working)
    turns = mirrors(road.labels, road.infer.mirror_axes, road.slice_axis, left_right)
    padded = road.plan.pad(road.image).to(machine.image_dtype)
    budget = _budget(road, padded, ensemble, machine)
    if not budget.fits:
        warn(f"this scan needs more memory than allowed: {budget.describe()}")
    if tell is not None:
        tell(budget)
    confidence = BoundaryConfidence(road.labels)
    restorer = _restorer(road, confidence, budget.accumulators)
    members = len(ensemble.networks) if road.apart else 1
    sink = _each((_taken(restorer, road), *road.also))
    stitcher = Stitcher(
        plan=road.plan,
        channels=road.labels.channels,
        weight=importance(road.plan.window, road.infer.weighting),
        contributions=len(turns) * len(ensemble.networks) // members,
        sink=_split(sink, road.apart, members) if road.apart else sink,
        background=None if road.labels.regions else 0,
        device=budget.accumulators,
        dtype=machine.sums,
        members=members,
    )
    forward = Forward(
        ensemble.networks,
        device=machine.device,
        dtype=machine.dtype,
        batch=budget.batch,
        relieve=partial(_to_host, stitcher),
        warn=warn,
    )
    near = _brought_near(padded, machine.device)
    walk = _Walk(road, near, forward, stitcher, turns)
    walk.run(progress or (lambda done, total=None, **facts: None))
    mask = restorer.finish()
    return Streamed(mask, confidence.result(), budget, forward.clock.seconds())


@dataclass(frozen=True, eq=False)
class _Walk:
    """Takes the asked windows through every network and mirror, in order."""

    road: Road
    image: torch.Tensor
    forward: Forward
    stitcher: Stitcher
    turns: Sequence[Mirror]

    def run(self, progress: Progress) -> None:
        corners = self.road.plan.corners
        asked = np.flatnonzero(self.road.asked).tolist()
        at = 0
        while at < len(asked):
            numbers = asked[at : at + self.forward.batch]
            self._batch([corners[number] for number in numbers])
            at += len(numbers)
            behind = asked[at] if at < len(asked) else len(corners)
            self._relieved(partial(self.stitcher.finish, behind))
            progress(at, len(asked))
        self._relieved(partial(self.stitcher.finish, len(corners)))

    def _batch(self, corners: Sequence[Corner]) -> None:
        for corner in corners:
            self._relieved(partial(self.stitcher.reserve, corner))
            self.stitcher.weigh(corner)
        plain = torch.stack([self.road.plan.cut(self.image, corner) for corner in corners])
        for mirror in self.turns:
            windows = plain.flip([axis + 2 for axis in mirror.axes]) if mirror.axes else plain
            for network in range(len(self.forward)):
                member = network % self.stitcher.members
                for start, logits in self.forward.run(network, self._seen(windows)):
                    for corner, one in zip(corners[start:], self._whole(logits), strict=False):
                        self.stitcher.add(corner, one, mirror, member)

    def _relieved(self, step: Callable[[], None]) -> None:
        """Take a step; where it wants for device memory, take it on the host."""
        try:
            step()
            return
        except RuntimeError as error:
            if not is_out_of_memory(error) or not _to_host(self.stitcher):
                raise
        step()

    def _seen(self, windows: torch.Tensor) -> torch.Tensor:
        axis = self.road.slice_axis
        return windows if axis is None else windows.squeeze(axis + 2)

    def _whole(self, logits: torch.Tensor) -> torch.Tensor:
        axis = self.road.slice_axis
        return logits if axis is None else logits.unsqueeze(axis + 2)


def _restorer(road: Road, confidence: BoundaryConfidence, device: torch.device) -> Restorer:
    """Where finished logits go: beside them where there is room for a mask, else on the host."""
    for place in dict.fromkeys((device, torch.device("cpu"))):
        try:
            return Restorer(
                road.working,
                road.native,
                road.labels,
                observe=_observer(road, confidence),
                mask=road.mask,
                device=place,
                nearest_axes=road.nearest_axes,
            )
        except RuntimeError as error:
            if place.type == "cpu" or not is_out_of_memory(error):
                raise
    raise AssertionError("the CPU raises its own error")


def _observer(road: Road, confidence: BoundaryConfidence) -> Observer:
    """What is told of the working decisions; it wants logits."""
    if not road.restores_probabilities:
        return confidence.observe

    def observe(probabilities: torch.Tensor, decision: torch.Tensor) -> None:
        confidence.observe(probabilities.log(), decision)

    return observe


def _taken(restorer: Restorer, road: Road) -> Sink:
    """Hands finished logits to the restorer as what is interpolated."""
    if not road.restores_probabilities:
        return restorer.put

    def put(logits: torch.Tensor, corner: Corner) -> None:
        restorer.put(torch.softmax(logits, dim=0), corner)

    return put


def _each(sinks: Sequence[Sink]) -> Sink:
    """One sink that feeds several, in order."""

    def put(logits: torch.Tensor, corner: Corner) -> None:
        for sink in sinks:
            sink(logits, corner)

    return put


def _split(averaged: Sink, apart: Sequence[Sink], members: int) -> Sink:
    """Takes (M * K, x, y, z); hands (M, K, x, y, z) to some sinks and the mean to another."""

    def put(logits: torch.Tensor, corner: Corner) -> None:
        of_each = logits.unflatten(0, (members, -1))
        averaged(of_each.mean(0), corner)
        for sink in apart:
            sink(of_each, corner)

    return put


def _brought_near(image: torch.Tensor, device: torch.device) -> torch.Tensor:
    """The image on the device where there is room for it: windows are then cut there."""
    try:
        return image.to(device)
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
    return image


def _to_host(stitcher: Stitcher) -> bool:
    """Move growing logits off the device; ``False`` where they are on the host already."""
    if stitcher.device.type == "cpu":
        return False
    stitcher.to_host()
    return True


def _budget(road: Road, padded: torch.Tensor, ensemble: Ensemble, machine: Machine) -> Budget:
    demand = Demand(
        plan=road.plan,
        channels=road.labels.channels,
        itemsize=machine.sums.itemsize,
        image_bytes=padded.nbytes if padded.device.type == "cpu" else 0,
        mask_bytes=math.prod(road.native.shape) * road.labels.dtype.itemsize,
        native_per_working=road.native.voxels / road.working.voxels,
        window_bytes=ensemble.window_bytes,
        members=len(ensemble.networks) if road.apart else 1,
    )
    asked = int(road.asked.sum())
    batch = wished_batch(road.plan, asked, road.infer.batch, machine.device)
    return plan_budget(demand, batch=batch, device=machine.device, allowance=machine.allowance)
