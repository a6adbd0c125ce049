"""Likenesses of scans as bytes: what a model keeps of its training scans to know them again."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import safetensors
import safetensors.numpy
from numpy.typing import NDArray

from medseg.errors import BadModel
from medseg.files import is_file, read_bytes
from medseg.manifests.likeness import Likeness
from medseg.manifests.thumbnails import THUMB
from medseg.writers.atomic import atomic_path

#: Beside a model's card, and beside the masks that the model makes.
LOOKS_FILE = "training_scans.safetensors"

#: What the greatest value of a thumbnail is kept as, in half precision so that faint noise stays:
#: 28 kB a scan.
_GREATEST = 127
_THUMB_SHAPE = (THUMB, THUMB, THUMB)


def pack_looks(looks: Sequence[Likeness]) -> bytes:
    """Likenesses as one safetensors text, some 35 kB each; a likeness that is there twice, once."""
    single = list({_digest(look): look for look in looks}.values())
    peaks = np.array([max(float(np.abs(look.thumb).max()), 1e-30) for look in single], np.float32)
    return safetensors.numpy.save(
        {
            "counts": np.array([len(look.codes) for look in single], np.int64),
            "codes": _joined([look.codes for look in single], np.uint64, (0,)),
            "places": _joined([look.places for look in single], np.int32, (0, 3)),
            "peaks": peaks,
            "thumbs": _joined(
                [
                    (look.thumb / peak * _GREATEST)[None]
                    for look, peak in zip(single, peaks, strict=True)
                ],
                np.float16,
                (0, *_THUMB_SHAPE),
            ),
        }
    )


def unpack_looks(content: bytes, *, path: Path | None = None) -> tuple[Likeness, ...]:
    """What :func:`pack_looks` packed.

    Raises:
        BadModel: the content is something else.
    """
    try:
        arrays = safetensors.numpy.load(content)
        counts, thumbs = arrays["counts"], arrays["thumbs"].astype(np.float32)
        peaks = arrays["peaks"][:, None, None, None] / _GREATEST
        stops = np.cumsum(counts)
        if (counts < 0).any() or thumbs.shape != (len(counts), *_THUMB_SHAPE):
            raise ValueError("arrays that do not belong together")
        codes = np.split(arrays["codes"].astype(np.uint64, casting="safe"), stops[:-1])
        places = np.split(arrays["places"].astype(np.int64), stops[:-1])
        looks = [Likeness(*one) for one in zip(codes, places, thumbs * peaks, strict=True)]
        if any(look.places.shape != (len(look.codes), 3) for look in looks):
            raise ValueError("arrays that do not belong together")
    except (safetensors.SafetensorError, ValueError, LookupError, TypeError) as error:
        raise BadModel(
            "what the training scans are recognised by cannot be read",
            path=path,
            found=str(error)[:80],
            remedy="Copy the file again.",
        ) from None
    return tuple(looks)


def write_looks(folder: Path, looks: Sequence[Likeness]) -> None:
    """Put likenesses into a folder; none, and there is no file."""
    if looks:
        with atomic_path(folder / LOOKS_FILE) as temporary:
            temporary.write_bytes(pack_looks(looks))


def read_looks(folders: Iterable[Path]) -> tuple[Likeness, ...]:
    """The likenesses that folders hold.

    Raises:
        BadModel: a file cannot be read.
    """
    looks: list[Likeness] = []
    for path in (folder / LOOKS_FILE for folder in folders):
        if not is_file(path):
            continue
        try:
            content = read_bytes(path)
        except OSError as error:
            raise BadModel("the file cannot be read", path=path, found=error.strerror) from None
        looks += unpack_looks(content, path=path)
    return tuple(looks)


def _digest(look: Likeness) -> bytes:
    parts = (look.codes, look.places.astype(np.int32), look.thumb)
    return hashlib.sha256(b"".join(np.ascontiguousarray(p).tobytes() for p in parts)).digest()


def _joined(
    parts: Sequence[NDArray[np.generic]], dtype: type[np.generic], shape: tuple[int, ...]
) -> NDArray[np.generic]:
    """The parts one behind another; an empty array of the shape where there are none."""
    return np.concatenate([np.empty(shape, dtype), *(part.astype(dtype) for part in parts)])
