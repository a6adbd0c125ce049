"""The check finds what is wrong with the files, all of it."""

from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest

from medseg.checksums import sha256_of
from medseg.errors import BadCohort
from medseg.geometry import Geometry
from medseg.labels import LabelTable
from medseg.manifests import (
    Cohort,
    check_cohort,
    examine_cohort,
    load_cohort,
    require_files,
    split_cohort,
    write_cohort,
)
from medseg.manifests.importing import with_checksums
from medseg.volume import Volume
from medseg.writers import write_labels, write_volume
from tests.manifests.small import CARD, GRID, TABLE, mask, scan, write_card, write_files


@pytest.fixture
def card(tmp_path):
    write_files(tmp_path)
    return write_cohort(with_checksums(load_cohort(write_card(tmp_path))), tmp_path / "sums.yaml")


def test_a_sound_cohort_has_no_problems(card):
    seen = []
    assert check_cohort(load_cohort(card), progress=lambda *now: seen.append(now)) == []
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_every_problem_is_found(card, tmp_path):
    (tmp_path / "images/a1.nii.gz").unlink()
    write_volume(scan(9), tmp_path / "images/a2.nii.gz")
    problems = [str(problem) for problem in check_cohort(load_cohort(card))]
    assert len(problems) == 2
    assert problems[0].startswith("a1: ") and "no such file" in problems[0]
    assert problems[1].startswith("a2: ") and "not the one that was recorded" in problems[1]


def test_labels_and_grids_are_looked_into(tmp_path):
    write_files(tmp_path)
    write_labels(mask((0, 3)), tmp_path / "labels/b1.nii.gz")
    (tmp_path / "images/c1.nii.gz").write_bytes(b"this is text, not a scan")
    problems = check_cohort(load_cohort(write_card(tmp_path)))
    assert [problem.case for problem in problems] == ["b1", "c1"]
    assert "values that no label names; found [3]" in problems[0].text
    assert "c1.nii.gz" in problems[1].text and "\n" not in problems[1].text


def test_one_scan_under_two_patients_is_found(tmp_path):
    write_files(tmp_path)
    write_volume(scan(0), tmp_path / "images/c1.nii.gz")  # the bytes of a1
    cohort = with_checksums(load_cohort(write_card(tmp_path)))
    assert [str(p) for p in check_cohort(cohort)] == [
        "c1: the same scan as a1 (patient ann, train, fold 0) under another patient (cy, test):"
        " give both rows one patient, or leave one out"
    ]


def test_a_train_row_needs_a_label(tmp_path):
    write_files(tmp_path)
    table = TABLE.replace("labels/b1.nii.gz", "").replace("labels/c1.nii.gz", "")
    problems = check_cohort(load_cohort(write_card(tmp_path, table=table)))
    assert [str(p) for p in problems] == ["b1: a train row without a label cannot be learnt from"]


def test_a_wrong_root_is_one_problem(tmp_path):
    (problem,) = check_cohort(load_cohort(write_card(tmp_path)))
    assert "none of the cohort's files is there; expected for example a1.nii.gz" in problem.text
    assert "--root" in problem.text


def test_missing_files_are_refused_early(card, tmp_path):
    require_files(load_cohort(card))
    (tmp_path / "labels/b1.nii.gz").unlink()
    with pytest.raises(BadCohort, match=r"labels/b1.nii.gz.*found 1 of 8 files missing.*--root"):
        require_files(load_cohort(card))


def test_checksum_of_a_folder_does_not_depend_on_names(tmp_path):
    for folder, names in (("one", "ab"), ("two", "yx")):
        (tmp_path / folder).mkdir()
        for name, text in zip(names, ("first", "second"), strict=True):
            (tmp_path / folder / name).write_text(text)
    assert sha256_of(tmp_path / "one") == sha256_of(tmp_path / "two")
    (tmp_path / "two/z").write_text("third")
    assert sha256_of(tmp_path / "one") != sha256_of(tmp_path / "two")


def test_checksum_on_paper(tmp_path):
    (tmp_path / "abc").write_bytes(b"abc")  # FIPS 180-2, appendix B.1
    assert sha256_of(tmp_path / "abc") == (
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    )


def test_folds_with_gaps_are_named_and_can_be_dealt_again(tmp_path):
    write_files(tmp_path)
    table = TABLE.replace("train,1", "train,2").replace("train,0", "train,1")
    cohort = load_cohort(write_card(tmp_path, table=table))
    assert [str(problem) for problem in check_cohort(cohort)] == [
        "the table: the folds are 1, 2, not numbered from 0 without gaps; `medseg cohort split"
        " --test keep` deals them again"
    ]
    assert split_cohort(cohort, test_share=None, folds=2).folds == (0, 1)


@pytest.mark.parametrize("copy", ["mirrored", "another scaling", "cropped", "float"])
def test_a_copy_of_a_scan_is_found_across_splits(tmp_path, copy):
    grid = Geometry((30, 28, 20), np.diag([1.0, 1, 2, 1]))
    scans = {name: scan(seed, grid=grid) for seed, name in enumerate(("a1", "a2", "b1"))}
    values = scans["a2"].data
    back = np.diag([-1.0, 1, 1, 1])
    back[0, 3] = 29
    scans["c1"] = {
        "mirrored": Volume(values[:, ::-1], Geometry(grid.shape, grid.affine @ back)),
        "another scaling": Volume(values * 3 - 100, grid),
        "cropped": Volume(values[:, 4:, :, 2:], Geometry((26, 28, 18), grid.affine)),
        "float": Volume(values.astype(np.float32) / 7, grid),
    }[copy]
    for name, volume in scans.items():
        write_volume(volume, tmp_path / f"images/{name}.nii.gz")
        write_labels(mask(grid=volume.geometry), tmp_path / f"labels/{name}.nii.gz")
    problems = check_cohort(load_cohort(write_card(tmp_path)))
    assert [problem.case for problem in problems] == ["c1"]
    assert "the same scan as a2 (patient ann, train, fold 0)" in problems[0].text


def test_what_a_reader_only_warns_of_is_said(tmp_path):
    write_files(tmp_path)
    values = scan(1).data.astype(np.float32)
    values[0, :2] = np.nan
    image = nibabel.Nifti1Image(values[0], GRID.affine)
    image.to_filename(tmp_path / "images/a2.nii.gz")
    blank = nibabel.Nifti1Image(np.full_like(values[0], 700), GRID.affine)
    for case in ("a1", "c1"):  # two of them are no copies
        blank.to_filename(tmp_path / f"images/{case}.nii.gz")
    seen = examine_cohort(load_cohort(write_card(tmp_path)))
    assert sorted(warning.case for warning in seen.warnings) == ["a1", "a2", "c1"]
    assert not seen.problems
    texts = {warning.case: warning.text for warning in seen.warnings}
    assert "NaN" in texts["a2"] and "blank" in texts["a1"]


def test_regions_that_no_mask_can_show_are_a_problem(tmp_path):
    write_files(tmp_path)
    card = CARD.replace("table:", "regions: {both: [1, 2]}\ntable:")
    problems = check_cohort(load_cohort(write_card(tmp_path, card=card)))
    assert [problem.case for problem in problems] == ["the card"]
    nested = CARD.replace("table:", "regions: {tail: [2], both: [1, 2]}\ntable:")
    labels = load_cohort(write_card(tmp_path, card=nested)).labels
    assert [region.name for region in labels.regions] == ["both", "tail"]


def test_each_channel_has_its_own_modality():
    cohort = Cohort(
        "petct",
        "CT",
        ("CT", "PET", "tracer"),
        LabelTable.from_card({"labels": {"a": 1}}),
        (),
        Path(),
    )
    assert [cohort.modality_of(name) for name in cohort.channels] == ["CT", "PT", ""]
    named = replace(cohort, channels=("CTres", "PETres", "PET-CT_PET", "T1", "ct_2"))
    assert [named.modality_of(name) for name in named.channels] == ["CT", "PT", "PT", "MR", "CT"]
    assert replace(cohort, channels=("PET",)).modality_of("PET") == "PT"  # whatever the card says
    assert replace(cohort, modality="ct ", channels=("image",)).modality_of("image") == "CT"
    phases = replace(cohort, channels=("arterial", "venous"))
    assert [phases.modality_of(name) for name in phases.channels] == ["CT", "CT"]


def test_the_cohort_knows_its_table(tmp_path):
    card = write_card(tmp_path, card=CARD.replace("small.csv", "rows.csv"))
    (tmp_path / "small.csv").rename(tmp_path / "rows.csv")
    assert load_cohort(card).table == tmp_path / "rows.csv"


@pytest.mark.parametrize(("one", "other"), [("P07", "p7"), ("12.0", "12"), ("bob a", "bob_a")])
def test_ids_that_a_spreadsheet_may_have_made_of_one_patient_are_told(tmp_path, one, other):
    table = TABLE.replace("a1,ann", f"a1,{one}").replace("a2,ann", f"a2,{one}")
    write_files(tmp_path)
    card = write_card(tmp_path, table=table.replace("c1,cy", f"c1,{other}"))
    warnings = [str(warning) for warning in examine_cohort(load_cohort(card)).warnings]
    assert any("if they are one person" in text and repr(one) in text for text in warnings)


def test_a_path_that_cannot_be_looked_at_is_not_called_missing(tmp_path):
    write_files(tmp_path)
    (tmp_path / "loop.nii.gz").symlink_to("loop.nii.gz")
    table = TABLE.replace("images/a1.nii.gz", "loop.nii.gz")
    table = table.replace("images/b1.nii.gz", f"{'n' * 300}.nii.gz")
    problems = check_cohort(load_cohort(write_card(tmp_path, table=table)))
    reasons = {problem.case: problem.text for problem in problems}
    assert "symbolic links" in reasons["a1"]
    assert "too long" in reasons["b1"]
