"""Segmenting one scan loads nothing that takes seconds and is not needed for it."""

import subprocess
import sys

QUESTION = """
import sys
from medseg.inference import segment
from tests.inference.models import TinyModel, scan
from tests.transforms.grids import NATIVE
segment(TinyModel(), scan(NATIVE["oblique"]))
heavy = ("monai", "torch._dynamo", "sympy", "SimpleITK", "skimage", "pandas", "matplotlib")
print([name for name in heavy if name in sys.modules])
"""


def test_a_scan_waits_for_no_library_that_it_does_not_need() -> None:
    done = subprocess.run(
        [sys.executable, "-c", QUESTION], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
