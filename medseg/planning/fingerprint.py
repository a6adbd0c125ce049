"""Look at the scans of a cohort once: spacings, shapes, intensities, sizes of structures."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter

from medseg.config import parse_json
from medseg.errors import BadCohort, MedsegError
from medseg.files import read_text
from medseg.geometry import RAS, Frame, role_grid, role_order
from medseg.manifests import Case, Cohort, read_case, read_truth
from medseg.manifests.reading import file_of
from medseg.manifests.remarks import mask_remarks
from medseg.memory import usable_cores
from medseg.planning.filled import filled
from medseg.progress import Progress
from medseg.readers.parts import State, state_of
from medseg.volume import LabelMap, Volume, stored_zero
from medseg.volume.box import box_above_lowest
from medseg.writers.atomic import atomic_path

#: Raised whenever the meaning of what is kept changes.
_VERSION = 6

#: Voxels inside the labels that are kept of each channel of a scan.
_SAMPLE = 2000

#: Reading is mostly waiting and unpacking; each thread holds one scan.
_MOST_WORKERS = 4


@dataclass(frozen=True)
class CaseLooks:
    """What a plan needs to know of one scan; nothing that tells whose it is.

    Attributes:
        spacing_mm: in plane, in plane and through plane.
        shape: voxels along the same axes.
        content: of these, so many between the outermost that are not empty.
        volumes_ml: of each label that the truth was drawn for; estimated where voxels are ignored.
        labelled_share: of voxels that carry a label.
        zero_share: of voxels that are exactly zero in the first channel.
        sample: real-world values inside the labels, a row a channel; empty without labels.
        directions: RAS unit vectors of those axes.
        warnings: what the mask's reader accepted and a person should know.
    """

    spacing_mm: tuple[float, float, float]
    shape: tuple[int, int, int]
    content: tuple[int, int, int]
    volumes_ml: Mapping[str, float]
    labelled_share: float
    zero_share: float
    sample: tuple[tuple[float, ...], ...]
    directions: Frame = RAS
    warnings: tuple[str, ...] = ()

    def turned(self, frame: Frame | None) -> CaseLooks:
        """The same scan with its axes as a frame orders them."""
        directions = np.array(self.directions)
        order, backwards = role_order(self.shape, self.spacing_mm, directions.T, frame)
        signs = [-1 if back else 1 for back in backwards]
        x, y, z = order
        rows = [
            tuple((directions[a] * sign).tolist()) for a, sign in zip(order, signs, strict=True)
        ]
        return replace(
            self,
            spacing_mm=(self.spacing_mm[x], self.spacing_mm[y], self.spacing_mm[z]),
            shape=(self.shape[x], self.shape[y], self.shape[z]),
            content=(self.content[x], self.content[y], self.content[z]),
            directions=(rows[0], rows[1], rows[2]),
        )


@dataclass(frozen=True)
class CohortLooks:
    """The same of a cohort's labelled train rows.

    Attributes:
        cases: one entry a readable row.
        left_out: case id -> why it could not be read.
        warnings: case id -> what the reader of its mask accepted and a person should know.
    """

    cases: tuple[CaseLooks, ...]
    left_out: Mapping[str, str]
    warnings: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def spacings_mm(self) -> NDArray[np.float64]:
        """(cases, 3) in plane, in plane and through plane."""
        return np.array([case.spacing_mm for case in self.cases])

    @property
    def extents_mm(self) -> NDArray[np.float64]:
        """(cases, 3) of what is not empty, in plane, in plane and through plane."""
        return np.asarray(self.spacings_mm * np.array([case.content for case in self.cases]))

    def turned(self, frame: Frame | None) -> CohortLooks:
        """The same scans with their axes as a frame orders them."""
        return replace(self, cases=tuple(case.turned(frame) for case in self.cases))

    def foreground(self, channel: int) -> NDArray[np.float64]:
        """Values inside the labels over all cases; each case gives at most so many."""
        return np.concatenate([np.asarray(case.sample[channel]) for case in self.cases])

    def typical_ml(self) -> dict[str, float]:
        """Median volume of each label where it is there; labels that never occur are left out."""
        found: dict[str, list[float]] = {}
        for case in self.cases:
            for name, volume in case.volumes_ml.items():
                if volume > 0:
                    found.setdefault(name, []).append(volume)
        return {name: float(np.median(volumes)) for name, volumes in found.items()}


def look_at(
    cohort: Cohort, *, kept: Path | None = None, progress: Progress | None = None
) -> CohortLooks:
    """Read every labelled train row once, a few at a time; test rows are not opened.

    Args:
        cohort: what to look at.
        kept: JSON file where what was found is kept, so that planning again is quick.
        progress: called as (done, total).

    Raises:
        BadCohort: no row can be read.
    """
    rows = cohort.select(split="train").labelled().cases
    known = _read_kept(kept)
    found: list[CaseLooks] = []
    left_out: dict[str, str] = {}
    warnings: dict[str, tuple[str, ...]] = {}
    keys = {case.case: _key(cohort, case) for case in rows}
    with ThreadPoolExecutor(min(_MOST_WORKERS, usable_cores())) as pool:
        results = pool.map(lambda case: known.get(keys[case.case]) or _look(cohort, case), rows)
        for done, (case, looks) in enumerate(zip(rows, results, strict=True), start=1):
            if isinstance(looks, CaseLooks):
                found.append(looks)
                known[keys[case.case]] = looks
                if looks.warnings:
                    warnings[case.case] = looks.warnings
            else:
                left_out[case.case] = str(looks)
            if progress is not None:
                progress(done, len(rows))
    if not found:
        name, reason = next(iter(left_out.items()))
        raise BadCohort(f"no train row can be read; case {name}: {reason}", path=cohort.path)
    _keep(kept, {key: known[key] for key in keys.values() if key in known})
    return CohortLooks(tuple(found), left_out, warnings)


def _look(cohort: Cohort, case: Case) -> CaseLooks | MedsegError:
    from medseg.transforms.channels import aligner

    try:
        volume = read_case(cohort, case, align=aligner(cohort.frames))
        truth = read_truth(cohort, case, grid=volume.geometry)
    except MedsegError as error:
        return error
    grid = role_grid(volume.geometry)
    order, _ = role_order(
        volume.geometry.shape, volume.geometry.spacing_mm, volume.geometry.directions
    )
    sides = [side.stop - side.start for side in box_above_lowest(volume.data)]
    known = np.zeros(max(*cohort.labels.values, int(truth.data.max())) + 1, dtype=bool)
    known[list(cohort.labels.values)] = True
    labelled = known[truth.data]
    return CaseLooks(
        spacing_mm=grid.spacing_mm,
        shape=grid.shape,
        content=(sides[order[0]], sides[order[1]], sides[order[2]]),
        volumes_ml=_volumes_ml(cohort, case, truth),
        labelled_share=float(labelled.mean()),
        zero_share=_zero_share(volume),
        sample=_sample(volume, labelled),
        directions=grid.frame,
        warnings=mask_remarks(truth, volume.origin.warnings),
    )


def _volumes_ml(cohort: Cohort, case: Case, truth: LabelMap) -> dict[str, float]:
    values, voxel_ml = filled(truth, cohort.labels.ignore)
    counts = np.zeros(max(*cohort.labels.values, int(values.max())) + 1, dtype=np.int64)
    for plane in values:  # counting makes 64-bit integers
        counts += np.bincount(plane.ravel(), minlength=len(counts))
    return {
        label.name: float(counts[label.value] * voxel_ml)
        for label in cohort.labels.labels
        if case.annotates(label.name)
    }


def _zero_share(volume: Volume) -> float:
    """Share of voxels whose real-world value is 0 in the first channel, compared as stored."""
    return float((volume.data[0] == stored_zero(volume.slope, volume.intercept)).mean())


def _sample(volume: Volume, labelled: NDArray[np.bool_]) -> tuple[tuple[float, ...], ...]:
    """Evenly chosen values inside the labels, without padding and what is not a number.

    The values themselves say what is padding, as in :meth:`medseg.volume.Volume.measuring`.
    """
    where = np.flatnonzero(labelled)
    chosen = np.unravel_index(where[:: max(1, where.size // _SAMPLE)], labelled.shape)
    rows, measure = [], volume.measuring()
    for channel in volume.data:
        values = measure.real(channel[chosen])
        scanned = np.isfinite(values) & ~measure.is_padding(values)
        rows.append(tuple(float(f"{value:.6g}") for value in values[scanned][:_SAMPLE]))
    return tuple(rows)


def _key(cohort: Cohort, case: Case) -> str:
    """A name for these very files under this meaning of the labels."""
    files = [*case.sources, *([case.label] if case.label else [])]
    stats = [_state(file_of(file)) for file in files]
    recipe = [_VERSION, [str(f.resolve()) for f in files], stats, cohort.labels.to_card()]
    recipe += [sorted(cohort.remap.items()), case.labelled]
    return hashlib.sha256(json.dumps(recipe).encode()).hexdigest()[:16]


def _state(path: Path) -> list[State]:
    try:
        return state_of(path)
    except (OSError, ValueError):
        return []  # reading says why


def _read_kept(path: Path | None) -> dict[str, CaseLooks | MedsegError]:
    try:
        text = read_text(path) if path is not None else "{}"
        return dict(_KEPT.validate_python(parse_json(text)))
    except (OSError, ValueError):  # pydantic's errors are such, too
        return {}


#: Kinds and lengths of what is kept are checked: anybody may have edited the file.
_KEPT = TypeAdapter(dict[str, CaseLooks])


def _keep(path: Path | None, known: Mapping[str, CaseLooks | MedsegError]) -> None:
    if path is None:
        return
    plain = {key: asdict(looks) for key, looks in known.items() if isinstance(looks, CaseLooks)}
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(plain), encoding="utf-8")


def median_shape(looks: CohortLooks, spacing_mm: Sequence[float]) -> tuple[int, int, int]:
    """Voxels of a typical scan at a working spacing."""
    x, y, z = np.ceil(np.median(looks.extents_mm / np.array(spacing_mm), axis=0) - 1e-6)
    return int(x), int(y), int(z)
