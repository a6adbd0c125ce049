"""A batch starts without loading what only its workers need."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.batch import stub


def test_commanding_a_batch_loads_neither_torch_nor_monai(tmp_path: Path) -> None:
    model = stub.small_model(tmp_path / "model")
    question = f"""
import sys
from pathlib import Path
from medseg.batch.batch import open_batch
from medseg.batch.settings import Settings
settings = Settings((Path({str(model)!r}),), Path({str(tmp_path / "out")!r}), device="cpu")
with open_batch([], settings) as batch:
    batch.run()
heavy = ("torch", "monai", "pandas", "matplotlib")
print([name for name in heavy if name in sys.modules], batch.labels.names)
"""
    done = subprocess.run(
        [sys.executable, "-c", question], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[] ('ball',)"
