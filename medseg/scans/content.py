"""Where the voxels of a found scan are: a DICOM series, an image file, or one inside an archive."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from medseg import readers
from medseg.errors import NotAVolume
from medseg.geometry import Geometry
from medseg.readers.dicom.file import hashed
from medseg.readers.dicom.identity import IDENTIFIERS, description_of, identifiers_of, words_of
from medseg.readers.dicom.series import Finding
from medseg.readers.dicom.volume import case_of, choose, read_candidate
from medseg.readers.sources import Source
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
        warnings: which one it is, and what is accepted but should be told.
    """

    case: str
    problem: str = ""
    geometry: Geometry | None = None
    files: int = 0
    warnings: tuple[str, ...] = ()


class Content(Protocol):
    """What a found scan consists of."""

    @property
    def sources(self) -> Sequence[Source]:
        """The files, on disk or inside an archive."""

    @property
    def described(self) -> bool:
        """Whether headers say what the scan is, so that file names need not."""

    def choosable(self, volumes: int, *, usable: bool) -> bool:
        """Whether one of its volumes must be chosen before it can be read."""

    def is_series(self, name: str) -> bool:
        """Whether a SeriesInstanceUID names it."""

    def references(self) -> frozenset[str]:
        """Hashes of the UIDs by which other DICOM objects refer to it."""

    def words(self, source: str) -> Sequence[str]:
        """What a pattern for channels is compared with."""

    def description(self) -> str | None:
        """The series description; ``None`` where the format has none."""

    def identifiers(self) -> Mapping[str, str]:
        """What names patient and study, by column; empty texts where the format has none."""

    def choice(self, number: int, case: str) -> Choice:
        """One of several volumes."""

    def read(self, source: str, *, volume: int | None, nonfinite: NonFinite) -> Volume:
        """The voxels."""


@dataclass(frozen=True)
class Nothing:
    """No voxels: something that was found and cannot be read."""

    sources: tuple[Source, ...] = ()
    described: bool = False

    def choosable(self, volumes: int, *, usable: bool) -> bool:
        """Never."""
        return False

    def is_series(self, name: str) -> bool:
        """No."""
        return False

    def references(self) -> frozenset[str]:
        """None."""
        return frozenset()

    def words(self, source: str) -> Sequence[str]:
        """The file's name."""
        return [readers.stem(source)]

    def description(self) -> str | None:
        """None."""
        return None

    def identifiers(self) -> Mapping[str, str]:
        """None."""
        return dict.fromkeys(IDENTIFIERS, "")

    def choice(self, number: int, case: str) -> Choice:
        """There is none."""
        return Choice(case, problem="there is nothing to choose from")

    def read(self, source: str, *, volume: int | None, nonfinite: NonFinite) -> Volume:
        """Refused."""
        raise NotAVolume("holds no voxels", path=source)


@dataclass(frozen=True)
class ImageFile(Nothing):
    """A NIfTI, NRRD or MetaImage file, or another with all of a scan in it."""

    path: Path = Path()

    @classmethod
    def at(cls, source: Source) -> ImageFile:
        """The file that a source stands for."""
        return cls(sources=(source,), path=Path(source.path))

    def choosable(self, volumes: int, *, usable: bool) -> bool:
        """Where there are several."""
        return volumes > 1

    def choice(self, number: int, case: str) -> Choice:
        """Named by its number."""
        return Choice(f"{case}_{number}")

    def read(self, source: str, *, volume: int | None, nonfinite: NonFinite) -> Volume:
        """From the file."""
        return readers.read(self.path, volume=volume, nonfinite=nonfinite)


@dataclass(frozen=True)
class PackedFile(ImageFile):
    """An image file inside an archive, which stays packed."""

    @property
    def member(self) -> Source:
        """The file inside."""
        return self.sources[0]

    def read(self, source: str, *, volume: int | None, nonfinite: NonFinite) -> Volume:
        """By way of the temporary folder."""
        scan = packed.read(self.member, volume=volume, nonfinite=nonfinite)
        return replace(scan, origin=replace(scan.origin, path=source))


@dataclass(frozen=True)
class Series:
    """A DICOM series, in a folder or an archive."""

    finding: Finding
    described: bool = True

    @property
    def sources(self) -> Sequence[Source]:
        """One a file."""
        return [file.source for file in self.finding.files]

    def choosable(self, volumes: int, *, usable: bool) -> bool:
        """Where the series makes several, none of which goes before the others."""
        return not usable and bool(self.finding.candidates)

    def is_series(self, name: str) -> bool:
        """By its UID."""
        return self.finding.files[0].series == hashed(name)

    def references(self) -> frozenset[str]:
        """Of the series and of every file."""
        files = self.finding.files
        keys = {file.series for file in files} | {file.instance for file in files}
        return frozenset(keys - {""})

    def words(self, source: str) -> Sequence[str]:
        """What its headers call it."""
        return words_of(self.finding.files[0])

    def description(self) -> str | None:
        """Read again from the file: the description is not remembered."""
        return description_of(self.finding.files[0])

    def identifiers(self) -> Mapping[str, str]:
        """Read again from the file: they are not remembered."""
        return identifiers_of(self.finding.files[0])

    def choice(self, number: int, case: str) -> Choice:
        """Named by a hash that its grid and number enter."""
        candidate = self.finding.candidates[number]
        label = f" ({candidate.label})" if candidate.label else ""
        return Choice(
            case_of(self.finding.files[0], candidate, number),
            candidate.problem,
            candidate.geometry,
            len({plane.file.source for plane in candidate.planes}),
            (f"volume {number} of {len(self.finding.candidates)}{label}", *candidate.warnings),
        )

    def read(self, source: str, *, volume: int | None, nonfinite: NonFinite) -> Volume:
        """Slice by slice."""
        candidate, number = choose(self.finding, source, volume)
        return read_candidate(candidate, self.finding, source, number=number, nonfinite=nonfinite)
