"""``medseg segment … uncertainty=``: maps beside the masks, known to every later verb."""

import os
import time

import nibabel
import numpy as np
import pytest
import yaml

from medseg.evaluation.pairing import mask_files
from medseg.readers.entry import Status
from medseg.review.uncertainty import uncertainty_maps
from medseg.scans import discover, read
from medseg.writers import write_volume
from medseg.writers.dicom_series import write_dicom_series
from tests.batch import stub
from tests.cli.test_segment import leftovers, rows, segment


@pytest.fixture(scope="module")
def folds(tmp_path_factory):
    """A small real model folder of two networks."""
    return stub.small_model(tmp_path_factory.mktemp("run") / "model", folds=2)


@pytest.fixture
def scan(tmp_path):
    path = tmp_path / "scans" / "a.nii.gz"
    write_volume(stub.scan(0), path)
    return path


def maps(out):
    return sorted(
        path.relative_to(out).as_posix() for path in (out / "uncertainty").rglob("*.nii*")
    )


BOTH = ["uncertainty/disagreement/a.nii.gz", "uncertainty/entropy/a.nii.gz"]


def test_maps_are_twins_of_their_scan_and_part_of_the_recipe(folds, scan, tmp_path):
    out = tmp_path / "out"
    assert segment(folds, scan, "--output", out, "uncertainty=both").exit_code == 0
    assert maps(out) == BOTH
    entropy, disagreement = (nibabel.load(out / name) for name in reversed(BOTH))
    for stored in (entropy, disagreement):
        assert np.array_equal(stored.affine, nibabel.load(scan).affine)
        assert stored.shape == nibabel.load(scan).shape
        assert 0 <= stored.get_fdata().min() < stored.get_fdata().max() <= 1
    # mutual information is a part of the entropy of the mean; that of averaged logits is close
    assert disagreement.get_fdata().mean() < entropy.get_fdata().mean()
    recipe = yaml.safe_load((out / "run.yaml").read_text())["options"]
    assert recipe["uncertainty"] == ["entropy", "disagreement"]
    assert not leftovers(out)
    assert segment(folds, scan, "--output", out).exit_code == 2


def test_a_deleted_map_is_made_again_and_nothing_else_is(folds, scan, tmp_path):
    out = tmp_path / "out"
    write_volume(stub.scan(1), scan.with_name("b.nii.gz"))
    call = (folds, scan.parent, "--output", out, "uncertainty=entropy")
    assert segment(*call).exit_code == 0
    untouched = (out / "b.nii.gz").stat().st_mtime_ns
    (out / "uncertainty/entropy/a.nii.gz").unlink()
    again = segment(*call)
    assert again.exit_code == 0
    assert "a: a.nii.gz is gone; it is done again" in again.stderr.replace("\n", " ")
    assert maps(out) == ["uncertainty/entropy/a.nii.gz", "uncertainty/entropy/b.nii.gz"]
    assert (out / "b.nii.gz").stat().st_mtime_ns == untouched


def test_a_mask_made_again_leaves_no_map_of_the_one_before(folds, scan, tmp_path):
    out = tmp_path / "out"
    segment(folds, scan, "--output", out, "uncertainty=both")
    assert segment(folds, scan, "--output", out, "uncertainty=entropy", "--redo").exit_code == 0
    assert maps(out) == BOTH[1:]
    assert segment(folds, scan, "--output", out, "--redo").exit_code == 0
    assert maps(out) == []


def test_a_mask_made_again_leaves_nothing_that_was_written_beside_the_one_before(
    folds, scan, tmp_path
):
    out = tmp_path / "out"
    write_volume(stub.scan(1), scan.with_name("b.nii.gz"))
    more = ("--probabilities", "--one-file-per-label", "uncertainty=entropy")
    segment(folds, scan.parent, "--output", out, *more)
    old = out / "b.nii.gz"
    old.write_bytes(old.read_bytes() + b"edited")
    assert segment(folds, scan.parent, "--output", out, "--redo", "--format", "nrrd").exit_code == 0
    for folder in ("probabilities", "per_label", "uncertainty"):
        assert not (out / folder).exists()
    assert not (out / "a.nii.gz").exists()
    assert old.exists(), "it was edited"
    assert sorted(path.name for path in out.glob("*.nrrd")) == ["a.nrrd", "b.nrrd"]


def test_a_file_of_another_label_that_was_edited_stays_and_is_named(folds, scan, tmp_path):
    out = tmp_path / "out"
    segment(folds, scan, "--output", out, "--one-file-per-label")
    (mine,) = (out / "per_label/a").iterdir()
    mine.write_bytes(b"drawn by hand")
    os.utime(mine, (time.time() + 60, time.time() + 60))
    ended = segment(folds, scan, "--output", out, "--redo")
    assert ended.exit_code == 0
    assert mine.read_bytes() == b"drawn by hand"
    assert f"{mine.name} was edited since" in ended.stderr


def test_what_is_no_mask_stays_beside_masks_of_one_label_however_old(folds, scan, tmp_path):
    out = tmp_path / "out"
    segment(folds, scan, "--output", out, "--one-file-per-label")
    notes, folder = out / "per_label/a/notes.txt", out / "per_label/a/old.nii.gz"
    notes.write_text("mine")
    os.utime(notes, (0, 0))
    folder.mkdir()
    assert segment(folds, scan, "--output", out, "--redo").exit_code == 0
    assert notes.read_text() == "mine"
    assert folder.is_dir()
    assert sorted(path.name for path in notes.parent.iterdir()) == ["notes.txt", "old.nii.gz"]


def test_a_map_that_medseg_did_not_write_stays(folds, scan, tmp_path):
    foreign = tmp_path / "out/uncertainty/entropy/a.nii.gz"
    foreign.parent.mkdir(parents=True)
    foreign.write_bytes(b"somebody else's")
    ended = segment(folds, scan, "--output", tmp_path / "out", "uncertainty=entropy")
    assert ended.exit_code == 1
    assert foreign.read_bytes() == b"somebody else's"
    assert "uncertainty/entropy/a.nii.gz" in rows(tmp_path / "out")["a"]["reason"]


def test_maps_are_neither_scans_nor_masks_of_a_later_command(folds, scan, tmp_path):
    out = scan.parent / "masks"
    assert segment(folds, scan, "--output", out, "uncertainty=both").exit_code == 0
    usable = [one for one in discover(scan.parent) if one.status == Status.USABLE]
    assert [one.source for one in usable] == ["a.nii.gz"]
    assert list(mask_files(out)) == ["a"]
    maps_by_name = uncertainty_maps(out / "a.nii.gz", "a")
    assert {name: path.relative_to(out).as_posix() for name, (path,) in maps_by_name.items()} == {
        "entropy": "uncertainty/entropy/a.nii.gz",
        "disagreement": "uncertainty/disagreement/a.nii.gz",
    }


def test_a_dicom_series_gets_maps_on_its_own_grid(folds, tmp_path):
    write_dicom_series(stub.scan(0), tmp_path / "series", modality="MR")
    out = tmp_path / "out"
    assert (
        segment(folds, tmp_path / "series", "--output", out, "uncertainty=entropy").exit_code == 0
    )
    (name,) = maps(out)
    (mask,) = out.glob("*.nii.gz")
    assert name == f"uncertainty/entropy/{mask.name}"
    assert read(out / name).geometry.same_grid(read(tmp_path / "series").geometry)


def test_one_network_cannot_disagree(scan, tmp_path):
    model = stub.small_model(tmp_path / "model")
    ended = segment(model, scan, "--output", tmp_path / "out", "uncertainty=disagreement")
    assert ended.exit_code == 2
    assert "disagreement is that of several networks; found 1 network" in ended.stderr
    assert not (tmp_path / "out" / "a.nii.gz").exists()


def test_a_map_of_somebody_else_stays_where_no_map_is_asked_for(folds, scan, tmp_path):
    foreign = tmp_path / "out/uncertainty/entropy/a.nii.gz"
    foreign.parent.mkdir(parents=True)
    foreign.write_bytes(b"somebody else's")
    segment(folds, scan, "--output", tmp_path / "out")
    assert foreign.read_bytes() == b"somebody else's"
