"""Each convention becomes the cohort that it describes, and what is missing or left out is said."""

import json
import unicodedata

import nibabel as nib
import numpy as np
import pytest

from medseg.errors import BadCohort, BadConfig
from medseg.geometry import Geometry
from medseg.labels import LabelTable
from medseg.manifests import (
    IMPORTERS,
    Split,
    check_cohort,
    findings,
    import_cohort,
    load_cohort,
    write_cohort,
)
from medseg.manifests.importing import modality_of
from medseg.manifests.nnunet import labels_of
from medseg.manifests.reading import read_truth
from medseg.names import safe_name
from medseg.scans import read
from medseg.volume import LabelMap, Volume
from medseg.writers import write_labels, write_volume
from medseg.writers.dicom_series import write_dicom_series
from tests.manifests.small import GRID, mask, scan


def put(folder, name, seed=0, values=None):
    """A scan, or a mask where values are given."""
    if values is None:
        write_volume(scan(seed), folder / name)
    else:
        write_labels(mask(values, seed), folder / name)


def make_msd(folder):
    for seed, name in enumerate(("liver_1", "liver_2", "liver_3")):
        put(folder / "imagesTr", f"{name}.nii.gz", seed)
        put(folder / "labelsTr", f"{name}.nii.gz", seed, (0, 1, 2))
    put(folder / "imagesTs", "liver_9.nii.gz", 9)
    (folder / "imagesTr/._liver_1.nii.gz").write_bytes(b"a Mac was here")
    (folder / "dataset.json").write_text(
        json.dumps(
            {
                "name": "Liver",
                "modality": {"0": "CT"},
                "licence": "CC-BY-SA 4.0",
                "labels": {"0": "background", "1": "liver", "2": "tumour"},
                "training": [
                    {
                        "image": f"./imagesTr/liver_{n}.nii.gz",
                        "label": f"./labelsTr/liver_{n}.nii.gz",
                    }
                    for n in (1, 2, 3)
                ],
                "test": ["./imagesTs/liver_9.nii.gz"],
            }
        )
    )


def make_nnunet(folder):
    for seed, name in enumerate(("p_01", "p_02")):
        put(folder / "imagesTr", f"{name}_0000.nii.gz", 2 * seed)
        put(folder / "imagesTr", f"{name}_0001.nii.gz", 2 * seed + 1)
        put(folder / "labelsTr", f"{name}.nii.gz", seed, (0, 1, 2))
    put(folder / "imagesTs", "p_07_0000.nii.gz", 7)
    put(folder / "imagesTs", "p_07_0001.nii.gz", 8)
    put(folder / "labelsTs", "p_07.nii.gz", 7, (0, 2))
    (folder / "dataset.json").write_text(
        json.dumps(
            {
                "channel_names": {"0": "T1", "1": "FLAIR"},
                "file_ending": ".nii.gz",
                "numTraining": 2,
                "labels": {"background": 0, "whole": [1, 2], "core": [2]},
                "regions_class_order": [1, 2],
            }
        )
    )
    (folder / "splits_final.json").write_text(
        json.dumps([{"train": ["p_01"], "val": ["p_02"]}, {"train": ["p_02"], "val": ["p_01"]}])
    )


def make_bids(folder):
    for seed, (session, base) in enumerate(
        {
            "sub-01/ses-a": "sub-01_ses-a",
            "sub-01/ses-b": "sub-01_ses-b",
            "sub-02": "sub-02",
        }.items()
    ):
        put(folder / session / "anat", f"{base}_T1w.nii.gz", seed)
        put(
            folder / "derivatives/manual" / session / "anat",
            f"{base}_desc-manual_dseg.nii.gz",
            seed,
            (0, 3),
        )
    (folder / "participants.tsv").write_text(
        "participant_id\tsex\tage\tgroup\tlabel\nsub-01\tF\t33\tn/a\tx\nsub-02\tM\t41\tpatient\ty\n"
    )
    (folder / "derivatives/manual/desc-manual_dseg.tsv").write_text("index\tname\n3\tlesion\n")
    (folder / "dataset_description.json").write_text('{"Name": "Study", "License": "CC0"}')


def make_folders(folder):
    for seed, name in enumerate(("Fall 1", "Fall 2", "Fall 3")):
        put(folder / "images", f"{name}.nii.gz", seed)
    for seed, name in enumerate(("Fall 1", "Fall 2")):
        put(folder / "labels", f"{name}.nii.gz", seed, (0, 1, 4))


def make_dicom(folder):
    for number, (patient, series) in enumerate((("Doe^Jane", 1), ("Doe^Jane", 2), ("Roe", 1))):
        affine = GRID.affine.copy()
        affine[:3, 3] = 5 * number
        noise = np.random.default_rng(number).integers(0, 99, (1, *GRID.shape)).astype(np.int16)
        write_dicom_series(
            Volume(noise, Geometry(GRID.shape, affine)),
            folder / f"exam{number}",
            seed=ord(patient[0]),
            series=series,
            patient=patient,
        )


MAKERS = {
    "msd": make_msd,
    "nnunet": make_nnunet,
    "bids": make_bids,
    "folders": make_folders,
    "dicom": make_dicom,
}


def brought_in(convention, folder, **options):
    """What is read back after the import was written."""
    MAKERS[convention](folder / "data")
    cohort = import_cohort(convention, folder / "data", options=options)
    return load_cohort(write_cohort(cohort, folder / "card.yaml"))


def test_every_importer_is_tried_here():
    assert set(MAKERS) == set(IMPORTERS)


@pytest.mark.parametrize("convention", IMPORTERS)
def test_what_is_imported_has_no_problems_and_checksums(tmp_path, convention):
    cohort = brought_in(convention, tmp_path)
    assert check_cohort(cohort) == []
    assert all(case.image_sha256 for case in cohort.cases)
    assert all(case.label_sha256 for case in cohort.cases if case.label)
    assert str(tmp_path) not in (tmp_path / "card.csv").read_text(), "paths are relative"


@pytest.mark.parametrize("convention", IMPORTERS)
def test_an_empty_folder_is_refused_in_one_line(tmp_path, convention):
    with pytest.raises(BadCohort) as refusal:
        import_cohort(convention, tmp_path)
    assert str(refusal.value).startswith(str(tmp_path)) and "\n" not in str(refusal.value)
    with pytest.raises(BadCohort, match="not a folder"):
        import_cohort(convention, tmp_path / "nowhere")


def test_decathlon(tmp_path):
    cohort = brought_in("msd", tmp_path)
    assert [case.case for case in cohort.cases] == ["liver_1", "liver_2", "liver_3"]
    assert (cohort.modality, cohort.channels, cohort.labels.names) == (
        "CT",
        ("CT",),
        ("liver", "tumour"),
    )
    assert cohort.licence == "CC-BY-SA 4.0" and "no patient ids" in cohort.notes
    whole = import_cohort("msd", tmp_path / "data", options={"unlabelled": "keep"})
    assert [(c.case, c.split) for c in whole.cases if c.label is None] == [("liver_9", Split.TEST)]


def test_decathlon_with_missing_files(tmp_path):
    make_msd(tmp_path)
    (tmp_path / "labelsTr/liver_2.nii.gz").unlink()
    with pytest.raises(BadCohort, match="listed, but not there; found 1 of 6 files missing"):
        import_cohort("msd", tmp_path)


def test_nnunet_regions_folds_and_test(tmp_path):
    cohort = brought_in("nnunet", tmp_path)
    assert [(c.case, c.split.value, c.fold) for c in cohort.cases] == [
        ("p_01", "train", 1),
        ("p_02", "train", 0),
        ("p_07", "test", None),
    ]
    assert cohort.channels == ("T1", "FLAIR") and cohort.modality == "MR"
    assert [p.name for p in cohort.cases[0].sources] == ["p_01_0000.nii.gz", "p_01_0001.nii.gz"]
    assert [(r.name, r.values) for r in cohort.labels.regions] == [
        ("whole", (1, 2)),
        ("core", (2,)),
    ]


def test_channels_of_one_name_are_numbered(tmp_path):
    make_nnunet(tmp_path)
    card = json.loads((tmp_path / "dataset.json").read_text())
    card["channel_names"] = {"0": "MRI", "1": "MRI"}
    (tmp_path / "dataset.json").write_text(json.dumps(card))
    cohort = import_cohort("nnunet", tmp_path)
    assert cohort.channels == ("MRI_0", "MRI_1") and cohort.modality == "MR"


def test_nnunet_images_without_a_channel_number_are_named(tmp_path):
    make_nnunet(tmp_path)
    put(tmp_path / "imagesTr", "p_03.nii.gz", 5)
    with pytest.raises(BadCohort, match=r"without the number of a channel.*p_03\.nii\.gz"):
        import_cohort("nnunet", tmp_path)


def test_nnunet_lacking_a_channel(tmp_path):
    make_nnunet(tmp_path)
    (tmp_path / "imagesTr/p_02_0001.nii.gz").unlink()
    with pytest.raises(BadCohort, match=r"'p_02' lacks channel 'FLAIR'; expected p_02_0001.nii"):
        import_cohort("nnunet", tmp_path)


def test_bids_sessions_participants_and_label_names(tmp_path):
    cohort = brought_in("bids", tmp_path)
    assert [(c.case, c.patient) for c in cohort.cases] == [
        ("sub-01_ses-a", "sub-01"),
        ("sub-01_ses-b", "sub-01"),
        ("sub-02", "sub-02"),
    ]
    assert cohort.labels.names == ("lesion",) and cohort.labels.values == (3,)
    assert cohort.cases[0].covariates == {
        "sex": "F",
        "age": "33",
        "group": "",
        "participant_label": "x",
    }
    assert (cohort.name, cohort.licence, cohort.modality) == ("Study", "CC0", "MR")


def test_bids_with_two_scans_asks_which(tmp_path):
    make_bids(tmp_path)
    put(tmp_path / "sub-02/anat", "sub-02_acq-iso_T1w.nii.gz", 5)
    with pytest.raises(BadCohort, match=r"several files end in _T1w; found sub-02_T1w.*only="):
        import_cohort("bids", tmp_path)


def test_folders_with_odd_names_and_unnamed_values(tmp_path):
    cohort = brought_in("folders", tmp_path)
    assert [(c.case, c.split.value) for c in cohort.cases] == [
        (safe_name("Fall 1"), "train"),
        (safe_name("Fall 2"), "train"),
        (safe_name("Fall 3"), "test"),
    ]
    assert cohort.labels.names == ("label 1", "label 4")
    named = import_cohort(
        "folders", tmp_path / "data", options={"labels": {"liver": 1, "cyst": 4}, "modality": "CT"}
    )
    assert named.labels.names == ("liver", "cyst") and named.modality == "CT"


def test_folders_with_channels(tmp_path):
    for name in ("a_T1", "a_FLAIR", "b_T1", "b_FLAIR"):
        put(tmp_path / "images", f"{name}.nii.gz")
    put(tmp_path / "labels", "a_seg.nii.gz", 0, (0, 1))
    asked = {"channels": ["T1", "FLAIR"], "mask_suffix": "_seg"}
    cohort = import_cohort("folders", tmp_path, options=asked)
    assert [(c.case, len(c.images), c.label is not None) for c in cohort.cases] == [
        ("a", 2, True),
        ("b", 2, False),
    ]
    (tmp_path / "images/b_FLAIR.nii.gz").unlink()
    with pytest.raises(BadCohort, match="case 'b' lacks channel 'FLAIR'"):
        import_cohort("folders", tmp_path, options=asked)


def test_folders_with_a_mask_of_nothing(tmp_path):
    make_folders(tmp_path)
    put(tmp_path / "labels", "Fall 7.nii.gz", 0, (0, 1))
    with pytest.raises(BadCohort, match="a mask belongs to no scan; found 1 such masks, 3 scans"):
        import_cohort("folders", tmp_path)


def test_an_import_ends_with_what_it_found(tmp_path):
    make_folders(tmp_path)
    first, *remarks = findings(import_cohort("folders", tmp_path))
    assert first == (
        f"3 scans, 2 with masks, 1 without ({safe_name('Fall 3')}); labels label 1, label 4;"
        " 3 patients"
    )
    assert "neither learnt from nor scored" in remarks[0]


@pytest.mark.parametrize("convention", ["msd", "nnunet"])
def test_scans_of_the_challenge_without_masks_are_named(tmp_path, convention):
    MAKERS[convention](tmp_path)
    for path in tmp_path.glob("labelsTs/*"):
        path.unlink()
    cohort = import_cohort(convention, tmp_path)
    assert all(case.label for case in cohort.cases)
    assert "imagesTs" in " ".join(findings(cohort)) and "unlabelled=keep" in cohort.remarks[0]
    whole = import_cohort(convention, tmp_path, options={"unlabelled": "keep"})
    assert len(whole.cases) == len(cohort.cases) + 1 and not whole.remarks


def test_masks_of_the_challenges_test_scans_are_found(tmp_path):
    make_msd(tmp_path)
    put(tmp_path / "labelsTs", "liver_9.nii.gz", 9, (0, 1))
    case = import_cohort("msd", tmp_path).case("liver_9")
    assert case.split is Split.TEST and case.label == tmp_path / "labelsTs/liver_9.nii.gz"


def test_scans_that_dataset_json_does_not_list_are_named_and_validation_is_training(tmp_path):
    make_msd(tmp_path)
    put(tmp_path / "imagesTr", "liver_8.nii.gz", 8)
    card = json.loads((tmp_path / "dataset.json").read_text())
    card["validation"] = [card["training"].pop(), card["training"][0]]  # one is in both lists
    card["numTraining"] = 2
    (tmp_path / "dataset.json").write_text(json.dumps(card))
    cohort = import_cohort("msd", tmp_path)
    assert cohort.remarks[-1] == "1 scans in imagesTr are not listed in dataset.json: left out."
    train = [case.case for case in cohort.cases if case.split is Split.TRAIN]
    assert train == ["liver_1", "liver_2", "liver_3"]


def test_nnunets_list_of_files_is_read(tmp_path):
    make_nnunet(tmp_path)
    (tmp_path / "imagesTr").rename(tmp_path / "elsewhere")
    card = json.loads((tmp_path / "dataset.json").read_text())
    card["dataset"] = {
        name: {
            "images": [f"elsewhere/{name}_0000.nii.gz", f"elsewhere/{name}_0001.nii.gz"],
            "label": f"labelsTr/{name}.nii.gz",
        }
        for name in ("p_01", "p_02")
    }
    (tmp_path / "dataset.json").write_text(json.dumps(card))
    cohort = import_cohort("nnunet", tmp_path)
    assert [(c.case, c.fold) for c in cohort.cases] == [("p_01", 1), ("p_02", 0), ("p_07", None)]
    assert cohort.case("p_01").sources[1] == tmp_path / "elsewhere/p_01_0001.nii.gz"
    card["dataset"]["p_01"]["images"].pop()
    (tmp_path / "dataset.json").write_text(json.dumps(card))
    with pytest.raises(BadCohort, match="the list of files is not as expected"):
        import_cohort("nnunet", tmp_path)


@pytest.mark.parametrize("ending", [".png", ".bmp"])
def test_pictures_without_a_grid_are_refused(tmp_path, ending):
    make_nnunet(tmp_path)
    for path in tmp_path.rglob("*.nii.gz"):
        path.rename(path.with_name(path.name.replace(".nii.gz", ending)))
    card = json.loads((tmp_path / "dataset.json").read_text())
    (tmp_path / "dataset.json").write_text(json.dumps({**card, "file_ending": ending}))
    with pytest.raises(
        BadCohort, match=rf"no scan or mask that can be read; found \{ending} files"
    ):
        import_cohort("nnunet", tmp_path)


REGIONS = {
    "widest first": {"WT": [1, 2, 4], "TC": [1, 4], "ET": [4]},
    "innermost first": {"ET": [4], "TC": [1, 4], "WT": [1, 2, 4]},
    "a bare value": {"ET": 4, "WT": [1, 2, 4], "TC": [1, 4]},
}


@pytest.mark.parametrize("regions", REGIONS.values(), ids=REGIONS)
def test_nested_regions_can_be_painted_in_whatever_order_they_are_listed(regions):
    labels = labels_of({"labels": {"background": 0, **regions}}, "dataset.json")
    assert [region.name for region in labels.regions] == ["WT", "TC", "ET"]
    assert labels.channel_values == (0, 2, 1, 4)


def test_regions_that_no_mask_can_show_are_refused():
    with pytest.raises(BadCohort, match="must paint one label of its own"):
        labels_of({"labels": {"background": 0, "whole": [1, 2]}}, "dataset.json")


def test_bids_masks_of_one_label(tmp_path):
    make_bids(tmp_path)
    for path in tmp_path.rglob("*_dseg.nii.gz"):
        path.rename(path.with_name(path.name.replace("desc-manual_dseg", "label-lesion_mask")))
    for tsv in tmp_path.rglob("*dseg.tsv"):
        tsv.unlink()
    cohort = import_cohort("bids", tmp_path)
    assert cohort.labels.names == ("lesion",) and cohort.labels.values == (3,)
    assert all(case.label and case.split is Split.TRAIN for case in cohort.cases)


def test_bids_takes_the_mask_in_the_scans_own_space_and_of_the_label_that_was_said(tmp_path):
    make_bids(tmp_path)
    place = tmp_path / "derivatives/manual/sub-02/anat"
    put(place, "sub-02_space-MNI152NLin6Asym_desc-manual_dseg.nii.gz", 3, (0, 3))
    cohort = import_cohort("bids", tmp_path)
    assert cohort.case("sub-02").label == place / "sub-02_desc-manual_dseg.nii.gz"
    for name in ("label-lesion", "label-WM"):
        put(place, f"sub-02_{name}_mask.nii.gz", 3, (0, 1))
    chosen = import_cohort("bids", tmp_path, options={"mask": "mask", "labels": {"WM": 1}})
    assert chosen.case("sub-02").label == place / "sub-02_label-WM_mask.nii.gz"
    with pytest.raises(BadCohort, match=r"several files end in _mask.*mask_only"):
        import_cohort("bids", tmp_path, options={"mask": "mask"})


def test_a_bids_mask_of_another_run_or_space_is_never_taken(tmp_path):
    """It lies on the same grid here, so that nothing later would notice."""
    for number in (1, 2):
        put(tmp_path / "sub-1/anat", f"sub-1_acq-iso_run-{number}_T1w.nii.gz", number)
    put(tmp_path / "sub-1/anat", "sub-1_acq-isolow_T1w.nii.gz", 3)
    masks = tmp_path / "derivatives/manual/sub-1/anat"
    first = {"only": ["acq-iso", "run-1"]}
    put(masks, "sub-1_acq-iso_run-2_dseg.nii.gz", 2, (0, 1))
    put(masks, "sub-1_run-1_space-MNI152_dseg.nii.gz", 1, (0, 1))
    with pytest.raises(BadCohort, match="no mask fits among 2"):
        import_cohort("bids", tmp_path, options={**first, "labels": {"x": 1}})
    put(masks, "sub-1_dseg.nii.gz", 5, (0, 1))
    put(masks, "sub-1_run-1_dseg.nii.gz", 1, (0, 1))
    cohort = import_cohort("bids", tmp_path, options=first)
    assert cohort.cases[0].images["T1w"].name == "sub-1_acq-iso_run-1_T1w.nii.gz"
    assert cohort.cases[0].label == masks / "sub-1_run-1_dseg.nii.gz"
    assert "3 other masks are no case's" in cohort.remarks[0]


def test_a_session_without_a_mask_does_not_split_its_patient(tmp_path):
    make_bids(tmp_path)
    next(tmp_path.rglob("sub-01_ses-b_*_dseg.nii.gz")).unlink()
    cohort = import_cohort("bids", tmp_path)
    assert [case.case for case in cohort.cases] == ["sub-01_ses-a", "sub-02"]
    assert "1 scan without a mask left out (sub-01_ses-b)" in cohort.remarks[-1]
    assert check_cohort(cohort) == []


def test_bids_masks_that_do_not_fit_are_no_reason_to_go_without(tmp_path):
    make_bids(tmp_path)
    with pytest.raises(BadCohort, match="no mask fits among 3"):
        import_cohort("bids", tmp_path, options={"mask_only": ["desc-other"], "labels": {"x": 3}})


def test_bids_sessions_without_the_scan_are_counted(tmp_path):
    make_bids(tmp_path)
    (tmp_path / "sub-02/anat/sub-02_T1w.nii.gz").unlink()
    assert "1 sessions lack one of T1w" in import_cohort("bids", tmp_path).remarks[0]


def test_a_scan_is_never_taken_for_a_mask(tmp_path):
    """Folders named the wrong way round: intensities would become some hundred labels."""
    (tmp_path / "labels").mkdir()
    noise = np.random.default_rng(0).integers(0, 200, (8, 9, 10)).astype(np.uint8)
    nib.Nifti1Image(noise, np.eye(4)).to_filename(tmp_path / "labels/a.nii.gz")
    put(tmp_path / "images", "a.nii.gz", 0, (0, 1))
    with pytest.raises(BadCohort, match="looks like a scan"):
        import_cohort("folders", tmp_path)


def test_masks_beside_scans_are_no_scans(tmp_path):
    for seed, name in enumerate(("a b", "c")):
        put(tmp_path, f"{name}.nii.gz", seed)
        put(tmp_path, f"{name}_seg.nii.gz", seed, (0, 1))
    for options in ({"images": ".", "masks": "."}, {}):
        cohort = import_cohort("folders", tmp_path, options={"mask_suffix": "_seg", **options})
        assert len(cohort.cases) == 2 and all(case.label for case in cohort.cases)
    with pytest.raises(BadCohort, match=r"scans and masks lie in one folder.*mask_suffix"):
        import_cohort("folders", tmp_path, options={"images": ".", "masks": "."})


def test_ids_that_differ_in_case_only_are_marked(tmp_path):
    for seed, name in enumerate(("Scan", "scan")):
        put(tmp_path / "images", f"{name}.nii.gz", seed)
        put(tmp_path / "labels", f"{name}.nii.gz", seed, (0, 1))
    cohort = import_cohort("folders", tmp_path)
    assert len({case.case.casefold() for case in cohort.cases}) == 2
    assert load_cohort(write_cohort(cohort, tmp_path / "card.yaml")).patients == cohort.patients


def test_dicom_numbers_patients_and_names_nobody(tmp_path):
    cohort = brought_in("dicom", tmp_path, labels={"liver": 1})
    assert [case.patient for case in cohort.cases] == ["P0001", "P0001", "P0002"]
    assert all(len(case.case) == 13 for case in cohort.cases)
    written = (tmp_path / "card.csv").read_text() + (tmp_path / "card.yaml").read_text()
    assert "Doe" not in written and "Roe" not in written
    assert cohort.modality == "CT"


def test_dicom_masks_belong_to_cases_by_name(tmp_path):
    make_dicom(tmp_path / "data")
    first = import_cohort("dicom", tmp_path / "data").cases[0]
    image = read(first.sources[0])
    write_labels(mask((0, 2), grid=image.geometry), tmp_path / f"masks/{first.case}.nii.gz")
    cohort = import_cohort("dicom", tmp_path / "data", options={"masks": str(tmp_path / "masks")})
    assert [(c.case, c.split) for c in cohort.labelled().cases] == [(first.case, Split.TRAIN)]
    assert cohort.labels.names == ("label 2",) and check_cohort(cohort) == []


def test_dicom_series_that_share_a_folder_are_told_apart(tmp_path):
    make_dicom(tmp_path / "data")
    for path in (tmp_path / "data/exam1").iterdir():
        path.rename(tmp_path / "data/exam0" / f"second_{path.name}")
    cohort = import_cohort("dicom", tmp_path / "data")
    images = [case.sources[0].relative_to(tmp_path / "data").as_posix() for case in cohort.cases]
    assert sum(image.startswith("exam0#") for image in images) == 2 and "exam2" in images
    assert check_cohort(cohort) == []


def test_wrong_convention_or_option_is_refused(tmp_path):
    with pytest.raises(BadConfig, match="no such convention; found 'coco', expected msd, nnunet"):
        import_cohort("coco", tmp_path)
    with pytest.raises(BadConfig, match="unknown key 'label'"):
        import_cohort("folders", tmp_path, options={"label": {"x": 1}})


def test_modality_is_told_by_channel_names():
    assert modality_of(["T1"]) == modality_of(["MRI"]) == modality_of(["T2w", "FLAIR"]) == "MR"
    assert modality_of(["CT"]) == "CT" and modality_of(["PET"]) == "PT"
    assert modality_of(["image"]) == modality_of(["PET", "CT"]) == ""


def test_names_pair_in_whatever_form_a_system_writes_their_accents(tmp_path):
    write_volume(scan(), tmp_path / "images" / f"{unicodedata.normalize('NFD', 'Müller')}.nii.gz")
    write_labels(mask(), tmp_path / "labels" / f"{unicodedata.normalize('NFC', 'Müller')}.nii.gz")
    (case,) = import_cohort("folders", tmp_path).cases
    assert case.case == unicodedata.normalize("NFC", "Müller")
    assert case.label is not None


def test_a_suffix_that_no_mask_has_is_named(tmp_path):
    for name in ("a", "a_SEG"):
        write_labels(mask(), tmp_path / f"{name}.nii.gz")
    with pytest.raises(BadCohort, match="no file's name ends in '_seg'"):
        import_cohort("folders", tmp_path, options={"mask_suffix": "_seg"})


@pytest.mark.parametrize(("convention", "make"), [("msd", make_msd), ("nnunet", make_nnunet)])
def test_fewer_training_cases_than_announced_are_told(tmp_path, convention, make):
    make(tmp_path)
    path = tmp_path / "dataset.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"numTraining": 99}))
    assert any("99 training" in text for text in import_cohort(convention, tmp_path).remarks)


def test_files_of_a_channel_that_nnunet_does_not_name_are_told(tmp_path):
    make_nnunet(tmp_path)
    name = next((tmp_path / "imagesTr").glob("*_0000.nii.gz")).name
    write_volume(scan(), tmp_path / "imagesTr" / name.replace("_0000", "_0007"))
    assert any("_0007" in text for text in import_cohort("nnunet", tmp_path).remarks)


def named_by(folder, name, values):
    """A mask that names its values itself, as 3D Slicer writes it."""
    labels = LabelTable.from_card({"labels": values})
    data = np.arange(np.prod(GRID.shape)).reshape(GRID.shape) % 3
    order = np.array([0, values["liver"], values["tumour"]], np.uint8)
    folder.mkdir(parents=True, exist_ok=True)
    write_labels(LabelMap(order[data], GRID, labels), folder / f"{name}.seg.nrrd", format="slicer")
    put(folder.parent / "images", f"{name}.nii.gz", len(name))


def test_masks_that_name_their_values_differently_meet_by_name(tmp_path):
    named_by(tmp_path / "labels", "a", {"liver": 1, "tumour": 2})
    named_by(tmp_path / "labels", "bb", {"liver": 2, "tumour": 1})
    cohort = import_cohort("folders", tmp_path)
    assert cohort.labels.names == ("liver", "tumour")
    one, other = (read_truth(cohort, case).data for case in cohort.cases)
    assert np.array_equal(one, other)
    put(tmp_path / "labels", "ccc.nii.gz", 0, (0, 1, 2))  # names nothing
    put(tmp_path / "images", "ccc.nii.gz", 0)
    with pytest.raises(BadCohort, match="name the value 1 differently"):
        import_cohort("folders", tmp_path)


def test_bids_tables_that_name_a_value_differently_are_refused(tmp_path):
    make_bids(tmp_path)
    place = tmp_path / "derivatives/manual/sub-02/anat/sub-02_dseg.tsv"
    place.write_text("index\tname\n0\tbackground\n3\tLesion\n")
    assert import_cohort("bids", tmp_path).labels.values == (3,)
    place.write_text("index\tname\n3\toedema\n")
    with pytest.raises(BadCohort, match=r"sub-02_dseg.tsv: two tables .* 3 differently"):
        import_cohort("bids", tmp_path)
