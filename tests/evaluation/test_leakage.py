"""A test scan that trained the model is noticed, also where it was saved again."""

import nibabel as nib
import numpy as np
import pytest

from medseg import evaluation
from medseg.errors import BadCohort, BadModel
from medseg.manifests import load_cohort
from medseg.manifests.duplicates import likenesses
from medseg.manifests.looks import LOOKS_FILE, pack_looks, read_looks, unpack_looks, write_looks
from medseg.readers.nifti import volume as nifti
from medseg.volume import pixel_hash
from tests.evaluation.cohorts import make_cohort, predict


@pytest.fixture
def trained(tmp_path):
    """A cohort, and masks of a model that was trained on its train rows."""
    cohort = make_cohort(tmp_path / "cohort")
    scans = [nifti.read(case.sources[0]) for case in cohort.select(split="train").cases]
    run = {"training_pixels": [pixel_hash(scan) for scan in scans]}
    masks = predict(cohort, tmp_path / "masks", run=run)
    write_looks(masks, [look for scan in scans for look in likenesses(scan)])
    return cohort, masks


def saved_again(cohort, change):
    """Put a changed copy of a training scan in the place of the first test scan."""
    train, test = cohort.select(split="train").cases[0], cohort.select(split="test").cases[0]
    image = nib.load(train.sources[0])
    data, affine = change(np.asarray(image.dataobj), image.affine)
    nib.Nifti1Image(data, affine).to_filename(test.sources[0])
    return test.case


CHANGES = {
    "other number type": lambda data, affine: (data.astype(np.float32) * 0.5 + 10, affine),
    "a voxel changed": lambda data, affine: (
        data + (np.arange(data.size) == 7).reshape(data.shape),
        affine,
    ),
    "other axes, other numbers": lambda data, affine: (
        (data * 0.5).astype(np.float32).transpose(2, 0, 1),
        affine[:, [2, 0, 1, 3]],
    ),
    "cropped": lambda data, affine: (data[2:, 1:-1], affine),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_training_scan_that_was_saved_again_is_noticed(trained, change):
    cohort, masks = trained
    case = saved_again(cohort, change)
    scores = evaluation.evaluate(masks, load_cohort(cohort.path))
    assert scores.about["copies_of_training"] == [case]
    assert any("LEAKAGE" in line and case in line for line in evaluation.problems(scores))
    table = scores.cases.set_index("case")["leaked"]
    assert table[case] == "copy"
    assert (table.drop(case) == "").all()


def test_the_very_scan_is_refused(trained):
    cohort, masks = trained
    saved_again(cohort, lambda data, affine: (data, affine))
    with pytest.raises(BadCohort, match="trained on scans"):
        evaluation.evaluate(masks, load_cohort(cohort.path))


def test_other_scans_are_no_copies(trained):
    cohort, masks = trained
    scores = evaluation.evaluate(masks, cohort)
    assert scores.about["copies_of_training"] == []
    assert not any("LEAKAGE" in line for line in evaluation.problems(scores))


def test_an_interrupted_evaluation_still_notices(trained, tmp_path, monkeypatch):
    cohort, masks = trained
    case = saved_again(cohort, CHANGES["cropped"])
    journal = tmp_path / "journal.jsonl"

    def interrupt(done, total=None, **facts):
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluation.evaluate(masks, cohort, progress=interrupt, journal=journal)
    scores = evaluation.evaluate(masks, cohort, journal=journal)
    assert scores.about["copies_of_training"] == [case]


def test_likenesses_come_back_from_a_small_file(trained):
    cohort, masks = trained
    case = cohort.select(split="train").cases[0]
    (look,) = likenesses(nifti.read(case.sources[0]))
    (same,) = unpack_looks(pack_looks([look, look]))
    assert (same.codes == look.codes).all()
    assert (same.places == look.places).all()
    assert float((same.thumb * look.thumb).sum()) > 0.999 * float((look.thumb**2).sum())
    assert (masks / LOOKS_FILE).stat().st_size < 40_000 * len(read_looks([masks]))


@pytest.mark.parametrize("content", [b"", b"junk" * 100, pack_looks([])[:-1]])
def test_a_damaged_file_is_refused(tmp_path, content):
    (tmp_path / LOOKS_FILE).write_bytes(content)
    with pytest.raises(BadModel, match="recognised"):
        read_looks([tmp_path])
