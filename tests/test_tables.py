"""CSV tables survive spreadsheets, and no cell of ours runs as a formula."""

import contextlib
import csv
import doctest
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medseg import tables
from medseg.errors import BadCohort, BadConfig
from medseg.tables import csv_columns, csv_text, inert, printable, read_csv

HEADER = ("case", "source", "note")
ROWS = [
    {"case": "a", "source": "Müller/ct.nii.gz", "note": 'says "hm"; then, more'},
    {"case": "007", "source": "b.nii.gz", "note": ""},
]


def saved(tmp_path, text, encoding="utf-8"):
    path = tmp_path / "table.csv"
    path.write_bytes(text.encode(encoding))
    return path


def with_delimiter(mark, quoting=csv.QUOTE_MINIMAL, end="\r\n"):
    text = io.StringIO()
    writer = csv.writer(text, delimiter=mark, quoting=quoting, lineterminator=end)
    writer.writerows([HEADER, *([row[name] for name in HEADER] for row in ROWS)])
    return text.getvalue()


SPREADSHEETS = {
    "commas": (with_delimiter(","), "utf-8"),
    "Excel, UTF-8": (with_delimiter(","), "utf-8-sig"),
    "Excel, semicolons": (with_delimiter(";"), "utf-8-sig"),
    "Excel, code page": (with_delimiter(";"), "cp1252"),
    "Excel, Unicode text": (with_delimiter("\t"), "utf-16"),
    "every cell quoted": (with_delimiter(",", csv.QUOTE_ALL), "utf-8"),
    "an old Mac": (with_delimiter(",", end="\r"), "utf-8"),
    "a hint before the header": ("sep=;\r\n" + with_delimiter(";"), "utf-8"),
    "blank lines above": ("\r\n;;\r\n" + with_delimiter(";"), "utf-8-sig"),
    "empty columns at the end": (
        with_delimiter(";").replace("\r\n", ";;\r\n") + ";;;;\r\n",
        "utf-8-sig",
    ),
}


@pytest.mark.parametrize(("text", "encoding"), SPREADSHEETS.values(), ids=SPREADSHEETS)
def test_a_table_reads_the_same_whoever_saved_it(text, encoding, tmp_path):
    columns, rows = read_csv(saved(tmp_path, text, encoding))
    assert columns == HEADER
    assert [dict(row.cells) for row in rows] == ROWS
    above = 2 if text.startswith("\r\n") else 0
    assert [row.number for row in rows] == [above + 2, above + 3]
    assert csv_columns(saved(tmp_path, text, encoding))[: len(HEADER)] == HEADER


BROKEN = {
    "two columns of one name": "case,case\na,b\n",
    "a cell too many": "case,source\na,b,c\n",
    "a cell too few": "case,source,note\na,b\n",
    "an open quote": 'case,source\n"a,b\n',
}


@pytest.mark.parametrize("text", BROKEN.values(), ids=BROKEN)
def test_a_broken_table_is_refused_by_name(text, tmp_path):
    path = saved(tmp_path, text)
    with pytest.raises(BadCohort, match=r"table\.csv"):
        read_csv(path, refusal=BadCohort)


def test_no_table_and_no_text_are_refusals(tmp_path):
    with pytest.raises(BadConfig, match="no such table"):
        read_csv(tmp_path / "absent.csv")
    path = tmp_path / "binary.csv"
    path.write_bytes(b"PK\x03\x04" + bytes(9))
    with pytest.raises(BadConfig, match=r"spreadsheet program's own file.*as CSV"):
        read_csv(path)
    path.write_bytes(b"case,source\n\x81\x8d\x8f,b\n")
    with pytest.raises(BadConfig, match="cannot be read"):
        read_csv(path)


@given(st.binary(max_size=300))
def test_any_bytes_are_a_table_or_a_refusal(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "any.csv"
    path.write_bytes(content)
    with contextlib.suppress(BadConfig):
        read_csv(path)


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12) | st.sampled_from(
    ["=1+1", "'=1", "''@x", "-", "+49 30", "@a", "\t=1", "-3.5", "1e5", "'", "", "＝1"]
)


@given(st.lists(st.tuples(TEXTS, TEXTS), max_size=5))
def test_what_is_written_reads_back(tmp_path_factory, pairs):
    rows = [{"case": f"c{n}", "a": a, "b": b} for n, (a, b) in enumerate(pairs)]
    path = tmp_path_factory.getbasetemp() / "back.csv"
    path.write_text(csv_text(("case", "a", "b"), rows), encoding="utf-8", newline="")
    _, back = read_csv(path)
    plain = str.maketrans("\r", " ")
    expected = [{name: cell.translate(plain).strip() for name, cell in row.items()} for row in rows]
    assert [dict(row.cells) for row in back] == expected


@given(TEXTS)
def test_no_text_begins_like_a_formula_unless_it_is_a_number(text):
    cell = inert(text)
    assert cell[:1] not in tuple("=+-@\t\r") or float(cell) < 0 or cell.startswith("-0")
    assert inert(cell) != cell or cell == text.replace("\r", " ")


@given(st.binary(max_size=20))
def test_names_that_are_no_text_become_text(name):
    text = name.decode("utf-8", "surrogateescape")
    assert printable(text).encode("utf-8").decode("utf-8") == printable(text)
    assert printable(text) == text or "\\x" in printable(text)


def test_examples():
    assert doctest.testmod(tables).failed == 0
