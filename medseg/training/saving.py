"""A finished run leaves a model folder: weights, and a card with all that segmenting needs."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from medseg.checksums import sha256_of
from medseg.geometry import Frame, distinct_frames, rounded
from medseg.manifests import Cohort
from medseg.manifests.looks import read_looks, write_looks
from medseg.model import (
    Fingerprint,
    Model,
    ModelCard,
    NetworkFacts,
    Pace,
    Provenance,
    Validation,
    save_model,
    versions,
)
from medseg.model.structures import learn_limits
from medseg.networks.inspect import cost, receptive_field
from medseg.training.cache import CachedCase, CaseFacts
from medseg.training.checkpoints import best_weights
from medseg.training.module import SegmentationTask
from medseg.training.origin import read_origin
from medseg.training.setup import Setup

#: Orientations of training scans nearer to each other than this are kept once.
ALIKE_DEGREES = 15.0


@dataclass(frozen=True)
class Outcome:
    """What a run found out about itself.

    Attributes:
        pace: how quickly it went.
        validation: how good its weights were, where a fold was held out.
    """

    pace: Pace
    validation: Validation | None = None


def save_run(setup: Setup, task: SegmentationTask, outcome: Outcome) -> Model:
    """Write ``model/``: the averaged weights, last or best, and their card."""
    config, cohort, run = setup.config, setup.cohort, setup.run
    facts = [case.facts for case in setup.data.train]
    origin, seen_before = read_origin(run) or (None, ())
    card = ModelCard(
        name=cohort.name,
        modality=cohort.modality,
        channels=cohort.channels,
        frames=cohort.frames.value,
        labels={},
        dims=config.dims,
        slice_axis=setup.slice_axis,
        network=config.network,
        network_facts=_network_facts(setup),
        prepare=config.prepare,
        infer=setup.infer,
        postprocess=config.postprocess,
        volume_ranges_ml=_volume_ranges(facts, cohort.labels.names),
        limits=learn_limits([fact.structures for fact in facts]),
        fingerprint=_fingerprint(setup.data.train),
        provenance=Provenance(
            cohort=cohort.name,
            cohort_sha256=_table_sum(cohort),
            training_pixels=tuple(sorted({fact.pixels for fact in facts} | set(seen_before))),
            training_patients=len({cohort.case(fact.case).patient for fact in facts}),
            seed=config.training.seed,
            steps=task.steps_done,
            seconds=round(time.monotonic() - run.started, 1),
            non_finite_steps=int(task.skipped),
            float32_steps=int(task.repeated),
            pace=outcome.pace,
            validation=outcome.validation,
            init=origin,
            config=config.model_dump(mode="json") | {"cohort": Path(config.cohort).name},
            versions=versions(),
        ),
    )
    looks = [look for case in setup.data.train for look in case.look]
    write_looks(run.model, [*looks, *read_looks([run.folder])])
    fold = config.training.fold
    stem = "all" if fold is None else f"fold_{fold}"
    return save_model(run.model, card, cohort.labels, {stem: weights_kept(setup, task, outcome)})


def weights_kept(setup: Setup, task: SegmentationTask, outcome: Outcome) -> dict[str, torch.Tensor]:
    """The weights that make the model: the averaged ones of the last step, or the best."""
    if outcome.validation is not None and outcome.validation.kept == "best":
        return best_weights(setup.run.best)
    return dict(task.network.state_dict())


def _network_facts(setup: Setup) -> NetworkFacts:
    network = setup.network()
    passed = cost(network, (1, len(setup.cohort.channels), *setup.plan.patch))
    return NetworkFacts(
        parameters=passed.parameters,
        multiply_adds=passed.multiply_adds,
        activation_bytes=passed.activation_bytes,
        receptive_field=receptive_field(network, setup.config.dims),
    )


def _table_sum(cohort: Cohort) -> str:
    """SHA-256 of the table that the cohort's card names."""
    if cohort.table is None or not cohort.table.is_file():
        return ""
    return sha256_of(cohort.table)


def _volume_ranges(
    facts: Sequence[CaseFacts], names: Sequence[str]
) -> dict[str, tuple[float, float]]:
    """Of each label where it is there; 0 to 0 where no truth has any, though drawn for it."""
    ranges = {}
    for name in names:
        volumes = [fact.volumes_ml[name] for fact in facts if name in fact.volumes_ml]
        present = [volume for volume in volumes if volume > 0] or volumes
        if present:
            ranges[name] = (round(min(present), 4), round(max(present), 4))
    return ranges


def _fingerprint(cases: Sequence[CachedCase]) -> Fingerprint:
    spacings = np.array([case.facts.native_spacing_mm for case in cases])
    shapes = np.array([case.facts.native_shape for case in cases])
    intensity = np.median([case.facts.intensity for case in cases], axis=0)
    ends = zip(spacings.min(0), spacings.max(0), strict=True)
    sizes = zip(shapes.min(0), shapes.max(0), strict=True)
    return Fingerprint(
        spacing_mm=tuple((float(a), float(b)) for a, b in ends),
        intensity=tuple((float(a), float(b), float(c)) for a, b, c in intensity),
        shape=tuple((int(a), int(b)) for a, b in sizes),
        frames=_frames(cases),
    )


def _frames(cases: Sequence[CachedCase]) -> tuple[Frame, ...]:
    """RAS directions of the working axes of the scans, none twice."""
    frames = distinct_frames((case.facts.directions for case in cases), ALIKE_DEGREES)
    return tuple(rounded(frame) for frame in frames)
