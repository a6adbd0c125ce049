"""True masks without a card: a folder, or one file, as a cohort of test cases."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from medseg.config import load_yaml, parse_json
from medseg.errors import BadLabels, BadOutput
from medseg.evaluation.pairing import LABELS_FILE, mask_files, mask_name
from medseg.files import is_file, is_folder, read_text
from medseg.labels import LabelTable
from medseg.manifests import Case, Cohort
from medseg.manifests.cohort import Split
from medseg.manifests.mask_labels import labels_named_in

#: Where nnU-Net keeps the names of labels, beside or above its folders of masks.
DATASET_FILE = "dataset.json"


def is_truth(path: Path) -> bool:
    """Whether this is a folder or a mask, and not a card."""
    return is_folder(path) or (is_file(path) and mask_name(path) is not None)


def truth_cohort(place: Path, labels: LabelTable | None = None) -> Cohort:
    """The masks of a folder, or one mask, as test cases without scans.

    Nothing says which masks are of one patient: every case counts as one.

    Args:
        place: a folder of masks, or one mask.
        labels: what their values mean; ``None`` takes ``labels.yaml`` or nnU-Net's
            ``dataset.json`` beside them, or the names in 3D Slicer segmentations.

    Raises:
        BadOutput: there is no mask.
        BadLabels: nothing says what the values mean.
    """
    files = mask_files(place)
    if not files:
        raise BadOutput("no masks here", path=place, expected="NIfTI, NRRD or MetaImage files")
    folder = place if is_folder(place) else place.parent
    return Cohort(
        name=place.name if is_folder(place) else next(iter(files)),
        modality="",
        channels=(),
        labels=labels if labels is not None else labels_beside(folder, files.values()),
        cases=tuple(
            Case(name, name, Split.TEST, None, images={}, label=path)
            for name, path in files.items()
        ),
        root=folder,
    )


def labels_beside(folder: Path, masks: Iterable[Path]) -> LabelTable:
    """The labels that a folder of masks, or these masks of it, name themselves.

    Raises:
        BadLabels: it names none.
    """
    if is_file(folder / LABELS_FILE):
        return LabelTable.from_card(load_yaml(folder / LABELS_FILE))
    for place in (folder, folder.parent):
        if is_file(place / DATASET_FILE):
            return _of_dataset(place / DATASET_FILE)
    if (named := labels_named_in(masks)) is not None:
        return named
    raise BadLabels(
        "nothing says what the values of the masks mean",
        path=folder,
        expected=f"{LABELS_FILE} or {DATASET_FILE}",
        remedy="Give --labels liver=1,tumour=2.",
    )


def _of_dataset(path: Path) -> LabelTable:
    """The labels of nnU-Net's ``dataset.json``: ``{"liver": 1}``, or as before ``{"1": "liver"}``.

    Raises:
        BadLabels: it names none, or regions instead.
    """
    try:
        labels = parse_json(read_text(path))["labels"]
        named = {
            str(value if str(key).isdigit() else key): int(key if str(key).isdigit() else value)
            for key, value in labels.items()
        }
    except (ValueError, LookupError, TypeError, AttributeError, OverflowError, OSError):
        raise BadLabels(
            "no single labels in the data set's description",
            path=path,
            remedy="Give --labels liver=1,tumour=2.",
        ) from None
    ignore = named.pop("ignore", None)
    single = {name: value for name, value in named.items() if value != 0}
    return LabelTable.from_card(
        {"labels": single, **({} if ignore is None else {"ignore": ignore})}
    )


def labels_from_text(text: str) -> LabelTable:
    """The labels of ``liver=1,tumour=2``.

    Raises:
        BadLabels: it is not of that form.

    >>> labels_from_text("liver=1, tumour=2").names
    ('liver', 'tumour')
    """
    entries: dict[str, int] = {}
    for part in text.split(","):
        name, equals, value = (word.strip() for word in part.rpartition("="))
        if not equals or not name or not value.isdecimal() or name in entries:
            raise BadLabels("not a list of labels", found=repr(text), expected="liver=1,tumour=2")
        entries[name] = int(value)
    table: Mapping[str, object] = {"labels": entries}
    return LabelTable.from_card(table)


def labels_given(text: str) -> LabelTable:
    """The labels of ``liver=1,tumour=2``, or of a YAML file such as ``labels.yaml``.

    Raises:
        BadLabels: it is neither.
        BadConfig: the file cannot be read.
    """
    if "=" in text and not is_file(Path(text)):
        return labels_from_text(text)
    return LabelTable.from_card(load_yaml(Path(text)))
