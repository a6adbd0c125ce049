"""Scans of masks that no batch made: found beside them, by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from medseg.errors import BadScan
from medseg.evaluation.matching import core_name, match_names
from medseg.evaluation.pairing import ENDINGS

#: What folders of scans are called, beside a folder of masks.
_SCAN_FOLDERS = ("images", "imagesTs", "imagesTr", "scans", "image", "imgs")


def scans_beside(
    folder: Path, masks: Mapping[str, Path], scans: Path | None = None
) -> dict[str, Path]:
    """The scan of each mask, by name.

    Looked for in the folder that the user named, else in a folder called ``images`` or alike
    beside the masks, else among the masks: ``case.nii.gz`` beside ``case_seg.nii.gz``.

    Raises:
        BadScan: the folder that was named is none.
    """
    if scans is not None and not scans.is_dir():
        raise BadScan("not a folder of scans", path=scans)
    nearby = [folder.parent / name for name in _SCAN_FOLDERS]
    for place in [scans] if scans is not None else nearby:
        if not place.is_dir() or place == folder:
            continue
        found = _matched(list(masks), place)
        if found or scans is not None:
            return found
    plain = {name: path for name, path in masks.items() if core_name(name) == name}
    return {
        name: plain[core_name(name)]
        for name in masks
        if core_name(name) != name and core_name(name) in plain
    }


def _matched(masks: Sequence[str], place: Path) -> dict[str, Path]:
    """The scan of each mask in a folder: of its very name, else the first channel of its name.

    So ``case_0001`` is a case of its own where there is such a mask, and a channel of ``case``
    where there is not.
    """
    files = _scans_of(place)
    own = {name: files[name] for name in masks if name in files}
    channels: dict[str, Path] = {}
    for name, path in files.items():
        is_channel = name[-5:-4] == "_" and name[-4:].isdigit()
        if name not in own:
            channels.setdefault(name[:-5] if is_channel else name, path)
    matches = match_names([name for name in masks if name not in own], channels)
    return own | {case: channels[name] for case, name in matches.items()}


def _scans_of(place: Path) -> dict[str, Path]:
    """Files of a folder by name without ending, and folders by name, in order."""
    files: dict[str, Path] = {}
    listed = [path for path in sorted(place.iterdir()) if not path.name.startswith(".")]
    for path in listed:
        ending = next((end for end in ENDINGS if path.name.lower().endswith(end)), None)
        if ending is not None and path.is_file():
            files.setdefault(path.name[: -len(ending)], path)
    for path in filter(Path.is_dir, listed):
        files.setdefault(path.name, path)  # a DICOM series
    return files
