"""Does the check find what is wrong with the files, all of it?"""

import pytest

from medseg.errors import BadCohort
from medseg.manifests import check_cohort, load_cohort, require_files, write_cohort
from medseg.manifests.checksums import sha256_of
from medseg.manifests.importing import with_checksums
from medseg.writers import write_labels, write_volume
from tests.manifests.small import TABLE, mask, scan, write_card, write_files


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
        "c1: the same image as a1, under another patient"
    ]


def test_a_train_row_needs_a_label(tmp_path):
    write_files(tmp_path)
    table = TABLE.replace("labels/b1.nii.gz", "").replace("labels/c1.nii.gz", "")
    problems = check_cohort(load_cohort(write_card(tmp_path, table=table)))
    assert [str(p) for p in problems] == ["b1: a train row without a label cannot be learnt from"]


def test_a_wrong_root_is_one_problem(tmp_path):
    (problem,) = check_cohort(load_cohort(write_card(tmp_path)))
    assert "not one file of the cohort is there; expected for example a1.nii.gz" in problem.text
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
