"""A case comes as one volume on one grid, and its truth under the cohort's names."""

import numpy as np
import pytest

from medseg.errors import BadCohort, BadLabels, GridMismatch
from medseg.geometry import Geometry
from medseg.manifests import load_cohort, read_case, read_truth
from medseg.manifests.reading import read_grid
from medseg.volume import Volume
from medseg.writers import write_labels, write_volume
from tests.manifests.small import CARD, GRID, TABLE, mask, scan, write_card, write_files


@pytest.fixture
def cohort(tmp_path):
    write_files(tmp_path)
    return load_cohort(write_card(tmp_path))


def test_image_and_truth_are_what_was_written(cohort):
    case = cohort.case("b1")
    volume, truth = read_case(cohort, case), read_truth(cohort, case)
    assert volume.channels == ("T1",) and np.array_equal(volume.values(), scan(2).values())
    assert np.array_equal(truth.data, mask(seed=2).data) and truth.labels == cohort.labels
    assert truth.geometry.same_grid(volume.geometry)


def test_remap_swaps_and_drops_values(tmp_path, cohort):
    card = write_card(tmp_path, card=CARD + "remap: {1: 2, 2: 1, 7: 0}\n")
    write_labels(mask((0, 1, 2, 7)), tmp_path / "labels/a1.nii.gz")
    cohort = load_cohort(card)
    truth = read_truth(cohort, cohort.case("a1")).data
    stored = mask((0, 1, 2, 7)).data
    assert ((truth == 2) == (stored == 1)).all() and ((truth == 1) == (stored == 2)).all()
    assert ((truth == 0) == np.isin(stored, (0, 7))).all()


def test_values_without_name_are_refused(tmp_path, cohort):
    write_labels(mask((0, 1, 5)), tmp_path / "labels/a1.nii.gz")
    with pytest.raises(BadLabels, match=r"a1.nii.gz.*values that no label names; found \[5\]"):
        read_truth(cohort, cohort.case("a1"))


def test_a_label_on_another_grid_is_refused(tmp_path, cohort):
    moved = GRID.affine.copy()
    moved[0, 3] += 1.0  # half a voxel
    write_labels(mask(grid=Geometry(GRID.shape, moved)), tmp_path / "labels/a1.nii.gz")
    with pytest.raises(GridMismatch, match="the label lies on another grid than its image"):
        read_truth(cohort, cohort.case("a1"))


def test_a_missing_file_is_refused_by_name(tmp_path, cohort):
    (tmp_path / "images/c1.nii.gz").unlink()
    with pytest.raises(BadCohort, match=r"images/c1.nii.gz: no such file.*--root"):
        read_case(cohort, cohort.case("c1"))


def test_a_case_without_label_has_no_truth(tmp_path, cohort):
    card = write_card(tmp_path, table=TABLE.replace("labels/c1.nii.gz", ""))
    cohort = load_cohort(card)
    with pytest.raises(BadCohort, match="case 'c1' has no label"):
        read_truth(cohort, cohort.case("c1"))


def test_channels_stack_in_the_cards_order(tmp_path):
    write_volume(scan(1), tmp_path / "t.nii.gz")
    write_volume(scan(2), tmp_path / "f.nii.gz")
    table = "case,patient,split,image:FLAIR,image:T1\na,p,test,f.nii.gz,t.nii.gz\n"
    card = write_card(tmp_path, card=CARD.replace("[T1]", "[T1, FLAIR]"), table=table)
    cohort = load_cohort(card)
    volume = read_case(cohort, cohort.cases[0])
    assert np.array_equal(volume.values(), np.concatenate([scan(1).values(), scan(2).values()]))


def test_one_file_can_hold_all_channels(tmp_path):
    both = np.concatenate([scan(1).data, scan(2).data])
    write_volume(Volume(both, GRID), tmp_path / "both.nii.gz")
    table = "case,patient,split,image\na,p,test,both.nii.gz\n"
    card = write_card(tmp_path, card=CARD.replace("[T1]", "[T1, FLAIR]"), table=table)
    cohort = load_cohort(card)
    volume = read_case(cohort, cohort.cases[0])
    assert volume.channels == ("T1", "FLAIR") and np.array_equal(volume.data, both)


def test_a_channel_on_another_grid_needs_a_way_to_align_and_leaves_the_masks_grid(tmp_path):
    coarse = Geometry((4, 5, 6), GRID.affine @ np.diag([2.0, 2.0, 2.0, 1.0]))
    write_volume(scan(1), tmp_path / "t.nii.gz")
    write_volume(Volume(np.full((1, 4, 5, 6), 9, np.int16), coarse), tmp_path / "f.nii.gz")
    table = "case,patient,split,image:FLAIR,image:T1\na,p,test,f.nii.gz,t.nii.gz\n"
    card = write_card(tmp_path, card=CARD.replace("[T1]", "[T1, FLAIR]"), table=table)
    cohort = load_cohort(card)
    case = cohort.cases[0]
    with pytest.raises(GridMismatch, match="channel 'FLAIR' lies on another grid than 'T1'"):
        read_case(cohort, case)
    assert read_grid(cohort, case).same_grid(GRID)
    asked = []

    def align(volume, first):
        grid = first.geometry
        asked.append(volume.geometry.shape)
        return Volume(np.full((1, *grid.shape), 9, np.int16), grid)

    volume = read_case(cohort, case, align=align)
    assert asked == [(4, 5, 6)] and volume.geometry.same_grid(GRID)
    only = read_case(cohort, case, align=align, channels=["FLAIR"])
    assert only.channels == ("FLAIR",) and only.geometry.same_grid(coarse)
