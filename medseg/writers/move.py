"""How a channel was registered, as a transform file that ITK, 3D Slicer and ANTs read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import SimpleITK as sitk

from medseg.errors import BadOutput
from medseg.geometry import LPS_TO_RAS
from medseg.writers.atomic import atomic_path

ENDING = ".tfm"


def write_move(matrix: tuple[float, ...], path: Path) -> None:
    """Write a rigid move as an ITK affine transform.

    ITK maps points of the fixed scan to the moving one, in LPS mm; the file holds that map, so
    that resampling the channel with it onto the first channel repeats what was done.

    Args:
        matrix: the 16 numbers of the (4, 4) matrix, RAS mm of the channel as its header says to
            RAS mm where it was laid.
        path: ends in ``.tfm``.

    Raises:
        BadOutput: the file cannot be written.
    """
    lps = np.linalg.inv(LPS_TO_RAS @ np.array(matrix).reshape(4, 4) @ LPS_TO_RAS)
    transform = sitk.AffineTransform(3)
    transform.SetMatrix([float(number) for number in lps[:3, :3].ravel()])
    transform.SetTranslation([float(number) for number in lps[:3, 3]])
    with atomic_path(path) as temporary:
        try:
            sitk.WriteTransform(transform, str(temporary))
        except RuntimeError as error:
            raise BadOutput("the transform cannot be written", path=path) from error
