"""Masks inside an archive are truth as they are: found by reference, read, scored, checked."""

import shutil
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from medseg.cli.app import app
from medseg.errors import BadScan, MedsegError
from medseg.labels import LabelTable
from medseg.manifests import check_cohort, load_cohort, write_cohort
from medseg.manifests.dicom import DicomOptions, build
from medseg.manifests.importing import with_checksums
from medseg.manifests.reading import read_truth
from medseg.scans import read
from medseg.scans.masks import read_mask
from medseg.volume import LabelMap
from medseg.writers import write_labels
from medseg.writers.dicom_series import write_dicom_series
from tests.writers.scans import GRIDS, SHAPE, scan

TABLE = LabelTable.from_card({"labels": {"liver": 1, "tumour": 2}})


def packed(place: Path, ending: str) -> Path:
    """The same files in an archive, and the folder gone."""
    target = place.with_name(f"study{ending}")
    if ending == ".zip":
        with zipfile.ZipFile(target, "w") as archive:
            for path in sorted(place.rglob("*.dcm")):
                archive.write(path, path.relative_to(place))
    else:
        with tarfile.open(target, "w:gz" if ending == ".tar.gz" else "w") as archive:
            archive.add(place, "study")
    shutil.rmtree(place)
    return target


def study(folder: Path, form: str, *, patients=2) -> dict[str, np.ndarray]:
    """Series of patients with a mask each, as files; case to the mask's voxels."""
    voxels = {}
    for number in range(patients):
        place = folder / f"patient{number}"
        values = np.random.default_rng(number).integers(-900, 900, SHAPE).astype(np.int16)
        series = scan(GRIDS["oblique"], values)
        write_dicom_series(series, place / "series", seed=number, patient=str(number))
        volume = read(place / "series")
        data = np.zeros(volume.geometry.shape, np.uint8)
        data[1 + number : 4, 1:5, 1:4] = 1
        data[2:4, 2:4, 2] = 2
        mask = LabelMap(data, volume.geometry, TABLE, volume.origin)
        write_labels(mask, place / "mask.dcm", format=form)
        voxels[volume.origin.case] = data
    return voxels


@pytest.mark.parametrize("form", ["dicom-seg", "rtstruct"])
@pytest.mark.parametrize("ending", [".zip", ".tar", ".tar.gz"])
def test_structures_inside_an_archive_are_the_truth_of_their_series(tmp_path, form, ending):
    voxels = study(tmp_path / "study", form)
    packed(tmp_path / "study", ending)
    cohort = with_checksums(build(tmp_path, DicomOptions(modality="CT")))
    assert cohort.remarks == ()
    assert cohort.labels.names == ("liver", "tumour")
    card = tmp_path / "card.yaml"
    write_cohort(cohort, card)
    cohort = load_cohort(card)
    assert len(cohort.cases) == 2
    for case in cohort.cases:
        np.testing.assert_array_equal(read_truth(cohort, case).data, voxels[case.case])
    assert check_cohort(cohort) == []


@pytest.mark.parametrize("form", ["dicom-seg", "rtstruct"])
def test_a_prediction_is_scored_against_a_truth_inside_a_zip(tmp_path, form):
    voxels = study(tmp_path / "study", form)
    packed(tmp_path / "study", ".zip")
    card = tmp_path / "card.yaml"
    write_cohort(build(tmp_path, DicomOptions(modality="CT")), card)
    for case in load_cohort(card).cases:
        grid = read(case.sources[0]).geometry
        mask = LabelMap(voxels[case.case], grid, TABLE)
        write_labels(mask, tmp_path / "masks" / f"{case.case}.nii.gz")
    call = ["evaluate", tmp_path / "masks", card, "--labels", "cohort", "--output", tmp_path / "e"]
    call += ["--split", "train"]
    ended = CliRunner().invoke(app, [str(word) for word in call])
    assert ended.exit_code == 0, ended.output
    lines = (tmp_path / "e" / "scores.csv").read_text().splitlines()
    dice = [line.split(",")[4] for line in lines if ",dice," in line]
    assert len(dice) == 6
    assert set(map(float, dice)) == {1.0}


def test_a_nifti_mask_inside_a_zip_has_its_name(tmp_path):
    mask = LabelMap(
        np.ones((3, 4, 5), np.uint8), scan(GRIDS["oblique"], np.zeros((3, 4, 5))).geometry
    )
    write_labels(mask, tmp_path / "truth.nii.gz")
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.write(tmp_path / "truth.nii.gz", "deep/truth.nii.gz")
    np.testing.assert_array_equal(read_mask(tmp_path / "a.zip#truth").data, mask.data)
    with pytest.raises(BadScan, match="holds no such mask"):
        read_mask(tmp_path / "a.zip#other")


def test_a_fault_of_a_packed_mask_is_told_under_its_own_name(tmp_path):
    volume = scan(GRIDS["oblique"])
    volume.save(tmp_path / "scan.nii.gz")
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.write(tmp_path / "scan.nii.gz", "scan.nii.gz")
    with pytest.raises(MedsegError) as refusal:
        read_mask(tmp_path / "a.zip#scan")
    assert "a.zip#scan" in str(refusal.value)
    assert "medseg-" not in str(refusal.value)
