"""The scans of one examination become one case, each in its own channel, or a reason."""

from __future__ import annotations

import csv

import nibabel
import numpy as np
import pytest
from typer.testing import CliRunner

from medseg.batch.gather import gather
from medseg.batch.task import Task
from medseg.cli.app import app
from medseg.config import Choice, InferConfig, PrepareConfig
from medseg.errors import BadConfig, MedsegError
from medseg.geometry import Geometry
from medseg.model import ModelCard, save_model
from medseg.networks import build_network
from medseg.scans import Frames
from medseg.scans.channels import Channels, parse_patterns
from medseg.volume import Volume
from medseg.writers import write_volume
from tests.batch import stub
from tests.readers.dicom_files import dataset_of, pixels_of, save

TWO = Channels(("T1", "FLAIR"))
BY_WORDS = Channels(("T1", "FLAIR"), {"T1": ("*t1*",), "FLAIR": ("*flair*",)})
TEXTS = (".csv", ".yaml", ".html")
GRID = Geometry((6, 7, 8), np.diag([1.0, 1.5, 2.0, 1.0]))


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("MEDSEG_CACHE", str(tmp_path_factory.mktemp("cache")))


def image(path, value, grid=GRID):
    write_volume(Volume(np.full((1, *grid.shape), value, np.int16), grid), path)
    return path


def series(folder, number, description, *, study="2.25.9", frame="2.25.8", bend=None, value=0):
    """Four slices on the usual grid, or as `bend` changes them."""
    for k in range(4):
        dataset = dataset_of(k, series=f"{study}.{number}", pixels=pixels_of(k) + value)
        dataset.StudyInstanceUID, dataset.FrameOfReferenceUID = study, frame
        dataset.SeriesDescription = description
        if bend:
            bend(dataset, k)
        save(dataset, folder / f"{k}.dcm")


def coarser(dataset, k):
    dataset.ImagePositionPatient = [10.0, -20.0, 30.0 + 3.0 * k]


def turned(dataset, k):
    c, s = np.cos(0.2), np.sin(0.2)
    dataset.ImageOrientationPatient = [c, s, 0, -s, c, 0]


def only(found):
    (one,) = found
    return one


def reason(found):
    one = only(found)
    assert one.state == "refused"
    assert "2.25" not in one.reason
    assert "Secret" not in one.reason
    return one.reason


def test_numbered_files_are_one_case_in_the_models_order(tmp_path):
    for case in ("a", "b"):
        image(tmp_path / f"{case}_0001.nii.gz", 2)
        image(tmp_path / f"{case}_0000.nii.gz", 1)
    found = gather([tmp_path], channels=TWO)
    assert [one.case for one in found] == ["a", "b"]
    assert found[0].source == "a_0000.nii.gz, a_0001.nii.gz"
    volume = found[0].scan.read()
    assert volume.channels == ("T1", "FLAIR")
    assert volume.data[:, 0, 0, 0].tolist() == [1, 2]
    assert volume.origin.forms is not None
    assert not volume.origin.warnings


def test_equal_numbered_names_in_two_folders_are_two_cases(tmp_path):
    for name in ("x/brain_0000", "x/brain_0001", "y/brain_0000", "y/brain_0001"):
        image(tmp_path / f"{name}.nii.gz", 1)
    assert [one.case for one in gather([tmp_path], channels=TWO)] == ["x_brain", "y_brain"]


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["a_0000"], "no scan for channel FLAIR; found T1 alone"),
        (["a_0001"], "no scan for channel T1; found FLAIR alone"),
        (["a_0000", "a_0001", "a_0002"], "numbers 0002 beside the model's channels (T1, FLAIR)"),
        (["a_0001", "a_0002"], "numbers 0002"),
        (["a"], "CASE_0000 (T1), CASE_0001 (FLAIR)"),
    ],
)
def test_a_wrong_number_of_files_is_one_refusal_a_case(tmp_path, names, said):
    for name in names:
        image(tmp_path / f"{name}.nii.gz", 1)
    assert said in reason(gather([tmp_path], channels=TWO))


def test_a_damaged_channel_refuses_its_case_by_name(tmp_path):
    image(tmp_path / "a_0000.nii.gz", 1)
    (tmp_path / "a_0001.nii.gz").write_bytes(b"no scan")
    assert "channel FLAIR (a_0001.nii.gz)" in reason(gather([tmp_path], channels=TWO))


def test_a_model_of_one_channel_takes_every_file_under_its_own_name(tmp_path):
    for number in range(3):
        image(tmp_path / f"scan_{number:04d}.nii.gz", 1)
    cases = [one.case for one in gather([tmp_path], channels=Channels(("T1",)))]
    assert cases == ["scan_0000", "scan_0001", "scan_0002"]


def test_series_of_a_study_are_told_by_what_their_headers_say(tmp_path):
    series(tmp_path / "flair", 1, "Ax FLAIR fs", value=1000)
    series(tmp_path / "t1", 2, "Sag T1 mprage", bend=coarser)
    series(tmp_path / "dwi", 3, "ep2d")
    found = gather([tmp_path], channels=BY_WORDS)
    case, left = found
    assert left.reason == "not selected: no --channel fits it"
    assert case.source == "t1, flair"
    alone = next(o for o in gather([tmp_path / "t1"]) if isinstance(o, Task))
    assert case.case == alone.case
    volume = case.scan.read()
    assert volume.geometry.same_grid(alone.scan.read().geometry)
    told = " ".join(volume.origin.warnings)
    assert "channel 'FLAIR': 5x6x4 voxels" in told
    assert "resampled onto the grid of 'T1'" in told
    # slices 0, 3, 6 mm of the first lie at 0, 1.5, 3 of the other's, which count in hundreds
    np.testing.assert_allclose(volume.values()[1, 0, 0, :3], [1000, 1150, 1300], atol=40)
    assert volume.values()[0, 0, 0].tolist() == [0, 100, 200, 300]


def test_a_turned_series_is_resampled_in_world_space(tmp_path):
    series(tmp_path / "t1", 1, "T1")
    series(tmp_path / "flair", 2, "FLAIR", bend=turned)
    volume = only(gather([tmp_path], channels=BY_WORDS)).scan.read()
    flair = only(gather([tmp_path / "flair"])).scan.read()
    world = volume.geometry.to_world([1, 2, 2])
    x, y, z = flair.geometry.to_index(world)
    expected = 100 * z + 10 * y + x  # what `pixels_of` writes; linear, so exact in between
    assert volume.values()[1, 1, 2, 2] == pytest.approx(expected, abs=0.5)


def test_two_studies_are_two_cases(tmp_path):
    for study in ("2.25.71", "2.25.72"):
        series(tmp_path / study / "a", 1, "T1", study=study, frame=study)
        series(tmp_path / study / "b", 2, "FLAIR", study=study, frame=study)
    found = gather([tmp_path], channels=BY_WORDS)
    assert len(found) == 2
    assert all(isinstance(one, Task) for one in found)


def test_series_without_patterns_are_one_refusal_a_study(tmp_path):
    series(tmp_path / "a", 1, "T1")
    series(tmp_path / "b", 2, "FLAIR")
    said = reason(gather([tmp_path], channels=TWO))
    assert "a study of 2 series, and nothing says which is T1 and which FLAIR" in said
    assert "--channel 'T1=PATTERN'" in said


@pytest.mark.parametrize(
    ("descriptions", "said"),
    [
        (["T1", "T1 post", "FLAIR"], "2 scans for channel T1: 0 ("),
        (["T1", "T2"], "no scan for channel FLAIR"),
        (["T1 and FLAIR", "T1"], "scans that fit several channels: T1 and FLAIR"),
    ],
)
def test_a_study_whose_patterns_do_not_fit_once_each_is_refused(tmp_path, descriptions, said):
    for number, description in enumerate(descriptions):
        series(tmp_path / str(number), number + 1, description)
    found = [one for one in gather([tmp_path], channels=BY_WORDS) if one.state == "refused"]
    assert said in reason(found)


def test_another_frame_of_reference_is_refused_unless_trusted(tmp_path):
    series(tmp_path / "t1", 1, "T1")
    series(tmp_path / "flair", 2, "FLAIR", frame="2.25.77")
    with pytest.raises(MedsegError, match="another frame of reference than 'T1'") as refusal:
        only(gather([tmp_path], channels=BY_WORDS)).scan.read()
    assert str(tmp_path) not in str(refusal.value)
    trusting = Channels(BY_WORDS.names, BY_WORDS.patterns, Frames.TRUST)
    assert only(gather([tmp_path], channels=trusting)).scan.read().data.shape[0] == 2


@pytest.mark.parametrize(("code", "usable"), [(1, True), (4, True), (2, False), (5, False)])
def test_files_on_two_grids_need_a_named_space(tmp_path, code, usable):
    for number, step in enumerate((2.0, 3.0)):
        affine = np.diag([step, 2.0, 2.0, 1.0])
        file = nibabel.Nifti1Image(np.full((9, 8, 7), 5 + number, np.int16), affine)
        file.header.set_sform(affine, code)
        file.header.set_qform(affine, code)
        nibabel.save(file, tmp_path / f"a_{number:04d}.nii.gz")
    case = only(gather([tmp_path], channels=TWO))
    if usable:
        assert np.unique(case.scan.read().data).tolist() == [5, 6]
    else:
        with pytest.raises(MedsegError, match="do not say that both lie in one space"):
            case.scan.read()


def test_scans_without_a_common_place_are_refused(tmp_path):
    moved = GRID.affine.copy()
    moved[0, 3] = 500
    image(tmp_path / "a_0000.nii.gz", 1)
    image(tmp_path / "a_0001.nii.gz", 1, Geometry(GRID.shape, moved))
    with pytest.raises(MedsegError, match="no common place"):
        only(gather([tmp_path], channels=TWO)).scan.read()


def test_what_a_channel_does_not_cover_is_told(tmp_path):
    half = Geometry((3, 7, 8), GRID.affine)
    image(tmp_path / "a_0000.nii.gz", 1)
    image(tmp_path / "a_0001.nii.gz", 4, half)
    volume = only(gather([tmp_path], channels=TWO)).scan.read()
    assert (volume.values()[1] == 4).all()
    assert "does not cover 50% of the grid" in " ".join(volume.origin.warnings)


def test_an_edited_table_names_group_and_channel(tmp_path):
    for number, name in enumerate(("one", "two", "three")):
        image(tmp_path / "in" / name / f"{name}.nii.gz", number)
    look = ["convert", str(tmp_path / "in"), "--dry-run", "--output", str(tmp_path / "look")]
    assert CliRunner().invoke(app, look).exit_code == 0
    table = tmp_path / "look" / "scans.csv"
    with table.open(newline="") as lines:
        rows = {row["case"]: row for row in csv.DictReader(lines)}
    rows["two"] |= {"group": "p1", "channel": "t1"}
    rows["one"] |= {"group": "p1", "channel": "FLAIR"}
    with table.open("w", newline="") as lines:
        writer = csv.DictWriter(lines, list(rows["one"]))
        writer.writeheader()
        writer.writerows(rows.values())
    case, left = gather([table], channels=TWO)
    assert case.case == "two"
    assert case.scan.read().data[:, 0, 0, 0].tolist() == [1, 0]
    assert left.reason == "not selected: the table names no channel for it"
    missing = gather([table], channels=Channels(("T1", "T2")))
    assert any("the model has no channel 'FLAIR'" in one.reason for one in missing)
    assert any("no scan for channel T2" in one.reason for one in missing)


def test_the_table_groups_a_study_by_a_hash(tmp_path):
    series(tmp_path / "in" / "t1", 1, "T1")
    series(tmp_path / "in" / "flair", 2, "FLAIR")
    look = ["convert", str(tmp_path / "in"), "--dry-run", "--output", str(tmp_path / "look")]
    CliRunner().invoke(app, look)
    with (tmp_path / "look" / "scans.csv").open(newline="") as lines:
        groups = [row["group"] for row in csv.DictReader(lines)]
    assert groups[0] == groups[1] and len(groups[0]) == 13


CARD = (
    "name: balls\nmodality: MR\nchannels: [{}]\nlabels: {{ball: 1}}\ntable: cohort.csv\n"
    "root: .\nlicence: CC0-1.0\nsource: made here\ncitation: none\n"
)


def card_of(folder, channels):
    images = ",".join(f"image:{name}" for name in channels) if len(channels) > 1 else "image"
    paths = [image(folder / f"{name}.nii.gz", n).name for n, name in enumerate(channels)]
    (folder / "cohort.csv").write_text(f"case,patient,split,{images}\na,p,test,{','.join(paths)}\n")
    (folder / "cohort.yaml").write_text(CARD.format(", ".join(channels)))
    return folder / "cohort.yaml"


@pytest.mark.parametrize(
    ("channels", "expected", "warned"),
    [
        (["T1", "FLAIR"], [0, 1], False),
        (["flair", "T1"], [1, 0], False),
        (["T2", "FLAIR", "T1"], [2, 1], False),
        (["ADC", "DWI"], [0, 1], True),
    ],
)
def test_a_cards_channels_are_taken_by_name(tmp_path, channels, expected, warned):
    case = only(gather([card_of(tmp_path, channels)], channels=TWO))
    assert case.scan.read().data[:, 0, 0, 0].tolist() == expected
    assert bool(case.warnings) == warned


def test_a_card_of_another_number_of_channels_is_refused(tmp_path):
    said = reason(gather([card_of(tmp_path, ["T2"])], channels=TWO))
    assert said == "the card has 1 channels (T2), the model wants 2 (T1, FLAIR)"


def test_a_change_of_roles_changes_the_case(tmp_path):
    for number in range(2):
        image(tmp_path / f"a_{number:04d}.nii.gz", number)
    identities = {
        only(gather([tmp_path], channels=Channels(names))).identity
        for names in (("T1", "FLAIR"), ("FLAIR", "T1"))
    }
    assert len(identities) == 2


def test_patterns_name_every_channel_once_or_more():
    found = parse_patterns(["t1=*a*", "FLAIR=*b*", "T1=*c*"], TWO.names)
    assert found == {"T1": ("*a*", "*c*"), "FLAIR": ("*b*",)}
    assert parse_patterns([], TWO.names) == {}
    for texts in (["T1=*"], ["T1=*", "T2=*"], ["T1", "FLAIR=*"]):
        with pytest.raises(BadConfig, match="--channel"):
            parse_patterns(texts, TWO.names)


@pytest.fixture(scope="module")
def two_channel_model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "model"
    options = {"features": [4, 8]}
    network = build_network("unet", dims=3, in_channels=2, out_channels=2, options=options)
    card = ModelCard(
        name="two",
        modality="MR",
        channels=TWO.names,
        labels={"ball": 1},
        dims=3,
        network=Choice(name="unet", options=options),
        prepare=PrepareConfig(),
        infer=InferConfig(window=(8, 8, 8)),
    )
    save_model(folder, card, stub.LABELS, {"all": network.state_dict()})
    return folder


def test_a_two_channel_model_segments_what_it_can_and_tells_the_rest(tmp_path, two_channel_model):
    series(tmp_path / "in" / "t1", 1, "Secret T1")
    series(tmp_path / "in" / "flair", 2, "Secret FLAIR", bend=turned)
    series(tmp_path / "in" / "alone", 1, "Secret T1", study="2.25.5")
    out = tmp_path / "out"
    call = ["segment", two_channel_model, tmp_path / "in", "--output", out, "--device", "cpu"]
    options = ["--executor", "inline", "--channel", "T1=*t1", "--channel", "FLAIR=*flair"]
    ended = CliRunner().invoke(app, [*map(str, call), *options])
    assert ended.exit_code == 1, ended.output
    with (out / "cases.csv").open(newline="") as lines:
        rows = {row["source"]: row for row in csv.DictReader(lines)}
    done = rows["t1, flair"]
    assert done["status"] == "done"
    assert "resampled onto the grid of 'T1'" in done["warnings"]
    assert rows["alone"]["status"] == "refused"
    assert "no scan for channel FLAIR" in rows["alone"]["reason"]
    mask = nibabel.load(out / f"{done['case']}.nii.gz")
    alone = only(gather([tmp_path / "in" / "t1"]))
    np.testing.assert_allclose(mask.affine, alone.scan.read().geometry.affine, atol=1e-5)
    written = "".join(path.read_text() for path in out.iterdir() if path.suffix in TEXTS)
    assert not any(word in written for word in ("Secret", "2.25.", str(tmp_path)))
    assert "Secret" not in ended.output


def test_a_wrong_channel_is_a_wrong_call(tmp_path, two_channel_model):
    image(tmp_path / "a_0000.nii.gz", 1)
    call = ["segment", two_channel_model, tmp_path, "--output", tmp_path / "out"]
    ended = CliRunner().invoke(app, [*map(str, call), "--channel", "T2=*"])
    assert ended.exit_code == 2
    assert "NAME=PATTERN with a name of T1, FLAIR" in ended.stderr
