"""A series with several volumes, or with duplicates, is never merged and never guessed."""

from __future__ import annotations

import math

import pytest

from medseg.errors import BadScan
from medseg.scans import Selection, discover, read
from tests.readers.dicom_files import dataset_of, enhanced_of, pixels_of, save, write_series


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MEDSEG_CACHE", str(tmp_path / "cache"))


def echoes(folder, count=2, slices=4, change=None):
    """Echo e adds 1000 * e to every pixel."""
    for echo in range(count):
        for k in range(slices):
            dataset = dataset_of(k, pixels=pixels_of(k) + 1000 * echo)
            dataset.SOPInstanceUID = f"2.25.5.{echo}.{k}"
            dataset.EchoTime, dataset.EchoNumbers = 5.0 + 10 * echo, echo + 1
            dataset.InstanceNumber = 1 + echo + count * k
            if change is not None:
                change(dataset, echo)
            save(dataset, folder / f"e{echo}k{k}")
    return folder


def test_echoes_are_refused_with_the_way_to_choose(tmp_path):
    folder = echoes(tmp_path / "s")
    with pytest.raises(BadScan, match=r"2 images at each of 4 positions.*echo.*--volume 0 … 1"):
        read(folder)
    for echo in (0, 1):
        scan = read(folder, volume=echo)
        assert scan.data[0, 0, 0].tolist() == [1000 * echo + 100 * k for k in range(4)]


def test_all_volumes_come_with_cases_of_their_own(tmp_path):
    found = discover(echoes(tmp_path / "s", count=3), selection=Selection(volume="all"))
    assert [scan.status for scan in found] == ["usable"] * 3
    assert len({scan.case for scan in found}) == 3
    assert [int(scan.read().data[0, 0, 0, 0]) for scan in found] == [0, 1000, 2000]


def test_there_is_no_volume_beyond_the_last(tmp_path):
    with pytest.raises(BadScan, match="no volume 2"):
        read(echoes(tmp_path / "s"), volume=2)


@pytest.mark.parametrize("slice_major", [True, False])
def test_time_points_are_told_by_instance_numbers_alone(tmp_path, slice_major):
    folder = tmp_path / "s"
    for time in range(3):
        for k in range(4):
            dataset = dataset_of(k, pixels=pixels_of(k) + 1000 * time)
            dataset.SOPInstanceUID = f"2.25.5.{time}.{k}"
            dataset.InstanceNumber = 1 + (k * 3 + time if slice_major else time * 4 + k)
            save(dataset, folder / f"{time}{k}.dcm")
    with pytest.raises(BadScan, match="instance number alone"):
        read(folder)
    assert read(folder, volume=2).data[0, 0, 0].tolist() == [2000, 2100, 2200, 2300]


def test_what_no_header_tells_apart_cannot_be_chosen(tmp_path):
    folder = echoes(
        tmp_path / "s",
        change=lambda d, e: [
            setattr(d, "EchoTime", 5),
            setattr(d, "EchoNumbers", 1),
            setattr(d, "InstanceNumber", 1),
        ],
    )
    with pytest.raises(BadScan, match="nothing in the headers tells them apart"):
        read(folder, volume=0)


def test_two_volumes_half_a_step_apart_do_not_become_one_fine_grid(tmp_path):
    def shift(dataset, echo):
        x, y, z = dataset.ImagePositionPatient
        dataset.ImagePositionPatient = [x, y, z + echo]

    with pytest.raises(BadScan, match="several volumes mixed"):
        read(echoes(tmp_path / "s", change=shift))


def test_an_incomplete_time_point_leaves_the_complete_ones_to_choose(tmp_path):
    folder = echoes(tmp_path / "s", count=3)
    (folder / "e2k3").unlink()
    with pytest.raises(BadScan, match="incomplete"):
        read(folder)
    assert read(folder, volume=1).data[0, 0, 0, 3] == 1300


def test_the_only_complete_time_point_can_be_chosen(tmp_path):
    folder = echoes(tmp_path / "s")
    (folder / "e1k3").unlink()
    with pytest.raises(BadScan, match=r"Only one is complete.*--volume 0"):
        read(folder)
    assert read(folder, volume=0).data[0, 0, 0].tolist() == [0, 100, 200, 300]


def test_a_view_for_every_angle_is_no_volume(tmp_path):
    frames = [
        {"k": 0, "orientation": (cos, sin, 0, 0, 0, -1)}
        for cos, sin in ((math.cos(a / 500), math.sin(a / 500)) for a in range(150))
    ]
    with pytest.raises(BadScan, match="more than 100 orientations"):
        read(save(enhanced_of(frames), tmp_path / "e.dcm"))


def test_the_same_file_twice_is_dropped_with_a_word(tmp_path):
    folder = write_series(tmp_path / "s")
    (folder / "copy").write_bytes((folder / "003.dcm").read_bytes())
    scan = read(folder)
    assert scan.geometry.shape == (5, 6, 6)
    assert any("duplicate" in warning for warning in scan.origin.warnings)


def test_the_same_image_under_a_new_uid_is_dropped_with_a_word(tmp_path):
    folder = write_series(tmp_path / "s")
    twin = dataset_of(3)
    twin.SOPInstanceUID = "2.25.4444"
    save(twin, folder / "twin")
    scan = read(folder)
    assert scan.geometry.shape == (5, 6, 6)
    assert any("duplicate" in warning for warning in scan.origin.warnings)


@pytest.mark.parametrize("uid", ["2.25.1.4", "2.25.4444"])  # the twin's own, or a new one
def test_two_different_images_at_one_place_are_refused(tmp_path, uid):
    folder = write_series(tmp_path / "s")
    twin = dataset_of(3, pixels=pixels_of(3) + 1)
    twin.SOPInstanceUID = uid
    save(twin, folder / "twin")
    with pytest.raises(BadScan, match="two different images at the same position"):
        read(folder)


def test_uids_that_all_slices_share_do_not_hide_time_points(tmp_path):
    folder = echoes(tmp_path / "s", change=lambda d, e: setattr(d, "SOPInstanceUID", "2.25.3"))
    assert [int(read(folder, volume=v).data[0, 0, 0, 0]) for v in (0, 1)] == [0, 1000]


def test_two_series_in_one_folder_stay_two(tmp_path):
    folder = write_series(tmp_path / "s")
    write_series(
        folder,
        series="2.25.2",
        prefix="other",
        change=lambda d, k: setattr(d, "PixelData", (pixels_of(k) + 5000).astype("<i2").tobytes()),
    )
    with pytest.raises(BadScan, match="holds 2 scans") as refusal:
        read(folder)
    assert "2.25" not in str(refusal.value)
    assert read(f"{folder}#2.25.2").data[0, 0, 0, 0] == 5000
    cases = [scan.case for scan in discover(folder)]
    assert {int(read(folder, series=case).data.min()) for case in cases} == {0, 5000}
    with pytest.raises(BadScan, match="no such series"):
        read(f"{folder}#2.25.3")


def test_frames_of_an_enhanced_file_are_sorted_and_scaled_each_by_its_own(tmp_path):
    order = [3, 0, 2, 1]
    path = save(enhanced_of([{"k": k, "slope": k + 1} for k in order]), tmp_path / "e.dcm")
    scan = read(path)
    assert scan.values()[0, 1, 0].tolist() == [(100 * k + 1) * (k + 1) for k in range(4)]
    assert scan.data.dtype.kind == "i"


def test_echoes_of_an_enhanced_file_can_be_chosen(tmp_path):
    frames = [
        {"k": k, "echo_time": 5.0 + 7 * e, "add": 1000 * e} for k in range(3) for e in range(2)
    ]
    path = save(enhanced_of(frames), tmp_path / "e.dcm")
    with pytest.raises(BadScan, match="echo time 5"):
        read(path)
    assert read(path, volume=1).data[0, 0, 0].tolist() == [1000, 1100, 1200]


def test_stacks_of_an_enhanced_file_are_not_merged(tmp_path):
    frames = [{"k": k, "stack": str(1 + k // 3)} for k in range(6)]
    path = save(enhanced_of(frames), tmp_path / "e.dcm")
    with pytest.raises(BadScan, match="several stacks"):
        read(path)
    assert read(path, volume=1).data[0, 0, 0].tolist() == [300, 400, 500]


def test_an_enhanced_file_must_describe_every_frame(tmp_path):
    def drop(dataset, _):
        del dataset.PerFrameFunctionalGroupsSequence[-1]

    path = save(enhanced_of([{"k": k} for k in range(4)], change=drop), tmp_path / "e.dcm")
    with pytest.raises(BadScan, match="4 frames, but 3 of them are described"):
        read(path)


def test_the_enhanced_form_of_a_series_is_a_scan_beside_the_classic_one(tmp_path):
    folder = write_series(tmp_path / "s")
    save(enhanced_of([{"k": k} for k in range(6)]), folder / "enhanced.dcm")
    found = discover(folder)
    assert [scan.shape for scan in found] == [(5, 6, 6)] * 2
    assert len({scan.case for scan in found}) == 2


def test_a_series_over_several_enhanced_files_is_one(tmp_path):
    for half in (0, 1):
        dataset = enhanced_of([{"k": k} for k in range(3 * half, 3 * half + 3)])
        dataset.SOPInstanceUID = f"2.25.6.{half}"
        save(dataset, tmp_path / "s" / f"{half}.dcm")
    assert read(tmp_path / "s").data[0, 0, 0].tolist() == [100 * k for k in range(6)]
