"""A made-up patient: parts painted in order, some of them labelled."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from medseg.labels import LabelTable
from medseg.phantoms.shapes import Form, Shape, Warp, random_warp, turned


@dataclass(frozen=True, eq=False)
class Part:
    """One solid of one tissue.

    Attributes:
        shape: where it is.
        tissue: what it looks like; a key of the appearance tables.
        label: the structure whose truth it is, or empty for surroundings and details.
        within: tissues it replaces; empty replaces everything.
        carved_from: the label that loses this part's volume to this part's label.
    """

    shape: Shape
    tissue: str
    label: str = ""
    within: tuple[str, ...] = ()
    carved_from: str = ""


@dataclass(frozen=True, eq=False)
class Anatomy:
    """A patient: parts in anatomy coordinates, and how these lie in the world.

    Attributes:
        parts: painted in this order.
        labels: the structures that have a truth.
        warp: world mm to anatomy mm.
        extent_mm: a grid must cover this much of the world (R, A, S) to hold the organs whole.
    """

    parts: tuple[Part, ...]
    labels: LabelTable
    warp: Warp
    extent_mm: tuple[float, float, float]

    @property
    def volumes_ml(self) -> dict[str, float]:
        """Exact volume of each labelled structure, in ml."""
        volumes = dict.fromkeys(self.labels.names, 0.0)
        for part in self.parts:
            if part.label in volumes:
                volumes[part.label] += part.shape.volume_ml
            if part.carved_from in volumes:
                volumes[part.carved_from] -= part.shape.volume_ml
        return volumes

    def moved(self, rng: np.random.Generator) -> Anatomy:
        """The same organs on another day: lying elsewhere, breathing and bending otherwise."""
        return replace(self, warp=lying(rng))


def lying(rng: np.random.Generator) -> Warp:
    """How a patient lies on the table this time."""
    return random_warp(rng, shift_mm=7, amplitude_mm=5)


class Sculptor:
    """Draws the dice for one patient's parts: sizes, places and angles that vary.

    Args:
        rng: where chance comes from.
        size: share by which the whole patient is larger or smaller.
    """

    def __init__(self, rng: np.random.Generator, *, size: tuple[float, float, float]) -> None:
        self.rng = rng
        self.size = np.asarray(size)

    def shape(
        self,
        centre_mm: tuple[float, float, float],
        radii_mm: tuple[float, float, float],
        *,
        angles: tuple[float, float, float] = (0, 0, 0),
        form: Form = Form.ELLIPSOID,
        vary: float = 0.0,
        bends: tuple[tuple[int, int, float], ...] = (),
        taper: float = 0.0,
        ripple: float = 0.0,
    ) -> Shape:
        """A shape at the patient's size; `vary` = 1 moves by mm, stretches by per cent, turns."""
        rng = self.rng
        centre = (np.asarray(centre_mm) + rng.uniform(-4, 4, 3) * vary) * self.size
        radii = np.asarray(radii_mm) * self.size * (1 + rng.uniform(-0.1, 0.1, 3) * vary)
        tilt = np.asarray(angles) + rng.uniform(-8, 8, 3) * vary
        return Shape(_triple(centre), _triple(radii), turned(*tilt), form, bends, taper, ripple)


def apart(parts: list[Part]) -> bool:
    """Whether the labelled parts keep clear of each other, but for those carved from another."""
    solid = [part for part in parts if part.label and not part.carved_from]
    clear = not any(a.shape.touches(b.shape) for i, a in enumerate(solid) for b in solid[:i])
    hosts = {part.label: part.shape for part in solid}
    carved = [part for part in parts if part.carved_from]
    return clear and all(
        bool(hosts[part.carved_from].inside(part.shape.surface(300, margin=1.06)).all())
        for part in carved
    )


def _triple(values: np.ndarray) -> tuple[float, float, float]:
    x, y, z = (float(value) for value in values)
    return x, y, z
