"""How MONAI's ``LoadImage`` reads scans: through medseg's readers, geometry and warnings kept."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import ImageReader, MetaTensor
from monai.transforms import LoadImage, MapTransform
from numpy.typing import NDArray

from medseg.geometry import Geometry
from medseg.manifests.duplicates import likenesses
from medseg.manifests.looks import pack_looks
from medseg.scans import Frames, read, read_channels
from medseg.transforms.channels import aligner
from medseg.volume import Gridded, Volume, intensity_percentiles, pixel_hash

#: Key of a MetaTensor's ``meta`` under which the reader's warnings travel.
WARNINGS = "medseg_warnings"

#: Key of the scan's pixel hash (see :func:`medseg.volume.pixel_hash`), set by ``LoadImage``.
PIXELS = "medseg_pixels"

#: Key of the percentiles of the scan's real-world values, set by ``LoadImage``.
INTENSITY = "medseg_intensity"


#: Key of what the scan is recognised by (see :mod:`medseg.manifests.looks`), set by ``LoadImage``.
LOOK = "medseg_look"


class MedsegReader(ImageReader):
    """A MONAI image reader over every format medseg reads.

    One path gives one channel; several paths give channels on the grid of the first. DICOM
    folders and ``folder#SeriesInstanceUID`` are paths too.

    Args:
        frames: what brings the channels into one space.
        channels: their names in messages.
    """

    def __init__(self, frames: Frames = Frames.CHECK, channels: Sequence[str] = ()) -> None:
        self._frames = frames
        self._channels = tuple(channels)

    def verify_suffix(self, filename: Any) -> bool:
        """Every file is tried: medseg recognises formats by content, not by suffix."""
        return True

    def read(self, data: Any, **kwargs: Any) -> Volume:
        """Read one scan; see :func:`medseg.readers.read` for what is refused."""
        single = isinstance(data, str) or not isinstance(data, Sequence)
        paths = [data] if single else list(data)
        if len(paths) == 1:
            return read(paths[0])
        names = kwargs.get("channels") or self._channels or [str(n) for n in range(len(paths))]
        return read_channels(paths, names, align=aligner(self._frames), frames=self._frames)

    def get_data(self, img: Volume) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """(C, X, Y, Z) real-world values, and the meta data that MONAI's transforms use."""
        return img.measured(), {
            **meta_of(img),
            PIXELS: pixel_hash(img),
            LOOK: pack_looks(likenesses(img)).decode("latin-1"),  # MONAI takes no bytes
            INTENSITY: [list(row) for row in intensity_percentiles(img)],
        }


class LoadScan(LoadImage):
    """MONAI's ``LoadImage`` bound to :class:`MedsegReader`.

    Left to itself ``LoadImage`` tries other readers when one refuses, and so turns a refusal
    into a guess; here a refusal stays a refusal.

    Args:
        frames: what brings the channels of a scan into one space.
        channels: their names in messages.
    """

    def __init__(self, frames: Frames = Frames.CHECK, channels: Sequence[str] = ()) -> None:
        self._reader = MedsegReader(frames, channels)
        with _monai_quiet():
            super().__init__(image_only=True, ensure_channel_first=True)

    def __call__(self, filename: Any, reader: ImageReader | None = None) -> MetaTensor:
        """(C, X, Y, Z) real-world values of one path, or of several paths as channels."""
        image: MetaTensor = super().__call__(filename, reader=reader or self._reader)
        return image


class LoadScand(MapTransform):
    """:class:`LoadScan` for dictionaries: each key's path, or paths, becomes a MetaTensor.

    Args:
        keys: of the paths.
        frames: what brings the channels of a scan into one space.
        allow_missing_keys: let a dictionary lack a key.
    """

    def __init__(
        self,
        keys: KeysCollection,
        frames: Frames = Frames.CHECK,
        *,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self._load = LoadScan(frames)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """The dictionary with scans in place of paths."""
        loaded = dict(data)
        for key in self.key_iterator(loaded):
            loaded[key] = self._load(loaded[key])
        return loaded


def read_tensor(path: str | Path) -> tuple[torch.Tensor, NDArray[np.float64]]:
    """(C, X, Y, Z) values and the affine in RAS mm: a ``reader`` for TorchIO's images.

    ``torchio.ScalarImage(path, reader=read_tensor)`` then reads what medseg reads.
    """
    volume = read(path)
    return torch.from_numpy(volume.measured()), np.array(volume.affine)


@contextmanager
def _monai_quiet() -> Iterator[None]:
    """Say nothing of decoders that MONAI's own readers miss: they are not used here."""
    logger = logging.getLogger("monai")
    level = logger.level
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            logger.setLevel(level)


def geometry_of(image: MetaTensor) -> Geometry:
    """The grid a MetaTensor (C, X, Y, Z) lies on."""
    _, x, y, z = image.shape
    return Geometry((x, y, z), np.asarray(image.affine, dtype=np.float64))


def meta_of(volume: Gridded) -> dict[str, Any]:
    """What travels with the MetaTensor of a scan or a mask."""
    affine = np.array(volume.geometry.affine)
    return {
        "affine": affine,
        "original_affine": affine,
        "spatial_shape": np.array(volume.geometry.shape),
        "original_channel_dim": 0,
        "space": "RAS",
        "filename_or_obj": volume.origin.path,
        WARNINGS: list(volume.origin.warnings),
    }
