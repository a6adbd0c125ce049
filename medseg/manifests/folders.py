"""How do two folders of images and masks become a cohort?  By equal file names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import Field

from medseg.config import Options
from medseg.errors import BadCohort
from medseg.labels import LabelTable
from medseg.manifests.cohort import Case, Cohort
from medseg.manifests.importing import modality_of, new_case, numbered_labels, scans_in


class FoldersOptions(Options):
    """Where things lie.

    Attributes:
        images: folder of the scans.
        masks: folder of the masks.
        channels: with several, files are called ``<case>_<channel>.nii.gz``.
        mask_suffix: what a mask's name has after the case, such as ``_seg``.
        labels: name -> value; the values that the masks hold where not given.
        modality: ``CT``, ``MR`` …
    """

    images: str = "images"
    masks: str = "labels"
    channels: tuple[str, ...] = Field(default=("image",), min_length=1)
    mask_suffix: str = ""
    labels: dict[str, Any] = Field(default_factory=dict)
    modality: str = ""


def build(folder: Path, options: FoldersOptions) -> Cohort:
    """A cohort from a folder with ``images/`` and ``labels/``.

    A folder among the images is a DICOM series. Every case counts as a patient, and the card
    says so.

    Raises:
        BadCohort: no scans, a channel without file, or masks that belong to no scan.
    """
    images = scans_in(folder / options.images)
    images |= {
        path.name: path
        for path in sorted((folder / options.images).iterdir())
        if path.is_dir() and not path.name.startswith(".")
    }
    held = folder / options.masks
    masks = {
        name.removesuffix(options.mask_suffix): path
        for name, path in (scans_in(held) if held.is_dir() else {}).items()
    }
    scans = _grouped(folder / options.images, images, options.channels)
    cases = [new_case(name, files, masks.get(name)) for name, files in scans.items()]
    strays = sorted(set(masks) - set(scans))
    if strays:
        raise BadCohort(
            "a mask belongs to no scan",
            path=masks[strays[0]],
            found=f"{len(strays)} such masks, {len(cases)} scans",
            expected=f"a scan called {strays[0]!r}",
            remedy="See mask_suffix.",
        )
    table = (
        LabelTable.from_card({"labels": options.labels})
        if options.labels
        else (numbered_labels(masks.values()))
    )
    return Cohort(
        name=folder.resolve().name,
        modality=options.modality or modality_of(options.channels),
        channels=options.channels,
        labels=table,
        cases=_sorted(cases),
        root=folder,
        notes="Every case counts as a patient of its own. Where patients came twice, give their "
        "rows one id and divide anew.",
    )


def _grouped(
    place: Path, images: dict[str, Path], channels: tuple[str, ...]
) -> dict[str, dict[str, Path]]:
    """Case -> channel -> file."""
    if not images:
        raise BadCohort("no scans", path=place, expected="NIfTI, NRRD or MetaImage files")
    if len(channels) == 1:
        return {name: {channels[0]: path} for name, path in images.items()}
    groups: dict[str, dict[str, Path]] = {}
    for name, path in images.items():
        for channel in channels:
            if name.endswith(f"_{channel}"):
                groups.setdefault(name.removesuffix(f"_{channel}"), {})[channel] = path
    for name, files in groups.items():
        lacking = [channel for channel in channels if channel not in files]
        if lacking:
            raise BadCohort(
                f"case {name!r} lacks channel {lacking[0]!r}",
                path=place,
                expected=f"a file {name}_{lacking[0]}",
            )
    if not groups:
        raise BadCohort(
            "no scan is named after a channel",
            path=place,
            expected=f"names such as case_{channels[0]}.nii.gz",
        )
    return {
        name: {channel: files[channel] for channel in channels} for name, files in groups.items()
    }


def _sorted(cases: list[Case]) -> tuple[Case, ...]:
    return tuple(sorted(cases, key=lambda case: case.case))
