"""Two runs never write to one folder, and a dead one does not block the next."""

import os
import socket
import subprocess
import sys

import pytest

from medseg.errors import BadOutput
from medseg.writers.lock import LEDGER_LOCK, RUN_LOCK, FolderLock, holder

HOLD = (
    "import sys, time; from pathlib import Path; from medseg.writers.lock import FolderLock\n"
    "with FolderLock(Path(sys.argv[1])): print('held', flush=True); time.sleep(60)"
)


@pytest.fixture
def other_run(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()


def test_a_second_run_is_refused_and_told_who_holds_the_folder(tmp_path, other_run):
    owner = f"process {other_run.pid} on {socket.gethostname()}"
    with pytest.raises(BadOutput, match=owner), FolderLock(tmp_path):
        pass
    assert holder(tmp_path) == f"process {other_run.pid} on {socket.gethostname()}"


def test_the_lock_of_a_killed_run_is_taken_over(tmp_path, other_run):
    other_run.kill()
    other_run.wait()
    assert (tmp_path / LEDGER_LOCK).exists()
    assert holder(tmp_path) is None
    with FolderLock(tmp_path):
        pass


def test_the_lock_of_another_host_is_refused_with_the_way_out(tmp_path):
    (tmp_path / LEDGER_LOCK).write_text("elsewhere 12\n")
    way_out = r"process 12 on elsewhere.*--break-lock"
    with pytest.raises(BadOutput, match=way_out), FolderLock(tmp_path):
        pass
    assert holder(tmp_path) == "process 12 on elsewhere"
    with FolderLock(tmp_path, break_lock=True):
        assert socket.gethostname() in (tmp_path / LEDGER_LOCK).read_text()


def test_a_living_process_of_this_host_keeps_its_lock_whatever_is_asked(tmp_path, other_run):
    with pytest.raises(BadOutput, match="Wait for it"), FolderLock(tmp_path, break_lock=True):
        pass


def test_a_child_that_inherits_the_lock_holds_the_folder_when_its_parent_is_dead(tmp_path):
    with FolderLock(tmp_path, RUN_LOCK) as lock:
        child = subprocess.Popen(["sleep", "60"], pass_fds=[lock.descriptor])
        os.close(lock.descriptor)  # as the kernel does for a parent that was killed
        lock._descriptor = None
    with pytest.raises(BadOutput, match="another run"), FolderLock(tmp_path, RUN_LOCK):
        pass
    child.kill()
    child.wait()
    with FolderLock(tmp_path, RUN_LOCK):
        pass


def test_the_lock_is_gone_afterwards(tmp_path):
    with FolderLock(tmp_path):
        assert (tmp_path / LEDGER_LOCK).exists()
    assert list(tmp_path.iterdir()) == []
    with FolderLock(tmp_path):
        pass
