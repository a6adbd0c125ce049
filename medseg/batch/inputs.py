"""What a worker reads: a case of a cohort, or several scans as the channels of one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from medseg.batch.task import Task
from medseg.errors import MedsegError
from medseg.manifests import Cohort, read_case
from medseg.manifests.reading import file_of
from medseg.scans import FoundScan, Frames, stack
from medseg.volume import Volume


@dataclass(frozen=True)
class CohortScan:
    """One case of a cohort, to be read by a worker.

    Attributes:
        cohort: with this case alone, so that it travels light.
        channels: which of the cohort's, in the model's order; all when empty.
        frames: what brings the channels into one space; as the card says when not given.
    """

    cohort: Cohort
    channels: tuple[str, ...] = ()
    frames: Frames | None = None

    def read(self) -> Volume:
        """The case's channels on the first one's grid, with the modality that the card names."""
        from medseg.transforms.channels import aligner

        case = self.cohort.cases[0]
        try:
            frames = self.frames or self.cohort.frames
            volume = read_case(
                self.cohort, case, align=aligner(frames), channels=self.channels, frames=frames
            )
        except MedsegError as error:
            path = error.path and relative(Path(error.path), self.cohort.root)
            raise error.about(path) from None
        modality = volume.origin.modality or self.cohort.modality
        return replace(volume, origin=replace(volume.origin, modality=modality))


@dataclass(frozen=True)
class ChannelScan:
    """Several scans that are one case, to be read by a worker.

    Attributes:
        scans: one a channel, in the model's order; the mask lies on the grid of the first.
        names: of the channels.
        frames: what brings them into one space.
    """

    scans: tuple[FoundScan, ...]
    names: tuple[str, ...]
    frames: Frames

    @property
    def shape(self) -> tuple[int, int, int] | None:
        """Voxels of the grid, where known."""
        return self.scans[0].shape

    def read(self) -> Volume:
        """The channels on the grid of the first."""
        from medseg.transforms.channels import aligner

        volumes = [_read(scan, name) for scan, name in zip(self.scans, self.names, strict=True)]
        return stack(volumes, self.names, align=aligner(self.frames), frames=self.frames)


def _read(scan: FoundScan, name: str) -> Volume:
    try:
        volume = scan.read()
    except MedsegError as error:
        raise error.about(scan.source, part=f"channel {name!r}") from None
    return replace(volume, origin=replace(volume.origin, path=scan.source))


def input_files(task: Task) -> Iterator[Path]:
    """The files that a case is made of, which nothing may replace: scans, archives, true masks."""
    scan = task.scan
    if isinstance(scan, CohortScan):
        for case in scan.cohort.cases:
            yield from (file_of(path) for path in (*case.sources, case.label) if path is not None)
    elif isinstance(scan, FoundScan | ChannelScan):
        for one in scan.scans if isinstance(scan, ChannelScan) else (scan,):
            yield from (Path(source.path) for source in one.content.sources)


def relative(path: Path, root: Path) -> str:
    """A path below a root as it is shown; only the name of one that lies elsewhere."""
    try:
        return path.absolute().relative_to(root.absolute()).as_posix()
    except ValueError:
        return path.name
