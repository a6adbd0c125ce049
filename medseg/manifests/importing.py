"""What do all importers share?  Their table's entry, scans in folders, labels that files hold."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from medseg.config import Options
from medseg.errors import BadCohort
from medseg.labels import LabelTable
from medseg.manifests.checksums import sha256_of
from medseg.manifests.cohort import Case, Cohort, Split
from medseg.names import safe_name
from medseg.readers.labels import read_labels

#: Endings of files that are taken for scans; longest first, so that ``.nii.gz`` goes whole.
ENDINGS = (".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd")

Progress = Callable[[int, int], object]


@dataclass(frozen=True)
class Importer:
    """An entry of the table of importers.

    Attributes:
        options: what can be asked for, checked before any work.
        build: (folder, options) to a cohort without checksums; whoever has no label is ``test``.
        expects: what lies in the folder, in a few words.
    """

    options: type[Options]
    build: Callable[[Path, Any], Cohort]
    expects: str


def with_checksums(cohort: Cohort, progress: Progress | None = None) -> Cohort:
    """The same cohort with the SHA-256 of every file, but for series chosen in a folder by #."""

    def summed(case: Case) -> Case:
        images = {c: sha256_of(path) for c, path in case.images.items() if path.exists()}
        label = sha256_of(case.label) if case.label is not None else ""
        return replace(case, image_sha256=images, label_sha256=label)

    cases: list[Case] = []
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        for case in pool.map(summed, cohort.cases):
            cases.append(case)
            if progress:
                progress(len(cases), len(cohort.cases))
    return cohort.with_cases(tuple(cases))


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object.

    Raises:
        BadCohort: the file is missing or holds something else.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise BadCohort(
            "no such file",
            path=path,
            remedy="Name the folder that holds it, or another convention.",
        ) from None
    except (OSError, ValueError) as error:
        raise BadCohort("the file is not JSON", path=path, found=error) from None
    if not isinstance(content, dict):
        raise BadCohort("not a mapping of keys to values", path=path, found=type(content).__name__)
    return content


def scans_in(folder: Path, endings: Sequence[str] = ENDINGS) -> dict[str, Path]:
    """Name without ending -> file, sorted; hidden files (``._x`` from a Mac) are left out.

    Raises:
        BadCohort: no such folder, or two files of one name.
    """
    if not folder.is_dir():
        raise BadCohort("no such folder", path=folder, remedy="Name the folder above it.")
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        name = stem(path.name, endings)
        if name is None or path.name.startswith("."):
            continue
        if name in found:
            raise BadCohort(
                "two files of one name", path=folder, found=f"{found[name].name} and {path.name}"
            )
        found[name] = path
    return found


def stem(name: str, endings: Sequence[str] = ENDINGS) -> str | None:
    """The file name without its ending, or ``None`` for other files."""
    for ending in endings:
        if name.lower().endswith(ending.lower()) and len(name) > len(ending):
            return name[: -len(ending)]
    return None


def new_case(
    name: str,
    images: dict[str, Path],
    label: Path | None,
    *,
    patient: str = "",
    covariates: dict[str, str] | None = None,
    split: Split | None = None,
) -> Case:
    """A row before it is divided: ``train`` with a label, else ``test``, unless told."""
    usual = Split.TEST if label is None else Split.TRAIN
    return Case(
        safe_name(name),
        safe_name(patient or name),
        split or usual,
        None,
        images,
        label,
        covariates=covariates or {},
    )


def numbered_labels(files: Iterable[Path]) -> LabelTable:
    """A label named ``label N`` for every value that the masks hold.

    Raises:
        BadCohort: there is no mask, or none holds anything.
    """
    paths = list(files)
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        found = list(pool.map(lambda path: np.unique(read_labels(path).data), paths))
    values = sorted({int(v) for some in found for v in some} - {0})
    if not values:
        raise BadCohort(
            "the masks name no labels and hold none",
            found=f"{len(paths)} masks",
            remedy="Say them, for example labels='{liver: 1}'.",
        )
    return LabelTable.from_card({"labels": {f"label {value}": value for value in values}})


def modality_of(names: Iterable[str]) -> str:
    """DICOM's modality behind channel names such as ``MRI`` or ``FLAIR``; empty where unclear."""
    words = " ".join(names).upper()
    if re.search(r"\b(MR|MRI|T1|T2|FLAIR|ADC|DWI)|T1W|T2W|T1GD", words):
        return "MR"
    if re.search(r"\bP(E)?T\b", words):
        return "PT" if "CT" not in words else ""
    return "CT" if re.search(r"\bCT\b", words) else ""
