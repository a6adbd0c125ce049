"""A CSV table becomes cases: every row is checked, and a refusal names the row."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from medseg.errors import BadCohort
from medseg.files import is_there
from medseg.manifests.cohort import Case, Split
from medseg.manifests.rows import check_together
from medseg.names import MOST_BYTES, PUNCTUATION, is_safe, safe_name
from medseg.tables import csv_text, read_csv

#: Columns that are not covariates; ``image`` and ``image_sha256`` may carry ``:channel``.
COLUMNS = (
    "case",
    "patient",
    "split",
    "fold",
    "image",
    "label",
    "labelled",
    "image_sha256",
    "label_sha256",
)
REQUIRED = ("case", "patient", "split")

#: How systems write a letter with its accent: in one character, or in two.
_FORMS: tuple[Literal["NFC", "NFD"], ...] = ("NFC", "NFD")

SHA256 = re.compile(r"[0-9a-f]{64}")


def read_table(
    table: Path, root: Path, channels: Sequence[str], labels: Sequence[str]
) -> tuple[Case, ...]:
    """Read and check a cohort's table.

    Every form in which spreadsheets save a table is understood: see `medseg.tables`.

    Args:
        table: the CSV file.
        root: where relative paths start.
        channels: names of the card.
        labels: likewise.

    Raises:
        BadCohort: the first thing that is wrong, with its row (the header is row 1).
    """
    columns, rows = _cells(table)
    _check_columns(table, columns, channels)
    cases = []
    for number, cells in rows:
        try:
            cases.append(_case(cells, root, channels, labels))
        except BadCohort as error:
            raise _in_row(table, number, error) from None
    check_together(table, [number for number, _ in rows], cases)
    return tuple(cases)


def write_table(cases: Sequence[Case], root: Path, channels: Sequence[str]) -> str:
    """The text that :func:`read_table` reads back; paths relative to `root` where below it."""
    covariates = list(dict.fromkeys(name for case in cases for name in case.covariates))
    images = _per_channel("image", channels)
    sums = _per_channel("image_sha256", channels)
    partly = ["labelled"] if any(case.labelled for case in cases) else []
    header = [
        "case",
        "patient",
        "split",
        "fold",
        *images.values(),
        "label",
        *partly,
        *sums.values(),
        "label_sha256",
        *covariates,
    ]
    rows = []
    for case in cases:
        row: dict[str, object] = {
            "case": case.case,
            "patient": case.patient,
            "split": case.split.value,
            "fold": "" if case.fold is None else case.fold,
            "label": "" if case.label is None else _relative(case.label, root),
            "labelled": ";".join(case.labelled),
            "label_sha256": case.label_sha256,
        }
        row |= {column: _relative(case.images[name], root) for name, column in images.items()}
        row |= {column: case.image_sha256.get(name, "") for name, column in sums.items()}
        rows.append({**case.covariates, **row})
    return csv_text(header, rows)


def _cells(table: Path) -> tuple[tuple[str, ...], list[tuple[int, Mapping[str, str]]]]:
    """The header, and the rows that hold anything, each with its number in a spreadsheet."""
    columns, rows = read_csv(table, refusal=BadCohort)
    if not rows:
        raise BadCohort(
            "the table has no rows",
            path=table,
            expected="one row per case",
            remedy="`medseg cohort import` writes one from a folder.",
        )
    return columns, [(row.number, row.cells) for row in rows]


def _check_columns(table: Path, columns: Sequence[str], channels: Sequence[str]) -> None:
    missing = [name for name in REQUIRED if name not in columns]
    if "image" not in columns:
        missing += [
            f"image:{channel}" if len(channels) > 1 else "image"
            for channel in channels
            if f"image:{channel}" not in columns
        ]
    if missing:
        remedy = (
            "Repeat the case id where every case is another person."
            if ("patient" in missing)
            else None
        )
        raise BadCohort(
            f"the column {missing[0]!r} is missing",
            path=table,
            found=", ".join(columns) or "no columns",
            remedy=remedy,
        )
    for name in columns:
        kind, colon, channel = name.partition(":")
        if kind in ("image", "image_sha256") and colon and channel not in channels:
            raise BadCohort(
                f"the column {name!r} belongs to no channel",
                path=table,
                expected=f"one of {', '.join(channels)}",
                remedy="Name it under `channels` on the card.",
            )
        if name not in COLUMNS and name.lower() in COLUMNS:
            raise BadCohort(
                f"the column {name!r} is not spelt as expected",
                path=table,
                expected=repr(name.lower()),
            )


def _case(
    cells: Mapping[str, str], root: Path, channels: Sequence[str], labels: Sequence[str]
) -> Case:
    name = unicodedata.normalize("NFC", cells["case"])
    if not is_safe(name):
        raise BadCohort(
            "the case id is not safe as a file name",
            found=repr(name),
            expected=f"letters, digits, then also {PUNCTUATION}; at most {MOST_BYTES} bytes",
            remedy=f"For example {safe_name(name) or 'case_001'!r}.",
        )
    if not cells["patient"]:
        raise BadCohort("the patient is empty", expected="an id that all rows of one person share")
    if cells["split"] not in list(Split):
        raise BadCohort("wrong split", found=repr(cells["split"]), expected=" or ".join(Split))
    split = Split(cells["split"])
    label = cells.get("label", "")
    return Case(
        case=name,
        patient=unicodedata.normalize("NFC", cells["patient"]),
        split=split,
        fold=_fold(cells.get("fold", ""), split),
        images=_images(cells, root, channels),
        label=_path(label, root) if label else None,
        labelled=_labelled(cells.get("labelled", ""), labels),
        image_sha256={
            channel: _sha256(cells.get(column, ""))
            for channel, column in _per_channel("image_sha256", channels, cells).items()
            if cells.get(column)
        },
        label_sha256=_sha256(cells.get("label_sha256", "")),
        covariates={
            column: value
            for column, value in cells.items()
            if column.partition(":")[0] not in COLUMNS
        },
    )


def _labelled(text: str, labels: Sequence[str]) -> tuple[str, ...]:
    """The names in a cell, in the card's order; none where the cell names them all or nothing."""
    names = {name.strip() for name in re.split(r"[;|]", text) if name.strip()}
    unknown = sorted(names - set(labels))
    if unknown:
        raise BadCohort(
            "the column 'labelled' names something that is no label",
            found=", ".join(unknown),
            expected=f"names among {', '.join(labels)}, with ; between them",
        )
    return tuple(name for name in labels if name in names) if names < set(labels) else ()


def _images(cells: Mapping[str, str], root: Path, channels: Sequence[str]) -> dict[str, Path]:
    images = {}
    for channel, column in _per_channel("image", channels, cells).items():
        if not cells[column]:
            raise BadCohort(f"the cell {column!r} is empty", expected="the path of a scan")
        images[channel] = _path(cells[column], root)
    return images


def _per_channel(
    kind: str, channels: Sequence[str], known: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Channel -> column. One column ``image`` serves all channels where it stands alone."""
    if known is None:
        return {c: kind if len(channels) == 1 else f"{kind}:{c}" for c in channels}
    return {c: f"{kind}:{c}" if f"{kind}:{c}" in known else kind for c in channels}


def _path(text: str, root: Path) -> Path:
    """Windows' separators are understood, and names as a Mac or others compose their letters."""
    text = text.replace("\\", "/")
    path = root / text
    if text.isascii() or is_there(path):
        return path
    others = (root / unicodedata.normalize(form, text) for form in _FORMS)
    return next(filter(is_there, others), path)


def _relative(path: Path, root: Path) -> str:
    for file, folder in ((path, root), (path.absolute(), root.absolute())):
        if file.is_relative_to(folder):
            return file.relative_to(folder).as_posix()
    return path.as_posix()


def _fold(text: str, split: Split) -> int | None:
    if not text:
        return None
    if split is not Split.TRAIN:
        raise BadCohort(f"a {split.value} row has a fold", found=text, expected="an empty cell")
    # Spreadsheets and data frames write 0.0, or 0,0, where a column has empty cells.
    if not re.fullmatch(r"\d{1,4}([.,]0+)?", text):
        raise BadCohort("the fold is not an integer", found=repr(text), expected="0, 1, 2 …")
    return int(re.split("[.,]", text)[0])


def _sha256(text: str) -> str:
    if text and not SHA256.fullmatch(text.lower()):
        raise BadCohort(
            "not a SHA-256 checksum",
            found=repr(text),
            expected="64 hexadecimal digits, or an empty cell",
        )
    return text.lower()


def _in_row(table: Path, number: int, error: BadCohort) -> BadCohort:
    return BadCohort(
        f"row {number}: {error.problem}",
        path=table,
        found=error.found,
        expected=error.expected,
        remedy=error.remedy,
    )
