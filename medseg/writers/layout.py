"""Where the masks of a case go below the output folder: flat, or as a BIDS derivative."""

from __future__ import annotations

import json
import re
from enum import StrEnum
from pathlib import Path

from medseg.files import read_text
from medseg.labels import Label, LabelTable
from medseg.names import mark, tell_apart
from medseg.volume import LabelMap
from medseg.writers import ending, write_labels
from medseg.writers.atomic import atomic_file

#: Folder of ``--one-file-per-label`` in the flat layout.
PER_LABEL = "per_label"

#: Formats of one number a voxel, of which a label can be a file.
SINGLE = ("nifti", "nrrd", "mha")

#: At the top of a BIDS derivative.
DESCRIPTION = "dataset_description.json"

_BIDS_VERSION = "1.10.0"

_ENTITIES = re.compile(
    r"(?P<sub>sub-[0-9A-Za-z]+)(_(?P<ses>ses-[0-9A-Za-z]+))?(?P<rest>(_[a-z]+-[0-9A-Za-z]+)*)"
    r"(_(?P<suffix>[0-9A-Za-z]+))?"
)


class Layout(StrEnum):
    """How an output folder is laid out."""

    #: ``<case>.nii.gz``
    FLAT = "flat"
    #: ``sub-*/[ses-*/]anat/*_dseg.nii.gz``
    BIDS = "bids"


def mask_name(case: str, *, format: str, layout: Layout) -> str:  # noqa: A002
    """The mask of a case, relative to the output folder.

    >>> mask_name("liver_007", format="nifti", layout=Layout.FLAT)
    'liver_007.nii.gz'
    >>> mask_name("sub-01_ses-2_T1w", format="nifti", layout=Layout.BIDS)
    'sub-01/ses-2/anat/sub-01_ses-2_desc-T1w_dseg.nii.gz'
    """
    if layout is Layout.FLAT:
        return f"{case}{ending(format)}"
    return f"{_bids_folder(case)}/{bids_stem(case)}_dseg{ending(format)}"


def bids_stem(case: str) -> str:
    """The entities of a case's files: those of its name, else a subject made of it.

    Different cases have different entities. A name that is none in BIDS keeps its letters and
    digits; where that loses something, a mark of the whole name follows.

    >>> bids_stem("sub-01_ses-2"), bids_stem("sub-01_run-1_FLAIR"), bids_stem("liver7")
    ('sub-01_ses-2', 'sub-01_run-1_desc-FLAIR', 'sub-liver7')
    """
    match = _ENTITIES.fullmatch(case)
    if match is None or "_desc-" in match["rest"]:
        return f"sub-{_label(case)}"
    suffix = f"_desc-{match['suffix']}" if match["suffix"] else ""
    return case.removesuffix(f"_{match['suffix']}") + suffix


def write_single_labels(
    labelmap: LabelMap,
    output: Path,
    case: str,
    *,
    format: str,  # noqa: A002
    layout: Layout,
) -> None:
    """Write one mask a label, 1 where it is; those of absent labels are empty.

    Raises:
        BadOutput: a file cannot be written.
    """
    table = labelmap.labels
    if table is None:
        return
    for label, name in zip(table.labels, _file_names(table, layout), strict=True):
        single = LabelTable((_as_one(label),))
        inside = (labelmap.data == label.value).astype(single.dtype)
        mask = LabelMap(inside, labelmap.geometry, single, labelmap.origin)
        path = output / single_name(case, name, format=format, layout=layout)
        write_labels(mask, path, format=format)


def single_name(case: str, name: str, *, format: str, layout: Layout) -> str:  # noqa: A002
    """The file of one label of a case, relative to the output folder.

    BIDS wants ``desc`` to be the last of the entities.

    >>> single_name("sub-01_T1w", "liver", format="nifti", layout=Layout.BIDS)
    'sub-01/anat/sub-01_label-liver_desc-T1w_mask.nii.gz'
    """
    if layout is Layout.FLAT:
        return f"{PER_LABEL}/{case}/{name}{ending(format)}"
    return f"{_bids_folder(case)}/{_labelled(case, name)}_mask{ending(format)}"


def is_single(file_name: str, case: str) -> bool:
    """Whether a file in a BIDS derivative is that of one label of a case.

    >>> is_single("sub-01_label-liver_mask.nii.gz", "sub-01")
    True
    >>> is_single("sub-01_label-liver_desc-T1w_mask.nii.gz", "sub-01")
    False
    """
    labelled = re.escape(_labelled(case, "*")).replace(re.escape("*"), "[0-9A-Za-z]+")
    return re.fullmatch(rf"{labelled}_mask\..*", file_name) is not None


def _labelled(case: str, label: str) -> str:
    entities, desc, described = bids_stem(case).partition("_desc-")
    return f"{entities}_label-{label}{desc}{described}"


def write_description(output: Path, *, version: str) -> None:
    """Write what makes a folder a BIDS derivative."""
    content = {
        "Name": "Segmentations by medseg",
        "BIDSVersion": _BIDS_VERSION,
        "DatasetType": "derivative",
        "GeneratedBy": [{"Name": "medseg", "Version": version}],
    }
    with atomic_file(output / DESCRIPTION) as file:
        file.write((json.dumps(content, indent=2) + "\n").encode())


def is_bids_derivative(folder: Path) -> bool:
    """Whether masks lie in a folder as BIDS lays them out."""
    try:
        about = json.loads(read_text(folder / DESCRIPTION))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(about, dict) and about.get("DatasetType") == "derivative"


def _bids_folder(case: str) -> str:
    parts = bids_stem(case).split("_")
    return "/".join([*(part for part in parts[:2] if part[:4] in ("sub-", "ses-")), "anat"])


def _label(text: str) -> str:
    """Letters and digits alone, and a mark where that loses something."""
    letters = re.sub(r"[^0-9A-Za-z]", "", text)
    if letters == text:
        return letters
    return letters[:40] + mark(text)


def _file_names(table: LabelTable, layout: Layout) -> list[str]:
    """A name for the file of each label, in their order."""
    if layout is Layout.FLAT:
        return tell_apart([label.name.replace(" ", "_") for label in table.labels])
    plain = [re.sub(r"[^0-9A-Za-z]", "", label.name) for label in table.labels]
    return [
        name if name and plain.count(name) == 1 else f"{name or 'label'}{label.value}"
        for name, label in zip(plain, table.labels, strict=True)
    ]


def _as_one(label: Label) -> Label:
    return Label(label.name, 1, label.colour, label.code, label.side, label.aliases)
