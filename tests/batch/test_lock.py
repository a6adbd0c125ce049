"""Can two runs write to one folder?  They must not, and a dead one must not block the next."""

import socket
import subprocess
import sys

import pytest

from medseg.batch.lock import NAME, FolderLock, holder
from medseg.errors import BadOutput

HOLD = (
    "import sys, time; from pathlib import Path; from medseg.batch.lock import FolderLock\n"
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
    assert (tmp_path / NAME).exists()
    assert holder(tmp_path) is None
    with FolderLock(tmp_path):
        pass


def test_the_lock_of_another_host_is_refused_with_the_way_out(tmp_path):
    (tmp_path / NAME).write_text("elsewhere 12\n")
    way_out = r"process 12 on elsewhere.*delete ledger\.lock"
    with pytest.raises(BadOutput, match=way_out), FolderLock(tmp_path):
        pass
    assert holder(tmp_path) == "process 12 on elsewhere"


def test_the_lock_is_gone_afterwards(tmp_path):
    with FolderLock(tmp_path):
        assert (tmp_path / NAME).exists()
    assert list(tmp_path.iterdir()) == []
    with FolderLock(tmp_path):
        pass
