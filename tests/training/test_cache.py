"""A case is prepared once, again whenever something changed, and whole whatever happened."""

import os

import numpy as np
import pytest
import safetensors.numpy

from medseg.config import NormaliseWindow, NormaliseZScore, PrepareConfig
from medseg.errors import BadCohort
from medseg.labels import LabelTable
from medseg.manifests import load_cohort
from medseg.scans import read
from medseg.training import cache
from medseg.training.cache import cached_case
from medseg.transforms.prepare import prepare_truth
from medseg.transforms.steps import prepare_files
from medseg.volume import pixel_hash
from medseg.writers import write_labels, write_volume
from tests.training.cohorts import make_scan, tiny_cohort

CONFIG = PrepareConfig(spacing_mm=(2.0, 2.0, 2.0), normalise=(NormaliseWindow(low=-100, high=400),))
SCAN = {"shape": (14, 12, 10), "codes": "PSR", "spacing": (2.0, 2.5, 3.0)}


@pytest.fixture
def cohort(tmp_path):
    return tiny_cohort(tmp_path / "data", cases=1, **SCAN)


def made(cohort, folder, config=CONFIG):
    return cached_case(cohort, cohort.case("case_00"), config, folder)


def test_the_cache_holds_what_preparing_gives(cohort, tmp_path):
    case = cohort.case("case_00")
    kept = made(cohort, tmp_path / "cache")
    prepared = prepare_files(case.sources, CONFIG)
    truth = make_scan(0, **SCAN)[1]
    classes = prepare_truth(truth, cohort.labels, prepared.working)
    image, indices = kept.box((0, 0, 0), kept.facts.shape)
    assert kept.facts.shape == prepared.working.shape
    # kept in float16: eleven bits of a number of about 1
    np.testing.assert_allclose(image, prepared.image.numpy(), atol=1e-3)
    np.testing.assert_array_equal(indices, classes)
    np.testing.assert_array_equal(
        kept.box((2, 3, 1), (9, 4, 6))[1], np.asarray(classes)[2:9, 3:4, 1:6]
    )


def test_the_facts_are_of_the_scan_itself(cohort, tmp_path):
    facts = made(cohort, tmp_path / "cache").facts
    volume, truth = make_scan(0, **SCAN)
    assert facts.volumes_ml == pytest.approx({n: truth.volume_ml(n) for n in ("ball", "box")})
    assert facts.native_spacing_mm == pytest.approx((3.0, 2.0, 2.5))  # PSR seen along R, A, S
    assert facts.native_shape == (10, 14, 12)
    assert facts.spacing_mm == pytest.approx((2.0, 2.0, 2.0))
    # as measured, not as normalised; a sample tells percentiles of 20 noise units to a few
    measured = np.percentile(volume.values(), [0.5, 50, 99.5])
    np.testing.assert_allclose(facts.intensity[0], measured, atol=15)
    assert facts.pixels == pixel_hash(read(cohort.case("case_00").sources[0]))


def test_centres_are_voxels_of_their_class(cohort, tmp_path):
    kept = made(cohort, tmp_path / "cache")
    _, classes = kept.box((0, 0, 0), kept.facts.shape)
    assert set(kept.centres) == {1, 2}
    for value, voxels in kept.centres.items():
        assert (classes[tuple(voxels.T)] == value).all()
        assert len(np.unique(voxels, axis=0)) == len(voxels) == (classes == value).sum()


def test_many_voxels_of_a_class_are_remembered_by_a_sample(cohort, tmp_path, monkeypatch):
    monkeypatch.setattr(cache, "_CENTRES_PER_CLASS", 10)
    kept = made(cohort, tmp_path / "cache")
    assert all(len(np.unique(voxels, axis=0)) == 10 for voxels in kept.centres.values())
    _, classes = kept.box((0, 0, 0), kept.facts.shape)
    assert all((classes[tuple(v.T)] == value).all() for value, v in kept.centres.items())


def test_the_same_inputs_are_prepared_once(cohort, tmp_path, monkeypatch):
    first = made(cohort, tmp_path / "cache")
    monkeypatch.setattr(cache, "prepare_files", None)  # preparing again would fail
    again = made(load_cohort(cohort.path), tmp_path / "cache")
    assert again.path == first.path
    assert again.facts == first.facts


def test_another_way_of_preparing_label_or_scan_makes_another_file(cohort, tmp_path):
    folder = tmp_path / "cache"
    names = {made(cohort, folder).path.name}
    names.add(made(cohort, folder, PrepareConfig(normalise=(NormaliseZScore(),))).path.name)
    case = cohort.case("case_00")
    changed = make_scan(1, **SCAN)[1]
    before = case.label.stat()
    write_labels(changed, case.label)
    os.utime(case.label, ns=(before.st_atime_ns, before.st_mtime_ns))
    names.add(made(cohort, folder).path.name)
    write_volume(make_scan(1, **SCAN)[0], case.sources[0])
    os.utime(case.sources[0], ns=(2, 2))
    names.add(made(cohort, folder).path.name)
    assert len(names) == 4
    assert made(cohort, folder).facts.volumes_ml["box"] == changed.volume_ml("box")


def test_another_meaning_of_the_labels_makes_another_file(cohort, tmp_path):
    first = made(cohort, tmp_path / "cache")
    text = cohort.path.read_text()
    cohort.path.write_text(text + "remap: {3: 1}\n")
    other = made(load_cohort(cohort.path), tmp_path / "cache")
    assert other.path != first.path
    assert set(other.centres) == {1}


@pytest.mark.parametrize("damage", ["cut short", "emptied", "other content"])
def test_a_damaged_file_is_made_again(cohort, tmp_path, damage):
    kept = made(cohort, tmp_path / "cache")
    whole = kept.path.read_bytes()
    if damage == "other content":
        safetensors.numpy.save_file({"a": np.zeros(1)}, kept.path)
    else:
        kept.path.write_bytes(whole[: len(whole) // 2] if damage == "cut short" else b"")
    again = made(cohort, tmp_path / "cache")
    assert again.path == kept.path
    assert again.box((0, 0, 0), again.facts.shape)[1].max() == 2
    assert again.path.read_bytes() == whole


def test_ignored_voxels_are_marked_and_never_centres(tmp_path):
    labels = LabelTable.from_card({"labels": {"ball": 1}, "ignore": 3})
    cohort = tiny_cohort(tmp_path / "data", cases=1, labels=labels, **SCAN)
    kept = made(cohort, tmp_path / "cache")
    _, classes = kept.box((0, 0, 0), kept.facts.shape)
    assert set(np.unique(classes)) == {-1, 0, 1}
    assert set(kept.centres) == {1}
    assert kept.facts.volumes_ml == {}  # the box may be ball: no volume to compare masks with
    assert kept.facts.kept["ball"] == pytest.approx(1, abs=0.1)


def test_several_channels_are_kept_in_order(tmp_path):
    cohort = tiny_cohort(tmp_path / "data", cases=1, channels=("T1", "FLAIR"), **SCAN)
    image, _ = made(cohort, tmp_path / "cache").box((0, 0, 0), (5, 5, 5))
    assert image.shape == (2, 5, 5, 5)
    first, second = image.astype(float)
    assert np.corrcoef(first.ravel(), second.ravel())[0, 1] < -0.9  # the second is the negative


def test_a_missing_file_is_named_and_nothing_is_left_behind(cohort, tmp_path):
    case = cohort.case("case_00")
    case.label.unlink()
    with pytest.raises(BadCohort, match=r"case_00\.nii\.gz"):
        made(cohort, tmp_path / "cache")
    assert not list((tmp_path / "cache").glob("*"))
