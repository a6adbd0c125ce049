"""What all importers share: the table's entry, descriptions, and the scans in folders."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

from medseg.checksums import sha256_of
from medseg.config import Options, load_json
from medseg.errors import BadCohort
from medseg.manifests.cohort import Case, Cohort, Split, channel_modality
from medseg.memory import usable_cores
from medseg.names import safe_name
from medseg.progress import Progress
from medseg.readers import claims, stem
from medseg.readers.dicom import volume as dicom

#: Slicer's ending of masks, before the format's own.
_SLICER = ".seg"

#: Files of a folder that are looked at to see whether it holds DICOM.
_LOOKED_AT = 8


@dataclass(frozen=True)
class Importer:
    """An entry of the table of importers.

    Attributes:
        options: what can be chosen, validated before any work.
        build: (folder, options) to a cohort without checksums; a case without a mask is ``test``.
        expects: what lies in the folder, in a few words.
    """

    options: type[Options]
    build: Callable[[Path, Any], Cohort]
    expects: str


def with_checksums(cohort: Cohort, progress: Progress | None = None) -> Cohort:
    """The same cohort with the SHA-256 of every file, but for what is chosen in a place by #."""

    def summed(case: Case) -> Case:
        images = {c: sha256_of(path) for c, path in case.images.items() if path.exists()}
        own = case.label is not None and case.label.exists()
        label = sha256_of(case.label) if own and case.label is not None else ""
        return replace(case, image_sha256=images, label_sha256=label)

    cases: list[Case] = []
    with ThreadPoolExecutor(min(8, usable_cores())) as pool:
        for case in pool.map(summed, cohort.cases):
            cases.append(case)
            if progress:
                progress(len(cases), len(cohort.cases))
    return cohort.with_cases(tuple(cases))


def read_description(path: Path) -> dict[str, Any]:
    """The JSON object in which a convention describes a data set.

    Raises:
        BadCohort: the file is missing or holds something else.
    """
    remedy = "Name the folder that holds it, or another convention."
    return load_json(path, refusal=BadCohort, remedy=remedy)


def described_channels(folder: Path, card: Mapping[str, Any], *keys: str) -> tuple[str, ...]:
    """The channels that a ``dataset.json`` numbers, in their order; equal names get the numbers.

    Args:
        folder: of the data set.
        card: its ``dataset.json``.
        keys: of the card that may hold them; the first that does is taken.

    Raises:
        BadCohort: they are not numbered.

    >>> described_channels(Path(), {"modality": {"1": "T2", "0": "T1"}}, "modality")
    ('T1', 'T2')
    >>> described_channels(Path(), {"modality": {"0": "MRI", "1": "MRI"}}, "modality")
    ('MRI_0', 'MRI_1')
    """
    named = next((card[key] for key in keys if card.get(key)), {"0": "image"})
    try:
        ordered = [(str(key), str(named[key])) for key in sorted(named, key=int)]
        count = Counter(name for _, name in ordered)
        return tuple(name if count[name] == 1 else f"{name}_{key}" for key, name in ordered)
    except (TypeError, ValueError, KeyError):
        raise BadCohort(
            "the channels are not as expected",
            path=folder / "dataset.json",
            found=named,
            expected=f'"{keys[0]}": {{"0": "CT"}}',
        ) from None


def miscounted(card: Mapping[str, Any], cases: int) -> tuple[str, ...]:
    """A remark where ``numTraining`` of a dataset.json is not the number of cases that are here.

    >>> miscounted({"numTraining": 3}, 2)
    ('dataset.json speaks of 3 training cases, 2 are here: is the download complete?',)
    """
    announced = card.get("numTraining")
    if not isinstance(announced, int) or announced == cases:
        return ()
    count = f"dataset.json speaks of {announced} training cases, {cases} are here"
    return (f"{count}: is the download complete?",)


def scans_in(folder: Path, ending: str = "") -> dict[str, Path]:
    """Name without ending -> file, sorted; hidden files (``._x`` from a Mac) are left out.

    Args:
        folder: not searched below.
        ending: only files with this one; else every format that can be read.

    Raises:
        BadCohort: no such folder, or two files have the same name.
    """
    if not folder.is_dir():
        raise BadCohort("no such folder", path=folder, remedy="Name the folder above it.")
    scans: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        name = scan_stem(path.name, ending)
        if name is None or not path.is_file():
            continue
        if name in scans:
            raise BadCohort(
                "two files have the same name",
                path=folder,
                found=f"{scans[name].name} and {path.name}",
            )
        scans[name] = path
    return scans


def scan_stem(name: str, ending: str = "") -> str | None:
    """A scan's file name without its ending; ``None`` for other files and hidden ones.

    >>> scan_stem("liver_01.nii.gz"), scan_stem("liver_01.seg.nrrd"), scan_stem("notes.txt")
    ('liver_01', 'liver_01', None)
    """
    if name.startswith("."):
        return None
    name = unicodedata.normalize("NFC", name)  # a Mac's names and everybody else's are one
    if ending:
        fits = name.lower().endswith(ending.lower()) and len(name) > len(ending)
        return name[: -len(ending)] if fits else None
    return stem(name).removesuffix(_SLICER) if claims(name) else None


def holds_dicom(folder: Path) -> bool:
    """Whether DICOM files lie in a folder or below; the first few files decide."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.name[0] != ".")
    return any(dicom.recognises(path) for path in islice(files, _LOOKED_AT))


def new_case(
    name: str,
    images: dict[str, Path],
    label: Path | None,
    *,
    patient: str = "",
    covariates: dict[str, str] | None = None,
    split: Split | None = None,
) -> Case:
    """A row before it is divided: ``train`` with a mask, else ``test``, unless `split` is given."""
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


def modality_of(names: Iterable[str]) -> str:
    """DICOM's modality behind channel names; empty where they say none or several.

    >>> modality_of(["T1w", "FLAIR"]), modality_of(["PET", "CT"])
    ('MR', '')
    """
    modalities = {channel_modality(name) for name in names} - {""}
    return modalities.pop() if len(modalities) == 1 else ""
