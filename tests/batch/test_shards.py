"""Shards of a job array share a folder: no case twice, none lost, and a missing shard is named."""

import csv
import os
import signal
import subprocess
import sys
import time
from contextlib import closing

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from medseg.batch.ledger import open_ledger
from medseg.batch.shards import FOLDER, Shard, keep_shares, outdated
from medseg.batch.status import stand
from medseg.cli.app import app
from medseg.errors import BadConfig
from medseg.writers import write_volume
from tests.batch import stub

TOTAL = 3


@pytest.fixture(autouse=True)
def own_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("MEDSEG_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def batch(tmp_path):
    """A model and ten scans; the call that segments them into a folder."""
    model = stub.small_model(tmp_path / "model")
    scans = tmp_path / "scans"
    scans.mkdir()
    for number in range(10):
        write_volume(stub.scan(number), scans / f"liver{number}.nii.gz")
    out = tmp_path / "masks"
    return ["segment", str(model), str(scans), "--output", str(out), "--device", "cpu"], out


def start(call, *more):
    command = [sys.executable, "-c", "from medseg.cli import main; main()", *call, *more]
    return subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )


def run(*arguments):
    return CliRunner().invoke(app, list(map(str, arguments)))


def statuses(out):
    with (out / "cases.csv").open(newline="") as lines:
        return {row["case"]: row["status"] for row in csv.DictReader(lines)}


@given(st.lists(st.text(min_size=1), unique=True), st.integers(1, 20))
def test_every_case_is_in_one_shard_whatever_else_there_is(cases, total):
    shards = [Shard(number, total) for number in range(1, total + 1)]
    assert all([shard.has(case) for shard in shards].count(True) == 1 for case in cases)


def test_a_shard_that_ran_before_the_archive_changed_is_named(tmp_path):
    def begin(number, cases):
        home = Shard(number, TOTAL).home(tmp_path)
        home.mkdir(parents=True, exist_ok=True)
        with closing(open_ledger(home)) as ledger:
            keep_shares(ledger, cases, TOTAL)

    cases = [f"liver{n}" for n in range(10)]
    for number in (1, 2, 3):
        begin(number, cases)
    assert outdated(tmp_path) == set() and stand(tmp_path).unfinished == []
    newcomer = next(f"new{n}" for n in range(99) if Shard(1, TOTAL).has(f"new{n}"))
    begin(2, [*cases, newcomer])
    assert outdated(tmp_path) == {Shard(1, TOTAL)}
    assert stand(tmp_path).unfinished == ["shard 1/3 ran before its cases changed: run it again"]
    begin(1, [newcomer, *cases])
    assert outdated(tmp_path) == set()


@pytest.mark.parametrize("text", ["0/3", "4/3", "3", "a/b", "1/0", "-1/3", "1/3/5", ""])
def test_a_shard_that_cannot_be_is_refused(text):
    with pytest.raises(BadConfig):
        Shard.parse(text)


def test_shards_side_by_side_make_one_batch(batch):
    call, out = batch
    inline = ["--executor", "inline"]  # three processes rather than six
    processes = [start(call, *inline, "--shard", f"{n}/{TOTAL}") for n in (1, 2, 3)]
    errors = [process.communicate(timeout=300)[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0], errors
    assert statuses(out) == {f"liver{n}": "done" for n in range(10)}
    now = stand(out)
    assert (now.counts["done"], now.unfinished) == (10, [])
    assert (out / "report.html").is_file()
    assert len(list(out.glob("*.nii.gz"))) == 10
    assert run("status", out).exit_code == 0
    shares = [stand_of(out, n) for n in (1, 2, 3)]
    assert sum(shares) == 10
    assert all(shares), "a share of ten names is empty: choose others"


def stand_of(out, number):
    from medseg.batch.ledger import look

    ledger = look(Shard(number, TOTAL).home(out))
    try:
        return len(ledger.entries())
    finally:
        ledger.close()


@pytest.mark.slow
def test_a_missing_and_a_killed_shard_are_named_until_they_are_run(batch):
    call, out = batch
    assert run(*call, "--shard", "1/3").exit_code == 0
    process = start(call, "--shard", "2/3")
    while not (Shard(2, TOTAL).home(out) / "ledger.sqlite").exists():
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.01)
    time.sleep(0.3)
    process.send_signal(signal.SIGKILL)
    process.wait()
    result = run("status", out)
    assert result.exit_code == 1
    assert "shard 3/3 has not begun" in result.output
    assert "shard 2/3 ended with" in result.output
    assert run(*call, "--shard", "3/3").exit_code == 0
    assert run(*call, "--shard", "2/3").exit_code == 0
    assert run("status", out).exit_code == 0
    assert statuses(out) == {f"liver{n}": "done" for n in range(10)}


@pytest.mark.slow
def test_one_folder_is_divided_in_one_way(batch):
    call, out = batch
    assert run(*call, "--shard", "1/3").exit_code == 0
    for others in (["--shard", "1/4"], []):
        result = run(*call, *others)
        assert result.exit_code == 2
        assert "shards" in result.stderr
    whole = [*call[:4], str(out.with_name("whole")), *call[5:]]
    assert run(*whole).exit_code == 0
    assert run(*whole, "--shard", "1/3").exit_code == 2


def test_a_shard_without_a_case_is_done(batch, tmp_path):
    call, out = batch
    result = run(*call[:2], tmp_path / "scans" / "liver0.nii.gz", *call[3:], "--shard", "1/1000")
    assert result.exit_code == 0
    assert (out / FOLDER / "1-of-1000").is_dir()


@pytest.mark.slow
def test_names_stay_as_an_archive_grows_between_the_shards(batch, tmp_path):
    call, out = batch
    scans = tmp_path / "scans"
    assert run(*call, "--shard", "1/3").exit_code == 0
    (scans / "a").mkdir()
    for number in range(10):  # newcomers of the same names, found before the first ones
        write_volume(stub.scan(number + 20), scans / "a" / f"liver{number}.nii.gz")
    for number in (2, 3, 1):
        assert run(*call, "--shard", f"{number}/3").exit_code == 0
        assert run("status", out).exit_code == (number != 1)  # the first one ran too early
    with (out / "cases.csv").open(newline="") as lines:
        sources = {row["case"]: row["source"] for row in csv.DictReader(lines)}
    assert len(sources) == 20
    assert {sources[f"liver{n}"] for n in range(10)} == {f"liver{n}.nii.gz" for n in range(10)}
