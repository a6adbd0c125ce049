"""How soon does a batch start? What only its workers need is not loaded beside them."""

from __future__ import annotations

import subprocess
import sys


def test_planning_a_batch_loads_neither_monai_nor_what_it_brings() -> None:
    question = (
        "import sys, medseg.batch.segmenting;"
        "print([name for name in ('monai', 'pandas', 'matplotlib') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", question], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
