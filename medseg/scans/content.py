"""Where the voxels of a found scan are: a DICOM series, an image file, or one inside an archive."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

from typing_extensions import override

from medseg import readers
from medseg.errors import NotAVolume
from medseg.geometry import Geometry
from medseg.readers.dicom.file import hashed
from medseg.readers.dicom.identity import IDENTIFIERS, description_of, identifiers_of, words_of
from medseg.readers.dicom.series import Finding
from medseg.readers.dicom.volume import case_of, choose, read_candidate
from medseg.readers.parts import other_halves
from medseg.readers.sources import Source, file_source
from medseg.readers.values import NonFinite
from medseg.scans import packed
from medseg.volume import Volume


@dataclass(frozen=True)
class Choice:
    """One volume of a scan that holds several.

    Attributes:
        case: its name.
        problem: why it cannot be read, or empty.
        geometry: its grid, or ``None`` where it is the scan's own.
        files: how many it consists of, 0 where as many as the scan.
        warnings: which one it is, and what is accepted but should be said.
    """

    case: str
    problem: str = ""
    geometry: Geometry | None = None
    files: int = 0
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Content:
    """What a found scan consists of. By itself: no voxels, something that cannot be read."""

    #: Whether headers say what the scan is, so that file names need not.
    described: ClassVar[bool] = False

    @property
    def sources(self) -> Sequence[Source]:
        """The files, on disk or inside an archive."""
        return ()

    def choosable(self, volumes: int, *, usable: bool) -> bool:
        """Whether one of its volumes must be chosen before it can be read."""
        return False

    def is_series(self, name: str) -> bool:
        """Whether a SeriesInstanceUID names it."""
        return False

    def references(self) -> frozenset[str]:
        """Hashes of the UIDs by which other DICOM objects refer to it."""
        return frozenset()

    def words(self, source: str) -> Sequence[str]:
        """What a pattern for channels is compared with."""
        return [readers.stem(source)]

    def description(self) -> str | None:
        """The series description; ``None`` where the format has none."""
        return None

    def identifiers(self) -> Mapping[str, str]:
        """What names patient and study, by column; empty texts where the format has none."""
        return dict.fromkeys(IDENTIFIERS, "")

    def choice(self, number: int, case: str) -> Choice:
        """One of several volumes."""
        return Choice(case, problem="there is nothing to choose from")

    def read(self, source: str, *, volume: int | None, nonfinite: NonFinite) -> Volume:
        """The voxels."""
        raise NotAVolume("holds no voxels", path=source)


@dataclass(frozen=True)
class ImageFile(Content):
    """A NIfTI, NRRD or MetaImage file, or another with all of a scan in it."""

    file: Source

    @property
    @override
    def sources(self) -> Sequence[Source]:
        if self.file.member:
            return (self.file,)
        halves = (file_source(half) for half in other_halves(Path(self.file.path)))
        return (self.file, *halves)

    @override
    def choosable(self, volumes: int, *, usable: bool) -> bool:
        return volumes > 1

    @override
    def choice(self, number: int, case: str) -> Choice:
        return Choice(f"{case}_{number}")

    @override
    def read(self, source: str, *, volume: int | None, nonfinite: NonFinite) -> Volume:
        return readers.read(self.file.path, volume=volume, nonfinite=nonfinite)


@dataclass(frozen=True)
class PackedFile(ImageFile):
    """An image file inside an archive, which stays packed."""

    @override
    def read(self, source: str, *, volume: int | None, nonfinite: NonFinite) -> Volume:
        scan = packed.read(self.file, volume=volume, nonfinite=nonfinite)
        return replace(scan, origin=replace(scan.origin, path=source))


@dataclass(frozen=True)
class Series(Content):
    """A DICOM series, in a folder or an archive; what names it is read from it again."""

    described: ClassVar[bool] = True
    finding: Finding

    @property
    @override
    def sources(self) -> Sequence[Source]:
        return [file.source for file in self.finding.files]

    @override
    def choosable(self, volumes: int, *, usable: bool) -> bool:
        return not usable and bool(self.finding.candidates)

    @override
    def is_series(self, name: str) -> bool:
        return self.finding.files[0].series == hashed(name)

    @override
    def references(self) -> frozenset[str]:
        files = self.finding.files
        keys = {file.series for file in files} | {file.instance for file in files}
        return frozenset(keys - {""})

    @override
    def words(self, source: str) -> Sequence[str]:
        return words_of(self.finding.files[0])

    @override
    def description(self) -> str | None:
        return description_of(self.finding.files[0])

    @override
    def identifiers(self) -> Mapping[str, str]:
        return identifiers_of(self.finding.files[0])

    @override
    def choice(self, number: int, case: str) -> Choice:
        candidate = self.finding.candidates[number]
        label = f" ({candidate.label})" if candidate.label else ""
        return Choice(
            case_of(self.finding.files[0], candidate, number),
            candidate.problem,
            candidate.geometry,
            len({plane.file.source for plane in candidate.planes}),
            (f"volume {number} of {len(self.finding.candidates)}{label}", *candidate.warnings),
        )

    @override
    def read(self, source: str, *, volume: int | None, nonfinite: NonFinite) -> Volume:
        candidate, number = choose(self.finding, source, volume)
        return read_candidate(candidate, self.finding, source, number=number, nonfinite=nonfinite)
