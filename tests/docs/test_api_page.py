"""The Python blocks of the notebook page run as they stand, on a small scan and its mask."""

import re
from pathlib import Path

import numpy as np
import pytest

import medseg
from tests.notebooks.test_views import head

PAGE = Path(__file__).resolve().parents[2] / "docs" / "api.md"
NOTEBOOKS = PAGE.read_text(encoding="utf-8").partition("## In notebooks")[2]
BLOCKS = re.findall(r"^```python\n(.*?)^```", NOTEBOOKS, re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("block", BLOCKS)
def test_a_block_of_the_page_runs(block, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    scan, mask = head()
    scan = medseg.Volume(scan.data * 2, scan.geometry)  # brighter than the threshold
    scan.save("scan.nii.gz")
    mask.save("mask.nii.gz")
    exec(compile(block, str(PAGE), "exec"), {})
    for path in set(Path().rglob("*.n*")) - {Path("scan.nii.gz"), Path("mask.nii.gz")}:
        np.testing.assert_array_equal(medseg.read_labels(path).array, mask.array)


def test_the_page_has_blocks():
    assert len(BLOCKS) == 3
