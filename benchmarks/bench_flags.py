"""How many good scans of a cohort are flagged, and how many planted faults, with perfect masks.

    python benchmarks/bench_flags.py IMAGES LABELS --labels liver=1,spleen=2 [--held-out 5]

The truths take the place of a network's masks: what is measured is whether flags call usual what
the cohort's own truths look like. Rows are divided by the part of a name before ``_frame`` (one
patient); every fifth patient is held out, the others teach what is usual. The faults of
``batch_planted.py`` are planted in the held-out scans, masks changed with them.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from batch_planted import PLANTS

from medseg.batch.quality import Expectations
from medseg.geometry import role_grid
from medseg.labels import LabelTable
from medseg.model.structures import learn_limits, measure
from medseg.readers.labels import read_labels
from medseg.scans import read
from medseg.volume import LabelMap, Volume, intensity_percentiles


@dataclass(frozen=True)
class Result:
    """What flags look at, as a segmentation has it."""

    labelmap: LabelMap
    volumes_ml: dict[str, float]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("images", type=Path)
    parser.add_argument("truths", type=Path)
    parser.add_argument("--labels", required=True, help="name=value,…, or a YAML file")
    parser.add_argument("--modality", default="MR")
    parser.add_argument("--held-out", type=int, default=5, help="one patient in so many")
    parser.add_argument("--first", type=int, default=0, help="the first patient held out")
    parser.add_argument("--nothing-learnt", action="store_true", help="as before limits")
    chosen = parser.parse_args()
    names = sorted(path.name for path in chosen.truths.glob("*.nii.gz"))
    patients = sorted({name.split("_frame")[0] for name in names})
    held_out = set(patients[chosen.first :: chosen.held_out])
    test = [name for name in names if name.split("_frame")[0] in held_out]
    labels = label_table(chosen.labels)
    usual = expectations(chosen, [name for name in names if name not in test], labels)
    show(usual, chosen, test)


def label_table(text: str) -> LabelTable:
    """``liver=1,spleen=2``, or a card's ``labels``."""
    if Path(text).is_file():
        import yaml

        content = yaml.safe_load(Path(text).read_text())
        return LabelTable.from_card({"labels": content.get("labels", content)})
    pairs = (pair.split("=") for pair in text.split(","))
    return LabelTable.from_card({"labels": {name: int(value) for name, value in pairs}})


def expectations(chosen: argparse.Namespace, train: list[str], labels: LabelTable) -> Expectations:
    """What a model card of these rows would say."""
    spacings, percentiles, structures, frames = [], [], [], []
    for name in train:
        volume, truth = read(chosen.images / name), read_labels(chosen.truths / name)
        grid = role_grid(volume.geometry)
        spacings.append(grid.spacing_mm)
        frames.append(grid.frame)
        percentiles.append(intensity_percentiles(volume))
        structures.append(measure(truth.data, truth.geometry, labels))
    ranges = {}
    for name in labels.names:
        present = [s[name].volume_ml for s in structures if s[name].volume_ml > 0]
        if present:
            ranges[name] = (min(present), max(present))
    columns = np.array(spacings)
    return Expectations(
        labels,
        chosen.modality,
        tuple(zip(columns.min(0), columns.max(0), strict=True)),
        tuple(map(tuple, np.median(percentiles, axis=0))),
        ranges,
        tuple(dict.fromkeys(frames)),
        limits={} if chosen.nothing_learnt else learn_limits(structures),
    )


def show(usual: Expectations, chosen: argparse.Namespace, test: list[str]) -> None:
    """A line a group: flagged, of how many, and by what."""
    groups: dict[str, Callable[[Volume], Volume] | None] = {"good": None, **PLANTS}
    for group, spoil in groups.items():
        kinds: Counter[str] = Counter()
        flagged = 0
        for name in test:
            scan, truth = read(chosen.images / name), read_labels(chosen.truths / name)
            if spoil is not None:
                scan, truth = spoilt(spoil, group, scan, truth)
            ml = {
                label: structure.volume_ml
                for label, structure in measure(truth.data, truth.geometry, usual.labels).items()
            }
            flags = usual(scan)(Result(truth, ml))
            flagged += bool(flags)
            kinds.update({flag.kind for flag in flags})
        said = ", ".join(f"{kind} {n}" for kind, n in kinds.most_common())
        print(f"{group:8} {flagged:3} of {len(test):3} flagged   {said}", flush=True)


def spoilt(
    spoil: Callable[[Volume], Volume], kind: str, scan: Volume, truth: LabelMap
) -> tuple[Volume, LabelMap]:
    """A scan with a fault, and the mask that a perfect network would give it."""
    changed = spoil(scan)
    mask = truth.data[tuple(slice(0, n) for n in changed.geometry.shape)]
    if kind == "blank":
        mask = np.zeros_like(mask)
    return changed, replace(truth, data=mask, geometry=changed.geometry)


if __name__ == "__main__":
    main()
