"""Folders of images and masks become a cohort: by the options given, else by what the names say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import Field

from medseg.config import Options
from medseg.errors import BadCohort
from medseg.labels import LabelTable
from medseg.manifests.cohort import Cohort
from medseg.manifests.importing import holds_dicom, modality_of, new_case, scans_in
from medseg.manifests.layout import Layout, recognise
from medseg.manifests.mask_labels import labels_in

#: The layout that needs no recognising.
IMAGES, MASKS = "images", "labels"

_CHANNEL = "image"


class FoldersOptions(Options):
    """Where things lie; what is not given is recognised by the names.

    Attributes:
        images: folder of the scans; ``.`` is the folder itself.
        masks: folder of the masks.
        channels: with several, files are called ``<case>_<channel>.nii.gz``.
        mask_suffix: what a mask's name has after the case, such as ``_seg``.
        labels: name -> value; the values that the masks hold where not given.
        modality: ``CT``, ``MR`` …
    """

    images: str = ""
    masks: str = ""
    channels: tuple[str, ...] = Field(default=(_CHANNEL,), min_length=1)
    mask_suffix: str = ""
    labels: dict[str, Any] = Field(default_factory=dict)
    modality: str = ""


def build(folder: Path, options: FoldersOptions) -> Cohort:
    """A cohort from ``images/`` and ``labels/``, or from any layout whose names say which is which.

    A folder among the images is a DICOM series. Every case counts as a patient, and the card
    says so.

    Raises:
        BadCohort: no scans, a channel without a file, masks that belong to no scan, or names
            that leave open which is which.
    """
    layout = _layout(folder, options)
    table = (
        LabelTable.from_card({"labels": options.labels})
        if options.labels
        else labels_in(layout.masks.values())
    )
    cases = [new_case(name, dict(s), layout.masks.get(name)) for name, s in layout.scans.items()]
    return Cohort(
        name=folder.resolve().name,
        modality=options.modality or modality_of(layout.channels),
        channels=layout.channels,
        labels=table,
        cases=tuple(sorted(cases, key=lambda case: case.case)),
        root=folder,
        notes="Every case counts as a patient of its own. Where patients came twice, give their "
        "rows one id and divide again.",
        remarks=_example(layout),
    )


def _example(layout: Layout) -> tuple[str, ...]:
    """A pair, where it was made by the names' meaning and not by equal names."""
    for case, mask in layout.masks.items():
        scan = next(iter(layout.scans[case].values()))
        if scan.name != mask.name:
            return (f"Paired by name: for example {scan.name} with {mask.name}.",)
    return ()


def _layout(folder: Path, options: FoldersOptions) -> Layout:
    is_described = bool(options.images or options.masks or options.mask_suffix)
    usual = (folder / IMAGES).is_dir() and _pairs(folder)
    if is_described or usual or len(options.channels) > 1:
        return _as_said(folder, options)
    layout = recognise(folder)
    if len(layout.channels) == 1:
        return _renamed(layout, options.channels)
    return _renamed(layout, [_channel_name(channel) for channel in layout.channels])


def _pairs(folder: Path) -> bool:
    """Whether a mask in ``labels/`` has the name of a scan, or no mask lies there at all."""
    if not (folder / MASKS).is_dir():
        return not any(path.is_dir() and path.name != IMAGES for path in folder.iterdir())
    masks = set(scans_in(folder / MASKS))
    return not masks or bool(masks & set(_images_in(folder / IMAGES)))


def _renamed(layout: Layout, channels: tuple[str, ...] | list[str]) -> Layout:
    names = dict(zip(layout.channels, channels, strict=True))
    scans = {
        case: {names[channel]: path for channel, path in files.items()}
        for case, files in layout.scans.items()
    }
    return Layout(tuple(channels), scans, layout.masks)


def _channel_name(word: str) -> str:
    """What a channel is called in the card: ``FLAIR`` for ``flair``, ``channel_0`` for ``0000``."""
    return f"channel_{int(word)}" if word.isdigit() else word.upper()


def _as_said(folder: Path, options: FoldersOptions) -> Layout:
    """The layout that the options name; a file with the suffix of masks is a mask, not a scan."""
    suffix = options.mask_suffix
    place = _place(folder, options.images, IMAGES, folder)
    folder_of_masks = _place(folder, options.masks, MASKS, place if suffix else folder / MASKS)
    images = _images_in(place)
    masks = scans_in(folder_of_masks) if folder_of_masks.is_dir() else {}
    if folder_of_masks.resolve() == place.resolve():
        if not suffix:
            raise BadCohort(
                "scans and masks lie in one folder",
                path=place,
                remedy="Give mask_suffix=_seg, as the masks end.",
            )
        images = {name: path for name, path in images.items() if not name.endswith(suffix)}
        seen = len(masks)
        masks = {name: path for name, path in masks.items() if name.endswith(suffix)}
        if not masks:
            raise BadCohort(
                f"no mask: no file's name ends in {suffix!r}",
                path=place,
                found=f"{seen} files ({', '.join(sorted(images)[:4])} …)",
                remedy="Give mask_suffix as the masks have it, in upper and lower case.",
            )
    truth = {name.removesuffix(suffix): path for name, path in masks.items()}
    scans = _grouped(place, images, options.channels)
    strays = sorted(set(truth) - set(scans))
    if strays:
        raise BadCohort(
            "a mask belongs to no scan",
            path=truth[strays[0]],
            found=f"{len(strays)} such masks, {len(scans)} scans",
            expected=f"a scan called {strays[0]!r}",
            remedy="Give mask_suffix=_seg, as the masks end, or channels=[T1, FLAIR].",
        )
    return Layout(options.channels, scans, truth)


def _place(folder: Path, name: str, usual: str, otherwise: Path) -> Path:
    if name:
        return folder / name
    return folder / usual if (folder / usual).is_dir() else otherwise


def _images_in(place: Path) -> dict[str, Path]:
    """Files, and folders of a DICOM series, by name."""
    images = scans_in(place)
    folders = [path for path in sorted(place.iterdir()) if not path.name.startswith(".")]
    return images | {path.name: path for path in folders if path.is_dir() and holds_dicom(path)}


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
