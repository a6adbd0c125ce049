"""Scans and masks as TorchIO's images, and back; by their shape, TorchIO need not be installed."""

from __future__ import annotations

from typing import Any

import numpy as np

from medseg.errors import MedsegError
from medseg.notebooks.libraries import channels_first, placed
from medseg.volume import Gridded, LabelMap, Volume


def recognises(image: Any) -> bool:
    """Whether this is what TorchIO calls an image: a tensor (C, X, Y, Z) and an affine in RAS."""
    return getattr(getattr(image, "data", None), "ndim", 0) == 4 and hasattr(image, "affine")


def scan(image: Any) -> Volume:
    """The values of an image."""
    return placed(np.asarray(image.data), np.asarray(image.affine))


def image(gridded: Gridded) -> Any:
    """A ``torchio.ScalarImage``, or a ``torchio.LabelMap`` of a mask.

    Raises:
        MedsegError: TorchIO is not installed.
    """
    try:
        import torchio
    except ImportError as error:
        raise MedsegError(
            "TorchIO is not installed", remedy="Install it: pip install torchio."
        ) from error
    import torch

    kind = torchio.LabelMap if isinstance(gridded, LabelMap) else torchio.ScalarImage
    return kind(tensor=torch.from_numpy(channels_first(gridded)), affine=gridded.affine)
