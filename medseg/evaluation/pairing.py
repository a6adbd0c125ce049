"""Which prediction belongs to which case?  By file name, and labels by their own names."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from medseg.config import load_yaml
from medseg.errors import BadLabels, BadOutput
from medseg.labels import LabelTable
from medseg.manifests import Case
from medseg.names import safe_name

#: Endings of masks, longest first; ``<case><ending>`` is a prediction.
ENDINGS = (".seg.nrrd", ".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd", ".img")

#: Voxels translated at a time: numpy makes 8-byte indices of them.
CHUNK_VOXELS = 1_000_000

LABELS_FILE, RUN_FILE = "labels.yaml", "run.yaml"


@dataclass(frozen=True, eq=False)
class Predictions:
    """The masks of one folder.

    Attributes:
        folder: where they lie.
        files: by name without ending.
        labels: what their values mean.
        run: what ``run.yaml`` tells of the model; empty for foreign predictions.
    """

    folder: Path
    files: Mapping[str, Path]
    labels: LabelTable
    run: Mapping[str, Any]

    @property
    def training_pixels(self) -> frozenset[str]:
        """Pixel hashes of the scans that trained the model."""
        return frozenset(str(pixels) for pixels in self.run.get("training_pixels") or ())


def load_predictions(folder: Path, *, labels: LabelTable | None = None) -> Predictions:
    """List a folder's masks and read what stands beside them.

    Args:
        folder: of ``<case>.nii.gz`` (or another format), ``labels.yaml``, ``run.yaml``.
        labels: what the values mean, instead of ``labels.yaml``.

    Raises:
        BadOutput: there is no such folder, or two files are of one case.
        BadLabels: nothing says what the values mean.
    """
    if not folder.is_dir():
        raise BadOutput(
            "no such folder of predictions",
            path=folder,
            remedy="Name the --output of medseg segment.",
        )
    files = _files(folder)
    named = folder / LABELS_FILE
    if labels is None and not named.is_file():
        raise BadLabels(
            "nothing says what the values of the predictions mean",
            path=folder,
            expected=LABELS_FILE,
            remedy="Give --labels FILE.yaml, or --labels cohort if they are those of the card.",
        )
    table = labels if labels is not None else LabelTable.from_card(load_yaml(named))
    run = load_yaml(folder / RUN_FILE) if (folder / RUN_FILE).is_file() else {}
    return Predictions(folder, files, table, run)


def _files(folder: Path) -> dict[str, Path]:
    files: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        name = _name(path) if path.is_file() else None
        if name is None:
            continue
        if name in files:
            raise BadOutput(
                "two predictions for one case",
                path=folder,
                found=f"{files[name].name} and {path.name}",
                remedy="Leave one of them.",
            )
        files[name] = path
    return files


def fold_folders(folder: Path) -> dict[int, Path]:
    """Sub-folders ``fold0``, ``fold_1`` … with the predictions of a cross-validation."""
    found = {}
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        match = re.fullmatch(r"fold[_-]?(\d+)", path.name)
        if match and path.is_dir():
            found[int(match[1])] = path
    return found


def extra_files(predictions: Predictions, cases: Sequence[Case]) -> tuple[str, ...]:
    """Names of masks that belong to none of the cases."""
    wanted = {case.case for case in cases}
    return tuple(sorted(set(predictions.files) - wanted))


def _name(path: Path) -> str | None:
    ending = next((end for end in ENDINGS if path.name.lower().endswith(end)), None)
    if ending is None or path.name.startswith("."):
        return None
    return safe_name(path.name[: -len(ending)]) or None


def same_names(
    values: NDArray[Any], theirs: LabelTable, ours: LabelTable, *, path: Path
) -> NDArray[Any]:
    """A prediction's values turned into the cohort's for labels of the same name, else 0.

    Raises:
        BadLabels: the prediction holds a value that its own table does not name.
    """
    highest = int(values.max(initial=0))
    table = np.zeros(highest + 1, dtype=ours.dtype)
    for label in theirs.labels:
        if label.name in ours.names and label.value <= highest:
            table[label.value] = ours.value_of(label.name)
    order: Literal["C", "F"] = "F" if values.flags.f_contiguous else "C"
    flat = values.ravel(order=order)
    result = np.empty(flat.shape, dtype=ours.dtype)
    seen = np.zeros(highest + 1, dtype=bool)
    for start in range(0, flat.size, CHUNK_VOXELS):
        part = flat[start : start + CHUNK_VOXELS]
        seen |= np.bincount(part, minlength=highest + 1) > 0
        result[start : start + CHUNK_VOXELS] = table[part]
    known = {0, *theirs.values} | ({theirs.ignore} if theirs.ignore is not None else set())
    unknown = sorted({int(value) for value in np.flatnonzero(seen)} - known)
    if unknown:
        raise BadLabels(
            "the prediction holds values that its labels do not name",
            path=path,
            found=unknown[:10],
            expected=sorted(known),
            remedy=f"Correct {LABELS_FILE} or --labels.",
        )
    return result.reshape(values.shape, order=order)


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
