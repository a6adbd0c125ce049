"""Slices land where the standard puts them, and crooked stacks are refused with the reason."""

from __future__ import annotations

import numpy as np
import pytest

from medseg.errors import BadScan, NotAVolume
from medseg.scans import read
from tests.readers.dicom_files import AXIAL, SAGITTAL, pixels_of, write_series


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MEDSEG_CACHE", str(tmp_path / "cache"))


def moved(dataset, x=0.0, y=0.0, z=0.0):
    place = np.array(dataset.ImagePositionPatient, dtype=float) + np.array([x, y, z])
    dataset.ImagePositionPatient = [round(v, 6) for v in place.tolist()]


def test_voxels_lie_where_the_standard_puts_them(tmp_path):
    scan = read(write_series(tmp_path / "s"))
    assert scan.data.shape == (1, 5, 6, 6)
    # LPS (10, -20, 30) is RAS (-10, 20, 30); columns run to the left, rows to the back
    np.testing.assert_allclose(scan.geometry.to_world([0, 0, 0]), [-10, 20, 30])
    np.testing.assert_allclose(scan.geometry.to_world([4, 5, 3]), [-12, 16, 36])
    assert scan.data[0, 4, 5, 3] == 354
    assert scan.geometry.orientation == "LPS"


def test_order_comes_from_positions_not_from_names_or_numbers(tmp_path):
    def shuffle(dataset, k):
        dataset.InstanceNumber = (k * 7) % 11
        if k == 2:
            del dataset.InstanceNumber

    write_series(tmp_path / "s", change=shuffle)
    for number, path in enumerate(sorted((tmp_path / "s").iterdir())):
        path.rename(path.with_name(f"{(number * 5) % 6:x}F"))
    scan = read(tmp_path / "s")
    assert scan.data[0, 0, 0].tolist() == [0, 100, 200, 300, 400, 500]


def test_a_stack_against_its_normal_is_turned_and_world_positions_stay(tmp_path):
    def mirrored(dataset, k):
        dataset.ImageOrientationPatient = [-1, 0, 0, 0, 1, 0]
        dataset.ImagePositionPatient = [12.0, -20.0, 30.0 + 2 * k]
        dataset.PixelData = pixels_of(k)[:, ::-1].astype("<i2").tobytes()

    plain, turned = (
        read(write_series(tmp_path / "a")),
        read(write_series(tmp_path / "b", change=mirrored)),
    )
    for index in ([0, 0, 0], [4, 5, 1], [2, 0, 5]):
        world = plain.geometry.to_world(index)
        there = tuple(np.rint(turned.geometry.to_index(world)).astype(int))
        assert turned.data[0][there] == plain.data[0][tuple(index)]


@pytest.mark.parametrize("missing", [1, 3, 4])
def test_a_missing_slice_is_a_gap(tmp_path, missing):
    folder = write_series(tmp_path / "s")
    (folder / f"{missing:03d}.dcm").unlink()
    with pytest.raises(BadScan, match=r"missing: a gap .* 2 to 4 mm"):
        read(folder)


def test_a_missing_end_slice_only_makes_the_stack_shorter(tmp_path):
    folder = write_series(tmp_path / "s")
    (folder / "005.dcm").unlink()
    assert read(folder).geometry.shape == (5, 6, 5)


@pytest.mark.parametrize(("off_mm", "told"), [(0.02, False), (0.15, True)])
def test_small_jitter_is_accepted_and_named_in_mm_when_it_matters(tmp_path, off_mm, told):
    scan = read(write_series(tmp_path / "s", change=lambda d, k: moved(d, z=off_mm * (k == 2))))
    assert any("mm from an even spacing" in w for w in scan.origin.warnings) == told


def test_jitter_beyond_a_tenth_of_the_step_is_refused(tmp_path):
    folder = write_series(tmp_path / "s", change=lambda d, k: moved(d, z=0.3 * (k == 2)))
    with pytest.raises(BadScan, match="irregular slice spacing"):
        read(folder)


def test_a_crooked_line_is_refused(tmp_path):
    folder = write_series(tmp_path / "s", change=lambda d, k: moved(d, x=5.0 * (k == 3)))
    with pytest.raises(BadScan, match="not lie on one line"):
        read(folder)


def test_a_tilted_gantry_is_kept_as_shear_and_named(tmp_path):
    lean = 2 * np.tan(np.radians(12))
    scan = read(write_series(tmp_path / "s", change=lambda d, k: moved(d, y=lean * k)))
    assert any("tilted by 12.00 degrees" in warning for warning in scan.origin.warnings)
    np.testing.assert_allclose(scan.geometry.affine[:3, 2], [0, -lean, 2], atol=1e-5)
    assert scan.geometry.voxel_mm3 == pytest.approx(0.8 * 0.5 * 2)


def test_the_tag_alone_makes_no_tilt(tmp_path):
    scan = read(
        write_series(tmp_path / "s", change=lambda d, k: setattr(d, "GantryDetectorTilt", 15))
    )
    assert scan.geometry.is_orthogonal
    assert not any("tilt" in warning for warning in scan.origin.warnings)


def test_a_gap_in_a_tilted_stack_names_both(tmp_path):
    folder = write_series(tmp_path / "s", change=lambda d, k: moved(d, y=0.5 * k))
    (folder / "002.dcm").unlink()
    with pytest.raises(BadScan, match=r"gap.*tilt"):
        read(folder)


def _set(keyword, value, where=2):
    def change(dataset, k):
        if k == where:
            setattr(dataset, keyword, value)

    return change


def _drop(keyword, where=2):
    def change(dataset, k):
        if where in (k, None):
            delattr(dataset, keyword)

    return change


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (_set("PixelSpacing", [0.8, 0.51]), "pixel spacing differs.*odd one is 002.dcm"),
        (_set("PixelSpacing", [0.8, 0.51], where=5), "pixel spacing differs.*odd one is 005.dcm"),
        (_set("ImageOrientationPatient", [1, 0, 0, 0, 0.9999, 0.0141]), "orientations"),
        (_set("ImageOrientationPatient", [1, 0, 0, 0, 1, 1]), "not two unit vectors"),
        (_drop("ImagePositionPatient"), "002.dcm: no usable ImagePositionPatient"),
        (_drop("ImagePositionPatient", where=5), "005.dcm: no usable ImagePositionPatient"),
        (
            _drop("ImageOrientationPatient", where=None),
            "ImageOrientationPatient.*geometry is unknown",
        ),
        (_drop("PixelSpacing", where=None), "PixelSpacing"),
        (_set("PixelSpacing", [0, 0.5]), "pixel spacing differs"),
        (_set("RescaleSlope", 0), "RescaleSlope is 0"),
    ],
)
def test_one_odd_slice_spoils_the_series_wherever_it_lies(tmp_path, change, told):
    with pytest.raises(BadScan, match=told):
        read(write_series(tmp_path / "s", change=change))


@pytest.mark.parametrize("where", [0, 2, 5])
def test_one_slice_of_another_matrix_spoils_the_series(tmp_path, where):
    def change(dataset, k):
        if k == where:
            dataset.Rows, dataset.Columns = 5, 6

    with pytest.raises(BadScan, match=f"matrix size .* differs.*{where:03d}.dcm"):
        read(write_series(tmp_path / "s", change=change))


def test_a_single_slice_takes_its_thickness_and_says_so(tmp_path):
    scan = read(write_series(tmp_path / "s", count=1))
    assert scan.geometry.shape == (5, 6, 1)
    assert scan.geometry.spacing_mm == pytest.approx((0.5, 0.8, 7.0))
    assert any("single slice" in warning for warning in scan.origin.warnings)


def test_three_planes_in_one_series_are_a_localizer(tmp_path):
    def turn(dataset, k):
        dataset.ImageOrientationPatient = list((AXIAL, SAGITTAL, (1, 0, 0, 0, 0, -1))[k % 3])

    with pytest.raises(NotAVolume, match=r"localizer.*several orientations"):
        read(write_series(tmp_path / "s", count=9, change=turn))


@pytest.mark.parametrize("keyword", ["ImageType", "SeriesDescription"])
def test_scout_views_are_skipped_by_image_type_or_description(tmp_path, keyword):
    value = {
        "ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"],
        "SeriesDescription": "AAHead_Scout",
    }[keyword]
    count = 6 if keyword == "ImageType" else 3
    folder = write_series(tmp_path / "s", count, change=lambda d, k: setattr(d, keyword, value))
    with pytest.raises(NotAVolume, match="localizer"):
        read(folder)


@pytest.mark.parametrize("claim", [None, "SliceThickness", "SpacingBetweenSlices"])
@pytest.mark.parametrize("step_mm", [0.25, 0.3125, 0.35, 0.45])
@pytest.mark.parametrize("count", [6, 9, 40])
def test_a_fine_stack_with_positions_rounded_to_a_tenth_is_read(tmp_path, step_mm, count, claim):
    def rounded(dataset, k):
        dataset.ImagePositionPatient = [10.0, -20.0, round(30 + step_mm * k, 1)]
        if claim:
            setattr(dataset, claim, step_mm)

    geometry = read(write_series(tmp_path / "s", count, change=rounded)).geometry
    last_mm = geometry.to_world([0, 0, count - 1])[2]
    assert abs(last_mm - 30 - step_mm * (count - 1)) <= (0.05 if claim else 0.1) + 1e-6


@pytest.mark.parametrize("step_mm", [0.25, 0.35])
@pytest.mark.parametrize("count", [6, 40])
def test_rounding_does_not_excuse_a_gap(tmp_path, step_mm, count):
    def rounded(dataset, k):
        dataset.SliceThickness = step_mm
        place = k + (k >= count // 2)
        dataset.ImagePositionPatient = [10.0, -20.0, round(30 + step_mm * place, 1)]

    with pytest.raises(BadScan, match=r"spacing|missing"):
        read(write_series(tmp_path / "s", count, change=rounded))
