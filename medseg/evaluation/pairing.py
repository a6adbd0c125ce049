"""The masks of a folder: which file is of which case, and what their values mean."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medseg.config import load_yaml
from medseg.errors import BadLabels, BadOutput
from medseg.evaluation.matching import match_names
from medseg.files import is_file, is_folder
from medseg.labels import LabelTable
from medseg.manifests import Case
from medseg.manifests.looks import LOOKS_FILE
from medseg.manifests.mask_labels import labels_named_in
from medseg.names import safe_name
from medseg.writers.layout import bids_stem, is_bids_derivative

#: Endings of masks, longest first; ``<case><ending>`` is a prediction.
ENDINGS = (".seg.nrrd", ".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd", ".img")

LABELS_FILE, RUN_FILE = "labels.yaml", "run.yaml"


@dataclass(frozen=True, eq=False)
class Predictions:
    """The masks of one folder.

    Attributes:
        folder: where they lie.
        files: by name without ending.
        labels: what their values mean.
        run: what ``run.yaml`` says of the model; empty for foreign predictions.
        bids: whether they lie as BIDS lays them out.
        one_file: whether a file was named, not a folder: of the one case, whatever it is called.
    """

    folder: Path
    files: Mapping[str, Path]
    labels: LabelTable
    run: Mapping[str, Any]
    one_file: bool = False
    bids: bool = False

    @property
    def training_pixels(self) -> frozenset[str]:
        """Pixel hashes of the scans that trained the model."""
        return frozenset(str(pixels) for pixels in self.run.get("training_pixels") or ())

    @property
    def model_scans(self) -> Path | None:
        """The folder, where it holds what the scans that trained the model are recognised by."""
        return self.folder if (self.folder / LOOKS_FILE).is_file() else None

    def match(self, cases: Sequence[Case]) -> dict[str, str]:
        """The name of the mask of each case that has one."""
        if self.one_file and len(cases) == 1:
            return dict.fromkeys([cases[0].case], next(iter(self.files)))
        if self.bids:
            stems = {case.case: f"{bids_stem(case.case)}_dseg" for case in cases}
            exact = {case: stem for case, stem in stems.items() if stem in self.files}
            if exact:
                return exact
        return match_names([case.case for case in cases], self.files)


def load_predictions(folder: Path, *, labels: LabelTable | None = None) -> Predictions:
    """List a folder's masks and read what stands beside them.

    Args:
        folder: of ``<case>.nii.gz`` (or another format), ``labels.yaml``, ``run.yaml``; or one
            mask.
        labels: what the values mean, instead of ``labels.yaml``; without either, the names in 3D
            Slicer segmentations.

    Raises:
        BadOutput: there is no such folder, or two files are of one case.
        BadLabels: nothing says what the values mean.
    """
    files = mask_files(folder)
    place = folder.parent if is_file(folder) else folder
    named = place / LABELS_FILE
    if labels is None and is_file(named):
        labels = LabelTable.from_card(load_yaml(named))
    if labels is None:
        labels = labels_named_in(files.values())
    if labels is None:
        raise BadLabels(
            "nothing says what the values of the predictions mean",
            path=folder,
            expected=LABELS_FILE,
            remedy="Give --labels liver=1,tumour=2 or --labels FILE.yaml; with a card, "
            "--labels cohort if they are those of the card.",
        )
    run = load_yaml(place / RUN_FILE) if is_file(place / RUN_FILE) else {}
    return Predictions(
        place, files, labels, run, one_file=is_file(folder), bids=is_bids_derivative(place)
    )


def mask_files(place: Path) -> dict[str, Path]:
    """The masks of a folder, or one mask, by name without ending.

    Raises:
        BadOutput: there is no such place, it cannot be listed, or two files are of one case.
    """
    if is_file(place):
        return {mask_name(place) or place.name: place}
    if not is_folder(place):
        raise BadOutput(
            "no such folder of masks",
            path=place,
            remedy="Name the --output of medseg segment, or a folder of masks.",
        )
    try:
        bids = is_bids_derivative(place)
        paths = sorted(place.glob("sub-*/**/*_dseg.*") if bids else place.iterdir())
    except OSError as error:
        raise BadOutput("the folder cannot be listed", path=place, found=error.strerror) from None
    files: dict[str, Path] = {}
    for path in paths:
        name = mask_name(path) if is_file(path) else None
        if name is None:
            continue
        if name in files:
            raise BadOutput(
                "two masks for one case",
                path=place,
                found=f"{files[name].name} and {path.name}",
                remedy="Leave one of them.",
            )
        files[name] = path
    return files


def mask_name(path: Path) -> str | None:
    """The case that a mask's file name says, or ``None`` where it is no mask."""
    ending = next((end for end in ENDINGS if path.name.lower().endswith(end)), None)
    if ending is None or path.name.startswith("."):
        return None
    return safe_name(path.name[: -len(ending)]) or None


def fold_folders(folder: Path) -> dict[int, Path]:
    """Sub-folders ``fold0``, ``fold_1`` … with the predictions of a cross-validation."""
    folders = {}
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        match = re.fullmatch(r"fold[_-]?(\d+)", path.name)
        if match and path.is_dir():
            folders[int(match[1])] = path
    return folders


def extra_files(predictions: Predictions, cases: Sequence[Case]) -> tuple[str, ...]:
    """Names of masks that belong to none of the cases."""
    return tuple(sorted(set(predictions.files) - set(predictions.match(cases).values())))
