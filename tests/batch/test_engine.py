"""Reading, the network and writing of several cases overlap in one process."""

import gc
import queue
import threading
import weakref
from dataclasses import dataclass

import numpy as np

from medseg.batch.case import Job
from medseg.batch.engine import Engine
from medseg.batch.slices import Slices
from medseg.batch.task import State, Task
from medseg.batch.thumbnail import Depiction, depiction
from tests.batch import stub

PATIENCE_S = 60  # far more than anything here takes; only a road without overlap waits so long


@dataclass
class Meeting:
    """Waits in each of two stages until the other has been reached."""

    reading: threading.Event
    segmenting: threading.Event
    missed: list


def test_the_next_scan_is_read_while_the_network_is_busy(tmp_path):
    meeting = Meeting(threading.Event(), threading.Event(), [])

    class Second:
        def read(self):
            if not meeting.segmenting.wait(PATIENCE_S):
                meeting.missed.append("the first case never reached the network")
            meeting.reading.set()
            return stub.scan(1)

    class First:
        def read(self):
            return stub.scan(0)

    class Slow:
        def load(self):
            return self.segment

        def segment(self, take, *, tell=None):
            meeting.segmenting.set()
            if not meeting.reading.wait(PATIENCE_S):
                meeting.missed.append("the second scan was not read meanwhile")
            return stub.Threshold().load()(take)

    outcomes = run(Slow(), [First(), Second()], tmp_path)
    assert not meeting.missed
    assert {outcome.state for outcome in outcomes} == {State.DONE}


def test_the_last_mask_is_written_while_the_network_is_busy(tmp_path):
    meeting = Meeting(threading.Event(), threading.Event(), [])
    called = []

    class Counting:
        def load(self):
            return self.segment

        def segment(self, take, *, tell=None):
            called.append(take)
            if len(called) == 2:
                meeting.segmenting.set()
                if not meeting.reading.wait(PATIENCE_S):
                    meeting.missed.append("no mask was written meanwhile")
            return stub.Threshold().load()(take)

    def depict(volume):
        return picture

    def picture(mask):
        """Part of writing: the first case waits here for the second one's network."""
        if not meeting.reading.is_set():
            if not meeting.segmenting.wait(PATIENCE_S):
                meeting.missed.append("the network was not busy meanwhile")
            meeting.reading.set()
        return Depiction(b"picture", Slices(b"slices", b"labels"))

    class Scan:
        def read(self):
            return stub.scan(2)

    outcomes = run(Counting(), [Scan(), Scan()], tmp_path, depict)
    assert not meeting.missed
    assert {outcome.state for outcome in outcomes} == {State.DONE}


def test_the_network_serves_one_case_at_a_time(tmp_path):
    inside, most = [], []

    class Watched:
        def load(self):
            return self.segment

        def segment(self, take, *, tell=None):
            inside.append(1)
            most.append(len(inside))
            result = stub.Threshold(seconds=0.01).load()(take)
            inside.pop()
            return result

    class Scan:
        def read(self):
            return stub.scan(0)

    run(Watched(), [Scan() for _ in range(6)], tmp_path)
    assert np.max(most) == 1


def test_a_scan_is_let_go_while_its_network_is_busy(tmp_path):
    held = []

    class Watched:
        def load(self):
            return self.segment

        def segment(self, take, *, tell=None):
            handed = [take()]
            scan = weakref.ref(handed[0].data)
            result = stub.Threshold().load()(handed.pop)
            gc.collect()
            held.append(scan())
            return result

    class Scan:
        def read(self):
            return stub.scan(1)

    outcomes = run(Watched(), [Scan()], tmp_path, depict=depiction)
    assert outcomes[0].state is State.DONE
    assert held == [None]


def run(segmenter, scans, out, depict=None):
    """Outcomes of the engine that the process and the inline executor share."""
    finished = queue.SimpleQueue()
    engine = Engine(Job(segmenter, out, depict=depict), lambda told: None, finished.put)
    for number, scan in enumerate(scans):
        name = f"case{number}"
        engine.submit(Task(name, name, str(out / name), "", 1, scan))
    outcomes = [finished.get(timeout=3 * PATIENCE_S) for _ in scans]
    engine.close()
    return outcomes
