"""Where a volume came from, and the header fields that a mask of it repeats."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Protocol

import numpy as np
from numpy.typing import NDArray

#: Spaces that a NIfTI code names; the rest of what `Origin.frame` holds are hashes of UIDs.
NAMED_SPACES = frozenset({"scanner", "talairach", "mni152"})


@dataclass(frozen=True, eq=False)
class NiftiForms:
    """The geometric fields of a NIfTI header that a mask repeats to the bit.

    Attributes:
        sform: (4, 4) float64, the three srow fields, or ``None`` when its code is 0.
        sform_code: 0-5.
        quaternion: quatern_b, c, d and qoffset_x, y, z as stored (float32 for NIfTI-1).
        qform_code: 0-5.
        pixdim: the eight pixdim fields; pixdim[0] is the handedness of the qform.
        xyzt_units: the units field as stored (2 = mm, 10 = mm and s).
        nifti_version: 1 or 2.
    """

    sform: NDArray[np.float64] | None
    sform_code: int
    quaternion: tuple[float, float, float, float, float, float]
    qform_code: int
    pixdim: tuple[float, ...]
    xyzt_units: int
    nifti_version: int = 1


class SourceFiles(Protocol):
    """The files that a volume was read from, in slice order, on disk or in an archive."""

    def __len__(self) -> int:
        """How many."""

    def streams(self) -> Iterator[tuple[int, IO[bytes]]]:
        """The number of each file in slice order, and its bytes until the next is requested."""


@dataclass(frozen=True)
class Origin:
    """Where a volume came from, as far as later steps need it; nothing that names a patient.

    Attributes:
        path: the file or folder, as the user named it.
        modality: ``CT``, ``MR``, ``PT`` … or empty where the format does not say.
        padding_value: real-world value (after scaling) of pixels outside the scanned field,
            or ``None``.
        forms: the NIfTI header's geometric fields, for NIfTI sources.
        warnings: what the reader accepted but the user should know.
        case: a name for the output file derived from the source.
        instances: the source DICOM files (for an enhanced object the one file), for writers that
            must refer to them; ``None`` for other formats.
        frame: the space in which the affine counts, as far as the header says: a hash of the
            frame of reference's UID, or one of `NAMED_SPACES`; else empty.
        moves: of channels that were registered: name, and the 16 numbers of the (4, 4) matrix
            from RAS mm as the header says to RAS mm where the channel was laid.
    """

    path: str = ""
    modality: str = ""
    padding_value: float | None = None
    forms: NiftiForms | None = None
    warnings: tuple[str, ...] = ()
    case: str = ""
    instances: SourceFiles | None = None
    frame: str = ""
    moves: tuple[tuple[str, tuple[float, ...]], ...] = ()
