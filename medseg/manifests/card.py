"""A cohort's card, read and written: YAML beside its CSV table."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml
from pydantic import Field

from medseg.config import Options, load_yaml, validate
from medseg.config.kinds import Kind, refuse_other_kinds
from medseg.errors import BadCohort, BadConfig, BadLabels
from medseg.labels import LabelTable
from medseg.manifests.cohort import Cohort
from medseg.manifests.reading import file_of
from medseg.manifests.table import read_table, write_table
from medseg.scans import Frames
from medseg.writers.atomic import atomic_path


class Card(Options):
    """The keys of a card; see the class Cohort for what they mean."""

    name: str = Field(min_length=1)
    modality: str = ""
    channels: tuple[str, ...] = Field(min_length=1)
    labels: dict[Any, Any]
    ignore: int | None = None
    regions: dict[str, list[int]] = Field(default_factory=dict)
    mirror_pairs: tuple[tuple[str, str], ...] = ()
    remap: dict[int, int] = Field(default_factory=dict)
    frames: Frames = Frames.CHECK
    table: str = Field(min_length=1)
    root: str = "."
    source: str = ""
    licence: str = ""
    citation: str = ""
    notes: str = ""


#: Keys that speak of the data's origin, written last.
_ORIGIN = ("source", "licence", "citation", "notes")


def load_cohort(card: str | Path, *, root: str | Path | None = None) -> Cohort:
    """Read a card and its table. Whether the files are there is asked by ``check_cohort``.

    Args:
        card: the YAML file.
        root: where the table's relative paths start, instead of where the card says.

    Raises:
        BadCohort: the card or table contradicts itself; file, row, found, expected.
        BadConfig: the path is something else than a card.
    """
    path = Path(card)
    keys = _keys(path)
    try:
        labels = painted(LabelTable.from_card(keys.model_dump(exclude_unset=True)))
    except BadLabels as error:
        raise _about(path, error) from None
    _check_remap(path, keys.remap, labels)
    if len(set(keys.channels)) != len(keys.channels):
        raise BadCohort("the same channel occurs twice", path=path, found=list(keys.channels))
    start = Path(root) if root is not None else path.parent / _at_home(path, keys.root)
    if root is not None and not start.is_dir():
        raise BadCohort(
            "the root is not a folder",
            path=start,
            expected="the folder where the table's paths start",
        )
    table = path.parent / keys.table
    cases = read_table(table, start, keys.channels, labels.names)
    return Cohort(
        name=keys.name,
        modality=keys.modality,
        channels=keys.channels,
        labels=labels,
        cases=cases,
        root=start,
        remap=keys.remap,
        frames=keys.frames,
        path=path,
        table=table,
        source=keys.source,
        licence=keys.licence,
        citation=keys.citation,
        notes=keys.notes,
    )


def _at_home(card: Path, root: str) -> Path:
    """The root with ``~`` spelt out."""
    try:
        return Path(root).expanduser()
    except RuntimeError as error:
        raise BadCohort(
            "the root starts in a home that cannot be found",
            path=card,
            found=f"{root} ({error})",
            remedy="Write the folder out in full, or give --root.",
        ) from None


def painted(labels: LabelTable) -> LabelTable:
    """The labels with regions in an order in which a mask can be painted, if there is one.

    The card's order where it can, else the widest region first, as nested regions need it.
    """
    widest_first = tuple(sorted(labels.regions, key=lambda region: -len(region.values)))
    for order in (labels.regions, widest_first):
        try:
            ordered = replace(labels, regions=order)
            _ = ordered.channel_values
        except BadLabels:
            continue
        return ordered
    return labels


def write_cohort(cohort: Cohort, card: str | Path) -> Path:
    """Write card and table; the table is named after the card.

    The root is written relative to the card where one lies below the other, else absolute.

    Returns:
        The card's path.
    """
    path = Path(card)
    table = path.with_suffix(".csv")
    path.parent.mkdir(parents=True, exist_ok=True)
    content: dict[str, Any] = {
        "name": cohort.name,
        "modality": cohort.modality,
        "channels": _Line(cohort.channels),
        **_on_lines(cohort.labels),
    }
    if cohort.remap:
        content["remap"] = _Row(cohort.remap)
    if cohort.frames is not Frames.CHECK:
        content["frames"] = str(cohort.frames)
    content |= {"table": table.name, "root": _written_root(cohort.root, path.parent)}
    content |= {key: getattr(cohort, key) for key in _ORIGIN if getattr(cohort, key)}
    _write_table(cohort, table)
    with atomic_path(path) as temporary:
        temporary.write_text(
            yaml.dump(content, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100),
            encoding="utf-8",
        )
    return path


def rewrite_table(cohort: Cohort, card: str | Path) -> Path:
    """Write only the table that a card names; the card, with its comments, stays.

    Returns:
        The table's path.
    """
    table = table_of(Path(card))
    _write_table(cohort, table)
    return table


def table_of(card: Path) -> Path:
    """The table that a card names.

    Raises:
        BadCohort: the card cannot be understood.
    """
    return card.parent / _keys(card).table


def inputs_of(card: Path, *, root: Path | None = None) -> list[Path]:
    """Card, table and every file that the table names, which nothing may replace."""
    cohort = load_cohort(card, root=root)
    paths = [path for case in cohort.cases for path in (*case.sources, case.label) if path]
    return [card, table_of(card), *map(file_of, paths)]


def _write_table(cohort: Cohort, table: Path) -> None:
    with atomic_path(table) as temporary:
        temporary.write_text(
            write_table(cohort.cases, cohort.root, cohort.channels), encoding="utf-8"
        )


class _Line(list[Any]):
    """A list written as ``[a, b]``."""


class _Row(dict[Any, Any]):
    """A mapping written as ``{a: 1, b: 2}``."""


class _Dumper(yaml.SafeDumper):
    """YAML as a person would write a card."""


_Dumper.add_representer(
    _Line,
    lambda dumper, items: dumper.represent_sequence(
        "tag:yaml.org,2002:seq", items, flow_style=True
    ),
)
_Dumper.add_representer(
    _Row,
    lambda dumper, items: dumper.represent_mapping("tag:yaml.org,2002:map", items, flow_style=True),
)


def _on_lines(labels: LabelTable) -> dict[str, Any]:
    """The label keys of a card, one label a line."""
    card = labels.to_card()
    card["labels"] = {name: _Row(entry) for name, entry in card["labels"].items()}
    for key, kind in (("regions", _Row), ("mirror_pairs", _Line)):
        if key in card:
            card[key] = kind(card[key])
    return card


def _keys(path: Path) -> Card:
    refuse_other_kinds(path, Kind.CARD)
    try:
        content = load_yaml(path)
        unknown = [str(key) for key in content if key not in Card.model_fields]
        if unknown:
            raise BadConfig(f"unknown key {unknown[0]!r}", remedy=_did_you_mean(unknown[0]))
        filled = {key: value for key, value in content.items() if value is not None}
        return validate(Card, filled, path=str(path))
    except BadConfig as error:
        raise _about(path, error) from None


def _did_you_mean(key: str) -> str:
    close = difflib.get_close_matches(key.lower(), Card.model_fields, n=1)
    known = ", ".join(Card.model_fields)
    return f"Did you mean {close[0]!r}?" if close else f"A card's keys are {known}."


def _about(path: Path, error: BadConfig | BadLabels) -> BadCohort:
    return BadCohort(
        error.problem, path=path, found=error.found, expected=error.expected, remedy=error.remedy
    )


def _check_remap(path: Path, remap: Mapping[int, int], labels: LabelTable) -> None:
    known = {0, *labels.values} | ({labels.ignore} if labels.ignore is not None else set())
    unknown = sorted(set(remap.values()) - known)
    if unknown:
        raise BadCohort(
            "remap leads to values that no label names",
            path=path,
            found=unknown,
            expected=sorted(known),
        )


def _written_root(root: Path, home: Path) -> str:
    root, home = root.resolve(), home.resolve()
    if root.is_relative_to(home):
        return root.relative_to(home).as_posix()
    if home.is_relative_to(root):
        return "/".join([".."] * len(home.relative_to(root).parts))
    return root.as_posix()
