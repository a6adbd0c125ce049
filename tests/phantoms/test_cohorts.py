"""Cohorts and archives of phantoms hold what their cards and headers say."""

import numpy as np
import pytest

from medseg.errors import BadConfig
from medseg.manifests import check_cohort, load_cohort, read_case, read_truth
from medseg.phantoms import Population, write_phantom_archive, write_phantom_cohort
from medseg.phantoms.cohorts import phantom_of
from medseg.scans import discover, read

SMALL = Population(spacing_mm=12.0, grids=("axial", "oblique"), seed=5)


@pytest.fixture(scope="module")
def card(tmp_path_factory):
    return write_phantom_cohort(tmp_path_factory.mktemp("phantoms"), SMALL, cases=12)


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    folder = tmp_path_factory.mktemp("archive")
    population = Population(spacing_mm=12.0, grids=("axial", "oblique"), seed=5)
    return folder, write_phantom_archive(folder, population, cases=2)


def test_cohort_is_without_problems(card):
    cohort = load_cohort(card)
    assert len(cohort.cases) == 12
    assert check_cohort(cohort) == [], "no two phantoms are one scan, either"


def test_cohort_is_divided_by_patient(card):
    cohort = load_cohort(card)
    assert cohort.folds == (0, 1, 2, 3, 4)
    assert 1 <= len(cohort.select(split="test").cases) <= 4
    assert len(cohort.patients) == 10, "two patients came twice"


def test_files_hold_the_phantom_to_the_voxel(card):
    cohort = load_cohort(card)
    case = cohort.case("phantom_004")
    phantom, patient, site = phantom_of(SMALL, 3)
    assert (case.patient, case.covariates["site"]) == (patient, site) == ("P004", "site B")
    assert case.covariates["sex"] in "FM" and 18 < int(case.covariates["age"]) < 100
    volume, truth = read_case(cohort, case), read_truth(cohort, case)
    assert np.array_equal(volume.values(), phantom.volume.values())
    assert volume.geometry.same_grid(phantom.volume.geometry)
    assert np.array_equal(truth.data, phantom.truth.data)


def test_two_channels_are_two_files(tmp_path):
    population = Population(anatomy="brain", modality="MR2", spacing_mm=10.0)
    cohort = load_cohort(write_phantom_cohort(tmp_path, population, cases=10))
    assert cohort.channels == ("T1", "FLAIR") and cohort.modality == "MR"
    assert [region.name for region in cohort.labels.regions] == ["whole", "core"]
    volume = read_case(cohort, cohort.cases[0])
    phantom, _, _ = phantom_of(population, 0)
    assert volume.channels == ("T1", "FLAIR")
    assert np.array_equal(volume.values(), phantom.volume.values())


def test_too_few_phantoms_are_refused(tmp_path):
    with pytest.raises(BadConfig, match="too few phantoms to divide; found 4"):
        write_phantom_cohort(tmp_path, SMALL, cases=4)


def test_archived_series_read_back_to_the_voxel(archive):
    folder, scans = archive
    assert not np.allclose(
        scans[0].phantom.truth.geometry.directions, scans[1].phantom.truth.geometry.directions
    ), "one site each"
    volume, phantom = read(folder / scans[1].folders[0]), scans[1].phantom
    assert np.array_equal(volume.values(), phantom.volume.values())
    assert volume.geometry.same_grid(phantom.volume.geometry)


def test_archive_holds_one_usable_series_a_patient_among_the_rest(archive):
    folder, scans = archive
    found = discover(folder)
    usable = [scan for scan in found if scan.status == "usable"]
    assert len(usable) == len(scans) == 2
    assert any("localizer" in scan.reason.lower() for scan in found if scan.status == "skipped")
    shapes = {scan.phantom.volume.geometry.shape for scan in scans}
    assert {tuple(scan.read().geometry.shape) for scan in usable} == shapes
