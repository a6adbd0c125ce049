"""Gantry tilt: slices that follow one another along a line that leans against their normal.

It stays as shear in the affine; nothing is resampled.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

#: A stack that leans less than this over its whole length is upright.
_LEAN_MM, _LEAN_SHARE = 0.05, 1e-3
#: Beyond this angle the slices do not follow each other any more (gantries reach 30 degrees).
MOST_TILT_DEGREES = 45.0


def tilt_of(
    step: NDArray[np.float64], normal: NDArray[np.float64], slices: int
) -> tuple[float, str]:
    """The angle between the line of slices and their normal, in degrees, and its description.

    Args:
        step: (3,) from one slice to the next, mm.
        normal: (3,) unit normal of the slices.
        slices: of the stack.

    Returns:
        The angle, and a description that is empty where the stack is upright.

    >>> tilt_of(np.array([0, 0.1, 1]), np.array([0, 0, 1]), slices=30)[1]
    'the stack is tilted by 5.71 degrees (gantry tilt)'
    """
    along = float(step @ normal)
    aside = float(np.linalg.norm(step - along * normal))
    degrees = float(np.degrees(np.arctan2(aside, along)))
    length_mm = float(np.linalg.norm(step))
    if aside * (slices - 1) <= max(_LEAN_MM, _LEAN_SHARE * length_mm * (slices - 1)):
        return degrees, ""
    return degrees, f"the stack is tilted by {degrees:.2f} degrees (gantry tilt)"
