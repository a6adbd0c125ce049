"""Says what a file or folder is, so that a verb can refuse the wrong one by its name."""

from __future__ import annotations

import csv
from collections.abc import Collection, Iterable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any

from medseg.config.yaml_text import load_yaml
from medseg.errors import BadConfig
from medseg.files import is_file, open_file


class Kind(StrEnum):
    """What medseg reads and writes, as a person would call it."""

    CARD = "a cohort's card"
    CONFIG = "a config"
    MODEL = "a model folder"
    MODEL_CARD = "the card of a model"
    FOREIGN = "a model of another tool"
    RUN = "the folder of a training"
    MASKS = "the masks of medseg segment"
    EVALUATION = "an evaluation"
    VOLUMES = "the volumes of medseg convert"
    COHORT_TABLE = "a cohort's table"
    CASES = "the table of a batch"
    SCORES = "a table of scores"
    SCANS = "a table of scans"
    LABELS = "a list of labels"
    RECORD = "the record of a batch"
    SCAN = "a scan or mask"
    ARCHIVE = "an archive"
    TABLE = "a table"
    PAGE = "a page"
    FOLDER = "a folder"


#: What to give instead, for each kind that a verb asks for.
_EXPECTED = {
    Kind.CARD: "the YAML file that medseg cohort import writes",
    Kind.CONFIG: "the YAML file that medseg plan writes",
    Kind.MODEL: "a folder with a model.yaml, such as RUN/model",
    Kind.FOREIGN: "a folder of nnU-Net's training, or a MONAI bundle",
    Kind.MASKS: "the --output of medseg segment",
    Kind.EVALUATION: "the --output of medseg evaluate",
}

_FOLDERS = {
    "model.yaml": Kind.MODEL,
    "model/model.yaml": Kind.RUN,
    "scores.csv": Kind.EVALUATION,
    "run.yaml": Kind.MASKS,
    "scans.csv": Kind.VOLUMES,
    "plans.json": Kind.FOREIGN,
    "configs/metadata.json": Kind.FOREIGN,
}
_ENDINGS = {
    (".nii", ".nii.gz", ".nrrd", ".nhdr", ".mha", ".mhd", ".dcm", ".mnc", ".img"): Kind.SCAN,
    (".zip", ".tar", ".tgz", ".tar.gz", ".tar.bz2", ".tar.xz"): Kind.ARCHIVE,
    (".html", ".htm"): Kind.PAGE,
}
#: Columns by which a table is known, the most telling first.
_COLUMNS = {
    ("case", "label", "metric", "value"): Kind.SCORES,
    ("case", "patient", "split"): Kind.COHORT_TABLE,
    ("scan",): Kind.SCANS,
    ("case", "status", "source", "modality"): Kind.SCANS,
    ("case", "status", "reason"): Kind.CASES,
}
#: Keys by which a YAML file is known, likewise.
_KEYS = {
    ("format", "weights"): Kind.MODEL_CARD,
    ("cohort",): Kind.CONFIG,
    ("labels", "table"): Kind.CARD,
    ("models",): Kind.RECORD,
}
#: All keys that a list of labels may have.
_LABEL_KEYS = {"labels", "ignore", "regions", "mirror_pairs"}
#: Files without scans, which nobody means who asks for one.
_NO_SCANS = (
    Kind.COHORT_TABLE,
    Kind.CASES,
    Kind.SCORES,
    Kind.CONFIG,
    Kind.MODEL_CARD,
    Kind.LABELS,
    Kind.RECORD,
    Kind.PAGE,
)
#: Longer files are no card, config or list of labels.
_MOST_BYTES = 50_000_000


def kind_of(path: Path) -> Kind | None:
    """What a path is; ``None`` where it is missing or nothing that is known.

    >>> kind_of(Path("/no/such/card.yaml")) is None
    True
    """
    try:
        if path.is_dir():
            names = (kind for name, kind in _FOLDERS.items() if is_file(path / name))
            return next(names, Kind.FOLDER)
        if not path.is_file() or path.stat().st_size > _MOST_BYTES:
            return _by_ending(path) if path.is_file() else None
        return _by_ending(path) or _by_content(path)
    except (OSError, ValueError):
        return None


def refuse_other_kinds(path: Path, wanted: Kind, *, also: Collection[Kind] = ()) -> None:
    """Refuse what is known to be something else than a verb asks for.

    Args:
        path: what the user gave.
        wanted: what the verb asks for, for the message.
        also: what else may pass.

    Raises:
        BadConfig: the path is of another kind; says which, and what to give instead.
    """
    kind = kind_of(path)
    if kind not in (None, wanted, *also):
        raise BadConfig(
            f"this is {kind}, not {wanted}",
            path=path,
            expected=_EXPECTED[wanted],
            remedy=_remedy(path, kind, wanted),
        )


def refuse_no_scans(places: Iterable[Path]) -> None:
    """Refuse files of medseg's that hold no scans where scans are asked for.

    Raises:
        BadConfig: one of the places is such a file.
    """
    for path in places:
        kind = kind_of(path)
        if kind in _NO_SCANS:
            card = kind is Kind.COHORT_TABLE
            raise BadConfig(
                f"this is {kind}, not a scan",
                path=path,
                expected="files, folders, archives, a cohort's card or a scans.csv",
                remedy="Give the card beside it." if card else None,
            )


def _remedy(path: Path, kind: Kind | None, wanted: Kind) -> str | None:
    if (kind, wanted) == (Kind.CARD, Kind.CONFIG):
        return f"Plan it first: medseg plan {path} --output plan.yaml"
    if (kind, wanted) == (Kind.CONFIG, Kind.CARD):
        return "Give the card that its key `cohort` names."
    if (kind, wanted) == (Kind.RUN, Kind.MODEL):
        return f"Its model is {path / 'model'}."
    if (kind, wanted) == (Kind.SCORES, Kind.EVALUATION):
        return f"Give its folder, {path.parent}."
    if (kind, wanted) == (Kind.FOREIGN, Kind.MODEL):
        return f"Import it first: medseg import-model nnunet|bundle {path} --output MODEL"
    if (kind, wanted) == (Kind.MODEL_CARD, Kind.MODEL):
        return f"Give its folder, {path.parent}."
    if (kind, wanted) == (Kind.COHORT_TABLE, Kind.CARD):
        return "Give the card beside it."
    return None


def _by_ending(path: Path) -> Kind | None:
    name = path.name.lower()
    return next((kind for ends, kind in _ENDINGS.items() if name.endswith(ends)), None)


def _by_content(path: Path) -> Kind | None:
    if path.suffix.lower() in (".csv", ".tsv"):
        return _of_table(path)
    try:
        return _of_keys(load_yaml(path))
    except BadConfig:
        return None


def _of_table(path: Path) -> Kind:
    with open_file(path) as file:
        head = file.readline(100_000).decode("utf-8-sig", "replace")
    delimiter = max(",;\t", key=head.count)
    columns = {
        cell.strip().lower() for row in csv.reader([head], delimiter=delimiter) for cell in row
    }
    return _first(_COLUMNS, columns) or Kind.TABLE


def _of_keys(content: Mapping[str, Any]) -> Kind | None:
    keys = set(map(str, content))
    is_labels = "labels" in keys and keys <= _LABEL_KEYS
    return Kind.LABELS if is_labels else _first(_KEYS, keys)


def _first(table: Mapping[tuple[str, ...], Kind], words: set[str]) -> Kind | None:
    return next((kind for needed, kind in table.items() if words >= set(needed)), None)
