"""A file that is none is refused at once, whichever text, table or record it stands for."""

import doctest
import os
import socket

import pytest

from medseg import files
from medseg.checksums import sha256_of
from medseg.config import load_json, load_yaml
from medseg.config.kinds import kind_of
from medseg.errors import BadConfig, BadModel, MedsegError
from medseg.files import is_file, is_folder, open_file, read_bytes
from medseg.model import read_model
from medseg.tables import csv_columns, read_csv


def pipe(path):
    os.mkfifo(path)


def a_socket(path):
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(path))


def endless(path):
    path.symlink_to("/dev/zero")


def circle(path):
    path.symlink_to(path)


def folder(path):
    path.mkdir()


def nothing(path):
    path.symlink_to("/no/such/file")


PLACES = {one.__name__: one for one in (pipe, a_socket, endless, circle, folder, nothing)}
READERS = (open_file, sha256_of, load_yaml, load_json, read_csv)


@pytest.mark.parametrize("make", PLACES.values(), ids=PLACES)
def test_what_is_no_file_is_never_waited_for(make, tmp_path):
    path = tmp_path / "x"
    make(path)
    assert not is_file(path)
    assert is_folder(path) is (make is folder)
    assert csv_columns(path) == ()
    kind_of(path)
    for read in READERS if make is not folder else READERS[2:]:
        with pytest.raises((OSError, MedsegError)):
            read(path)


def test_a_name_that_no_file_can_have_is_no_file(tmp_path):
    for name in ("x" * 300, "y/" * 3000, "zero\0byte"):
        assert not is_file(tmp_path / name)
        assert not is_folder(tmp_path / name)
        for read in READERS[2:]:
            with pytest.raises(BadConfig):
                read(tmp_path / name)


def test_a_pipe_in_a_model_folder_is_a_refusal(tmp_path):
    os.mkfifo(tmp_path / "model.yaml")
    with pytest.raises(BadModel, match="not a model folder"):
        read_model(tmp_path)


def test_a_file_beyond_the_limit_is_not_read(tmp_path):
    with (tmp_path / "big").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(OSError, match="1099511627776 bytes are more"):
        read_bytes(tmp_path / "big")
    for read in READERS[2:]:
        with pytest.raises(BadConfig, match="bytes are more"):
            read(tmp_path / "big")


def test_examples():
    assert doctest.testmod(files).failed == 0
