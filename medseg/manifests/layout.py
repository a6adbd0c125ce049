"""Images and masks of a folder, paired by their names alone, or a list of what stands in the way.

A file's name and the folders above it are cut into words. Words such as ``seg`` or ``labels`` make
it a mask and words such as ``img`` or ``scans`` say nothing; what is left is the case. A last word
that names a channel (``_0000``, ``_T1``), or a folder that does, is the channel. So ``img01`` goes
with ``msk01``, ``images/liver_0000`` with ``labels/liver``, ``c1/t1`` and ``c1/flair`` with
``c1/seg``. Where the folders' words stand in the way, files of one name are a pair (``sharp/p1``
and ``GT/p1``), and so are a folder's only scan and its only mask (``p1/head`` and ``p1/mask``).
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

from medseg.errors import BadCohort
from medseg.manifests.importing import holds_dicom, scan_stem

#: A word that makes a file a mask.
_MASK = re.compile(
    "annotations?|contours?|groundtruth|gt|labels?|labelst[rs]|lbl|manual|masks?|msk|rois?|segs?"
    "|segmentations?|targets?|truths?"
)

#: A word that says nothing of a scan.
_IMAGE = re.compile(
    "dcm|dicom|images?|imagest[rs]|imaging|imgs?|inputs?|orig|raw|scans?|series|vol|volumes?"
)

#: A word that names a channel, where scans differ in it.
_CHANNEL = re.compile("adc|ct|dwi|flair|mri?|pd|pet|pt|swi|t1|t1c|t1ce|t1gd|t1n|t1w|t2|t2f|t2w")

#: What nnU-Net puts after the name of a case's first channel.
_FIRST_CHANNEL = "0000"

#: How deep scans are looked for.
_DEEPEST = 3

_EXAMPLES = 6


@dataclass(frozen=True)
class NamedScan:
    """One image file or DICOM folder, read by its name.

    Attributes:
        path: of the file or folder.
        stem: its name without ending.
        key: the words that name the case and perhaps, as the last one, the channel.
        own: those of them that are in its own name.
        is_mask: whether a word of its name or of a folder makes it a mask.
    """

    path: Path
    stem: str
    key: tuple[str, ...]
    own: tuple[str, ...]
    is_mask: bool

    def without(self, channels: Sequence[str]) -> tuple[str, tuple[str, ...]]:
        """The channel that the name ends in, if it is one of these, and the other words."""
        if self.key[-1:] and self.key[-1] in channels:
            return self.key[-1], self.key[:-1]
        return "", self.key


@dataclass(frozen=True)
class Layout:
    """Cases of a folder.

    Attributes:
        channels: names of the channels, as the files have them; one empty name for a single one.
        scans: case -> channel -> file.
        masks: case -> mask.
    """

    channels: tuple[str, ...]
    scans: Mapping[str, Mapping[str, Path]]
    masks: Mapping[str, Path]


def recognise(folder: Path) -> Layout:
    """Pair the scans and masks of a folder.

    Raises:
        BadCohort: the names allow no pairs, or several; lists what is there and which options
            say it.
    """
    named = _bare_masks([_read_name(path, folder) for path in _scans_below(folder)])
    images = [scan for scan in named if not scan.is_mask]
    masks = [scan for scan in named if scan.is_mask]
    if not images or not masks:
        raise _unclear(folder, named, "no scan is seen" if not images else "no mask is seen")
    problem = ""
    for keyed_images, keyed_masks, channels in _attempts(images, masks, folder):
        try:
            groups, truth = _paired(keyed_images, keyed_masks, channels)
        except ValueError as error:
            problem = problem or str(error)
            continue
        names = _case_names(groups, folder)
        return Layout(
            channels,
            {names[key]: {c: group[c].path for c in channels} for key, group in groups.items()},
            {names[key]: mask.path for key, mask in truth.items()},
        )
    raise _unclear(folder, named, problem)


def _bare_masks(named: Sequence[NamedScan]) -> list[NamedScan]:
    """The same, with ``a`` as the mask of ``a_0000`` where no word makes anything a mask."""
    if any(scan.is_mask for scan in named):
        return list(named)
    cases = {scan.key[:-1] for scan in named if scan.key[-1:] == (_FIRST_CHANNEL,)} - {()}
    return [replace(scan, is_mask=scan.key in cases) for scan in named]


def _attempts(
    images: Sequence[NamedScan], masks: Sequence[NamedScan], folder: Path
) -> Iterator[tuple[Sequence[NamedScan], Sequence[NamedScan], tuple[str, ...]]]:
    """Scans and masks with the keys that may pair them, and channels; the likeliest first."""
    for channels in _readings(images):
        yield images, masks, channels
    if all(scan.own for scan in (*images, *masks)):
        named = [replace(scan, key=scan.own) for scan in images]
        yield named, [replace(scan, key=scan.own) for scan in masks], ("",)
    places = [scan.path.parent for scan in (*images, *masks)]
    if folder not in places and not any(mask.own for mask in masks):
        alone = [replace(scan, key=(str(scan.path.parent),)) for scan in images]
        yield alone, [replace(scan, key=(str(scan.path.parent),)) for scan in masks], ("",)


def _readings(images: Sequence[NamedScan]) -> list[tuple[str, ...]]:
    """The channels that scans may end in, the likelier reading first; ``("",)`` is none."""
    last = {scan.key[-1] if scan.key else "" for scan in images}
    if all(_CHANNEL.fullmatch(word) for word in last):
        return [tuple(sorted(last)), ("",)]
    if last == {f"{number:04d}" for number in range(len(last))}:
        return [("",), tuple(sorted(last))]  # or they are the numbers of the cases
    return [("",)]


Key: TypeAlias = tuple[str, ...]


def _paired(
    images: Sequence[NamedScan], masks: Sequence[NamedScan], channels: Sequence[str]
) -> tuple[dict[Key, dict[str, NamedScan]], dict[Key, NamedScan]]:
    """Case -> channel -> scan, and case -> mask.

    Raises:
        ValueError: what does not fit, in a few words.
    """
    groups: dict[Key, dict[str, NamedScan]] = {}
    for scan in images:
        channel, key = scan.without(channels)
        if channel in groups.setdefault(key, {}):
            raise ValueError(f"{scan.path.name!r} is one of two scans of a case")
        groups[key][channel] = scan
    for key, group in groups.items():
        if set(group) != set(channels) or not (key or len(groups) == 1):
            raise ValueError(f"{next(iter(group.values())).path.name!r} lacks another channel")
    truth: dict[Key, NamedScan] = {}
    for mask in masks:
        key = mask.key if mask.key in groups else mask.without(channels)[1]
        if key not in groups or key in truth:
            what = "is one of two masks of a case" if key in truth else "belongs to no scan"
            raise ValueError(f"{mask.path.name!r} {what}")
        truth[key] = mask
    return groups, truth


def _scans_below(folder: Path) -> Iterator[Path]:
    """Image files, and folders of DICOM files, in order; hidden ones are left out."""
    for place, folders, files in os.walk(folder):
        here = Path(place)
        depth = len(here.relative_to(folder).parts)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        if depth and not any(scan_stem(name) for name in files) and holds_dicom(here):
            yield here
            folders.clear()
            continue
        if depth >= _DEEPEST:
            folders.clear()
        yield from (here / name for name in sorted(files) if scan_stem(name) is not None)


def _read_name(path: Path, folder: Path) -> NamedScan:
    stem = path.name if path.is_dir() else scan_stem(path.name) or path.name
    above = [_words(part) for part in path.relative_to(folder).parts[:-1]]
    own = _words(stem)
    is_mask = any(_MASK.fullmatch(word) for words in (*above, own) for word in words)
    last = _informative(own)
    case = [_informative(words) for words in above]
    of_channel = [words for words in case if len(words) == 1 and _CHANNEL.fullmatch(words[0])]
    for words in case:  # case01/case01_t1: the folder says it once more
        if words and last[: len(words)] == words:
            last = last[len(words) :]
    case = [words for words in case if words not in of_channel]
    key = tuple(word for words in (*case, last, *of_channel) for word in words)
    is_mask = is_mask or path.name.lower().endswith(".seg.nrrd")
    return NamedScan(path, stem, key, _informative(own), is_mask)


def _words(name: str) -> tuple[str, ...]:
    """The words and numbers of a name, in lower case: ``img01`` is ``img`` and ``01``."""
    composed = unicodedata.normalize("NFC", name)
    words = re.findall(r"[^\W\d_]+\d{1,2}(?![\d])[^\W\d_]*|[^\W\d_]+|\d+", composed.lower())
    split = [
        [word] if _CHANNEL.fullmatch(word) else re.findall(r"[^\W\d_]+|\d+", word) for word in words
    ]
    return tuple(word for parts in split for word in parts)


def _informative(words: Iterable[str]) -> tuple[str, ...]:
    return tuple(w for w in words if not _MASK.fullmatch(w) and not _IMAGE.fullmatch(w))


def _case_names(groups: Mapping[Key, Mapping[str, NamedScan]], folder: Path) -> dict[Key, str]:
    """Each case's name: its scan's own where these differ, else with its folders before it."""
    firsts = {key: next(iter(group.items())) for key, group in groups.items()}
    stems = {key: _without_channel(scan.stem, channel) for key, (channel, scan) in firsts.items()}
    own = {key: stem for key, stem in stems.items() if _informative(_words(stem))}
    common = {stem.casefold() for stem in own.values()}
    if len(groups) > 1 and len(common) == 1 and not any(map(str.isdigit, *common)):
        own = {}  # head.nii.gz in every case's folder
    if len({stem.casefold() for stem in own.values()}) == len(groups):
        return own
    above = {
        key: [part for part in scan.path.relative_to(folder).parts[:-1] if part.lower() != channel]
        for key, (channel, scan) in firsts.items()
    }
    return {
        key: "_".join([*filter(_is_informative, above[key]), *([own[key]] if key in own else [])])
        or firsts[key][1].stem
        for key in groups
    }


def _is_informative(part: str) -> bool:
    return bool(_informative(_words(part)))


def _without_channel(stem: str, channel: str) -> str:
    if not channel or not stem.lower().endswith(channel):
        return stem
    return stem[: -len(channel)].rstrip("_-. ")


def _unclear(folder: Path, named: Sequence[NamedScan], problem: str) -> BadCohort:
    """What was seen, and the options that say it."""
    kinds = Counter(
        (scan.path.parent.relative_to(folder).as_posix(), "mask" if scan.is_mask else "scan")
        for scan in named
    )
    places = [
        f"{count} {kind}{'s' if count > 1 else ''} in {place}/"
        for (place, kind), count in kinds.most_common(_EXAMPLES)
    ]
    names = [scan.path.name for scan in named[:_EXAMPLES]]
    seen = f"{', '.join(places)} ({', '.join(names)}{' …' if len(named) > len(names) else ''})"
    return BadCohort(
        f"the names do not say which mask belongs to which scan: {problem}",
        path=folder,
        found=seen if named else _other_files(folder),
        expected="images/ and labels/ of equal names, a folder per case, or case and case_seg",
        remedy="Give images=FOLDER masks=FOLDER mask_suffix=_seg channels='[T1, FLAIR]'.",
    )


def _other_files(folder: Path) -> str:
    endings = Counter(path.suffix.lower() or "no ending" for path in folder.rglob("*.*"))
    seen = ", ".join(f"{count} {ending}" for ending, count in endings.most_common(_EXAMPLES))
    return f"no scans, but files with {seen}" if seen else "no files"
