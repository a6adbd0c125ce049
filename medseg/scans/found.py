"""One scan that was found: what it is, whether it can be used, and how to read it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

from medseg.errors import BadScan, NotAVolume
from medseg.geometry import Geometry
from medseg.readers.entry import Status
from medseg.readers.values import NonFinite
from medseg.scans.content import Content
from medseg.volume import Volume


@dataclass(frozen=True, eq=False)
class FoundScan:
    """One series or image file that was found, usable or not.

    Attributes:
        case: a name for output files: for DICOM a hash that says nothing.
        source: where it lies, relative to what the user named.
        status: whether it can be used.
        reason: why it is not usable, or empty.
        warnings: what is accepted but worth knowing.
        modality: as the headers say, or empty.
        geometry: the grid, or ``None`` where it is unknown before reading.
        files: how many it consists of.
        volumes: how many volumes there are to choose from.
        volume: the chosen one, or ``None``.
        path: what can be read again: the file, or the folder or archive it was found in.
        content: where the voxels are and how they are read.
        group: what belongs to one examination has one group: for DICOM a hash of the study's UID.
        channel: which channel of the examination a table says that it is, or empty.
    """

    case: str
    source: str
    status: Status
    reason: str = ""
    warnings: tuple[str, ...] = ()
    modality: str = ""
    geometry: Geometry | None = None
    files: int = 1
    volumes: int = 1
    volume: int | None = None
    path: Path = field(default=Path())
    content: Content = field(default_factory=Content)
    group: str = ""
    channel: str = ""

    @property
    def shape(self) -> tuple[int, int, int] | None:
        """Voxels along each axis, where known."""
        return None if self.geometry is None else self.geometry.shape

    @property
    def spacing_mm(self) -> tuple[float, float, float] | None:
        """Voxel spacing, where known."""
        return None if self.geometry is None else self.geometry.spacing_mm

    @property
    def choosable(self) -> bool:
        """Whether it holds volumes of which one must be chosen before it can be read."""
        return self.content.choosable(self.volumes, usable=self.status is Status.USABLE)

    def is_series(self, name: str) -> bool:
        """Whether a SeriesInstanceUID or a case names this scan."""
        return name == self.case or self.content.is_series(name)

    def describe(self) -> str:
        """One short phrase for messages."""
        grid = "" if self.geometry is None else self.geometry.describe()
        return ", ".join(part for part in (self.modality, grid) if part) or self.source

    def volume_number(self, number: int) -> FoundScan:
        """One volume of a scan that holds several; refused where there is no such volume."""
        if not 0 <= number < self.volumes:
            reason = f"there is no volume {number}: it holds {self.volumes}"
            return replace(self, status=Status.REFUSED, reason=reason)
        choice = self.content.choice(number, self.case)
        if choice.problem:
            return replace(
                self,
                case=choice.case,
                status=Status.REFUSED,
                reason=choice.problem,
                volume=number,
            )
        return replace(
            self,
            case=choice.case,
            status=Status.USABLE,
            reason="",
            volume=number,
            geometry=choice.geometry or self.geometry,
            files=choice.files or self.files,
            warnings=(*self.warnings, *choice.warnings),
        )

    def read(self, *, nonfinite: NonFinite = NonFinite.SMALLEST) -> Volume:
        """The scan itself.

        Args:
            nonfinite: what becomes of NaN and infinite voxels.

        Raises:
            BadScan: it is damaged or ambiguous after all.
            NotAVolume: it is no volume.
        """
        if self.status is Status.SKIPPED:
            raise NotAVolume(self.reason, path=self.source)
        if self.status is Status.REFUSED:
            raise BadScan(self.reason, path=self.source)
        scan = self.content.read(self.source, volume=self.volume, nonfinite=nonfinite)
        warnings = tuple(dict.fromkeys((*self.warnings, *scan.origin.warnings)))
        return replace(scan, origin=replace(scan.origin, case=self.case, warnings=warnings))
