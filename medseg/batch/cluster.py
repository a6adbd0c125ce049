"""Runs a batch on many machines: Dask workers that share the output folder.

Each worker process holds the model once and takes as many cases side by side as it has threads
(start it with ``--nthreads 3``: one reads, one is in the network, one writes). The scheduler
moves the cases of a worker that dies to another one; the client alone writes the ledger. TLS
comes from Dask's own configuration: give a ``tls://`` address.
"""

from __future__ import annotations

import queue
import threading
import time
import uuid
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Self

from medseg.batch.case import Job, Segment, run_case
from medseg.batch.executors import Event, Notice, Patience, Placement
from medseg.batch.retries import Retries
from medseg.batch.task import Forecast, Outcome, Stage, State, Task
from medseg.errors import BadConfig, MedsegError

#: Of ``distributed``, an extra that may be absent and is only partly typed.
Client = Any
Future = Any

#: How long to wait for the scheduler.
CONNECT_S = 30

#: Stages of cases come back from the workers under this topic.
_TOPIC = "medseg-stage"


def build(job: Job, placement: Placement) -> ClusterExecutor:
    """The executor of ``EXECUTORS``."""
    return ClusterExecutor(job, placement.cluster, patience=placement.patience)


class ClusterExecutor:
    """Runs cases on a Dask cluster.

    Args:
        job: the output folder must be seen under the same path by every worker.
        cluster: address of the scheduler, or a Dask cluster object.
        patience: a case beyond it has failed, and its worker is restarted.
    """

    def __init__(self, job: Job, cluster: Any, *, patience: Patience | None = None) -> None:
        self._job, self._cluster = job, cluster
        self._patience = patience or Patience()
        self._run = uuid.uuid4().hex
        self._done: queue.SimpleQueue[Future] = queue.SimpleQueue()
        self._cases: dict[str, tuple[Task, Future]] = {}
        self._stages: dict[str, tuple[str, float, str]] = {}
        self._waiting: deque[Task] = deque()
        self._retries = Retries()

    @property
    def window_seconds(self) -> None:
        """Workers come and go, each with a pace of its own."""

    @property
    def capacity(self) -> int:
        """The threads of all workers; it grows and shrinks with the cluster."""
        return max(1, sum(map(int, self._client.nthreads().values())))

    def __enter__(self) -> Self:
        try:
            import distributed
        except ImportError:
            raise BadConfig(
                "segmenting on a cluster needs Dask",
                found="not installed",
                remedy="pip install 'medseg[cluster]'",
            ) from None
        try:
            client: Client = distributed.Client(self._cluster, timeout=CONNECT_S)
        except (OSError, TimeoutError, ValueError) as error:
            raise BadConfig(
                "no Dask scheduler answers",
                path=str(self._cluster),
                found=error,
                remedy="Check --cluster, and that its workers run.",
            ) from None
        self._client = client
        self._client.subscribe_topic(_TOPIC, self._receive_stage)
        return self

    def __exit__(self, *error: object) -> None:
        self._client.cancel([future for _, future in self._cases.values()], force=True)
        self._client.unsubscribe_topic(_TOPIC)
        self._client.close()

    def submit(self, task: Task) -> None:
        """Take a case."""
        self._waiting.append(task)
        self._hand_out()

    def collect(self, seconds: float) -> list[Event]:
        """What happened; waits up to `seconds` where nothing has.

        Raises:
            MedsegError: no worker can load the model.
        """
        events: list[Event] = []
        ended: list[Future] = []
        with suppress(queue.Empty):
            ended.append(self._done.get(timeout=seconds))
            while True:
                ended.append(self._done.get_nowait())
        for future in ended:
            self._take(future, events)
        self._look_for_hangs(events)
        self._hand_out()
        return events

    def _hand_out(self) -> None:
        """Submit what waits; a suspect of having killed workers only when it is alone."""
        if self._retries:
            if not self._cases:
                self._send(self._retries.next())
            return
        while self._waiting:
            self._send(self._waiting.popleft())

    def _send(self, task: Task) -> None:
        future = self._client.submit(
            run_on_worker,
            self._run,
            self._job,
            task,
            key=f"medseg-{task.case}-{uuid.uuid4().hex}",
            pure=False,
        )
        self._cases[task.case] = (task, future)
        future.add_done_callback(self._done.put)

    def _take(self, future: Future, events: list[Event]) -> None:
        case = next((c for c, (_, known) in self._cases.items() if known.key == future.key), None)
        if case is None:
            return  # given up before
        task = self._cases.pop(case)[0]
        self._stages.pop(case, None)
        if future.status == "finished":
            events.append(future.result())
            return
        error = future.exception() if future.status == "error" else None
        if isinstance(error, MedsegError):
            raise error
        if type(error).__name__ == "KilledWorker" and self._retries.grant(task):
            events.append(Notice(f"several workers died while they had {case}; trying it alone"))
        else:
            reason = " ".join(str(error or "the cluster gave it up").split())
            events.append(Outcome(case, State.FAILED, f"{type(error).__name__}: {reason}"))

    async def _receive_stage(self, event: tuple[float, Mapping[str, str]]) -> None:
        """Runs in Dask's own thread; a dictionary entry is replaced in one step."""
        facts = event[1]
        if facts["run"] == self._run:
            self._stages[facts["case"]] = facts["stage"], time.monotonic(), facts["worker"]

    def _look_for_hangs(self, events: list[Event]) -> None:
        for case, (stage, since, worker) in list(self._stages.items()):
            if case not in self._cases:
                self._stages.pop(case, None)
                continue
            task, future = self._cases[case]
            limit = self._patience.seconds(stage, task.size_bytes)
            if time.monotonic() - since <= limit:
                continue
            del self._cases[case], self._stages[case]
            self._client.cancel([future], force=True)
            self._client.restart_workers([worker], raise_for_error=False)
            reason = f"took longer than {limit:.0f} s in stage {stage}; its worker was restarted"
            events += [Notice(f"{case}: {reason}"), Outcome(case, State.FAILED, reason)]


#: What this worker process has loaded: run, segment function, lock on the device.
_loaded: tuple[str, Segment, threading.Lock] | None = None
_loading = threading.Lock()


def run_on_worker(run: str, job: Job, task: Task) -> Outcome:
    """One case, in a Dask worker; the model stays loaded for the next one of the same run."""
    from distributed import get_worker

    global _loaded
    worker = get_worker()
    with _loading:
        if _loaded is None or _loaded[0] != run:
            _loaded = None  # free another run's model first
            _loaded = run, job.segmenter.load(), threading.Lock()
        _, segment, device = _loaded

    def report(event: Stage | Forecast) -> None:
        if isinstance(event, Stage):  # a forecast is for the worker's machine: the log has it
            facts = {"case": event.case, "stage": event.stage, "worker": worker.address}
            worker.log_event(_TOPIC, {"run": run, **facts})

    return run_case(task, job, segment, device, report)
