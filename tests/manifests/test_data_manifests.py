"""The cards that come with medseg are sound and divide as they say."""

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


@pytest.mark.parametrize("card", ["acdc", "acdc_scribbles"])
def test_acdc_is_divided_by_its_rule(card):
    cohort = load_cohort(REPOSITORY / f"data_manifests/{card}.yaml")
    patients = sorted({*cohort.patients, "patient076"})
    test = {case.patient for case in cohort.cases if case.split is Split.TEST}
    assert len(cohort.cases) == 158 and len(patients) == 80
    assert test == {name for j, name in enumerate(patients) if j % 5 == 0} - {"patient076"}
    assert sum(case.split is Split.TEST for case in cohort.cases) == 30
    assert len(cohort.folds) == 5 and all(label.side == "none" for label in cohort.labels.labels)
    for fold in cohort.folds:  # patients are whole
        inside = set(cohort.select(fold=fold).patients)
        others = {case.patient for case in cohort.cases if case.fold not in (fold, None)}
        assert 12 <= len(inside) <= 13 and not inside & (others | test)


def test_scribbles_are_trained_and_full_masks_are_scored():
    cohort = load_cohort(REPOSITORY / "data_manifests/acdc_scribbles.yaml")
    folders = {(case.split, case.label.parent.name) for case in cohort.cases}
    assert folders == {(Split.TRAIN, "scribbles"), (Split.TEST, "labels")}
    assert cohort.labels.ignore == 4


def test_acdc_files_are_those_of_the_card(shared_data):
    for card in ("acdc", "acdc_scribbles"):
        path = REPOSITORY / f"data_manifests/{card}.yaml"
        cohort = load_cohort(path, root=shared_data / "acdc")
        problems = check_cohort(cohort.with_cases(cohort.cases[::40]))
        assert [
            each for each in problems if "the folds are" not in each.text
        ] == []  # a part of them


def test_brain_names_both_halves_and_is_divided_by_its_rule():
    cohort = load_cohort(REPOSITORY / "data_manifests/brain.yaml")
    ids = sorted(case.case for case in cohort.cases)
    test = {case.case for case in cohort.cases if case.split is Split.TEST}
    assert len(ids) == len(cohort.patients) == 15
    assert test == {name for j, name in enumerate(ids) if j % 5 == 0}
    sides = [label.side for label in cohort.labels.labels]
    assert len(sides) == 144 and sides.count("left") == sides.count("right") == 67
    assert cohort.labels.mirror_obstacle == "" and len(cohort.labels.mirror_pairing()) == 67


def test_sarcoma_has_three_channels_and_the_contours_of_the_first(shared_data):
    path = REPOSITORY / "data_manifests/sarcoma.yaml"
    cohort = load_cohort(path, root=shared_data / "sarcoma")
    assert cohort.channels == ("CT", "PET", "T1") and len(cohort.cases) == 5
    assert [case.case for case in cohort.cases if case.split is Split.TEST] == ["STS_002"]
    assert cohort.folds == (0, 1, 2, 3)
    assert check_cohort(cohort.with_cases(cohort.cases[1:2])) == []


SLOWLY = [pytest.param(n, marks=pytest.mark.slow) for n in ("hippocampus", "acdc", "brain")]


@pytest.mark.parametrize("name", ["acdc_scribbles", "sarcoma", *SLOWLY])
def test_a_card_comes_from_its_script_byte_for_byte(shared_data, tmp_path, name):
    data, _, variant = name.partition("_")
    script = REPOSITORY / f"pipelines/{data}_card.py"
    options = [f"--{variant}"] if variant else []
    card = tmp_path / f"{name}.yaml"
    subprocess.run(
        [sys.executable, script, shared_data / data, "--output", card, *options], check=True
    )
    for file in (f"{name}.yaml", f"{name}.csv"):
        committed = REPOSITORY / "data_manifests" / file
        assert (tmp_path / file).read_bytes() == committed.read_bytes(), file


@pytest.mark.slow
def test_all_hippocampus_files_are_those_of_the_card(shared_data):
    cohort = load_cohort(
        REPOSITORY / "data_manifests/hippocampus.yaml", root=shared_data / "hippocampus"
    )
    assert check_cohort(cohort) == []
