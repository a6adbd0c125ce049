"""Runs the cells that are not finished, one after the other, within a limit of time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context
from typing import Any

import pandas as pd
import torch
from torch import nn

from medseg.networks.inspect import cost, effective_receptive_field, receptive_field
from study.cells import BY_NAME, CELLS, KEPT, Cell
from study.cohorts import StudyCohort
from study.probes import PROBES, checkerboard_of
from study.results import Folder
from study.scoring import network_input, predict, score_cases
from study.stream import Stream
from study.training import begin_as, built, train


@dataclass
class Study:
    """One call of the script.

    Attributes:
        folder: of the results.
        device: of training and predicting.
        steps: of every cell.
        seeds: how many.
        until: moment (``time.monotonic``) after which no cell begins.
        chosen: names of the cells that are wanted.
        workers: processes that score.
        say: prints a line.
    """

    folder: Folder
    device: torch.device
    steps: int
    seeds: int
    until: float
    chosen: frozenset[str]
    workers: int
    say: Callable[[str], None]
    waiting: list[Future[None]] = field(default_factory=list)

    @property
    def is_over(self) -> bool:
        """Whether the time is up."""
        return time.monotonic() > self.until


def run_study(study: Study, cohorts: Sequence[StudyCohort]) -> None:
    """Run what is missing; every seed of all cells before the next seed."""
    with ProcessPoolExecutor(study.workers, mp_context=get_context("spawn")) as pool:
        for seed, cohort in _rounds(study, cohorts):
            stream = Stream(cohort, seed, study.device)
            for cell in CELLS:
                if study.is_over:
                    study.say("the time is up; the same command goes on here")
                    return
                if cohort.dims in cell.dims and cell.name in study.chosen:
                    _run_cell(study, cohort, stream, cell, pool)
            if seed == 0:
                _run_probes(study, cohort)
        for done in study.waiting:
            done.result()


def _rounds(study: Study, cohorts: Sequence[StudyCohort]) -> Iterator[tuple[int, StudyCohort]]:
    for seed in range(study.seeds):
        for cohort in cohorts:
            yield seed, cohort


def _run_cell(
    study: Study, cohort: StudyCohort, stream: Stream, cell: Cell, pool: ProcessPoolExecutor
) -> None:
    """Train, predict, and hand the masks to the processes that score."""
    seed = stream.seed
    if study.folder.facts(cohort.name, cell.name, seed) is not None:
        return
    network = built(cell, cohort, seed)
    if cell.starts_from is not None:
        weights = study.folder.weights(cohort.name, cell.starts_from, seed)
        if weights is None:
            study.say(f"{cohort.name} {cell.name} {seed}: not run, {cell.starts_from} is missing")
            return
        begin_as(network, weights, BY_NAME[cell.starts_from], cohort)
    trained = train(network, stream, study.steps)
    facts: dict[str, Any] = {
        "cohort": cohort.name,
        "cell": cell.name,
        "title": cell.title,
        "seed": seed,
        "steps": study.steps,
        "seconds": trained.seconds,
        "last_loss": trained.last_loss,
        "step_ms": 1000 * trained.seconds / study.steps,
        "peak_bytes": trained.peak_bytes,
        "device": device_name(study.device),
        "dims": cohort.dims,
    }
    if cell.name in KEPT:
        study.folder.keep_weights(cohort.name, cell.name, seed, network)
    if cell.network == "classifier":
        study.folder.keep(cohort.name, cell.name, seed, facts, None)
        study.say(f"{cohort.name} {cell.name} {seed}: {trained.seconds:.1f} s")
        return
    predicted = predict(network, cohort, study.device)
    facts |= {"case_seconds": predicted.seconds, **_seen(network, cohort, study.device, seed)}
    if cohort.name == "phantoms" and seed == 0:
        facts["panel"] = predicted.masks[0][..., predicted.masks[0].shape[2] // 2].tolist()
    later = pool.submit(
        score_cases, cohort.test, predicted.masks, cohort.labels, cohort.tolerance_mm
    )
    later.add_done_callback(_keeper(study, cohort, cell, seed, facts))
    study.waiting.append(later)


def _keeper(
    study: Study, cohort: StudyCohort, cell: Cell, seed: int, facts: dict[str, Any]
) -> Callable[[Future[pd.DataFrame]], None]:
    """Writes a run's results as soon as its scores are there."""

    def keep(done: Future[pd.DataFrame]) -> None:
        scores = done.result()
        whole = scores[(scores["label"] == "mean") & (scores["metric"] == "dice")]
        facts["dice"] = float(whole["value"].mean())
        study.folder.keep(cohort.name, cell.name, seed, facts, scores)
        study.say(
            f"{cohort.name} {cell.name} {seed}: Dice {facts['dice']:.3f}, "
            f"{facts['seconds']:.1f} s, {facts['step_ms']:.1f} ms a step"
        )

    return keep


def _seen(
    network: nn.Module, cohort: StudyCohort, device: torch.device, seed: int
) -> dict[str, Any]:
    """What the trained network sees and costs, and the pattern in its logits."""
    if seed:
        return {}
    image = network_input(cohort.test[0], cohort.dims, device)
    middle = image[len(image) // 2][None]
    spent = cost(network.cpu(), (1, 1, *cohort.patch))
    network.to(device)
    return {
        "parameters": spent.parameters,
        "multiply_adds": spent.multiply_adds,
        "activation_bytes": spent.activation_bytes,
        "field": receptive_field(network, cohort.dims),
        "effective_field": effective_receptive_field(network, middle),
        "checkerboard": checkerboard_of(network, image),
    }


def _run_probes(study: Study, cohort: StudyCohort) -> None:
    """The measurements that need no training of their own."""
    for name, probe in PROBES.items():
        if study.is_over or cohort.dims not in probe.dims:
            continue
        if study.folder.facts(cohort.name, f"probe_{name}", 0) is None:
            facts = probe.measure(study.folder, cohort, study.device)
            if facts is None:
                study.say(f"{cohort.name} probe {name}: not run, the network it needs is missing")
                continue
            study.folder.keep(cohort.name, f"probe_{name}", 0, facts, None)
            study.say(f"{cohort.name} probe {name}: done")


def device_name(device: torch.device) -> str:
    """What the figures were measured on."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"CPU, {torch.get_num_threads()} threads"
