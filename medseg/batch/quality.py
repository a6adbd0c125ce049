"""Flags say which masks a person should look at first, and why; cheap enough for every case.

A flag says that something is unusual, never that the mask is wrong. Every threshold below is a
rule of thumb, named so that it can be argued with.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from medseg.batch.task import Flag
from medseg.geometry import Frame, degrees_apart, role_grid
from medseg.labels import LabelTable
from medseg.model.card import Limits
from medseg.model.structures import USUAL, VOLUME_MARGIN, measure
from medseg.volume import LabelMap, Volume, intensity_percentiles

if TYPE_CHECKING:
    from medseg.inference import Segmentation

#: Spacing may leave the training range by this factor, either way.
SPACING_FACTOR = 1.3
#: A scan's planes may be turned this far from the nearest training scan's.
ORIENTATION_DEGREES = 30.0
#: A scan is blank when its range of values is below this share of the training scans'.
BLANK_SHARE = 0.02
#: Percentiles of intensity may differ by this share of the training scans' range. Units are
#: arbitrary outside CT: there, only where the median lies within the range is compared.
INTENSITY_SHARE = {"CT": 0.75}
OTHER_INTENSITY_SHARE = 0.4
#: Confidence has no scale that all models share: a case stands out where it is this many robust
#: standard deviations below the batch's median, of at least so many cases.
OUTLYING_SD, ENOUGH_CASES = 4.0, 20
_ROLES = ("along the first in-plane axis", "along the second in-plane axis", "through plane")


@dataclass(frozen=True)
class Expectations:
    """What the training cohort leads one to expect of a scan and its mask.

    Attributes:
        labels: of the model.
        modality: of the training scans, or empty.
        spacing_mm: smallest and largest, in plane, in plane and through plane; empty where
            unknown.
        frames: RAS directions of these axes in the training scans; empty where unknown.
        frame: to which the model turns scans; ``None`` for R, A, S.
        limits: what is usual for each label, where it was learnt.
        intensity: 0.5, 50 and 99.5 percentile of real-world values, a row a channel.
        volume_ranges_ml: smallest and largest of each label.
    """

    labels: LabelTable
    modality: str = ""
    spacing_mm: tuple[tuple[float, float], ...] = ()
    intensity: tuple[tuple[float, float, float], ...] = ()
    volume_ranges_ml: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    frames: tuple[Frame, ...] = ()
    frame: Frame | None = None
    limits: Mapping[str, Limits] = field(default_factory=dict)

    def __call__(self, volume: Volume) -> Callable[[Segmentation], tuple[Flag, ...]]:
        """Every reason to look at a scan's mask before believing it, found once it is there."""
        return partial(self._flags, tuple(self._input_flags(volume)))

    def _flags(self, of_scan: tuple[Flag, ...], result: Segmentation) -> tuple[Flag, ...]:
        return (
            *of_scan,
            *self._mask_flags(result.labelmap),
            *self._volume_flags(result.volumes_ml),
        )

    def _input_flags(self, volume: Volume) -> Iterator[Flag]:
        scan_modality = volume.origin.modality.upper()
        model_modality = self.modality.upper()
        if scan_modality and model_modality and scan_modality[:2] != model_modality[:2]:
            yield Flag(
                "modality",
                "",
                f"modality {scan_modality}, the model was trained on {model_modality}",
            )
        grid = role_grid(volume.geometry, self.frame)
        for role, mm, (low, high) in zip(_ROLES, grid.spacing_mm, self.spacing_mm, strict=False):
            if not low / SPACING_FACTOR <= mm <= high * SPACING_FACTOR:
                yield Flag(
                    "spacing",
                    "",
                    f"spacing {role} is {mm:.3g} mm, in training {low:.3g} to {high:.3g} mm",
                )
        apart = min((degrees_apart(grid.frame, frame) for frame in self.frames), default=0.0)
        if apart > ORIENTATION_DEGREES:
            yield Flag(
                "orientation",
                "",
                f"its planes ({grid.orientation}) are {apart:.0f} degrees from the nearest seen"
                " in training",
            )
        measured = intensity_percentiles(volume)
        for three, expected in zip(measured, self.intensity, strict=False):
            reason = self._unlike(three, expected)
            if reason:
                yield Flag("intensity", "", reason)

    def _unlike(
        self, intensities: tuple[float, float, float], expected: tuple[float, float, float]
    ) -> str:
        width, usual = intensities[2] - intensities[0], expected[2] - expected[0]
        described = f"intensities {_three(intensities)}, in training {_three(expected)}"
        is_ct = self.modality.upper() in INTENSITY_SHARE
        if width <= 0 or (is_ct and width < BLANK_SHARE * usual):
            return f"the scan is blank: {described}"
        if usual <= 0:
            return ""
        if is_ct:
            limit = INTENSITY_SHARE[self.modality.upper()] * usual
            apart = max(abs(a - b) for a, b in zip(intensities, expected, strict=True))
            return described if apart > limit else ""
        if intensities[0] < -0.1 * width and expected[0] >= 0:
            return f"values below zero: {described}"
        middle = (intensities[1] - intensities[0]) / width - (expected[1] - expected[0]) / usual
        return described if abs(middle) > OTHER_INTENSITY_SHARE else ""

    def _mask_flags(self, mask: LabelMap) -> Iterator[Flag]:
        measures = measure(mask.data, mask.geometry, self.labels, self.frame)
        if not any(structure.volume_ml for structure in measures.values()):
            yield Flag("empty", "", "the mask is empty")
            return
        for name, structure in measures.items():
            limits = self.limits.get(name, USUAL)
            pairs = zip(structure.cuts, limits.cuts, strict=True)
            faces = [face for face, (share, most) in enumerate(pairs) if share > most]
            if faces:
                where = " and ".join(dict.fromkeys(_ROLES[face // 2] for face in faces))
                yield Flag("cut", name, f"{name} is cut by the edge of the scan ({where})")
            if structure.pieces > limits.pieces:
                usual = f", in training at most {limits.pieces}" if limits.pieces > 1 else ""
                text = f"{name} is in {structure.pieces} large pieces{usual}"
                yield Flag("pieces", name, text)

    def _volume_flags(self, volumes_ml: Mapping[str, float]) -> Iterator[Flag]:
        for name, (low, high) in self.volume_ranges_ml.items():
            ml = volumes_ml.get(name, 0.0)
            least, most = low * VOLUME_MARGIN[0], high * VOLUME_MARGIN[1]
            if name in self.limits:
                least, most = self.limits[name].volume_ml
            if not least <= ml <= most:
                usual = f"in training {low:.3g} to {high:.3g} ml" if high else "never in training"
                yield Flag("volume", name, f"{name} has {ml:.3g} ml, {usual}")


def unsure(confidence: Mapping[str, Mapping[str, float]]) -> dict[str, tuple[Flag, ...]]:
    """Flags for cases in which the network is far less sure of a label than in the others.

    Args:
        confidence: case to label to confidence, 0-1.
    """
    flags: dict[str, tuple[Flag, ...]] = {}
    for label in sorted({name for sure in confidence.values() for name in sure}):
        known = {case: sure[label] for case, sure in confidence.items() if label in sure}
        if len(known) < ENOUGH_CASES:
            continue
        middle = float(np.median(list(known.values())))
        spread = 1.4826 * float(np.median([abs(value - middle) for value in known.values()]))
        for case, value in known.items():
            if value < middle - OUTLYING_SD * max(spread, 0.01):
                text = f"the network is unsure of {label} ({value:.2f}, usually {middle:.2f})"
                flags[case] = (*flags.get(case, ()), Flag("confidence", label, text))
    return flags


def _three(values: tuple[float, float, float]) -> str:
    return "/".join(f"{value:.4g}" for value in values)
