"""Does each convention become the cohort that it describes, and is what is missing said?"""

import json

import numpy as np
import pytest

from medseg.errors import BadCohort, BadConfig
from medseg.geometry import Geometry
from medseg.manifests import (
    IMPORTERS,
    Split,
    check_cohort,
    import_cohort,
    load_cohort,
    write_cohort,
)
from medseg.manifests.importing import modality_of
from medseg.names import safe_name
from medseg.scans import read
from medseg.volume import Volume
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
