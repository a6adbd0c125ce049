"""Verbs work for a user without name, home or rights, in any locale, or say what they need."""

import os
import shutil
import subprocess
import sys

import pytest

from medseg.writers import write_volume
from tests.batch import stub

#: A user whom no table knows; the files of Python itself he may read, wherever they lie.
NOBODY = (
    *("setpriv", "--reuid", "1234", "--regid", "1234", "--clear-groups"),
    *("--inh-caps", "+dac_read_search", "--ambient-caps", "+dac_read_search"),
)
ASCII = {"LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}

ENVIRONMENTS = {
    "no home": {},
    "the root as home": {"HOME": "/"},
    "no such home, no such temporary folder": {"HOME": "/no/such", "TMPDIR": "/no/such"},
    "ASCII, twenty columns": {**ASCII, "COLUMNS": "20", "NO_COLOR": "1"},
}


def may_become_another():
    if not shutil.which("setpriv"):
        return False
    return subprocess.run([*NOBODY, "true"], capture_output=True, check=False).returncode == 0


pytestmark = pytest.mark.skipif(
    not may_become_another(), reason="setpriv is missing or may not change the user here"
)


@pytest.fixture
def folder(tmp_path):
    """A scan with a name outside ASCII, in a folder of that user's."""
    for parent in (tmp_path, *tmp_path.parents[:2]):
        parent.chmod(0o755)
    (tmp_path / "in").mkdir()
    write_volume(stub.scan(0), tmp_path / "in/größe 脳.nii.gz")
    for path in (tmp_path, *tmp_path.rglob("*")):
        os.chown(path, 1234, 1234)
    return tmp_path


def run(folder, environment, *words):
    path = {"PATH": os.environ["PATH"], "OMP_NUM_THREADS": "1"}
    command = [*NOBODY, sys.executable, "-m", "medseg", *map(str, words)]
    return subprocess.run(
        command, cwd=folder, env=path | environment, capture_output=True, timeout=300, check=False
    )


@pytest.mark.parametrize("environment", ENVIRONMENTS.values(), ids=ENVIRONMENTS)
def test_convert_works(folder, environment):
    ended = run(folder, environment, "convert", "in", "--output", "out")
    assert ended.returncode == 0, ended.stderr
    assert b"Traceback" not in ended.stderr
    assert len(list((folder / "out").glob("*.nii.gz"))) == 1


@pytest.mark.slow
@pytest.mark.parametrize("environment", ENVIRONMENTS.values(), ids=ENVIRONMENTS)
def test_segment_works(folder, environment):
    stub.small_model(folder / "model")
    ended = run(folder, environment, "segment", "model", "in", "--output", "out")
    assert ended.returncode == 0, ended.stderr
    assert b"Traceback" not in ended.stderr
    assert len(list((folder / "out").glob("*.nii.gz"))) == 1


@pytest.mark.parametrize(
    "words", [["--help"], ["segment", "--help"], pytest.param(["doctor"], marks=pytest.mark.slow)]
)
def test_help_and_doctor_work_on_a_terminal_of_ascii(folder, words):
    ended = run(folder, ENVIRONMENTS["ASCII, twenty columns"], *words)
    assert ended.returncode in (0, 1)
    assert b"Traceback" not in ended.stderr


def test_an_output_of_somebody_else_is_one_line(folder):
    (folder / "out").mkdir(mode=0o755)  # root's
    ended = run(folder, {}, "convert", "in", "--output", "out")
    assert ended.returncode == 1
    lines = ended.stderr.decode().splitlines()
    assert len(lines) == 1
    assert "the output folder cannot be written" in lines[0]
