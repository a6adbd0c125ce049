"""A batch on a Dask cluster loses nothing and does nothing twice when a worker dies."""

import os

import pytest

from medseg.batch import Job, Listener, State, open_ledger, run_batch
from medseg.batch.cluster import ClusterExecutor
from medseg.batch.executors import Patience
from medseg.batch.resume import plan_run, sweep
from medseg.errors import BadConfig, BadModel
from tests.batch import stub

distributed = pytest.importorskip("distributed", reason="Dask is not installed")


@pytest.fixture(scope="module")
def cluster():
    with distributed.LocalCluster(
        n_workers=2,
        threads_per_worker=2,
        processes=True,
        dashboard_address=None,
        silence_logs="ERROR",
    ) as running:
        yield running


def run(archive, out, cluster, segmenter=None, **options):
    out.mkdir(exist_ok=True)
    ledger = open_ledger(out)
    notices = []
    plan = plan_run(archive.tasks, ledger, out)
    job = Job(segmenter or stub.Threshold(), out)
    try:
        with ClusterExecutor(job, cluster, **options) as executor:
            summary = run_batch(plan.tasks, executor, ledger, Listener(notice=notices.append))
        sweep(out)
        return summary, {entry.case: entry for entry in ledger.entries()}, notices
    finally:
        ledger.close()


def test_nothing_is_lost_or_done_twice_when_a_worker_dies_in_mid_case(tmp_path, cluster):
    archive = stub.Archive(tmp_path / "in")
    for number in range(12):
        deed = "die" if number == 3 else "refuse" if number == 5 else ""
        archive.add(f"case{number:02}", deed, tmp_path / "died" if deed == "die" else None)
    summary, entries, _ = run(archive, tmp_path / "out", cluster)
    assert (tmp_path / "died").exists()
    states = [entry.state for entry in entries.values()]
    assert states.count(State.DONE) == 11
    assert entries["case05"].state is State.REFUSED
    assert summary.finished == 12
    assert {entry.attempts for entry in entries.values()} == {1}
    masks = sorted((tmp_path / "out").glob("*.nii.gz"))
    assert [mask.name for mask in masks] == [
        f"case{number:02}.nii.gz" for number in range(12) if number != 5
    ]


@pytest.mark.slow
def test_a_case_that_hangs_is_ended_with_its_worker(tmp_path, cluster):
    archive = stub.Archive(tmp_path / "in")
    for number in range(4):
        archive.add(f"case{number}", "hang" if number == 1 else "")
    patience = Patience(read_s=2.0, read_s_per_mb=0.0)
    _, entries, notices = run(archive, tmp_path / "out", cluster, patience=patience)
    assert entries["case1"].state is State.FAILED
    assert "longer than 2 s in stage read" in entries["case1"].reason
    assert any(notice.startswith("case1") for notice in notices)
    assert [entry.state for entry in entries.values()].count(State.DONE) == 3


def test_a_model_that_no_worker_can_load_is_refused(tmp_path, cluster):
    archive = stub.Archive(tmp_path / "in")
    archive.add("a")
    with pytest.raises(BadModel, match="weights"):
        run(archive, tmp_path / "out", cluster, segmenter=stub.Threshold(loads=False))


def test_an_address_where_nobody_answers_is_a_wrong_call(tmp_path, monkeypatch):
    monkeypatch.setattr("medseg.batch.cluster.CONNECT_S", 1)
    with (
        pytest.raises(BadConfig, match="no Dask scheduler"),
        ClusterExecutor(
            Job(stub.Threshold(), tmp_path), f"tcp://127.0.0.1:{os.getpid() % 1000 + 60000}"
        ),
    ):
        pass


@pytest.mark.slow
def test_a_batch_runs_over_tls(tmp_path):
    pytest.importorskip("cryptography", reason="needed for temporary certificates")
    security = distributed.Security.temporary()
    archive = stub.Archive(tmp_path / "in")
    for number in range(3):
        archive.add(f"case{number}")
    with distributed.LocalCluster(
        n_workers=1,
        threads_per_worker=1,
        processes=False,
        dashboard_address=":0",
        protocol="tls://",
        security=security,
    ) as secure:
        assert secure.scheduler_address.startswith("tls://")
        _, entries, _ = run(archive, tmp_path / "out", secure)
    assert {entry.state for entry in entries.values()} == {State.DONE}
