"""A verb killed at random instants ends, when it is run again, as if it had never been."""

import random
import shutil

import pytest

from benchmarks.kills import Verb, torment, verbs
from medseg.writers import write_volume
from tests.batch import stub


@pytest.fixture(autouse=True)
def own_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("MEDSEG_CACHE", str(tmp_path / "cache"))


def test_a_killed_conversion_goes_on(tmp_path):
    scans = tmp_path / "scans"
    scans.mkdir()
    for number in range(6):
        write_volume(stub.scan(number, 60), scans / f"s{number}.nii.gz")
    verb = Verb(["convert", scans], ["out/*.nii.gz", "out/scans.csv"])
    tally = torment(verb, tmp_path / "work", 3, random.Random(1))
    assert tally.differences == []
    assert tally.parts_after_run == 0
    assert tally.kills >= 3
    shutil.rmtree(tmp_path / "work")


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["segment", "train", "evaluate", "compare", "plan", "cohort import", "cohort split"]
)
def test_a_killed_verb_goes_on(tmp_path_factory, name):
    work = tmp_path_factory.getbasetemp() / "kills"  # made once
    work.mkdir(exist_ok=True)
    tally = torment(verbs(work)[name], work / "under attack", 4, random.Random(name))
    assert tally.differences == []
    assert tally.parts_after_run == 0
