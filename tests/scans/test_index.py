"""The index of headers forgets a file that changed, and everything when its version changes."""

from __future__ import annotations

import ast
import hashlib
import os
import shutil
import sys
import time
from dataclasses import fields, replace
from pathlib import Path

import pytest

from medseg.readers.dicom import header as dicom_header
from medseg.readers.dicom.file import FileHeader
from medseg.readers.sources import file_source
from medseg.scans import index
from tests.readers.dicom_files import enhanced_of, save, write_series

#: The code that decides what is learned of a file.
LEARNING = (
    *("header", "dataset", "storage", "elements", "values", "frames", "enhanced", "mapping"),
    *("nuclear", "mosaic", "classes", "file"),
)
DICOM = Path(dicom_header.__file__).parent


def test_version_stands_for_the_code_that_learns():
    """Changed what a header says? Raise `index.VERSION`; then renew this sum in either case."""
    trees = [ast.dump(ast.parse((DICOM / f"{name}.py").read_text("utf-8"))) for name in LEARNING]
    digest = hashlib.sha256("".join(trees).encode()).hexdigest()[:12]
    assert (index.VERSION, sys.version_info[:2], digest) in KNOWN or sys.version_info[:2] != (3, 11)


#: (version, Python whose syntax trees these are, sum of them).
KNOWN = {(7, (3, 11), "ad23cbab42e2")}


def test_every_module_that_looks_at_headers_counts_as_learning_code():
    seen, waiting = set(), ["header"]
    while waiting:
        name = waiting.pop()
        if name in seen or not (DICOM / f"{name}.py").exists():
            continue
        seen.add(name)
        text = (DICOM / f"{name}.py").read_text(encoding="utf-8")
        for line in text.splitlines():
            if line.startswith("from medseg.readers.dicom import "):
                waiting += line.removeprefix("from medseg.readers.dicom import ").split(", ")
            elif line.startswith("from medseg.readers.dicom."):
                waiting.append(line.split()[1].rpartition(".")[2])
    assert seen == set(LEARNING)


@pytest.mark.parametrize("field", ["size", "changed_ns", "inode", "status_ns"])
def test_a_file_that_differs_in_anything_the_system_says_is_looked_at_again(tmp_path, field):
    path = next((write_series(tmp_path / "s", 1)).iterdir())
    source = file_source(path)
    headers = index.HeaderIndex(tmp_path / "headers.sqlite")
    headers.learn([(source, dicom_header.look_at(source))])
    other = replace(source, **{field: getattr(source, field) + 1})
    assert list(headers.known([source, other])) == [source]


def test_two_archives_unpacked_over_one_another_are_not_taken_for_one(tmp_path):
    first, second = (next(write_series(tmp_path / n, 1).iterdir()) for n in ("a", "b"))
    headers = index.HeaderIndex(tmp_path / "headers.sqlite")
    source = file_source(first)
    headers.learn([(source, dicom_header.look_at(source))])
    times = first.stat()
    first.unlink()
    shutil.copy(second, first)
    os.utime(first, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert not headers.known([file_source(first)])


def test_what_is_kept_comes_back_field_by_field(tmp_path):
    paths = [*write_series(tmp_path / "s", 1).iterdir()]
    paths.append(save(enhanced_of([{"k": 0, "echo_time": 5}, {"k": 1}]), tmp_path / "enhanced"))
    for path in paths:
        source = file_source(path)
        header = dicom_header.look_at(source)
        again = index._from_text(index._to_text(header), source)
        for field in fields(FileHeader):
            assert getattr(again, field.name) == getattr(header, field.name), field.name


def test_an_idle_index_of_another_version_is_removed_and_a_young_one_kept(tmp_path):
    old, young = tmp_path / "headers-1.sqlite", tmp_path / "headers-2.sqlite"
    for path in (old, young):
        path.write_bytes(b"")
    month_ago = time.time() - 31 * 86400
    os.utime(old, (month_ago, month_ago))
    index.HeaderIndex(tmp_path / "headers-3.sqlite").close()
    assert not old.exists()
    assert young.exists()
