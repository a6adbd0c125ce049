"""What a format says of itself to the table of readers: its endings, and what a header promises."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from medseg.geometry import Geometry
from medseg.readers.values import NonFinite
from medseg.volume import Volume


class Status(StrEnum):
    """Whether something that was found can be used."""

    USABLE = "usable"
    #: Not a volume of voxels to segment, or not wanted.
    SKIPPED = "skipped"
    #: Damaged or ambiguous.
    REFUSED = "refused"


@dataclass(frozen=True)
class Endings:
    """How the names of a format's files end, in lower case.

    Attributes:
        whole: files that hold header and voxels.
        headers: headers whose voxels may lie in another file beside them.
        voxels: of such files, with the endings of the headers that they can belong to.
    """

    whole: tuple[str, ...]
    headers: tuple[str, ...] = ()
    voxels: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def named(self) -> tuple[str, ...]:
        """Endings that promise a scan by themselves."""
        return self.whole + self.headers

    @property
    def every(self) -> tuple[str, ...]:
        """All of them, the longest first, so that ``.nii.gz`` goes whole."""
        return tuple(sorted({*self.named, *self.voxels}, key=len, reverse=True))

    def stem(self, name: str) -> str | None:
        """A file's name without its ending; ``None`` where it has none of these.

        >>> Endings(whole=(".nii", ".nii.gz")).stem("ct.nii.gz")
        'ct'
        """
        lower = name.lower()
        for ending in self.every:
            if lower.endswith(ending) and len(name) > len(ending):
                return name[: -len(ending)]
        return None


@dataclass(frozen=True)
class Glimpse:
    """What a file's header promises.

    Attributes:
        geometry: the grid, or ``None`` where the header gives none.
        volumes: how many 3D volumes the file holds.
        problem: why it cannot be read, or empty.
        skip: why it is no volume of voxels to segment, or empty.
    """

    geometry: Geometry | None = None
    volumes: int = 1
    problem: str = ""
    skip: str = ""


class Reader(Protocol):
    """A module of the table of readers."""

    ENDINGS: Endings

    def recognises(self, path: Path) -> bool:
        """Whether a file is of the format, by content or by a name that promises it."""

    def glimpse(self, path: Path) -> Glimpse:
        """What the header promises; raises as `read` does."""

    def read(
        self,
        path: Path,
        *,
        volume: int | None = None,
        nonfinite: NonFinite = NonFinite.SMALLEST,
    ) -> Volume:
        """Read one volume on its own grid.

        Raises:
            BadScan: damaged or ambiguous.
            NotAVolume: another kind of object.
        """
