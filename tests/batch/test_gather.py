"""Rows of a card that nothing can be read from are refused alone, and nobody waits for them."""

import os
import time

import pytest

from medseg.batch.gather import gather
from medseg.batch.task import State, Task
from medseg.errors import BadScan
from medseg.manifests import load_cohort
from medseg.manifests.reading import read_case
from tests.evaluation.cohorts import make_cohort


@pytest.fixture
def cohort(tmp_path, monkeypatch):
    monkeypatch.setenv("MEDSEG_CACHE", str(tmp_path / "cache"))
    return make_cohort(tmp_path / "cohort", 2)


def test_a_pipe_in_a_row_is_refused_alone(cohort):
    path = cohort.cases[0].sources[0]
    path.unlink()
    os.mkfifo(path)
    found = {one.case: one for one in gather([cohort.path])}
    assert found["c0"].state is State.REFUSED
    assert "neither a file nor a folder" in found["c0"].reason
    assert isinstance(found["c1"], Task)
    with pytest.raises(BadScan, match="neither a file nor a folder"):
        read_case(load_cohort(cohort.path), cohort.cases[0])


def test_folders_whose_links_loop_are_walked_once(cohort, tmp_path):
    folder = tmp_path / "cohort" / "series"
    folder.mkdir()
    (folder / "again").symlink_to(folder, target_is_directory=True)
    (folder / "above").symlink_to(tmp_path, target_is_directory=True)
    table = cohort.path.with_suffix(".csv")
    table.write_text(table.read_text().replace("images/c0.nii.gz", "series"))
    started = time.process_time()
    found = {one.case: one for one in gather([cohort.path])}
    assert time.process_time() - started < 30  # a walk without an end takes for ever
    assert set(found) == {f"c{number}" for number in range(6)}
