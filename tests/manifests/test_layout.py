"""Folders whose names say which mask belongs to which scan, and folders whose names do not."""

import pytest

from medseg.errors import BadCohort
from medseg.labels import LabelTable
from medseg.manifests import import_cohort
from medseg.names import safe_name
from medseg.writers import nrrd, write_labels, write_volume
from tests.manifests.small import mask, scan

MASKS = ("seg", "msk", "mask", "label", "gt", "truth", "labels", "roi")


def is_mask(name):
    return any(word in name.lower() for word in MASKS)


def lay(folder, *names):
    for number, name in enumerate(names):
        if name.endswith(".nrrd"):
            labels = LabelTable.from_card({"labels": {"blob": 1}})
            nrrd.write(mask((0, 1), number).named(labels), folder / name)
        elif is_mask(name):
            write_labels(mask((0, 1), number), folder / name)
        else:
            write_volume(scan(number), folder / name)


LAYOUTS = {
    "channel numbers": (
        ["images/a_0000.nii.gz", "images/b_0000.nii.gz", "labels/a.nii.gz", "labels/b.nii.gz"],
        {"a": "labels/a.nii.gz", "b": "labels/b.nii.gz"},
    ),
    "numbers of cases that look like channels": (
        ["img_0000.nii.gz", "img_0001.nii.gz", "seg_0000.nii.gz", "seg_0001.nii.gz"],
        {"img_0000": "seg_0000.nii.gz", "img_0001": "seg_0001.nii.gz"},
    ),
    "a folder a case": (
        ["c1/image.nii.gz", "c1/label.nii.gz", "c2/image.nii.gz", "c2/label.nii.gz"],
        {"c1": "c1/label.nii.gz", "c2": "c2/label.nii.gz"},
    ),
    "a folder a case, said twice": (
        [
            "BraTS20_001/BraTS20_001_t1.nii.gz",
            "BraTS20_001/BraTS20_001_flair.nii.gz",
            "BraTS20_001/BraTS20_001_seg.nii.gz",
        ],
        {"BraTS20_001": "BraTS20_001/BraTS20_001_seg.nii.gz"},
    ),
    "img and msk": (
        ["img01.nii", "msk01.nii", "img02.nii", "msk02.nii", "img10.nii", "msk10.nii"],
        {"img01": "msk01.nii", "img02": "msk02.nii", "img10": "msk10.nii"},
    ),
    "pairs in one folder": (
        ["Patient 01.nii", "Patient 01_seg.nii", "Patient 02.nii", "Patient 02_seg.nii"],
        {
            safe_name("Patient 01"): "Patient 01_seg.nii",
            safe_name("Patient 02"): "Patient 02_seg.nii",
        },
    ),
    "other names of the folders": (
        ["scans/x.nii.gz", "masks/x.nii.gz", "scans/y.nii.gz"],
        {"x": "masks/x.nii.gz", "y": None},
    ),
    "a prefix": (
        ["mask_1.nii.gz", "mask_2.nii.gz", "image_1.nii.gz", "image_2.nii.gz"],
        {"image_1": "mask_1.nii.gz", "image_2": "mask_2.nii.gz"},
    ),
    "two channels beside one mask": (
        ["p1_ct.nii.gz", "p1_pet.nii.gz", "p1_ct_seg.nii.gz"],
        {"p1": "p1_ct_seg.nii.gz"},
    ),
    "sites with cases of one name": (
        ["siteA/1.nii.gz", "siteA/1_mask.nii.gz", "siteB/1.nii.gz", "siteB/1_mask.nii.gz"],
        {"siteA_1": "siteA/1_mask.nii.gz", "siteB_1": "siteB/1_mask.nii.gz"},
    ),
    "folders with names of their own": (
        ["sharp/p1.nii.gz", "sharp/p2.nii.gz", "GT/p1.nii.gz", "GT/p2.nii.gz"],
        {"p1": "GT/p1.nii.gz", "p2": "GT/p2.nii.gz"},
    ),
    "a folder of CT": (
        ["CT/p1.nii.gz", "CT/p2.nii.gz", "mask/p1.nii.gz"],
        {"p1": "mask/p1.nii.gz", "p2": None},
    ),
    "a folder a channel": (
        ["T1/p1.nii.gz", "T2/p1.nii.gz", "seg/p1.nii.gz"],
        {"p1": "seg/p1.nii.gz"},
    ),
    "a folder a channel below each case": (
        [
            *(f"{case}/{part}/scan.nii.gz" for case in ("p1", "p2") for part in ("T1", "T2")),
            "p1/seg/scan.nii.gz",
            "p2/seg/scan.nii.gz",
        ],
        {"p1": "p1/seg/scan.nii.gz", "p2": "p2/seg/scan.nii.gz"},
    ),
    "a folder a case with one scan of any name": (
        ["c1/head.nii.gz", "c1/mask.nii.gz", "c2/head.nii.gz", "c2/mask.nii.gz"],
        {"c1": "c1/mask.nii.gz", "c2": "c2/mask.nii.gz"},
    ),
    "one case in a folder, called as its channel": (
        ["c1/ct.nii.gz", "c1/segmentation.nii.gz"],
        {"c1": "c1/segmentation.nii.gz"},
    ),
    "Slicer's masks": (
        ["a.nrrd", "a.seg.nrrd", "b.nrrd", "b.seg.nrrd"],
        {"a": "a.seg.nrrd", "b": "b.seg.nrrd"},
    ),
}


@pytest.mark.parametrize(("names", "pairs"), LAYOUTS.values(), ids=LAYOUTS)
def test_names_that_say_which_is_which_need_no_options(tmp_path, names, pairs):
    lay(tmp_path, *names)
    cohort = import_cohort("folders", tmp_path, options={"labels": {"blob": 1}})
    found = {
        case.case: case.label and case.label.relative_to(tmp_path).as_posix()
        for case in cohort.cases
    }
    assert found == pairs
    scans = {path for case in cohort.cases for path in case.sources}
    assert len(scans) == sum(not is_mask(name) for name in names), "every scan, and no mask"


@pytest.mark.parametrize("channels", [1, 2])
def test_a_scan_without_nnunets_channel_is_the_mask_of_those_with_one(tmp_path, channels):
    for case in ("a", "b"):
        for channel in range(channels):
            write_volume(scan(channel), tmp_path / f"{case}_{channel:04d}.nii.gz")
        write_labels(mask((0, 1), 1), tmp_path / f"{case}.nii.gz")
    cohort = import_cohort("folders", tmp_path)
    assert {case.case: case.label.name for case in cohort.cases} == {
        "a": "a.nii.gz",
        "b": "b.nii.gz",
    }
    assert len(cohort.channels) == channels


def test_channels_are_named_by_the_files(tmp_path):
    lay(
        tmp_path,
        "c1/t1.nii.gz",
        "c1/flair.nii.gz",
        "c1/seg.nii.gz",
        "c2/t1.nii.gz",
        "c2/flair.nii.gz",
        "c2/seg.nii.gz",
    )
    cohort = import_cohort("folders", tmp_path)
    assert cohort.channels == ("FLAIR", "T1") and cohort.modality == "MR"
    assert [image.name for image in cohort.cases[0].sources] == ["flair.nii.gz", "t1.nii.gz"]


UNCLEAR = {
    "no word for a mask": ["one/a.nii.gz", "one/b.nii.gz", "two/a.nii.gz", "two/b.nii.gz"],
    "a mask of nobody": ["a.nii.gz", "a_seg.nii.gz", "c_seg.nii.gz"],
    "two masks": ["a.nii.gz", "a_seg.nii.gz", "a_mask.nii.gz"],
    "two scans": ["a.nii.gz", "a_scan.nii.gz", "a_mask.nii.gz"],
    "one mask of two scans": ["one/a.nii.gz", "two/a.nii.gz", "GT/a.nii.gz"],
    "a mask that names another case": ["p1/head.nii.gz", "p1/q1_mask.nii.gz"],
    "only masks": ["seg1.nii.gz", "seg2.nii.gz"],
}


@pytest.mark.parametrize("names", UNCLEAR.values(), ids=UNCLEAR)
def test_other_names_are_refused_with_what_was_seen_and_the_options(tmp_path, names):
    lay(tmp_path, *names)
    with pytest.raises(BadCohort) as refused:
        import_cohort("folders", tmp_path)
    text = str(refused.value)
    assert names[0].rpartition("/")[2] in text and "mask_suffix=" in text and "images=" in text
    assert str(len(names)) in text or " in " in text


def test_a_folder_of_pictures_says_what_it_holds(tmp_path):
    for number in range(3):
        (tmp_path / f"{number}.png").write_bytes(b"\x89PNG")
    with pytest.raises(BadCohort, match=r"files with 3 \.png"):
        import_cohort("folders", tmp_path)
