"""Reading the first scan early changes nothing but when it is read."""

from contextlib import suppress

import pytest

from medseg.batch import Job, Listener, State, open_ledger, run_batch
from medseg.batch.ahead import ReadAhead
from medseg.batch.process import ProcessExecutor
from medseg.batch.resume import plan_run
from medseg.cli.early import started_early
from medseg.errors import BadScan
from tests.batch import stub


@pytest.fixture
def archive(tmp_path):
    return stub.Archive(tmp_path / "in")


@pytest.fixture
def out(tmp_path):
    folder = tmp_path / "out"
    folder.mkdir()
    return folder


def run(archive, out, early=None):
    ledger = open_ledger(out)
    plan = plan_run(archive.tasks, ledger, out)
    job = Job(stub.Threshold(), out)
    with ProcessExecutor(job, early=early, ahead=plan.tasks[0]) as executor:
        run_batch(plan.tasks, executor, ledger, Listener())
    states = {entry.case: entry.state for entry in ledger.entries()}
    ledger.close()
    return states


def test_a_scan_that_was_read_ahead_is_taken_by_its_own_case_alone(archive):
    for case in "ab":
        archive.add(case)
    first, second = archive.tasks
    ahead = ReadAhead(first)
    assert ahead.instead(second) is second
    volume = ahead.instead(first).scan.read()
    assert (volume.data == first.scan.read().data).all()
    again = ahead.read()  # it is not kept: a case that is tried again reads again
    assert again is not volume
    assert (again.data == volume.data).all()


def test_what_reading_ahead_raises_is_raised_where_the_case_is_judged(archive):
    archive.add("a", "refuse")
    ahead = ReadAhead(archive.tasks[0])
    with pytest.raises(BadScan):
        ahead.read()


def test_a_first_scan_that_is_refused_or_ends_its_worker_costs_itself_alone(archive, out):
    for case, deed in [("a", "die"), ("b", "refuse"), ("c", "")]:
        archive.add(case, deed)
    assert run(archive, out) == {"a": State.FAILED, "b": State.REFUSED, "c": State.DONE}


def test_a_worker_that_was_started_early_does_the_batch(archive, out):
    for case in "abc":
        archive.add(case)
    with started_early("cpu") as early:
        assert set(run(archive, out, early).values()) == {State.DONE}
        assert not early[0].is_alive()


def test_a_worker_that_ended_before_its_work_came_is_replaced(archive, out):
    archive.add("a")
    with started_early("cpu") as early:
        early[0].kill()
        early[0].join()
        assert run(archive, out, early) == {"a": State.DONE}


def test_a_worker_without_work_ends_with_its_block():
    with suppress(KeyError), started_early("cpu") as early:
        process = early[0]
        assert process.is_alive()
        raise KeyError
    assert not process.is_alive()
