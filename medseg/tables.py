"""CSV tables as programs and spreadsheets write them: one reader, one writer for all of medseg.

Excel and its kin save a table with a byte-order mark, with semicolons where the decimal point is
a comma, as UTF-16 or in a Windows code page, with empty columns at the end. All of that is read.
"""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from medseg.errors import BadConfig, MedsegError
from medseg.files import open_file, read_bytes

_DELIMITERS = ",;\t"
_QUOTED = re.compile(r'"[^"]*"')
#: Excel's own hint, before the header.
_HINT = re.compile(r"sep=([,;\t])\r?\n", re.IGNORECASE)
#: What a spreadsheet takes for a formula, and the mark with which it is kept from that.
_FORMULA = re.compile("'*[=+\\-@\t\r\n＝＋－＠]")
#: Bytes looked at to find the columns of a table.
_LONGEST_HEADER = 100_000
#: How files of Excel and LibreOffice begin.
_SPREADSHEETS = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0")
#: As programs write them: a leading plus is a telephone number or a formula.
_NUMBER = re.compile(r"-?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.IGNORECASE)


@dataclass(frozen=True)
class Row:
    """One row of a table.

    Attributes:
        number: in a spreadsheet, where the header is row 1.
        cells: column to text, without blanks around it.
    """

    number: int
    cells: Mapping[str, str]


def read_csv(
    path: Path, *, refusal: type[MedsegError] = BadConfig
) -> tuple[tuple[str, ...], tuple[Row, ...]]:
    """The columns of a table, and the rows that hold anything.

    Columns without a name are left out. What :func:`inert` marked comes back unmarked.

    Args:
        path: the file.
        refusal: the kind of error to raise.

    Raises:
        MedsegError: of the kind `refusal`: the file is missing or no CSV, a column occurs twice,
            or a row has another number of cells than the header.
    """
    lines = _lines(path, refusal)
    above = next((k for k, line in enumerate(lines) if any(map(str.strip, line))), len(lines))
    columns = [_original(name).strip() for name in lines[above]] if lines[above:] else []
    named = [name for name in columns if name]
    repeated = sorted({name for name in named if named.count(name) > 1})
    if repeated:
        raise refusal("the same column occurs twice", path=path, found=", ".join(repeated))
    rows = []
    for number, line in enumerate(lines[above + 1 :], start=above + 2):
        cells = [_original(cell).strip() for cell in line]
        if not any(cells):
            continue
        while len(cells) > len(columns) and not cells[-1]:
            cells.pop()
        if len(cells) != len(columns):
            raise refusal(
                f"row {number} has another number of cells than the header",
                path=path,
                found=len(cells),
                expected=len(columns),
            )
        pairs = zip(columns, cells, strict=True)
        rows.append(Row(number, {name: cell for name, cell in pairs if name}))
    return tuple(named), tuple(rows)


def csv_columns(path: Path) -> tuple[str, ...]:
    """The columns of a table by its first lines alone; none where there is no such file."""
    try:
        with open_file(path) as file:
            content = file.read(_LONGEST_HEADER)
        whole = content.rfind(b"\n") if len(content) == _LONGEST_HEADER else len(content)
        text = _decoded(content[: whole // 2 * 2])  # of UTF-16, no half of a letter
    except (OSError, ValueError):
        return ()
    hint = _HINT.match(text)
    names = re.split(f"[{_DELIMITERS}]", _header(text[hint.end() :] if hint else text))
    return tuple(_original(name.strip().strip('"')) for name in names)


def csv_text(columns: Sequence[str], rows: Iterable[Mapping[str, object]]) -> str:
    """A table as CSV; texts that a spreadsheet would run as formulas are made :func:`inert`.

    Args:
        columns: in order; a row may lack some of them.
        rows: column to text or number.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([inert(name) for name in columns])
    for row in rows:
        cells = (row.get(name, "") for name in columns)
        writer.writerow([inert(cell) if isinstance(cell, str) else cell for cell in cells])
    return text.getvalue()


def inert(text: str) -> str:
    """Text that no spreadsheet takes for a formula; numbers stay what they are.

    A carriage return, which would begin a row of its own, becomes a blank.

    >>> inert("=HYPERLINK(A1)"), inert("-3.5e-2"), inert("T1 mpr")
    ("'=HYPERLINK(A1)", '-3.5e-2', 'T1 mpr')
    """
    shown = printable(text).replace("\r", " ")
    return f"'{shown}" if _FORMULA.match(shown) and not _NUMBER.fullmatch(shown) else shown


def printable(text: str) -> str:
    r"""Text that every encoding takes: bytes of a file's name that are no UTF-8 become ``\xNN``.

    >>> printable("caf\udce9.nii.gz")
    'caf\\xe9.nii.gz'
    """
    try:
        return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    except UnicodeEncodeError:  # a lone surrogate that stands for no byte
        return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _original(cell: str) -> str:
    """A cell without the mark of :func:`inert`."""
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell


def _lines(path: Path, refusal: type[MedsegError]) -> list[list[str]]:
    try:
        content = read_bytes(path)
        text = _decoded(content)
    except FileNotFoundError:
        raise refusal("no such table", path=path, remedy="Check the path.") from None
    except (OSError, ValueError) as error:  # a path with a zero byte is a ValueError
        found = getattr(error, "strerror", None) or error
        raise refusal(
            "the table cannot be read", path=path, found=found, expected="a CSV file"
        ) from None
    if content.startswith(_SPREADSHEETS):
        raise refusal(
            "a spreadsheet program's own file, not CSV",
            path=path,
            remedy="Save the sheet as CSV (UTF-8).",
        )
    hint = _HINT.match(text)
    text = text[hint.end() :] if hint else text
    header = _QUOTED.sub("", _header(text))
    delimiter = hint[1] if hint else max(_DELIMITERS, key=header.count)
    try:
        return list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True))
    except csv.Error as error:
        raise refusal("the table is not CSV", path=path, found=error) from None


def _header(text: str) -> str:
    """The first line that holds anything."""
    lines = re.split(r"[\r\n]", text)
    return next((line for line in lines if line.strip(f'{_DELIMITERS}" ')), "")


def _decoded(content: bytes) -> str:
    """UTF-8 or UTF-16 by its mark, else UTF-8, else the code page of Western Windows."""
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return content.decode("utf-16")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("cp1252")
