"""Labelled scans, prepared once: one memory-mapped file a case, named by what made it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray
from safetensors import safe_open

from medseg.config import PrepareConfig
from medseg.errors import BadCohort
from medseg.geometry import Frame, left_right_axis, role_grid
from medseg.manifests import Case, Cohort, read_truth
from medseg.manifests.likeness import Likeness
from medseg.manifests.looks import unpack_looks
from medseg.manifests.reading import file_of
from medseg.manifests.remarks import mask_remarks
from medseg.model.structures import VOLUME_MARGIN, Structure, measure
from medseg.readers.parts import state_of
from medseg.transforms.prepare import Prepared, prepare_truth
from medseg.transforms.steps import prepare_files
from medseg.volume import LabelMap
from medseg.volume.box import box_above_lowest
from medseg.writers.atomic import atomic_path

#: Raised whenever the content of a cache file changes its meaning.
_VERSION = 11

#: Voxels of each class remembered as possible patch centres.
_CENTRES_PER_CLASS = 2000


@dataclass(frozen=True)
class CaseFacts:
    """What later steps need to know of a case without opening its arrays.

    Attributes:
        case: case id.
        shape: voxels along the working axes.
        content: along each of them, from which voxel up to which it is not empty.
        spacing_mm: of the working grid.
        native_spacing_mm: of the scan along the working axes.
        native_shape: voxels of the scan along the working axes.
        directions: RAS unit vectors of the working axes.
        left_right: the working axis that runs most nearly left to right.
        structures: each label that the truth was drawn for, measured on the native grid; left out
            where ignored voxels may be much of it.
        kept: volume on the working grid as a share of that, of each label that is there.
        intensity: 0.5, 50 and 99.5 percentile of real-world values, a row a channel.
        pixels: pixel hash of the scan.
        truth: hash of the class indices on the working grid.
        known: whether the truth was drawn for each class, background included.
        warnings: of the reader.
    """

    case: str
    shape: tuple[int, int, int]
    content: tuple[tuple[int, int], tuple[int, int], tuple[int, int]]
    spacing_mm: tuple[float, float, float]
    native_spacing_mm: tuple[float, float, float]
    native_shape: tuple[int, int, int]
    directions: Frame
    left_right: int
    structures: Mapping[str, Structure]
    kept: Mapping[str, float]
    intensity: tuple[tuple[float, float, float], ...]
    pixels: str
    truth: str
    known: tuple[bool, ...]
    warnings: tuple[str, ...] = ()

    @property
    def volumes_ml(self) -> dict[str, float]:
        """Volume of each label whose extent the truth says."""
        return {name: structure.volume_ml for name, structure in self.structures.items()}


@dataclass(frozen=True)
class CachedCase:
    """A prepared case on disk.

    The file holds ``image`` (C, X, Y, Z) float16, ``classes`` (X, Y, Z) int16 class indices
    (-1 = not scored), for each class that occurs ``centres_<class>`` (n, 3) voxels, and ``look``,
    by which the scan is recognised.
    """

    path: Path
    facts: CaseFacts

    def __reduce__(self) -> tuple[type[CachedCase], tuple[Path, CaseFacts]]:
        """Travel to a worker without the open file."""
        return CachedCase, (self.path, self.facts)

    @cached_property
    def _file(self) -> Any:
        return safe_open(self.path, framework="numpy")

    @cached_property
    def centres(self) -> dict[int, NDArray[np.int32]]:
        """Class index -> (n, 3) voxels of that class; background left out."""
        names = [name for name in self._file.keys() if name.startswith("centres_")]  # noqa: SIM118
        return {
            int(name.removeprefix("centres_")): self._file.get_tensor(name)
            for name in sorted(names)
        }

    @property
    def look(self) -> tuple[Likeness, ...]:
        """What each channel of the scan is recognised by."""
        return unpack_looks(self._file.get_tensor("look").tobytes(), path=self.path)

    def box(
        self, start: tuple[int, int, int], stop: tuple[int, int, int]
    ) -> tuple[NDArray[np.float16], NDArray[np.int16]]:
        """Image (C, x, y, z) and classes (x, y, z) between two voxels; only these are read."""
        (x0, y0, z0), (x1, y1, z1) = start, stop
        image = self._file.get_slice("image")[:, x0:x1, y0:y1, z0:z1]
        classes = self._file.get_slice("classes")[x0:x1, y0:y1, z0:z1]
        return image, classes


def cached_case(cohort: Cohort, case: Case, config: PrepareConfig, folder: Path) -> CachedCase:
    """The prepared case, made now or found from an earlier run.

    Raises:
        MedsegError: the scan or its truth is refused, with the reason.
    """
    _require_a_channel(cohort, case)
    path = folder / f"{case.case}-{_key(cohort, case, config)}.safetensors"
    facts = _read_facts(path)
    if facts is None:
        prepared = prepare_files(
            case.sources, config, frames=cohort.frames, channels=cohort.channels
        )
        truth = read_truth(cohort, case, grid=prepared.native)
        classes = prepare_truth(truth, cohort.labels, prepared.working)
        facts = _facts(cohort, case, prepared, truth, classes, config.frame)
        _write(path, prepared, classes, facts)
    return CachedCase(path, facts)


def _require_a_channel(cohort: Cohort, case: Case) -> None:
    """Refuse a truth drawn for labels of which none makes a whole region."""
    labels = cohort.labels
    drawn = {labels.value_of(name) for name in filter(case.annotates, labels.names)}
    if labels.regions and not any(drawn.issuperset(region.values) for region in labels.regions):
        raise BadCohort(
            f"the truth of case {case.case!r} was drawn for no whole region",
            path=cohort.path,
            found=", ".join(case.labelled),
            expected="all labels of a region in the column `labelled`",
        )


def _key(cohort: Cohort, case: Case, config: PrepareConfig) -> str:
    """A name that changes with the files, the labels and the way of preparing."""
    files = [*case.sources, *([case.label] if case.label else [])]
    recipe = [
        _VERSION,
        [str(path.resolve()) for path in files],
        [state_of(file_of(path)) for path in files],
        config.model_dump(mode="json"),
        cohort.labels.to_card(),
        sorted(cohort.remap.items()),
        case.labelled,
        cohort.frames,
    ]
    return hashlib.sha256(json.dumps(recipe, default=str).encode()).hexdigest()[:16]


def _facts(
    cohort: Cohort,
    case: Case,
    prepared: Prepared,
    truth: LabelMap,
    classes: NDArray[np.int16],
    frame: Frame | None,
) -> CaseFacts:
    ordered = role_grid(prepared.native, frame)
    measured = measure(truth.data, prepared.native, cohort.labels, frame)
    structures = {name: it for name, it in measured.items() if case.annotates(name)}
    x, y, z = box_above_lowest(prepared.image.numpy())
    return CaseFacts(
        case=case.case,
        shape=prepared.working.shape,
        content=((x.start, x.stop), (y.start, y.stop), (z.start, z.stop)),
        spacing_mm=prepared.working.spacing_mm,
        native_spacing_mm=ordered.spacing_mm,
        native_shape=ordered.shape,
        directions=ordered.frame,
        left_right=left_right_axis(ordered),
        structures=_whole(structures, cohort, truth),
        kept=_kept(structures, cohort, classes, prepared),
        intensity=prepared.intensity,
        pixels=prepared.pixels,
        truth=hashlib.sha256(np.ascontiguousarray(classes).tobytes()).hexdigest(),
        known=(True, *map(case.annotates, cohort.labels.names)),
        warnings=(*prepared.warnings, *mask_remarks(truth, prepared.warnings)),
    )


def _whole(
    structures: Mapping[str, Structure], cohort: Cohort, truth: LabelMap
) -> dict[str, Structure]:
    """Those that ignored voxels could not make so much larger that a flag would be due."""
    unknown_ml = 0.0
    if cohort.labels.ignore is not None:
        unknown_ml = (truth.data == cohort.labels.ignore).sum() * truth.geometry.voxel_ml
    most = VOLUME_MARGIN[1] - 1
    return {name: it for name, it in structures.items() if unknown_ml <= most * it.volume_ml}


def _kept(
    structures: Mapping[str, Structure],
    cohort: Cohort,
    classes: NDArray[np.int16],
    prepared: Prepared,
) -> dict[str, float]:
    """Share of each label's volume that the working grid holds."""
    ml = prepared.working.voxel_ml
    found = np.bincount(classes[classes > 0].ravel(), minlength=len(cohort.labels.values) + 1)
    index = {value: n for n, value in enumerate(cohort.labels.values, start=1)}
    return {
        name: round(float(found[index[cohort.labels.value_of(name)]] * ml / one.volume_ml), 3)
        for name, one in structures.items()
        if one.volume_ml > 0
    }


def _write(path: Path, prepared: Prepared, classes: NDArray[np.int16], facts: CaseFacts) -> None:
    arrays: dict[str, NDArray[Any]] = {
        "image": prepared.image.numpy().astype(np.float16),
        "classes": np.ascontiguousarray(classes),
        "look": np.frombuffer(prepared.look, np.uint8),
    }
    rng = np.random.default_rng(0)
    for value in np.unique(classes):
        if value <= 0:
            continue
        voxels = np.flatnonzero(classes == value)
        if voxels.size > _CENTRES_PER_CLASS:
            voxels = rng.choice(voxels, _CENTRES_PER_CLASS, replace=False)
        centres = np.stack(np.unravel_index(voxels, classes.shape), axis=1).astype(np.int32)
        arrays[f"centres_{value}"] = np.ascontiguousarray(centres)
    metadata = {"facts": json.dumps(asdict(facts))}
    with atomic_path(path) as temporary:
        safetensors.numpy.save_file(arrays, temporary, metadata=metadata)


def _read_facts(path: Path) -> CaseFacts | None:
    """The facts of a cache file, or ``None`` where there is none that can be read."""
    try:
        with safe_open(path, framework="numpy") as file:
            facts = json.loads((file.metadata() or {})["facts"])
    except (OSError, KeyError, ValueError, safetensors.SafetensorError):
        return None
    structures = {
        name: Structure(**{key: _tuple(value) for key, value in one.items()})
        for name, one in facts.pop("structures", {}).items()
    }
    return CaseFacts(**{key: _tuple(value) for key, value in facts.items()}, structures=structures)


def _tuple(value: Any) -> Any:
    return tuple(_tuple(inner) for inner in value) if isinstance(value, list) else value
