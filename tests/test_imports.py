"""`import medseg` and `medseg --help` stay light: loading torch takes seconds."""

import subprocess
import sys

import pytest

REPORT = "import sys; print('loaded:', *sorted({'torch', 'monai'} & set(sys.modules)))"
HELP = """
import sys
sys.argv = ["medseg", "--help"]
from medseg.cli import main
try:
    status = main()
except SystemExit as ending:
    status = ending.code
assert not status, f"medseg --help ended with {status}"
"""


def run(program: str) -> str:
    """Standard output of a fresh Python that runs ``program``."""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("program", ["import medseg", HELP], ids=["import medseg", "medseg --help"])
def test_neither_torch_nor_monai_is_loaded(program):
    assert run(f"{program}\n{REPORT}").splitlines()[-1] == "loaded:"


def test_the_check_sees_torch():
    assert run(f"import torch\n{REPORT}") == "loaded: torch\n"


def test_help_lists_the_verbs():
    verbs = run(HELP).partition("Commands:")[2].split()
    assert {"demo", "cohort", "train", "segment", "evaluate"} <= set(verbs)
