"""``medseg segment`` does what its page promises, from arguments to exit code."""

import csv
import json
import os
import resource
import shutil
from contextlib import contextmanager
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
import yaml
from typer.testing import CliRunner

from medseg.batch.models import ModelSegmenter
from medseg.cli.app import app
from medseg.cli.arguments import size_bytes, split_words
from medseg.errors import BadConfig
from medseg.geometry import Geometry
from medseg.model import load_model
from medseg.readers.labels import read_labels
from medseg.scans import read
from medseg.volume import Volume
from medseg.writers import nifti as nifti_writer
from medseg.writers import write_volume
from medseg.writers.atomic import atomic_file
from medseg.writers.guard import RECORD
from tests.batch import stub


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory):
    """A small real model folder; what segments in these tests is a threshold."""
    return stub.small_model(tmp_path_factory.mktemp("run") / "model")


@pytest.fixture(autouse=True)
def own_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("MEDSEG_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def by_threshold(monkeypatch):
    monkeypatch.setattr(ModelSegmenter, "load", lambda self: stub.Threshold().load())


@pytest.fixture
def scans(tmp_path):
    folder = tmp_path / "scans"
    (folder / "deep").mkdir(parents=True)
    for number, name in enumerate(["a.nii.gz", "b.nii.gz", "deep/c.nii.gz"]):
        write_volume(stub.scan(number), folder / name)
    return folder


def segment(*arguments, executor="inline"):
    call = ["segment", *map(str, arguments), "--executor", executor]
    return CliRunner().invoke(app, call)


def rows(out):
    with (out / "cases.csv").open(newline="") as file:
        return {row["case"]: row for row in csv.DictReader(file)}


def test_a_folder_becomes_masks_and_tables(scans, model_folder, by_threshold, tmp_path):
    out = tmp_path / "out"
    ended = segment(model_folder, scans, "--output", out)
    assert ended.exit_code == 0, ended.output
    assert "predicted peak 3456 bytes" in ended.output
    head = (out / "cases.csv").read_text().splitlines()[0]
    assert head == "case,status,reason,source,warnings,seconds,ml:ball"
    found = rows(out)
    assert {case: row["status"] for case, row in found.items()} == dict.fromkeys("abc", "done")
    assert found["c"]["source"] == "deep/c.nii.gz"
    expected = (stub.scan(1).values() >= stub.BALL_VALUE / 2).sum() * 2 / 1000
    assert float(found["b"]["ml:ball"]) == pytest.approx(expected)
    assert yaml.safe_load((out / "labels.yaml").read_text())["labels"]["ball"]["value"] == 1
    run = yaml.safe_load((out / "run.yaml").read_text())
    assert len(run["models"][0]["sha256"]) == 64
    assert run["versions"]["torch"] == torch.__version__
    assert (out / "report.html").is_file()
    everything = "".join(p.read_text() for p in out.rglob("*") if p.suffix in (".csv", ".yaml"))
    assert str(tmp_path) not in everything


@pytest.mark.parametrize("word", ["--redo", "--dry-run"])
def test_a_network_that_cannot_be_built_is_told_before_anything_is_given_up(
    word, scans, model_folder, tmp_path
):
    out = tmp_path / "out"
    assert segment(model_folder, scans, "--output", out).exit_code == 0
    unknown = tmp_path / "unknown"
    shutil.copytree(model_folder, unknown)
    card = yaml.safe_load((unknown / "model.yaml").read_text())
    card["network"]["name"] = "nosuchnet"
    (unknown / "model.yaml").write_text(yaml.safe_dump(card))
    place = out if word == "--redo" else tmp_path / "other"
    ended = segment(unknown, scans, "--output", place, word)
    assert ended.exit_code == 1
    assert "nosuchnet" in ended.output
    assert {row["status"] for row in rows(out).values()} == {"done"}
    assert "to do" not in segment(model_folder, scans, "--output", out).output


def test_a_bad_scan_gets_its_row_and_exit_code_1(scans, model_folder, by_threshold, tmp_path):
    (scans / "text.nii.gz").write_text("no scan at all")
    whole = (scans / "a.nii.gz").read_bytes()
    (scans / "cut.nii.gz").write_bytes(whole[: len(whole) // 2])
    ended = segment(model_folder, scans, "--output", tmp_path / "out")
    assert ended.exit_code == 1
    assert "Traceback" not in ended.output
    found = rows(tmp_path / "out")
    assert found["text"]["status"] == found["cut"]["status"] == "refused"
    assert found["text"]["reason"]
    assert [row["status"] for row in found.values()].count("done") == 3


def test_a_second_call_resumes(scans, model_folder, by_threshold, tmp_path):
    segment(model_folder, scans, "--output", tmp_path / "out")
    stamps = {p: p.stat().st_mtime_ns for p in (tmp_path / "out").glob("*.nii.gz")}
    (tmp_path / "out" / "b.nii.gz").unlink()
    ended = segment(model_folder, scans, "--output", tmp_path / "out")
    assert ended.exit_code == 0
    again = {p: p.stat().st_mtime_ns for p in (tmp_path / "out").glob("*.nii.gz")}
    assert {p.name for p in again if again[p] != stamps[p]} == {"b.nii.gz"}


def test_a_dry_run_says_what_it_would_do_and_writes_no_mask(scans, model_folder, tmp_path):
    ended = segment(model_folder, scans, "--output", tmp_path / "out", "--dry-run")
    assert ended.exit_code == 0
    assert "3 cases to do" in ended.stdout
    assert not list((tmp_path / "out").glob("*.nii.gz"))
    assert ", time about" in ended.stdout


def test_of_many_cases_the_time_is_told_before_the_first(
    scans, model_folder, by_threshold, tmp_path, monkeypatch
):
    monkeypatch.setattr("medseg.batch.batch._MANY", 3)
    ended = segment(model_folder, scans, "--output", tmp_path / "out")
    assert ended.exit_code == 0
    assert "the cases will take about" in ended.stdout
    (tmp_path / "out" / "b.nii.gz").unlink()
    again = segment(model_folder, scans, "--output", tmp_path / "out")
    assert "the cases will take" not in again.stdout
    assert ", time about" in again.stdout


def test_other_options_are_refused_until_redo_is_asked_for(
    scans, model_folder, by_threshold, tmp_path
):
    out = tmp_path / "out"
    segment(model_folder, scans, "--output", out)
    ended = segment(model_folder, scans, "--output", out, "tta=none")
    assert ended.exit_code == 2
    assert "--redo" in ended.stderr
    assert len(ended.stderr.splitlines()) == 1
    assert segment(model_folder, scans, "--output", out, "tta=none", "--redo").exit_code == 0


def test_the_rows_of_a_cohort_card_are_picked_by_split(model_folder, by_threshold, scans, tmp_path):
    (tmp_path / "cohort.csv").write_text(
        "case,patient,split,fold,image,label\n"
        "one,p1,test,,a.nii.gz,\ntwo,p2,train,0,b.nii.gz,\nthree,p3,test,,gone.nii.gz,\n"
    )
    (tmp_path / "cohort.yaml").write_text(
        "name: balls\nmodality: MR\nchannels: [T1]\nlabels: {ball: 1}\ntable: cohort.csv\n"
        "root: .\nlicence: CC0-1.0\nsource: made here\ncitation: none\n"
    )
    ended = segment(
        model_folder,
        tmp_path / "cohort.yaml",
        "--split",
        "test",
        "--root",
        scans,
        "--output",
        tmp_path / "out",
    )
    assert ended.exit_code == 1
    found = rows(tmp_path / "out")
    assert found["one"]["status"] == "done"
    assert found["three"]["status"] == "refused"
    assert "no such file: gone.nii.gz" in found["three"]["reason"]
    assert "two" not in found


def test_an_edited_table_of_scans_says_which_are_segmented(
    model_folder, by_threshold, scans, tmp_path
):
    convert = ["convert", str(scans), "--dry-run", "--output", str(tmp_path / "look")]
    assert CliRunner().invoke(app, convert).exit_code == 0
    table = tmp_path / "look" / "scans.csv"
    lines = table.read_text().splitlines()
    table.write_text("\n".join(line for line in lines if not line.startswith("b,")) + "\n")
    assert segment(model_folder, table, "--output", tmp_path / "out").exit_code == 0
    found = rows(tmp_path / "out")
    assert {case for case, row in found.items() if row["status"] == "done"} == {"a", "c"}


def test_equal_names_in_two_folders_are_told_apart(model_folder, by_threshold, scans, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    shutil.copy(scans / "b.nii.gz", other / "a.nii.gz")
    out = tmp_path / "out"
    assert segment(model_folder, scans, other, scans, "--output", out).exit_code == 0
    assert set(rows(out)) == {"a", "a_2", "b", "c"}
    assert len(list(out.glob("*.nii.gz"))) == 4


@contextmanager
def largest_file(size_bytes):
    """No file of this process may grow beyond a size; the system says EFBIG."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def leftovers(out):
    return [path.name for path in out.rglob(".*") if path.name != RECORD]


def test_a_mask_too_large_for_its_disk_fails_alone_and_can_be_tried_again(
    scans, model_folder, by_threshold, tmp_path
):
    noise = np.random.default_rng(0).integers(0, 2, (128, 128, 160)) * stub.BALL_VALUE
    geometry = Geometry(noise.shape, np.eye(4))
    write_volume(Volume(noise.astype(np.int16)[None], geometry), scans / "noise.nii.gz")
    out = tmp_path / "out"
    with largest_file(300_000):
        ended = segment(model_folder, scans, "--output", out)
    assert ended.exit_code == 1
    assert "Traceback" not in ended.output
    found = rows(out)
    assert found["noise"]["status"] == "failed"
    assert "File too large" in found["noise"]["reason"]
    assert [row["status"] for row in found.values()].count("done") == 3
    assert not (out / "noise.nii.gz").exists()
    assert not leftovers(out)
    assert segment(model_folder, scans, "--output", out, "--retry-failed").exit_code == 0
    assert rows(out)["noise"]["status"] == "done"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
def test_a_full_disk_stops_with_a_line_and_the_same_command_goes_on(
    scans, model_folder, by_threshold, tmp_path, monkeypatch
):
    @contextmanager
    def on_a_full_disk(path):
        with atomic_file(path), Path("/dev/full").open("wb", buffering=0) as full:
            yield full

    out = tmp_path / "out"
    with monkeypatch.context() as disk:
        disk.setattr(nifti_writer, "atomic_file", on_a_full_disk)
        ended = segment(model_folder, scans, "--output", out)
    assert ended.exit_code == 1
    said = ended.stderr.splitlines()[-1]
    assert "No space left" in said
    assert "run the same command again" in said
    assert "Traceback" not in ended.output
    assert not list(out.glob("*.nii.gz"))
    assert not leftovers(out)
    assert "done" not in {row["status"] for row in rows(out).values()}
    assert segment(model_folder, scans, "--output", out).exit_code == 0
    assert {row["status"] for row in rows(out).values()} == {"done"}


def test_probabilities_lie_beside_the_masks_and_belong_to_the_recipe(scans, model_folder, tmp_path):
    out = tmp_path / "out"
    ended = segment(model_folder, scans / "a.nii.gz", "--output", out, "--probabilities")
    assert ended.exit_code == 0, ended.output
    share = read(out / "probabilities" / "a_prob_ball.nii.gz")
    assert share.geometry.same_grid(read(scans / "a.nii.gz").geometry)
    values = share.values()[0]
    assert 0 <= values.min() < values.max() <= 1
    mask = read_labels(out / "a.nii.gz").data
    assert ((values > 0.5) == (mask == 1)).mean() > 0.99
    assert not leftovers(out)
    assert segment(model_folder, scans / "a.nii.gz", "--output", out).exit_code == 2


def test_a_locator_is_part_of_the_recipe(scans, model_folder, tmp_path):
    out = tmp_path / "out"
    call = (model_folder, scans / "a.nii.gz", "--output", out, f"locator={model_folder}")
    assert segment(*call, "margin_mm=3").exit_code == 0
    recipe = yaml.safe_load((out / "run.yaml").read_text())["options"]
    assert recipe["locator"] == load_model(model_folder).checksum
    assert segment(*call, "margin_mm=4").exit_code == 2
    ended = segment(model_folder, scans, "--output", tmp_path / "b", f"locator={scans}")
    assert ended.exit_code == 1
    assert "not a model folder" in ended.stderr


def test_nothing_usable_is_exit_code_1(model_folder, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "notes.txt").write_text("nothing")
    ended = segment(model_folder, tmp_path / "empty", "--output", tmp_path / "out")
    assert ended.exit_code == 1
    assert "nothing usable" in ended.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nothing-here"], "no model given"),
        (["MODEL"], "nothing to segment"),
        (["MODEL", "SCANS", "tta=all"], "tta: Input should be 'model' or 'none'"),
        (["MODEL", "SCANS", "engine=steam"], "engine: "),
        (["MODEL", "SCANS", "tat=none"], "unknown key 'tat'"),
        (["MODEL", "SCANS", "margin_mm=-1"], "margin_mm: "),
        (["MODEL", "SCANS", "device_memory=8"], "Did you mean 8GB?"),
        (["MODEL", "SCANS", "--memory", "lots"], "not a size"),
        (["MODEL", "SCANS", "--device", "tpu"], "no such device"),
    ],
)
def test_a_wrong_call_is_one_line_and_exit_code_2(arguments, said, model_folder, scans, tmp_path):
    places = {"MODEL": str(model_folder), "SCANS": str(scans)}
    call = [places.get(word, word) for word in arguments]
    ended = segment(*call, "--output", tmp_path / "out")
    assert ended.exit_code == 2
    assert said in ended.stderr
    assert len(ended.stderr.splitlines()) == 1


def test_a_missing_scan_is_one_line_and_exit_code_1(model_folder, tmp_path):
    ended = segment(model_folder, tmp_path / "gone.nii", "--output", tmp_path / "out")
    assert ended.exit_code == 1
    assert len(ended.stderr.splitlines()) == 1


def test_models_scans_and_settings_are_split(model_folder, scans, tmp_path):
    words = [model_folder, scans, Path("tta=none")]
    assert split_words(words) == ([model_folder], [scans], ["tta=none"])
    with pytest.raises(BadConfig):
        split_words([scans])
    scan = tmp_path / "run=3.nii.gz"
    assert split_words([model_folder, scan]) == ([model_folder], [scan], [])


def test_a_file_named_like_a_setting_is_a_scan(model_folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    scan = Path("tta=none.nii.gz")
    scan.write_bytes(b"")
    assert split_words([model_folder, scan]) == ([model_folder], [scan], [])


def test_sizes_are_read_as_people_write_them():
    assert size_bytes("4GB") == size_bytes("4 gb") == size_bytes("4e9") == 4_000_000_000
    assert size_bytes("500M") == 500_000_000
    assert size_bytes("4 GiB") == size_bytes("4096MiB") == 4 << 30
    assert size_bytes(None) is None


def test_status_tells_how_the_batch_stands(scans, model_folder, by_threshold, tmp_path):
    (scans / "text.nii.gz").write_text("no scan at all")
    segment(model_folder, scans, "--output", tmp_path / "out")
    ended = CliRunner().invoke(app, ["status", str(tmp_path / "out"), "--json"])
    assert ended.exit_code == 1
    events = [json.loads(line) for line in ended.stdout.splitlines()]
    assert events[0]["done"] == 3
    assert events[0]["refused"] == 1
    assert events[-1]["case"] == "text"
    nowhere = CliRunner().invoke(app, ["status", str(tmp_path)])
    assert nowhere.exit_code == 1
    assert "no batch was run" in nowhere.stderr


def test_no_leftovers(scans, model_folder, by_threshold, tmp_path):
    segment(model_folder, scans, "--output", tmp_path / "out")
    names = {path.name for path in (tmp_path / "out").iterdir()}
    masks = {f"{case}.nii.gz" for case in "abc"}
    assert names == masks | {
        RECORD,
        "cases.csv",
        "label_tables",
        "labels.yaml",
        "ledger.sqlite",
        "logs",
        "pictures",
        "report.html",
        "run.yaml",
    }
    assert Path(tmp_path / "out" / "pictures" / "a.jpg").stat().st_size > 500


@pytest.mark.slow
def test_an_archive_with_every_kind_of_bad_scan(model_folder, by_threshold, tmp_path, shared_data):
    """The truth suite and hippocampus scans in one call: good ones done, bad ones told."""
    suite = shared_data / "scans"
    cases = json.loads((suite / "truth.json").read_text())["cases"]
    places = [suite / case["path"] for case in cases]
    images = sorted((shared_data / "hippocampus" / "images").glob("*.nii.gz"))[:20]
    out = tmp_path / "out"
    ended = segment(model_folder, *dict.fromkeys(places), *images, "--output", out)
    assert ended.exit_code == 1, ended.output
    assert "Traceback" not in ended.output
    found = rows(out)
    assert {row["status"] for row in found.values()} <= {"done", "skipped", "refused"}
    assert all(row["reason"] for row in found.values() if row["status"] != "done")
    masks = {path.name.removesuffix(".nii.gz") for path in out.glob("*.nii.gz")}
    assert masks == {case for case, row in found.items() if row["status"] == "done"}
    assert {image.name.removesuffix(".nii.gz") for image in images} <= masks
    expected = [case["expect"] for case in cases]
    assert len(masks) >= len(images) + expected.count("ok")
    bad = [row for row in found.values() if row["status"] != "done"]
    assert len(bad) >= expected.count("error") + expected.count("skip")
    assert str(tmp_path) not in (out / "cases.csv").read_text()
    assert str(shared_data) not in (out / "cases.csv").read_text()


def test_neither_a_scan_nor_the_truth_of_its_row_gives_way_to_a_mask(
    model_folder, by_threshold, tmp_path
):
    for place in ("DOE, JOHN", "labels"):
        (tmp_path / place).mkdir()
        write_volume(stub.scan(0), tmp_path / place / "a.nii.gz")
    card = {"name": "c", "channels": ["T1"], "labels": {"ball": 1}, "table": "c.csv"}
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(card))
    row = 'a,a,test,"DOE, JOHN/a.nii.gz",labels/a.nii.gz'
    (tmp_path / "c.csv").write_text(f"case,patient,split,image,label\n{row}\n")
    for argument, output in [("DOE, JOHN", "DOE, JOHN"), ("c.yaml", "DOE, JOHN")]:
        before = (tmp_path / output / "a.nii.gz").read_bytes()
        words = (model_folder, tmp_path / argument, "--output", tmp_path / output, "--overwrite")
        assert segment(*words).exit_code == 1
        assert (tmp_path / output / "a.nii.gz").read_bytes() == before
    before = (tmp_path / "labels/a.nii.gz").read_bytes()
    words = (model_folder, tmp_path / "c.yaml", "--output", tmp_path / "labels", "--overwrite")
    assert segment(*words).exit_code == 1
    assert (tmp_path / "labels/a.nii.gz").read_bytes() == before


def test_a_comma_in_a_folder_lets_no_part_of_its_name_into_the_table(
    model_folder, by_threshold, tmp_path
):
    folder = tmp_path / "DOE, JOHN"
    folder.mkdir()
    write_volume(stub.scan(0), folder / "a.nii.gz")
    whole = (folder / "a.nii.gz").read_bytes()
    (folder / "a.nii.gz").write_bytes(whole[: len(whole) // 2])
    segment(model_folder, folder, "--output", tmp_path / "masks")
    for name in ("cases.csv", "report.html"):
        assert "JOHN" not in (tmp_path / "masks" / name).read_text()


def test_other_content_under_the_same_name_size_and_time_is_segmented(
    model_folder, by_threshold, tmp_path
):
    path = tmp_path / "scans/a.nii"
    volumes = []
    for seed in (0, 2):
        write_volume(stub.scan(seed), tmp_path / f"{seed}.nii.gz")
        nibabel.load(tmp_path / f"{seed}.nii.gz").to_filename(tmp_path / f"{seed}.nii")
        path.parent.mkdir(exist_ok=True)
        shutil.copy(tmp_path / f"{seed}.nii", path)
        os.utime(path, (1e9, 1e9))
        assert segment(model_folder, path.parent, "--output", tmp_path / "m").exit_code == 0
        volumes.append(int(read_labels(tmp_path / "m/a.nii.gz").data.sum()))
    assert volumes[0] < volumes[1]


def test_masks_of_another_batch_below_the_scans_are_no_scans(model_folder, by_threshold, tmp_path):
    scan = tmp_path / "scans/one/a.nii.gz"
    write_volume(stub.scan(0), scan)
    assert segment(model_folder, scan, "--output", scan.parent).exit_code == 1  # an input
    for batch in ("first", "second"):
        output = tmp_path / "scans" / batch
        assert segment(model_folder, tmp_path / "scans", "--output", output).exit_code == 0
        assert [path.name for path in output.glob("*.nii.gz")] == ["a.nii.gz"]
