"""Is the index of headers another one as soon as it would be filled otherwise?"""

from __future__ import annotations

import os
import shutil
import time
from dataclasses import dataclass, fields
from pathlib import Path

import pytest

from medseg import readers
from medseg.readers import dicom_look, index
from medseg.readers.dicom_file import FileHeader, Pixels
from medseg.readers.dicom_frames import Frame
from medseg.readers.sources import file_source
from tests.readers.dicom_files import enhanced_of, save, write_series

KINDS = (FileHeader, Pixels, Frame)
HERE = Path(readers.__file__).parent


@pytest.fixture
def code(tmp_path):
    folder = tmp_path / "code"
    folder.mkdir()
    for path in HERE.glob("*.py"):
        shutil.copy(path, folder)
    return folder


def test_the_same_code_and_fields_give_the_same_index(code):
    assert index._digest(code, KINDS) == index._digest(HERE, KINDS) == index.fingerprint()
    assert index.fingerprint() in index.index_path().name


@pytest.mark.parametrize("name", ["dicom_header.py", "dicom_frames.py", "dicom_mosaic.py"])
def test_a_change_of_the_reading_code_gives_another_index(code, name):
    before = index._digest(code, KINDS)
    with (code / name).open("a") as file:
        file.write("# changed\n")
    assert index._digest(code, KINDS) != before


def test_code_that_does_not_read_headers_keeps_the_index(code):
    before = index._digest(code, KINDS)
    (code / "nifti.py").write_text("")
    assert index._digest(code, KINDS) == before


def test_another_field_gives_another_index_even_where_no_source_lies(tmp_path):
    @dataclass(frozen=True)
    class Frame:  # the name of the real one
        index: int

    assert index._digest(tmp_path, KINDS) != index._digest(tmp_path, (FileHeader, Pixels, Frame))


def test_every_module_that_looks_at_headers_counts_as_reading_code():
    seen, waiting = set(), ["dicom_look"]
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        text = (HERE / f"{name}.py").read_text(encoding="utf-8")
        waiting += [
            line.split()[1].rpartition(".")[2]
            for line in text.splitlines()
            if line.strip().startswith("from medseg.readers.")
        ]
    counted = {path.stem for pattern in index._READING_CODE for path in HERE.glob(pattern)}
    assert seen - {"archive"} <= counted  # what an archive holds is not kept in the index
    assert len(seen) > 6


def test_what_is_kept_comes_back_field_by_field(tmp_path):
    paths = [*write_series(tmp_path / "s", 1).iterdir()]
    paths.append(save(enhanced_of([{"k": 0, "echo_time": 5}, {"k": 1}]), tmp_path / "enhanced"))
    for path in paths:
        source = file_source(path)
        header = dicom_look.look_at(source)
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
