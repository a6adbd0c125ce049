"""Every case of a batch is settled exactly once, whatever its neighbours do."""

import os
import sqlite3
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from medseg.batch import Job, Ledger, Listener, Recipe, State, Unusable, open_ledger, run_batch
from medseg.batch.executors import Patience
from medseg.batch.inline import InlineExecutor
from medseg.batch.process import ProcessExecutor
from medseg.batch.resume import Check, plan_run, sweep
from medseg.batch.task import Written
from medseg.errors import BadConfig, BadModel, BadOutput
from medseg.readers.nifti import volume as nifti
from tests.batch import stub


@pytest.fixture
def archive(tmp_path):
    return stub.Archive(tmp_path / "in")


@pytest.fixture
def out(tmp_path):
    folder = tmp_path / "out"
    folder.mkdir()
    return folder


def run(
    found, out, *, executor=InlineExecutor, segmenter=None, check=Check.QUICK, retry=(), **options
):
    """One run of a batch into `out`; returns (what there was to do, notices, states)."""
    ledger = open_ledger(out)
    sweep(out)
    plan = plan_run(found, ledger, out, check=check, retry=frozenset(retry))
    notices = []
    if plan.tasks:
        with executor(Job(segmenter or stub.Threshold(), out), **options) as engine:
            run_batch(plan.tasks, engine, ledger, Listener(notice=notices.append))
    states = {entry.case: entry.state for entry in ledger.entries()}
    ledger.close()
    return plan, notices, states


class Slow(InlineExecutor):
    """One case after the other, so that their order is known."""

    capacity = 1


def entry(out, case):
    ledger = open_ledger(out)
    found = ledger.entry(case)
    ledger.close()
    return found


def test_a_bad_case_gets_its_reason_and_the_rest_is_done(archive, out):
    for case, deed in [("a", ""), ("b", "refuse"), ("c", "bug"), ("d", "skip"), ("e", "")]:
        archive.add(case, deed)
    _, notices, states = run(archive.tasks, out)
    assert states == {"a": "done", "b": "refused", "c": "failed", "d": "skipped", "e": "done"}
    assert entry(out, "b").reason == "a slice is missing; found 9 of 10"
    assert entry(out, "c").reason == "ZeroDivisionError: in c.nii.gz"  # no whole path
    assert sorted(path.name for path in out.glob("*.nii.gz")) == ["a.nii.gz", "e.nii.gz"]
    assert "Traceback" in (out / "logs" / "c.log").read_text()
    assert any("one process" in notice for notice in notices)


def test_the_mask_and_its_volume_are_those_of_the_scan(archive, out):
    archive.add("a")
    run(archive.tasks, out)
    expected = stub.scan(0).values()[0] >= stub.BALL_VALUE / 2
    assert np.array_equal(nifti.read(out / "a.nii.gz").data[0], expected)
    assert entry(out, "a").volumes_ml == {"ball": pytest.approx(expected.sum() * 2 / 1000)}
    assert entry(out, "a").written == Written.of(out / "a.nii.gz")


def test_memory_is_told_where_it_is_more_than_before(archive, out):
    for case, size in [("a", 12), ("b", 10), ("c", 12), ("d", 16)]:
        archive.add(case, size=size)
    ledger = open_ledger(out)
    plan = plan_run(archive.tasks, ledger, out)
    foreseen = []
    with Slow(Job(stub.Threshold(), out)) as executor:
        run_batch(plan.tasks, executor, ledger, Listener(foreseen=foreseen.append))
    ledger.close()
    cases = [each.case for each in foreseen]
    assert cases[-1] == "d"
    assert len({"a", "c"} & set(cases)) == 1  # of one size: whichever comes first
    told = [each.host_bytes for each in foreseen]
    assert told == sorted(set(told)) and told[-1] == 2 * 16**3


def test_a_second_run_has_nothing_to_do(archive, out):
    archive.add("a")
    archive.add("b", "refuse")
    run(archive.tasks, out)
    plan, _, states = run(archive.tasks, out)
    assert plan.tasks == ()
    assert states == {"a": State.DONE, "b": State.REFUSED}


def test_failed_cases_are_tried_again_only_when_asked(archive, out, tmp_path):
    archive.add("a", "bug", once=tmp_path / "happened")
    run(archive.tasks, out)
    assert run(archive.tasks, out)[2] == {"a": State.FAILED}
    assert run(archive.tasks, out, retry=[State.FAILED])[2] == {"a": State.DONE}
    assert entry(out, "a").attempts == 2


def test_a_mask_that_is_gone_or_damaged_is_made_again(archive, out):
    for case in "abc":
        archive.add(case)
    run(archive.tasks, out)
    whole = (out / "a.nii.gz").read_bytes()
    (out / "a.nii.gz").write_bytes(whole[: len(whole) // 2])
    (out / "b.nii.gz").unlink()
    plan, _, _ = run(archive.tasks, out)
    assert {task.case for task in plan.tasks} == {"a", "b"}
    assert (out / "a.nii.gz").read_bytes() == whole


def test_silent_damage_is_found_by_verifying(archive, out):
    archive.add("a")
    run(archive.tasks, out)
    path = out / "a.nii.gz"
    content, stamp = bytearray(path.read_bytes()), path.stat()
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)
    os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    assert run(archive.tasks, out)[0].tasks == ()
    assert len(run(archive.tasks, out, check=Check.CHECKSUM)[0].tasks) == 1


def test_an_edited_mask_is_left_as_it_is_and_said_so(archive, out):
    archive.add("a")
    archive.add("b")
    run(archive.tasks, out)
    edited = (out / "b.nii.gz").read_bytes()  # whole, but not what was written for a
    (out / "a.nii.gz").write_bytes(edited)
    plan, _, _ = run(archive.tasks, out)
    assert plan.tasks == ()
    assert "edited" in plan.remarks[0]
    assert (out / "a.nii.gz").read_bytes() == edited


def test_a_copied_folder_is_taken_as_it_is(archive, out):
    archive.add("a")
    run(archive.tasks, out)
    os.utime(out / "a.nii.gz")
    plan, _, _ = run(archive.tasks, out)
    assert (plan.tasks, plan.remarks) == ((), ())


def test_a_changed_input_is_done_again(archive, out):
    archive.add("a")
    run(archive.tasks, out)
    before = Written.of(out / "a.nii.gz").sha256
    stub.write_volume(stub.scan(1), archive.root / "a.nii.gz")
    plan, _, states = run([stub.task_of(archive.root, "a")], out)
    assert "changed" in plan.remarks[0]
    assert states == {"a": State.DONE}
    assert Written.of(out / "a.nii.gz").sha256 != before


def test_another_scan_of_the_same_name_is_not_mixed_in(archive, out, tmp_path):
    archive.add("a")
    run(archive.tasks, out)
    other = stub.Archive(tmp_path / "other")
    other.add("b")
    other.add("a")
    before = (out / "a.nii.gz").read_bytes()
    plan, _, _ = run([other.tasks[1]], out)
    assert plan.tasks == ()
    assert "another scan named a" in plan.remarks[0]
    assert (out / "a.nii.gz").read_bytes() == before


def test_another_model_or_option_is_refused_in_the_same_folder(archive, out):
    archive.add("a")
    run(archive.tasks, out)
    ledger = open_ledger(out)
    first = Recipe(("m1",), {"tta": "none"})
    ledger.adopt(first)
    ledger.adopt(first)
    with pytest.raises(BadConfig, match=r"tta 'none', now 'mirror'.*--redo"):
        ledger.adopt(Recipe(("m1",), {"tta": "mirror"}))
    with pytest.raises(BadConfig, match="another model"):
        ledger.adopt(Recipe(("m2",), {"tta": "none"}))
    ledger.rebind(Recipe(("m2",), {"tta": "none"}))
    assert ledger.count()[State.PENDING] == 1
    ledger.close()


def test_what_was_running_when_a_run_was_killed_is_done_last(archive, out):
    for case in "abc":
        archive.add(case)
    ledger = open_ledger(out)
    plan_run(archive.tasks, ledger, out)
    ledger.start("a")
    plan = plan_run(archive.tasks, ledger, out)
    assert [task.case for task in plan.tasks] == ["b", "c", "a"]
    ledger.close()


def test_leftovers_of_a_killed_run_are_swept(out):
    for place in ("", "pictures/slices", "registration", "per_label/a", "sub-1/ses-2/anat"):
        (out / place).mkdir(parents=True, exist_ok=True)
        (out / place / ".part-0123456789abcdef.nii.gz").touch()
    (out / "a.nii.gz").touch()
    sweep(out)
    assert [path.name for path in out.rglob("*") if path.is_file()] == ["a.nii.gz"]


def test_unusable_finds_have_their_row(out):
    find = Unusable("x", "x.dcm", "/in/x.dcm", "1", State.SKIPPED, "a report")
    assert run([find], out)[2] == {"x": State.SKIPPED}


def test_a_full_disk_stops_the_batch_and_blames_no_case(archive, out, monkeypatch):
    for case in "abcd":
        archive.add(case)
    real = os.fsync
    calls = iter(range(100))

    def full(descriptor):
        name = str(Path(f"/proc/self/fd/{descriptor}").readlink())
        if ("part-" in name or "(deleted)" in name) and next(calls) >= 1:
            raise OSError(28, "No space left on device")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(BadOutput, match="No space left"):
        run(archive.tasks, out)
    monkeypatch.undo()
    ledger = open_ledger(out)
    states = [entry.state for entry in ledger.entries()]
    ledger.close()
    assert State.FAILED not in states
    assert set(run(archive.tasks, out)[2].values()) == {State.DONE}
    assert not list(out.glob(".part-*"))


def test_a_name_that_the_file_system_refuses_costs_only_its_case(archive, out):
    archive.add("a")
    archive.tasks.append(replace(archive.add("b"), case="b" * 300))
    del archive.tasks[1]
    states = run(archive.tasks, out)[2]
    assert states == {"a": State.DONE, "b" * 300: State.FAILED}


def test_a_read_only_ledger_is_one_clear_refusal(out, monkeypatch):
    ledger = open_ledger(out)
    ledger._file._database.execute("PRAGMA query_only = ON")
    with pytest.raises(BadOutput, match="ledger cannot be read or written"):
        ledger.wait("a")
    ledger.close()


def test_the_first_interrupt_finishes_what_is_under_way(archive, out):
    for case in "abcdefgh":
        archive.add(case)
    ledger = open_ledger(out)
    plan = plan_run(archive.tasks, ledger, out)
    interrupted = threading.Event()

    def interrupt(done, total=None, **facts):
        if not interrupted.is_set():
            interrupted.set()
            os.kill(os.getpid(), 2)

    with InlineExecutor(Job(stub.Threshold(0.02), out)) as engine:
        summary = run_batch(plan.tasks, engine, ledger, Listener(progress=interrupt))
    counts = ledger.count()
    ledger.close()
    assert summary.interrupted
    assert counts[State.RUNNING] == 0
    assert 0 < counts[State.DONE] < 8
    assert len(list(out.glob("*.nii.gz"))) == counts[State.DONE]
    assert set(run(archive.tasks, out)[2].values()) == {State.DONE}


def test_a_worker_that_dies_costs_only_its_case(archive, out):
    for case, deed in [("a", ""), ("b", "die"), ("c", ""), ("d", ""), ("e", "")]:
        archive.add(case, deed)
    _, notices, states = run(archive.tasks, out, executor=ProcessExecutor)
    assert states == {"a": "done", "b": "failed", "c": "done", "d": "done", "e": "done"}
    assert "signal 9" in entry(out, "b").reason
    assert any("b (read)" in notice for notice in notices)


def test_a_case_whose_worker_was_killed_once_from_outside_is_still_done(archive, out, tmp_path):
    archive.add("a", "die", once=tmp_path / "happened")
    archive.add("b")
    states = run(archive.tasks, out, executor=ProcessExecutor)[2]
    assert states == {"a": State.DONE, "b": State.DONE}


def test_a_case_that_hangs_is_ended_and_named(archive, out):
    archive.add("a", "hang")
    archive.add("b")
    patience = Patience(read_s=1.0, read_s_per_mb=0.0)
    _, _, states = run(archive.tasks, out, executor=ProcessExecutor, patience=patience)
    assert states == {"a": State.FAILED, "b": State.DONE}
    assert entry(out, "a").reason.startswith("took longer than 1 s in stage read")


def test_a_model_that_cannot_be_loaded_ends_the_batch_before_its_first_case(archive, out):
    archive.add("a")
    for executor in (InlineExecutor, ProcessExecutor):
        with pytest.raises(BadModel, match="weights"):
            run(archive.tasks, out, executor=executor, segmenter=stub.Threshold(loads=False))
    assert entry(out, "a").attempts == 0


def test_the_ledger_survives_a_crash_in_the_middle_of_a_change(out):
    ledger = open_ledger(out)
    ledger.remember("key", 1)
    ledger._file._database.execute("BEGIN")
    ledger._file._database.execute("DELETE FROM facts")
    ledger._file._database.close()  # as a crash would
    again = open_ledger(out)
    assert again.recall("key") == 1
    assert again._file._database.execute("PRAGMA journal_mode").fetchone()[0] == "delete"
    assert again._file._database.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
    again.close()


def test_a_file_that_is_no_ledger_is_refused(out):
    (out / "ledger.sqlite").write_text("something else entirely, and long enough to be read")
    with pytest.raises(BadOutput, match="ledger"):
        open_ledger(out)
    assert sqlite3.sqlite_version
    assert Ledger
