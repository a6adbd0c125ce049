"""Scans are found beside masks by name, whatever numbers the names end in."""

import pytest

from medseg.errors import BadScan
from medseg.review.beside import scans_beside


def found(home, masks, scans, folder="images"):
    """Masks of these names in ``masks``, scans in a folder beside it; which scan each mask gets."""
    for place, names in (("masks", masks), (folder, scans)):
        (home / place).mkdir(exist_ok=True)
        for name in names:
            (home / place / f"{name}.nii.gz").touch()
    paths = {name: home / "masks" / f"{name}.nii.gz" for name in masks}
    scan_paths = scans_beside(home / "masks", paths)
    return {case: path.name.removesuffix(".nii.gz") for case, path in scan_paths.items()}


def test_cases_that_are_numbered_like_channels_have_their_own_scans(tmp_path):
    names = ["case_0000", "case_0001", "case_0002"]
    assert found(tmp_path, names, names) == {name: name for name in names}


def test_channels_of_a_case_show_the_first(tmp_path):
    scans = ["liver_001_0000", "liver_001_0001", "liver_002_0000"]
    masks = ["liver_001", "liver_002"]
    assert found(tmp_path, masks, scans, "imagesTs") == {
        "liver_001": "liver_001_0000",
        "liver_002": "liver_002_0000",
    }


def test_numbered_cases_with_channels_are_told_apart(tmp_path):
    masks = ["case_0000", "case_0001"]
    scans = ["case_0000_0000", "case_0000_0001", "case_0001_0000"]
    assert found(tmp_path, masks, scans) == {
        "case_0000": "case_0000_0000",
        "case_0001": "case_0001_0000",
    }


def test_a_series_in_a_folder_of_its_name_is_a_scan_unless_a_file_is(tmp_path):
    for name in ("case_1", "case_2"):
        (tmp_path / "images" / name).mkdir(parents=True)
    masks = ["case_1", "case_2"]
    assert found(tmp_path, masks, ["case_2"]) == {"case_1": "case_1", "case_2": "case_2"}
    files = {name: tmp_path / "masks" / f"{name}.nii.gz" for name in masks}
    assert [path.is_dir() for path in scans_beside(tmp_path / "masks", files).values()] == [
        True,
        False,
    ]


def test_a_folder_that_is_none_is_refused(tmp_path):
    with pytest.raises(BadScan, match="not a folder of scans"):
        scans_beside(tmp_path, {}, tmp_path / "none")
