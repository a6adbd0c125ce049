"""Cut planes of exact zeros off the faces of a scan."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from medseg.geometry import Box


def box_of_content(image: NDArray[np.float32]) -> Box:
    """The box of an (C, X, Y, Z) image outside which every channel is 0; all where it is all 0.

    >>> image = np.zeros((1, 4, 4, 4), dtype=np.float32)
    >>> image[0, 1, 2, 0] = image[0, 2, 2, 3] = 7
    >>> box_of_content(image)
    (slice(1, 3, None), slice(2, 3, None), slice(0, 4, None))
    """
    inside = (image != 0).any(axis=0)
    sides = []
    for axis in range(3):
        others = tuple(other for other in range(3) if other != axis)
        along = np.flatnonzero(inside.any(axis=others))
        whole = slice(0, inside.shape[axis])
        sides.append(slice(int(along[0]), int(along[-1]) + 1) if len(along) else whole)
    return sides[0], sides[1], sides[2]
