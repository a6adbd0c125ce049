"""A batch ends right although its process is killed again and again, at any instant."""

import os
import random
import signal
import subprocess
import sys
import time

import pytest

from medseg.batch import State, look, open_ledger
from medseg.batch.task import Written
from medseg.errors import BadOutput
from medseg.readers.labels import read_labels
from tests.batch import stub


@pytest.fixture(autouse=True)
def own_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("MEDSEG_CACHE", str(tmp_path / "cache"))


def start(out, scans, repository, seconds):
    call = [sys.executable, "-m", "tests.batch.run_archive", str(out), str(seconds)]
    return subprocess.Popen(
        [*call, *map(str, scans)],
        cwd=repository,
        stdout=subprocess.DEVNULL,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )


def run_and_kill(out, scans, repository, *, kills, seconds):
    """Kill `kills` runs at random moments once they have begun, then let one end; lives taken."""
    chance = random.Random(kills)
    taken = 0
    while taken < kills:
        process = start(out, scans, repository, seconds)
        while not (out / "ledger.lock").exists() and process.poll() is None:
            time.sleep(0.01)
        time.sleep(chance.uniform(0.0, 2.5))
        if process.poll() is not None:
            break
        process.send_signal(signal.SIGKILL)
        process.wait()
        taken += 1
    assert start(out, scans, repository, 0.0).wait() == 0
    return taken


def ledger_of(out):
    ledger = open_ledger(out)
    assert ledger._file._database.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
    entries = {entry.case: entry for entry in ledger.entries()}
    ledger.close()
    return entries


def check(out, undisturbed):
    entries, expected = ledger_of(out), ledger_of(undisturbed)
    assert {c: (e.state, e.reason) for c, e in entries.items()} == {
        c: (e.state, e.reason) for c, e in expected.items()
    }
    done = [entry for entry in entries.values() if entry.state is State.DONE]
    for entry in done:
        path = out / entry.written.name
        assert Written.of(path) == entry.written
        assert entry.written.sha256 == expected[entry.case].written.sha256
        read_labels(path)
    masks = sorted(path.name for path in out.glob("*.nii.gz"))
    assert masks == sorted(entry.written.name for entry in done)
    assert not list(out.rglob(".part-*"))
    assert not (out / "ledger.lock").exists()
    rows = (out / "cases.csv").read_text().splitlines()
    assert len(rows) == 1 + len(entries)
    return entries


@pytest.mark.slow
def test_a_batch_killed_three_times_ends_as_an_undisturbed_one(tmp_path, repository):
    archive = stub.Archive(tmp_path / "in")
    for number in range(16):
        archive.add(f"case{number:02}")
    scans = [archive.root]
    assert start(tmp_path / "calm", scans, repository, 0.0).wait() == 0
    taken = run_and_kill(tmp_path / "out", scans, repository, kills=3, seconds=0.4)
    entries = check(tmp_path / "out", tmp_path / "calm")
    assert taken == 3
    assert len(entries) == 16


def test_two_interrupts_leave_at_once_and_the_next_run_goes_on(tmp_path, repository):
    archive = stub.Archive(tmp_path / "in")
    for number in range(6):
        archive.add(f"case{number}")
    out = tmp_path / "out"
    process = start(out, [archive.root], repository, 3000.0)
    deadline = time.monotonic() + 600
    while not states_of(out).get(State.RUNNING) and time.monotonic() < deadline:
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    time.sleep(0.5)
    assert process.poll() is None  # cases under way may finish
    process.send_signal(signal.SIGINT)
    process.wait(timeout=300)
    states = states_of(out)
    assert states[State.PENDING] == 6
    assert not (out / "ledger.lock").exists()
    assert start(out, [archive.root], repository, 0.0).wait() == 0
    assert states_of(out)[State.DONE] == 6


def states_of(out):
    try:
        ledger = look(out)
        counts = ledger.count()
    except BadOutput:
        return {}  # not made yet
    ledger.close()
    return counts


@pytest.mark.slow
def test_a_batch_over_real_scans_killed_fifty_times(tmp_path, repository, shared_data):
    scans = [shared_data / "scans" / name for name in ("series", "nifti", "other", "seg")]
    some = sorted((shared_data / "hippocampus" / "images").glob("*.nii.gz"))[:40]
    scans += some
    assert start(tmp_path / "calm", scans, repository, 0.0).wait() == 0
    taken = run_and_kill(tmp_path / "out", scans, repository, kills=50, seconds=0.6)
    entries = check(tmp_path / "out", tmp_path / "calm")
    states = [entry.state for entry in entries.values()]
    told = ", ".join(f"{states.count(state)} {state}" for state in State if state in states)
    sys.stdout.write(f"\n{taken} kills; {len(states)} cases: {told}\n")
    assert taken >= 50
