"""Every scan in a folder, a file or an archive; nothing found disappears without a word."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, cast

from medseg import readers
from medseg.archives.members import (
    Unsafe,
    is_archive,
    is_foreign_archive,
    is_zip,
    members,
    packed_name,
)
from medseg.errors import BadScan
from medseg.files import is_folder
from medseg.progress import Progress, silent
from medseg.readers import Glimpse
from medseg.readers.dicom.file import FileHeader
from medseg.readers.dicom.header import look_at, look_into
from medseg.readers.entry import Status
from medseg.readers.grid import CHOOSE_VOLUME
from medseg.readers.sources import (
    Dropping,
    Source,
    Unreadable,
    files_under,
    is_dropping,
    printable,
)
from medseg.scans import packed
from medseg.scans.content import ImageFile, PackedFile, Series
from medseg.scans.found import FoundScan
from medseg.scans.index import HeaderIndex, index_path
from medseg.scans.names import name_cases
from medseg.scans.selection import Selection
from medseg.scans.series import series_scans

#: Files looked at before the index is updated and progress is shown.
_CHUNK = 512
#: Threads: they overlap the waiting for disks and networks.
_THREADS = 4


def discover(
    root: str | Path,
    *,
    selection: Selection | None = None,
    progress: Progress | None = None,
    without: Path | None = None,
) -> list[FoundScan]:
    """Every scan under a folder, in a file, or in a zip or tar archive, from headers alone.

    Args:
        root: a folder (searched recursively), a file, or an archive.
        selection: which scans and volumes are wanted; the others come as skipped.
        progress: called with the number of files looked at.
        without: a folder below `root` to leave out, such as the one that results go to.

    Raises:
        BadScan: there is no such place.
    """
    root = Path(root)
    if root.name.upper() == "DICOMDIR" and not is_folder(root):
        root = root.parent  # the index of a medium stands for the medium
    entries = files_under(root, without)
    content = _look(entries, HeaderIndex(index_path()), progress or silent)
    scans = [
        *series_scans(content.headers, root),
        *_image_files(content.others),
        *content.inside,
        *content.refused,
    ]
    scans = _with_damage_warnings(scans, content.foreign)
    if content.foreign or content.hidden:
        scans.append(_foreign([*content.foreign, *content.hidden], root))
    wanted = selection or Selection()
    return name_cases([chosen for scan in scans for chosen in wanted.apply(scan)])


@dataclass(eq=False)
class _Seen:
    """What lies under a root, by what it is."""

    headers: list[FileHeader] = field(default_factory=list)
    others: list[Source] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)
    hidden: list[str] = field(default_factory=list)
    refused: list[FoundScan] = field(default_factory=list)
    inside: list[FoundScan] = field(default_factory=list)


def _look(
    entries: Iterable[Source | Unreadable | Dropping], index: HeaderIndex, progress: Progress
) -> _Seen:
    seen, plain = _Seen(), []
    for entry in entries:
        if isinstance(entry, Dropping):
            seen.hidden.append(entry.name)
        elif isinstance(entry, Unreadable):
            seen.refused.append(FoundScan("", entry.name, Status.REFUSED, entry.reason))
        elif is_archive(entry.name) or (
            "." not in entry.name.rpartition("/")[2] and is_zip(Path(entry.path))
        ):
            _look_inside(entry, seen)
        else:
            plain.append(entry)
    done = 0
    with ThreadPoolExecutor(_THREADS) as pool:
        for start in range(0, len(plain), _CHUNK):
            chunk = plain[start : start + _CHUNK]
            known = index.known(chunk)
            new = [source for source in chunk if source not in known]
            learned = list(zip(new, pool.map(look_at, new), strict=True))
            index.learn(learned)
            for source, header in [*known.items(), *learned]:
                _sort_in(source, header, seen)
            done += len(chunk)
            progress(done, len(plain))
    index.close()
    return seen


def _sort_in(source: Source, header: FileHeader | None, seen: _Seen) -> None:
    if header is not None:
        seen.headers.append(header)
    elif _is_packed(source):
        reason = "unsupported: packed in a way, or in a place, that is not opened. Unpack it"
        seen.refused.append(FoundScan("", source.name, Status.REFUSED, reason))
    elif source.member:
        seen.foreign.append(source.name)
    elif readers.is_other_image(Path(source.path)):
        seen.others.append(source)
    elif not readers.is_companion(Path(source.path)):
        seen.foreign.append(source.name)


def _is_packed(source: Source) -> bool:
    """Whether scans may be packed in a file that is not opened."""
    if is_foreign_archive(source.name):
        return True
    if is_archive(source.name):
        return bool(source.member)
    inner = packed_name(source.name)
    return not readers.claims(source.name) and (
        readers.claims(inner) or readers.promises_dicom(inner) or is_archive(inner)
    )


def _look_inside(box: Source, seen: _Seen) -> None:
    """The files of an archive, one after the other; they stay inside."""
    try:
        for member in members(Path(box.path)):
            name = f"{box.name}/{printable(member.name)}"
            if any(map(is_dropping, member.name.split("/"))):
                seen.hidden.append(name)
                continue
            if isinstance(member, Unsafe):
                shown = f"{box.name}/…" if ".." in member.name else name
                seen.refused.append(FoundScan("", shown, Status.REFUSED, member.reason))
                continue
            source = replace(
                box, member=member.name, size=member.size, name=name, number=member.number
            )
            stream = cast(IO[bytes], member.stream)
            if readers.claims(name):
                seen.inside.append(_image_file(source, packed.look(stream, source)))
            else:
                _sort_in(source, look_into(stream, source), seen)
    except BadScan as error:
        seen.headers[:] = [h for h in seen.headers if h.source.path != box.path]
        seen.inside[:] = [scan for scan in seen.inside if scan.path != Path(box.path)]
        seen.refused.append(FoundScan("", box.name, Status.REFUSED, str(error)))


def _image_files(sources: Sequence[Source]) -> list[FoundScan]:
    """Image files of other formats, by what their headers promise."""
    return [
        _image_file(source, readers.glimpse(Path(source.path)))
        for source in sources
        if not readers.is_companion(Path(source.path))
    ]


def _image_file(source: Source, seen: Glimpse) -> FoundScan:
    status = Status.REFUSED if seen.problem else Status.SKIPPED if seen.skip else Status.USABLE
    reason = seen.problem or seen.skip
    if seen.volumes > 1 and not reason:
        status = Status.REFUSED
        reason = (
            f"4D: {seen.volumes} volumes in one file, and nothing says which. "
            f"{CHOOSE_VOLUME} 0 … {seen.volumes - 1}, or all"
        )
    return FoundScan(
        readers.stem(source.name),
        source.name,
        status,
        reason,
        path=Path(source.path),
        geometry=seen.geometry,
        volumes=seen.volumes,
        content=PackedFile(source) if source.member else ImageFile(source),
    )


def _with_damage_warnings(scans: list[FoundScan], foreign: list[str]) -> list[FoundScan]:
    """Warn of unreadable files that name no series: a neighbour may lack a slice."""
    unreadable: dict[str, list[str]] = {}
    for scan in scans:
        for file in _dicom_files(scan):
            if not file.series and not file.frames and (file.problem or not file.sop_class):
                unreadable.setdefault(file.source.folder, []).append(file.source.name)
    for scan in scans:
        if not _dicom_files(scan) and scan.status == Status.REFUSED:
            unreadable.setdefault(scan.source.rpartition("/")[0], []).append(scan.source)
    for name in foreign:
        if readers.promises_dicom(name):
            unreadable.setdefault(name.rpartition("/")[0], []).append(name)
    if not unreadable:
        return scans
    warned = []
    for scan in scans:
        files = _dicom_files(scan) if scan.status == Status.USABLE else ()
        near = [
            name
            for folder in {file.source.folder for file in files}
            for name in unreadable.get(folder, [])
        ]
        warned.append(
            scan
            if not near
            else replace(
                scan,
                warnings=(
                    *scan.warnings,
                    f"{len(near)} unreadable files in the same folder may have been "
                    f"slices of this series (first: {near[0]})",
                ),
            )
        )
    return warned


def _dicom_files(scan: FoundScan) -> tuple[FileHeader, ...]:
    return scan.content.finding.files if isinstance(scan.content, Series) else ()


def _foreign(names: list[str], root: Path) -> FoundScan:
    first = ", ".join(sorted(names)[:5]) + (" …" if len(names) > 5 else "")
    return FoundScan(
        "",
        ".",
        Status.SKIPPED,
        f"not DICOM or another scan: {len(names)} foreign files ignored ({first})",
        files=len(names),
        path=root,
    )
