"""Label tables for the viewers that a mask is opened in: names and colours of its values."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

from medseg.labels import LabelTable
from medseg.writers.atomic import atomic_file

#: Below the masks.
FOLDER = "label_tables"


@dataclass(frozen=True, kw_only=True)
class LabelTableFormat:
    """One program's table.

    Attributes:
        file_name: beside the masks.
        text: of a table.
    """

    file_name: str
    text: Callable[[LabelTable], str]


def write_label_tables(
    table: LabelTable, folder: Path, *, at_the_top: Collection[str] = ()
) -> tuple[Path, ...]:
    """Write the table of every format in `LABEL_TABLES` beside masks.

    Args:
        table: of the masks' values.
        folder: of the masks.
        at_the_top: formats whose table belongs into the folder itself, not into `FOLDER`.

    Raises:
        BadOutput: a file cannot be written.
    """
    paths = []
    for name, form in LABEL_TABLES.items():
        path = (folder if name in at_the_top else folder / FOLDER) / form.file_name
        with atomic_file(path) as file:
            file.write(form.text(table).encode())
        paths.append(path)
    return tuple(paths)


def _one_word(name: str) -> str:
    """A name without blanks, for tables whose columns are separated by them."""
    return "_".join(name.split())


def _slicer(table: LabelTable) -> str:
    """Value, name, red, green, blue, opacity; names without blanks."""
    lines = ["# Color table file", f"# {len(table.labels) + 1} values", "0 Background 0 0 0 0"]
    for label in table.labels:
        lines.append(f"{label.value} {_one_word(label.name)} {' '.join(map(str, label.rgb))} 255")
    return "\n".join(lines) + "\n"


def _itk_snap(table: LabelTable) -> str:
    """Index, red, green, blue, opacity, visibility, visibility in 3D, name in quotes."""
    lines = [
        "# ITK-SnAP Label Description File",
        "# IDX  -R-  -G-  -B-  -A--  VIS MSH  LABEL",
        '    0     0    0    0        0  0  0    "Clear Label"',
    ]
    for label in table.labels:
        red, green, blue = label.rgb
        name = " ".join(label.name.replace('"', "'").split())
        lines.append(f'{label.value:5d} {red:5d} {green:4d} {blue:4d}        1  1  1    "{name}"')
    return "\n".join(lines) + "\n"


def _freesurfer(table: LabelTable) -> str:
    """Number, name, red, green, blue, and 0 (opaque); names without blanks."""
    lines = ["#No. Label Name:                            R   G   B   A", ""]
    lines.append(f"{0:<4d} {'Unknown':<40} {0:<3d} {0:<3d} {0:<3d} 0")
    for label in table.labels:
        red, green, blue = label.rgb
        name = _one_word(label.name)
        lines.append(f"{label.value:<4d} {name:<40} {red:<3d} {green:<3d} {blue:<3d} 0")
    return "\n".join(lines) + "\n"


def _bids(table: LabelTable) -> str:
    """Columns index, name, color (BIDS derivatives, discrete segmentations)."""
    rows = ["index\tname\tcolor", "0\tBackground\t#000000"]
    for label in table.labels:
        rows.append(f"{label.value}\t{' '.join(label.name.split())}\t{label.colour}")
    return "\n".join(rows) + "\n"


#: Program -> its table.
LABEL_TABLES: dict[str, LabelTableFormat] = {
    "slicer": LabelTableFormat(file_name="labels.ctbl", text=_slicer),
    "itk-snap": LabelTableFormat(file_name="labels_itksnap.txt", text=_itk_snap),
    "freesurfer": LabelTableFormat(file_name="labels_freesurfer_lut.txt", text=_freesurfer),
    "bids": LabelTableFormat(file_name="dseg.tsv", text=_bids),
}
