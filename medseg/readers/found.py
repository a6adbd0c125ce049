"""One scan that was found: what it is, whether it can be used, and how to read it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

from medseg.errors import BadScan, NotAVolume
from medseg.geometry import Geometry
from medseg.readers import dicom, formats, packed
from medseg.readers.dicom_file import hashed
from medseg.readers.dicom_series import REFUSED, SKIPPED, USABLE, Finding
from medseg.readers.sources import Source
from medseg.readers.values import NonFinite
from medseg.volume import Volume


@dataclass(frozen=True, eq=False)
class FoundScan:
    """One series or image file that was found, usable or not.

    Attributes:
        case: a name for output files: for DICOM a hash that tells nothing.
        source: where it lies, relative to what the user named.
        status: ``usable``, ``skipped`` or ``refused``.
        reason: why it is not usable, or empty.
        warnings: what is accepted but should be told.
        modality: as the headers say, or empty.
        geometry: the grid, or ``None`` where it is unknown before reading.
        files: how many it consists of.
        volumes: how many volumes there are to choose from.
        volume: the chosen one, or ``None``.
        path: what can be read again: the file, or the folder or archive it was found in.
        finding: the DICOM series behind it, or ``None``.
        member: the image file inside an archive, or ``None``.
        group: what belongs to one examination has one group: for DICOM a hash of the study's UID.
        channel: which channel of the examination a table says that it is, or empty.
    """

    case: str
    source: str
    status: str
    reason: str = ""
    warnings: tuple[str, ...] = ()
    modality: str = ""
    geometry: Geometry | None = None
    files: int = 1
    volumes: int = 1
    volume: int | None = None
    path: Path = field(default=Path())
    finding: Finding | None = None
    member: Source | None = None
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
        if self.finding is None:
            return self.volumes > 1
        return self.status != USABLE and bool(self.finding.candidates)

    def is_series(self, name: str) -> bool:
        """Whether a SeriesInstanceUID or a case names this scan."""
        if name == self.case:
            return True
        return self.finding is not None and self.finding.files[0].series == hashed(name)

    def describe(self) -> str:
        """One short phrase for messages."""
        grid = "" if self.geometry is None else self.geometry.describe()
        return ", ".join(part for part in (self.modality, grid) if part) or self.source

    def read(self, *, nonfinite: NonFinite = NonFinite.SMALLEST) -> Volume:
        """The scan itself.

        Args:
            nonfinite: what becomes of NaN and infinite voxels.

        Raises:
            BadScan: it is damaged or ambiguous after all.
            NotAVolume: it is no volume.
        """
        if self.status == SKIPPED:
            raise NotAVolume(self.reason, path=self.source)
        if self.status == REFUSED:
            raise BadScan(self.reason, path=self.source)
        if self.member is not None:
            scan = packed.read(self.member, volume=self.volume, nonfinite=nonfinite)
        elif self.finding is None:
            scan = formats.read(self.path, volume=self.volume, nonfinite=nonfinite)
        else:
            candidate, number = dicom.choose(self.finding, self.source, self.volume)
            scan = dicom.read_candidate(
                candidate, self.finding, self.source, number=number, nonfinite=nonfinite
            )
        origin = replace(
            scan.origin,
            path=self.source if self.member is not None else scan.origin.path,
            case=self.case,
            warnings=tuple(dict.fromkeys((*self.warnings, *scan.origin.warnings))),
        )
        return replace(scan, origin=origin)
