"""Everything in a tree is found, named and distinguished; nothing disappears."""

from __future__ import annotations

import gzip
import io
import os
import sqlite3
import sys
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest

from medseg.errors import BadScan
from medseg.geometry import Geometry
from medseg.readers.dicom import header as dicom_header
from medseg.scans import Selection, discover, read, read_channels
from medseg.volume import Volume
from medseg.writers import write_volume
from tests.readers.dicom_files import dataset_of, save, write_series


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MEDSEG_CACHE", str(tmp_path / "cache"))


def nifti(path, value=1):
    grid = Geometry((4, 5, 6), np.diag([-1.0, -1.0, 2.0, 1.0]))
    write_volume(Volume(np.full((1, 4, 5, 6), value, np.int16), grid), path)
    return path


def by_status(found):
    return {
        status: [scan for scan in found if scan.status == status]
        for status in ("usable", "skipped", "refused")
    }


def test_a_series_split_over_folders_is_one_whatever_its_files_are_called(tmp_path):
    write_series(tmp_path / "tree" / "part 1")
    (tmp_path / "tree" / "ünïcode").mkdir()
    for k in (1, 3):
        (tmp_path / "tree" / "part 1" / f"{k:03d}.dcm").rename(
            tmp_path / "tree" / "ünïcode" / f"IM{k}"
        )
    (scan,) = discover(tmp_path / "tree")
    assert (scan.status, scan.files, scan.shape) == ("usable", 6, (5, 6, 6))


def test_foreign_files_are_counted_and_other_objects_named(tmp_path):
    folder = write_series(tmp_path / "s")
    (folder / "notes.txt").write_text("nothing")
    (folder / "empty.dcm").write_bytes(b"")
    report = dataset_of(0, series="2.25.5")
    report.SOPClassUID, report.Modality = "1.2.840.10008.5.1.4.1.1.88.11", "SR"
    del report.PixelData
    save(report, folder / "report.dcm")
    found = by_status(discover(folder))
    assert len(found["usable"]) == 1
    assert "empty.dcm" in found["usable"][0].warnings[0]
    assert sorted(scan.reason.split(":")[0] for scan in found["skipped"]) == [
        "a structured report or key object, not an image",
        "not DICOM or another scan",
    ]


@pytest.mark.parametrize("left", [150, 260, 420])
def test_a_damaged_file_of_no_series_is_refused_and_its_neighbours_warned(tmp_path, left):
    folder = write_series(tmp_path / "s")
    content = (folder / "005.dcm").read_bytes()
    (folder / "005.dcm").write_bytes(content[:left])
    found = by_status(discover(folder))
    assert found["usable"][0].shape == (5, 6, 5)
    assert "unreadable files in the same folder" in found["usable"][0].warnings[0]
    assert "005.dcm" in found["refused"][0].reason


def pack_zip(path, folder, extra=()):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        for file in sorted(folder.iterdir()):
            packed.write(file, f"study/{file.name}")
        for name, content in extra:
            packed.writestr(name, content)
    return path


def test_zip_and_tar_are_read_where_they_are(tmp_path):
    folder = write_series(tmp_path / "s")
    plain = read(folder)
    zipped = pack_zip(tmp_path / "s.zip", folder)
    with tarfile.open(tmp_path / "s.tar.gz", "w:gz") as packed:
        packed.add(folder, "study")
    for path in (zipped, tmp_path / "s.tar.gz"):
        scan = read(path)
        assert np.array_equal(scan.data, plain.data)
        assert scan.origin.case == plain.origin.case
    assert {path.name for path in tmp_path.iterdir()} == {"s", "s.zip", "s.tar.gz", "cache"}


def test_members_that_lead_outside_are_not_read(tmp_path):
    folder = write_series(tmp_path / "in" / "s")
    slice_ = (folder / "000.dcm").read_bytes()
    pack_zip(
        tmp_path / "in" / "s.zip",
        folder,
        [("../../escape.dcm", slice_), ("/tmp/medseg_escape_test.dcm", slice_)],
    )
    found = discover(tmp_path / "in" / "s.zip")
    assert [scan.shape for scan in found if scan.status == "usable"] == [(5, 6, 6)]
    assert [scan.status for scan in found if "outside the archive" in scan.reason] == ["refused"]
    assert not list(tmp_path.rglob("escape*"))
    assert not Path("/tmp/medseg_escape_test.dcm").exists()


def test_images_in_an_archive_are_told_apart_and_their_faults_stay_their_own(tmp_path):
    whole = nifti(tmp_path / "in" / "brain.nii.gz").read_bytes()
    header = b"NRRD0005\ndata file: ../secret.raw\n\n"
    entries = {
        "a/brain.nii.gz": whole,
        "b/brain.nii.gz": whole,
        "cut.nii.gz": whole[:-8],
        "text.nii": b"no scan at all",
        "pointing.nrrd": header,
        "detached.mhd": b"NDims = 3",
        "../outside.nii.gz": whole,
    }
    with zipfile.ZipFile(tmp_path / "s.zip", "w") as packed:
        for name, content in entries.items():
            packed.writestr(name, content)
    found = {scan.source: scan for scan in discover(tmp_path / "s.zip")}
    assert len(found) == 7
    usable = {scan.case: scan for scan in found.values() if scan.status == "usable"}
    assert set(usable) == {"s.zip_a_brain", "s.zip_b_brain"}
    assert np.array_equal(usable["s.zip_b_brain"].read().data, read(tmp_path / "in").data)
    assert usable["s.zip_b_brain"].shape == (4, 5, 6)
    assert "outside the archive" in found["s.zip/…"].reason
    for name, said in (
        ("cut.nii.gz", "truncated"),
        ("text.nii", ""),
        ("pointing.nrrd", ""),
        ("detached.mhd", "unpack it"),
    ):
        assert found[f"s.zip/{name}"].status == "refused"
        assert said in found[f"s.zip/{name}"].reason


def test_a_large_image_in_an_archive_is_known_by_its_first_bytes(tmp_path):
    noise = np.random.default_rng(0).integers(-30000, 30000, (1, 120, 100, 80), np.int16)
    grid = Geometry((120, 100, 80), np.diag([-1.0, -1.0, 2.0, 1.0]))
    write_volume(Volume(noise, grid), tmp_path / "in" / "noise.nii.gz")
    pack_zip(tmp_path / "s.zip", tmp_path / "in")
    assert (tmp_path / "s.zip").stat().st_size > 3 << 19
    (scan,) = discover(tmp_path / "s.zip")
    assert (scan.status, scan.shape) == ("usable", (120, 100, 80))
    assert np.array_equal(scan.read().data, noise)
    whole = (tmp_path / "in" / "noise.nii.gz").read_bytes()
    with zipfile.ZipFile(tmp_path / "cut.zip", "w") as packed:
        packed.writestr("noise.nii.gz", whole[: len(whole) - 1000])
    with pytest.raises(BadScan, match=r"^cut.zip/noise.nii.gz: .*truncated"):
        read(tmp_path / "cut.zip")


def test_a_damaged_member_is_refused_when_it_is_read(tmp_path):
    content = nifti(tmp_path / "in" / "brain.nii").read_bytes()
    with zipfile.ZipFile(tmp_path / "s.zip", "w") as packed:
        packed.writestr("brain.nii", content)
    damaged = bytearray((tmp_path / "s.zip").read_bytes())
    damaged[400] ^= 1  # a voxel; only the archive's checksum knows
    (tmp_path / "s.zip").write_bytes(damaged)
    with pytest.raises(BadScan, match="damaged inside the archive"):
        read(tmp_path / "s.zip")


def test_a_full_temporary_folder_is_a_refusal(tmp_path, monkeypatch):
    with zipfile.ZipFile(tmp_path / "s.zip", "w") as packed:
        packed.writestr("brain.nii.gz", nifti(tmp_path / "in" / "brain.nii.gz").read_bytes())
    (scan,) = discover(tmp_path / "s.zip")

    def full(**_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("medseg.scratch.tempfile.TemporaryDirectory", full)
    with pytest.raises(BadScan, match=r"(?i)no space left.*TMPDIR"):
        scan.read()


def test_damaged_and_locked_archives_are_refused(tmp_path):
    good = pack_zip(tmp_path / "s.zip", write_series(tmp_path / "s"))
    content = good.read_bytes()
    (tmp_path / "cut.zip").write_bytes(content[: len(content) // 2])
    with pytest.raises(BadScan, match="damaged or truncated"):
        read(tmp_path / "cut.zip")
    (tmp_path / "s.tar.gz").write_bytes(content)
    with pytest.raises(BadScan, match="damaged or truncated"):
        read(tmp_path / "s.tar.gz")
    locked = bytearray(content)
    for place in range(len(locked) - 4):
        if locked[place : place + 4] == b"PK\x01\x02":
            locked[place + 8] |= 1
    (tmp_path / "locked.zip").write_bytes(locked)
    assert {scan.reason for scan in discover(tmp_path / "locked.zip")} == {"locked with a password"}


def test_an_archive_that_swells_beyond_reason_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as packed:
        for number in range(3):
            packed.writestr(f"{number}", bytes(1 << 20))
    content = (tmp_path / "bomb.zip").read_bytes()
    lies = content.replace((1 << 20).to_bytes(4, "little"), (0xF0000000).to_bytes(4, "little"))
    (tmp_path / "bomb.zip").write_bytes(lies)
    with pytest.raises(BadScan, match="swells beyond reason"):
        read(tmp_path / "bomb.zip")


def sparse_header(name, size, *, goes_on=False):
    """A header of GNU tar for a file of holes; nothing of it lies in the archive."""
    entry = tarfile.TarInfo(name)
    entry.type = tarfile.GNUTYPE_SPARSE
    block = bytearray(entry.tobuf(tarfile.GNU_FORMAT))
    block[482] = goes_on
    block[483:495] = b"%011o\0" % size
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def test_sparse_members_count_with_their_holes(tmp_path):
    members = [sparse_header(f"{number}.nii", 100 << 20) for number in range(8)]
    (tmp_path / "holes.tar").write_bytes(b"".join(members) + bytes(1024))
    with pytest.raises(BadScan, match="swells beyond reason"):
        read(tmp_path / "holes.tar")


def test_headers_without_end_are_refused(tmp_path):
    more = bytearray(512)
    more[504] = 1
    content = sparse_header("a.nii", 1000, goes_on=True) + bytes(more) * 2200
    (tmp_path / "map.tar").write_bytes(content)
    with pytest.raises(BadScan, match="headers of a member beyond"):
        read(tmp_path / "map.tar")


def test_archives_that_stay_closed_are_refused_not_overlooked(tmp_path):
    folder = write_series(tmp_path / "s")
    (folder / "more.rar").write_bytes(b"Rar!")
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w"):
        pass
    pack_zip(tmp_path / "outer.zip", folder, [("inner.zip", inner.getvalue())])
    assert [s.source for s in discover(folder) if s.status == "refused"] == ["more.rar"]
    refused = [s.source for s in discover(tmp_path / "outer.zip") if s.status == "refused"]
    assert refused == ["outer.zip/study/more.rar", "outer.zip/inner.zip"]


def test_a_pipe_in_the_tree_does_not_hang(tmp_path):
    folder = write_series(tmp_path / "s")
    os.mkfifo(folder / "pipe")
    (folder / "loop").symlink_to(folder)
    (folder / "nowhere").symlink_to(tmp_path / "gone")
    assert [scan.status for scan in discover(folder)] == ["usable", "refused"]


def test_files_are_named_by_stem_or_by_path_where_stems_repeat(tmp_path):
    for name in ("a/brain.nii.gz", "b/brain.nii.gz", "b/liver.nii.gz"):
        nifti(tmp_path / "in" / name)
    assert [scan.case for scan in discover(tmp_path / "in")] == ["a_brain", "b_brain", "liver"]


def test_an_empty_folder_and_a_missing_one_say_so(tmp_path):
    with pytest.raises(BadScan, match="no such file or folder"):
        discover(tmp_path / "gone")
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadScan, match="no DICOM series and no other readable image found"):
        read(tmp_path / "empty")


def test_a_second_look_at_unchanged_files_opens_none(tmp_path, monkeypatch):
    folder = write_series(tmp_path / "s")
    (folder / "notes.txt").write_text("nothing")
    first = discover(folder)
    looked = []
    monkeypatch.setattr(
        sys.modules["medseg.scans.discover"],
        "look_at",
        lambda source: looked.append(source.name) or dicom_header.look_at(source),
    )
    second = discover(folder)
    assert looked == []
    assert [(s.case, s.status, s.reason) for s in first] == [
        (s.case, s.status, s.reason) for s in second
    ]
    assert np.array_equal(first[0].read().data, second[0].read().data)
    save(dataset_of(2, position=(10, -20, 35.5)), folder / "002.dcm")
    assert discover(folder)[0].status == "refused"
    assert looked == ["002.dcm"]


def test_the_index_holds_nothing_that_names_a_patient(tmp_path):
    discover(write_series(tmp_path / "Secret folder"))
    base = sqlite3.connect(next((tmp_path / "cache").glob("*.sqlite")))
    rows = base.execute("select * from header").fetchall()
    assert len(rows) == 6
    assert not any(word in repr(rows) for word in ("ecret", "SECRET", "2.25.", "2000"))


@pytest.mark.parametrize("content", [b"", b"not a database at all" * 100])
def test_a_broken_index_costs_nothing_but_time(tmp_path, content):
    folder = write_series(tmp_path / "s")
    discover(folder)
    next((tmp_path / "cache").glob("*.sqlite")).write_bytes(content)
    assert discover(folder)[0].status == "usable"


def test_what_could_not_be_read_once_is_tried_again(tmp_path, monkeypatch):
    folder = write_series(tmp_path / "s", count=1)
    genuine = dicom_header.read_up_to

    def failing(stream, size):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(dicom_header, "read_up_to", failing)
    assert "cannot be read" in discover(folder)[0].reason
    monkeypatch.setattr(dicom_header, "read_up_to", genuine)
    assert discover(folder)[0].status == "usable"


def test_a_file_that_changes_after_the_look_is_refused(tmp_path):
    folder = write_series(tmp_path / "s")
    (scan,) = discover(folder)
    save(dataset_of(2, pixels=np.zeros((6, 5), np.int16)), folder / "002.dcm")
    with pytest.raises(BadScan, match="changed since"):
        scan.read()


def test_a_dicomdir_stands_for_its_medium(tmp_path):
    write_series(tmp_path / "disc" / "PT0" / "SE0")
    (tmp_path / "disc" / "DICOMDIR").write_bytes(b"an index that nobody needs")
    found = discover(tmp_path / "disc" / "DICOMDIR")
    assert [scan.shape for scan in found if scan.status == "usable"] == [(5, 6, 6)]


def test_a_selection_leaves_rows_for_what_is_not_wanted(tmp_path):
    write_series(tmp_path / "in" / "thick", count=3)
    write_series(
        tmp_path / "in" / "thin",
        count=6,
        series="2.25.2",
        change=lambda d, k: setattr(d, "SeriesDescription", "T1 post"),
    )
    for selection, left in (
        (Selection(min_slices=5), 1),
        (Selection(modality="ct"), 0),
        (Selection(description="*t1*"), 1),
        (Selection(orientation="axial"), 2),
        (Selection(orientation="sagittal"), 0),
        (Selection(), 2),
    ):
        found = discover(tmp_path / "in", selection=selection)
        assert len(found) == 2
        assert sum(scan.status == "usable" for scan in found) == left
        assert all(
            scan.reason.startswith("not selected") for scan in found if scan.status == "skipped"
        )


def test_channels_of_one_grid_are_stacked_and_others_refused(tmp_path):
    paths = [nifti(tmp_path / f"{name}.nii.gz", value) for name, value in (("t1", 1), ("t2", 7))]
    volume = read_channels(paths, ["T1", "T2"])
    assert volume.channels == ("T1", "T2")
    assert volume.data[:, 0, 0, 0].tolist() == [1, 7]
    grid = Geometry((4, 5, 6), np.diag([1.0, -1.0, 2.0, 1.0]))
    write_volume(Volume(np.zeros((1, 4, 5, 6), np.int16), grid), tmp_path / "odd.nii.gz")
    with pytest.raises(Exception, match="'X' lies on another grid"):
        read_channels([paths[0], tmp_path / "odd.nii.gz"], ["T1", "X"])


def test_a_fault_of_ours_in_one_header_costs_that_file_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from medseg import readers
    from medseg.readers.nifti import volume as nifti

    def fail(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(nifti, "parse_header", fail)
    (tmp_path / "scan.nii").write_bytes(bytes(400))
    assert "ZeroDivisionError" in readers.glimpse(tmp_path / "scan.nii").problem


# ---- droppings, odd names, pipes ----------------------------------------------------------

MAC = b"\x00\x05\x16\x07\x00\x02\x00\x00Mac OS X        " + bytes(100)


@pytest.mark.parametrize(
    "name",
    [
        "._brain.nii.gz",
        ".brain.nii.gz.x7Gh2",
        "._IM0001.dcm",
        ".git/annex/objects/1/brain.nii.gz",
        ".datalad/brain.nii.gz",
        "@eaDir/brain.nii.gz",
        "__MACOSX/brain.nii.gz",
        "sub/.snapshot/old/brain.nii.gz",
        "sub-01_physio.tsv.gz",
        "readings.raw.gz",
        "orphan.img.gz",
        "table.csv.bz2",
        "log.z",
    ],
)
@pytest.mark.parametrize("box", ["folder", "zip", "tar"])
def test_droppings_are_passed_over_and_take_nobodys_name(tmp_path, name, box):
    whole = nifti(tmp_path / "brain.nii.gz").read_bytes()
    root = tmp_path / "in"
    content = whole if name.endswith((".nii.gz", "Gh2")) else gzip.compress(b"1\t2")
    entries = {"brain.nii.gz": whole, name: MAC if "._" in name else content}
    for path, content in entries.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(content)
    if box == "zip":
        with zipfile.ZipFile(tmp_path / "s.zip", "w") as packed:
            for path in entries:
                packed.write(root / path, path)
        root = tmp_path / "s.zip"
    elif box == "tar":
        with tarfile.open(tmp_path / "s.tar", "w") as packed:
            packed.add(root, "in")
        root = tmp_path / "s.tar"
    found = by_status(discover(root))
    assert [scan.case for scan in found["usable"]] == ["brain"]
    assert not found["refused"]
    assert found["usable"][0].warnings == ()
    assert "1 foreign files ignored" in found["skipped"][0].reason


@pytest.mark.parametrize("name", ["IM1.dcm.gz", "brain.nii.xz", "study.tar.zst", "s.7z", "s.rar"])
def test_what_may_pack_a_scan_is_refused(tmp_path, name):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / name).write_bytes(b"packed somehow")
    (scan,) = discover(tmp_path / "in")
    assert (scan.status, "Unpack it" in scan.reason) == ("refused", True)


def test_the_voxels_of_a_pair_are_no_archive(tmp_path):
    import nibabel

    (tmp_path / "in").mkdir()
    nibabel.Nifti1Pair(np.zeros((3, 4, 5), np.int16), np.diag([2, 2, 2, 1])).to_filename(
        str(tmp_path / "in" / "a.hdr.gz")
    )
    (scan,) = discover(tmp_path / "in")
    assert (scan.status, scan.case) == ("usable", "a")


@pytest.mark.parametrize("name", ["/data/IM{}", "C:\\scans\\IM{}", "./IM{}", "//host/share/IM{}"])
def test_absolute_names_in_archives_are_read_in_place(tmp_path, name):
    folder = write_series(tmp_path / "s")
    with zipfile.ZipFile(tmp_path / "s.zip", "w") as packed:
        for k, path in enumerate(sorted(folder.iterdir())):
            packed.writestr(zipfile.ZipInfo(name.format(k)), path.read_bytes())
    assert np.array_equal(read(tmp_path / "s.zip").data, read(folder).data)


@pytest.mark.parametrize("box", ["zip", "tar"])
def test_members_are_entries_and_not_names(tmp_path, box):
    folder = write_series(tmp_path / "s")
    contents = [path.read_bytes() for path in sorted(folder.iterdir())]
    whole = [nifti(tmp_path / f"{value}.nii", value).read_bytes() for value in (1, 2)]
    entries = [("IM.dcm", c) for c in contents] + [("brain.nii", c) for c in whole]
    if box == "zip":
        with zipfile.ZipFile(tmp_path / "s.zip", "w") as packed, pytest.warns(UserWarning):
            for name, content in entries:
                packed.writestr(name, content)
    else:
        with tarfile.open(tmp_path / "s.tar", "w") as packed:
            for name, content in entries:
                entry = tarfile.TarInfo(name)
                entry.size = len(content)
                packed.addfile(entry, io.BytesIO(content))
    scans = {scan.case: scan for scan in discover(tmp_path / f"s.{box}")}
    assert len(scans) == 3
    series = next(scan for case, scan in scans.items() if "brain" not in case)
    assert np.array_equal(series.read().data, read(folder).data)
    images = [scan.read().data.max() for case, scan in scans.items() if "brain" in case]
    assert images == [1, 2]


@pytest.mark.parametrize(
    "name", [b"caf\xe9.nii", b"\xff\xfe.nii", b"a\nb.nii", "日本.nii".encode()]
)
def test_odd_names_are_shown_as_text_that_every_table_takes(tmp_path, name):
    content = nifti(tmp_path / "x" / "s.nii").read_bytes()
    with open(os.fsencode(tmp_path / "x") + b"/" + name, "wb") as file:  # noqa: PTH123
        file.write(content)
    scans = [scan for scan in discover(tmp_path / "x") if scan.source != "s.nii"]
    assert scans[0].source.encode("utf-8").isascii() or scans[0].source == "日本.nii"
    assert scans[0].source.isprintable()
    assert scans[0].read().data.shape == (1, 4, 5, 6)


@pytest.mark.parametrize("name", ["n" * 300, "nul\0byte", "a/" * 3000, "missing"])
def test_names_that_no_file_can_have_are_refused_and_not_a_crash(tmp_path, name):
    for reader in (discover, read):
        with pytest.raises(BadScan):
            reader(tmp_path / name)


def test_pipes_and_devices_are_refused_and_do_not_hang(tmp_path):
    from medseg import readers

    folder = tmp_path / "in"
    folder.mkdir()
    os.mkfifo(folder / "pipe")
    os.mkfifo(folder / "pipe.nii.gz")
    for place in (folder / "pipe", folder / "pipe.nii.gz", Path("/dev/zero")):
        for reader in (discover, read, readers.read):
            with pytest.raises(BadScan, match="pipe, a socket or a device"):
                reader(place)
    assert discover(folder) == []


def test_broken_and_circular_links_cost_themselves_alone(tmp_path):
    nifti(tmp_path / "in" / "brain.nii.gz")
    (tmp_path / "in" / "gone.nii").symlink_to("nowhere.nii")
    (tmp_path / "in" / "self").symlink_to("self")
    (tmp_path / "in" / "up").symlink_to("..")
    (tmp_path / "in" / "a").symlink_to("b")
    (tmp_path / "in" / "b").symlink_to("a")
    found = by_status(discover(tmp_path / "in"))
    assert [scan.case for scan in found["usable"]] == ["brain"]
    assert {scan.source for scan in found["refused"]} == {"gone.nii", "self", "a", "b"}
