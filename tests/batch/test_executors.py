"""Every executor of the table runs the same batch to the same end."""

from importlib import import_module

import pytest

from medseg.batch import EXECUTORS, Job, Listener, State, open_ledger, run_batch
from medseg.batch.executors import Patience, Placement
from medseg.batch.resume import plan_run
from medseg.batch.task import Forecast
from medseg.batch.trial import Trial
from tests.batch import stub


@pytest.fixture
def placement(request):
    if request.param != "cluster":
        yield request.param, Placement()
        return
    distributed = pytest.importorskip("distributed", reason="Dask is not installed")
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=2, processes=False, dashboard_address=":0"
    ) as cluster:
        yield request.param, Placement(cluster=cluster)


@pytest.mark.parametrize("placement", EXECUTORS, indirect=True)
def test_every_executor_settles_every_case(placement, tmp_path):
    name, where = placement
    archive = stub.Archive(tmp_path / "in")
    for case, deed in [("a", ""), ("b", "refuse"), ("c", "bug"), ("d", "skip"), ("e", "")]:
        archive.add(case, deed)
    (tmp_path / "out").mkdir()
    ledger = open_ledger(tmp_path / "out")
    plan = plan_run(archive.tasks, ledger, tmp_path / "out")
    trial = Trial((1, 4, 4, 4), (1.0, 1.0, 1.0))
    job = Job(stub.Threshold(0.02), tmp_path / "out", trial=trial)
    with import_module(EXECUTORS[name]).build(job, where) as executor:
        assert executor.capacity >= 1
        assert (
            executor.window_seconds is None
            if name == "cluster"
            else executor.window_seconds >= 0.02
        )
        foreseen: list[Forecast] = []
        listener = Listener(foreseen=foreseen.append)
        summary = run_batch(plan.tasks, executor, ledger, listener)
    states = {entry.case: entry.state for entry in ledger.entries()}
    ledger.close()
    assert states == {"a": "done", "b": "refused", "c": "failed", "d": "skipped", "e": "done"}
    assert (summary.finished, summary.interrupted) == (5, False)
    assert State.DONE in states.values()
    assert "memory: predicted peak" in (tmp_path / "out/logs/a.log").read_text()
    if name != "cluster":  # whose forecasts are for other machines
        (told,) = foreseen  # the first; all are of one size
        assert told == Forecast(told.case, 2 * 12**3, "predicted peak 3456 bytes")


def test_patience_grows_with_the_size_and_waiting_costs_none():
    patience = Patience()
    assert patience.seconds("read", 0) < patience.seconds("read", 10**9)
    assert patience.seconds("segment", 0) < patience.seconds("segment", 10**9)
    assert patience.seconds("wait", 10**9) == float("inf")
