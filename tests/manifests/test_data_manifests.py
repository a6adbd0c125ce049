"""Are the cards that come with medseg sound, and do they divide as they say?"""

import subprocess
import sys

import pytest

from medseg.manifests import Split, check_cohort, load_cohort
from tests.conftest import REPOSITORY

CARDS = sorted((REPOSITORY / "data_manifests").glob("*.yaml"))


@pytest.mark.parametrize("card", CARDS, ids=lambda card: card.stem)
def test_every_card_says_where_its_data_comes_from(card):
    cohort = load_cohort(card)
    assert cohort.source and cohort.licence and cohort.citation
    assert all(case.image_sha256 and case.label_sha256 for case in cohort.cases)


def test_hippocampus_is_divided_by_its_rule():
    cohort = load_cohort(REPOSITORY / "data_manifests/hippocampus.yaml")
    ids = sorted(case.case for case in cohort.cases)
    test = {case.case for case in cohort.cases if case.split is Split.TEST}
    assert len(ids) == 200 and test == {name for j, name in enumerate(ids) if j % 5 == 0}
    assert [len(cohort.select(fold=k).cases) for k in cohort.folds] == [32] * 5
    assert "no patient ids" in cohort.notes and cohort.licence == "CC-BY-SA-4.0"


def test_hippocampus_files_are_those_of_the_card(shared_data):
    cohort = load_cohort(
        REPOSITORY / "data_manifests/hippocampus.yaml", root=shared_data / "hippocampus"
    )
    assert check_cohort(cohort.with_cases(cohort.cases[::20])) == []


def test_hippocampus_comes_from_its_script_byte_for_byte(shared_data, tmp_path):
    script = REPOSITORY / "pipelines/hippocampus_card.py"
    scans, card = shared_data / "hippocampus", tmp_path / "hippocampus.yaml"
    subprocess.run([sys.executable, script, scans, "--output", card], check=True)
    for name in ("hippocampus.yaml", "hippocampus.csv"):
        committed = REPOSITORY / "data_manifests" / name
        assert (tmp_path / name).read_bytes() == committed.read_bytes(), name


@pytest.mark.slow
def test_all_hippocampus_files_are_those_of_the_card(shared_data):
    cohort = load_cohort(
        REPOSITORY / "data_manifests/hippocampus.yaml", root=shared_data / "hippocampus"
    )
    assert check_cohort(cohort) == []
