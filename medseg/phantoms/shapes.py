"""Shapes whose volume is known exactly, however they are bent.

An ellipsoid or cylinder is bent, tapered and warped only by maps of determinant 1 (shears, and
swelling paid for by shortening), so it looks grown while its volume stays the plain shape's.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.floating]


class Form(StrEnum):
    """The plain shape before bending, in local coordinates scaled by the radii."""

    ELLIPSOID = "ellipsoid"
    #: Elliptic, along the local third axis, flat at both ends.
    CYLINDER = "cylinder"
    #: An elliptic hoop; the third radius is that of the tube. Its volume is not known exactly.
    RING = "ring"


#: Volume for radii of 1, where it is exact.
_UNIT_VOLUME = {Form.ELLIPSOID: 4 / 3 * math.pi, Form.CYLINDER: 2 * math.pi}


@dataclass(frozen=True, eq=False)
class Shape:
    """A solid in anatomy coordinates (mm; x to the right, y forwards, z upwards).

    Attributes:
        centre_mm: its middle.
        radii_mm: half lengths along its own axes.
        turn: (3, 3) its own axes, one a column.
        form: the plain shape.
        bends: (axis, along, amount): moves `axis` by amount · along², as a bean is bent.
        taper: share by which it is thick and blunt towards the first axis's plus end, and thin
            and long towards its minus end, as a pear is; below 0.9.
        ripple: depth of furrows in the surface as a share of the radius (0 where volume counts).
    """

    centre_mm: tuple[float, float, float]
    radii_mm: tuple[float, float, float]
    turn: NDArray[np.float64]
    form: Form = Form.ELLIPSOID
    bends: tuple[tuple[int, int, float], ...] = ()
    taper: float = 0.0
    ripple: float = 0.0

    @property
    def volume_ml(self) -> float:
        """Exact volume, in ml; of ellipsoids and cylinders without ripple."""
        if self.form not in _UNIT_VOLUME or self.ripple:
            raise ValueError(f"the volume of a {self.form} with ripple {self.ripple} is not known")
        return _UNIT_VOLUME[self.form] * math.prod(self.radii_mm) / 1000.0

    def inside(self, points: Points) -> NDArray[np.bool_]:
        """(..., 3) anatomy mm to (...) whether the point lies in the solid."""
        local = (points - np.asarray(self.centre_mm, points.dtype)) @ self.turn.astype(points.dtype)
        local /= np.asarray(self.radii_mm, points.dtype)
        x, y, z = np.moveaxis(local, -1, 0)
        axes = [x, y, z]
        for axis, along, amount in self.bends:
            axes[axis] = axes[axis] - amount * axes[along] ** 2
        if self.taper:
            swell = np.exp(self.taper * axes[0])  # squeezes the length, so sections grow by it
            axes = [(swell - 1) / self.taper, *(axis / np.sqrt(swell) for axis in axes[1:])]
        return self._inside_plain(axes, points)

    def _inside_plain(self, axes: list[Points], points: Points) -> NDArray[np.bool_]:
        x, y, z = axes
        if self.form is Form.CYLINDER:
            return np.asarray((x**2 + y**2 <= 1) & (np.abs(z) <= 1))
        if self.form is Form.RING:
            tubes = (self.radii_mm[0] + self.radii_mm[1]) / 2 / self.radii_mm[2]
            return np.asarray(((np.hypot(x, y) - 1) * tubes) ** 2 + z**2 <= 1)
        radius = x**2 + y**2 + z**2
        if not self.ripple:
            return np.asarray(radius <= 1)
        return np.asarray(radius <= (1 + self.ripple * (_ridges(points) - 1)) ** 2)

    def box_mm(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Lowest and highest corner of a box, along the anatomy's axes, that holds the solid."""
        reach = np.ones(3)
        if self.form is Form.RING:
            reach[:2] += self.radii_mm[2] / min(self.radii_mm[:2])
        if self.taper:
            reach[0] = -math.log1p(-abs(self.taper)) / abs(self.taper)
            reach[1:] *= math.sqrt(1 + abs(self.taper))
        for axis, along, amount in reversed(self.bends):
            reach[axis] += abs(amount) * reach[along] ** 2
        half = np.abs(self.turn) @ (reach * self.radii_mm)
        return np.asarray(self.centre_mm) - half, np.asarray(self.centre_mm) + half

    def surface(self, count: int, *, margin: float = 1.0) -> NDArray[np.float64]:
        """(about `count`, 3) points spread over the surface, pushed out by a factor."""
        index = np.arange(count) + 0.5
        height, angle = 1 - 2 * index / count, math.pi * (1 + math.sqrt(5)) * index
        around = np.sqrt(1 - height**2)
        local = np.stack([around * np.cos(angle), around * np.sin(angle), height], axis=-1)
        if self.form is Form.CYLINDER:  # from the sphere out to the cylinder around it
            local /= np.maximum(around, np.abs(height))[:, None]
        local *= margin
        if self.taper:
            swell = 1 + self.taper * local[:, :1]
            local = np.hstack([np.log(swell) / self.taper, local[:, 1:] * np.sqrt(swell)])
        for axis, along, amount in reversed(self.bends):
            local[:, axis] += amount * local[:, along] ** 2
        return np.asarray(local * self.radii_mm @ self.turn.T + self.centre_mm)

    def touches(self, other: Shape, *, margin: float = 1.06) -> bool:
        """Whether two solids overlap or come close; seen from points on both surfaces."""
        pairs = ((self, other), (other, self))
        return any(
            a.inside(b.surface(300, margin=share)).any() for a, b in pairs for share in (0, margin)
        )


#: Furrows run where one of two wavy families of planes crosses: radians a mm, one family a row.
_FURROWS = np.array([[0.15, 0.09, 0.04], [-0.06, 0.13, 0.12]])
_WAVES = np.array([[-0.03, 0.06, 0.07], [0.08, 0.02, -0.05]])


def _ridges(points: Points) -> Points:
    """(..., 3) anatomy mm to (...) 0 at the bottom of a furrow, 1 on a ridge, as the cortex."""
    waves = 1.6 * np.sin(points @ _WAVES.T.astype(points.dtype))
    steep = np.abs(np.sin(points @ _FURROWS.T.astype(points.dtype) + waves)).min(axis=-1)
    return np.asarray(np.minimum(1, 1.6 * steep**0.6))


@dataclass(frozen=True, eq=False)
class Warp:
    """A smooth map of space that keeps every volume: waves along one axis after another.

    Each axis is moved by waves of the other two coordinates alone, which is a shear of
    determinant 1. It maps world mm to anatomy mm.

    Attributes:
        offset_mm: world position of the anatomy's origin.
        amplitude_mm: (3, waves) of each axis.
        waves: (3, waves, 3) radians a mm; zero along the axis that is moved.
        phases: (3, waves) radians.
    """

    offset_mm: NDArray[np.float64]
    amplitude_mm: NDArray[np.float64]
    waves: NDArray[np.float64]
    phases: NDArray[np.float64]

    def __call__(self, world: Points) -> Points:
        """(..., 3) world mm (RAS) to (..., 3) anatomy mm."""
        points = world - self.offset_mm.astype(world.dtype)
        for axis in range(3):
            angle = points @ self.waves[axis].T.astype(world.dtype)
            angle += self.phases[axis].astype(world.dtype)
            points[..., axis] += np.sin(angle) @ self.amplitude_mm[axis].astype(world.dtype)
        return points

    @property
    def reach_mm(self) -> NDArray[np.float64]:
        """(3,) how far a point can be moved along each axis, beyond the offset."""
        return np.asarray(np.abs(self.amplitude_mm).sum(axis=1))


def random_warp(rng: np.random.Generator, *, shift_mm: float, amplitude_mm: float) -> Warp:
    """Waves of 70 to 220 mm, two an axis, and a patient that does not lie in the middle."""
    waves = rng.normal(size=(3, 2, 3))
    for axis in range(3):
        waves[axis, :, axis] = 0
    lengths_mm = rng.uniform(70, 220, (3, 2, 1))
    waves *= 2 * math.pi / lengths_mm / np.linalg.norm(waves, axis=-1, keepdims=True)
    amplitude = rng.uniform(0.3, 1.0, (3, 2)) * amplitude_mm / 2
    return Warp(
        rng.uniform(-shift_mm, shift_mm, 3), amplitude, waves, rng.uniform(0, 2 * math.pi, (3, 2))
    )


def turned(x_degrees: float = 0, y_degrees: float = 0, z_degrees: float = 0) -> NDArray[np.float64]:
    """(3, 3) rotation about x, then y, then z."""
    result = np.eye(3)
    for axis, degrees in enumerate((x_degrees, y_degrees, z_degrees)):
        cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
        step = np.eye(3)
        first, second = [(1, 2), (2, 0), (0, 1)][axis]
        step[first, first] = step[second, second] = cos
        step[first, second], step[second, first] = -sin, sin
        result = step @ result
    return result
