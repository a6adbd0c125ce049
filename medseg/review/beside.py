"""Scans of masks that no batch made: found beside them, by name."""

from __future__ import annotations

from collections.abc import Mapping
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
        files = _first_channels(place)
        matches = match_names(list(masks), files)
        if matches or scans is not None:
            return {case: files[name] for case, name in matches.items()}
    plain = {name: path for name, path in masks.items() if core_name(name) == name}
    return {
        name: plain[core_name(name)]
        for name in masks
        if core_name(name) != name and core_name(name) in plain
    }


def _first_channels(place: Path) -> dict[str, Path]:
    """Scans of a folder by name; of ``case_0000``, ``case_0001`` … the first."""
    files: dict[str, Path] = {}
    for path in sorted(place.iterdir()):
        ending = next((end for end in ENDINGS if path.name.lower().endswith(end)), None)
        if ending is None or path.name.startswith(".") or not path.is_file():
            continue
        name = path.name[: -len(ending)]
        stem = name[:-5] if name[-5:-4] == "_" and name[-4:].isdigit() else name
        files.setdefault(stem, path)
    return files
