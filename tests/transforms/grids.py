"""Grids that every resampling must survive: oblique, mirrored, permuted, odd, thin, sheared."""

import numpy as np

from medseg.geometry import Geometry
from medseg.volume import Volume


def grid(shape, spacing=(1.0, 1.0, 1.0), codes="RAS", degrees=0.0, origin=(12.0, -30.0, 7.0)):
    """A geometry with array axes along `codes`, turned about S by some degrees."""
    world = {"R": (0, 1), "L": (0, -1), "A": (1, 1), "P": (1, -1), "S": (2, 1), "I": (2, -1)}
    axes = np.zeros((3, 3))
    for column, letter in enumerate(codes):
        row, sign = world[letter]
        axes[row, column] = sign * spacing[column]
    turn = np.radians(degrees)
    rotation = np.array(
        [[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0], [0, 0, 1]]
    )
    affine = np.eye(4)
    affine[:3, :3] = rotation @ axes
    affine[:3, 3] = origin
    return Geometry(shape, affine)


def stored_otherwise(volume, axes, flips):
    """The same scan with its array axes in another order, some of them read backwards."""
    data = volume.data.transpose(0, *(axis + 1 for axis in axes))
    affine = volume.geometry.affine[:, [*axes, 3]].copy()
    for axis, back in enumerate(flips):
        if back:
            affine[:3, 3] += affine[:3, axis] * (data.shape[axis + 1] - 1)
            affine[:3, axis] *= -1
    turn = tuple(slice(None, None, -1 if back else 1) for back in flips)
    turned = np.ascontiguousarray(data[(slice(None), *turn)])
    return Volume(turned, Geometry(turned.shape[1:], affine), volume.slope, volume.intercept)


NATIVE = {
    "axial LPS": grid((25, 22, 17), (1.1, 0.9, 1.6), "LPS"),
    "sagittal first": grid((9, 26, 21), (2.5, 0.8, 0.9), "PSR"),
    "oblique": grid((23, 19, 15), (0.9, 1.2, 1.7), "RAS", degrees=17),
    "thick slices": grid((24, 27, 5), (0.8, 0.8, 5.0), "LAS"),
    "one slice": grid((21, 24, 1), (0.9, 0.9, 4.0), "LPS"),
    "coarse": grid((9, 8, 7), (3.1, 2.9, 3.3), "RPI"),
}
