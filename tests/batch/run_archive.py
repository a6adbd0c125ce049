"""One run of a batch over an archive, as a process of its own that can be killed.

python -m tests.batch.run_archive OUTPUT SECONDS SCAN…
"""

from __future__ import annotations

import sys
from pathlib import Path

from medseg.batch import Job, Ledger, Listener, open_ledger, run_batch
from medseg.batch.gather import gather
from medseg.batch.process import ProcessExecutor
from medseg.batch.resume import plan_run, sweep
from medseg.batch.tables import write_cases
from medseg.batch.task import Task, Unusable
from medseg.batch.thumbnail import depiction
from medseg.writers.lock import FolderLock
from tests.batch import stub


def run(output: Path, seconds: float, scans: list[Path]) -> None:
    output.mkdir(parents=True, exist_ok=True)
    found = gather(scans)
    with FolderLock(output):
        ledger = open_ledger(output)
        sweep(output)
        _run(found, output, seconds, ledger)
        write_cases(output, ledger.entries(), stub.LABELS)
        ledger.close()


def _run(found: list[Task | Unusable], output: Path, seconds: float, ledger: Ledger) -> None:
    plan = plan_run(found, ledger, output)
    if not plan.tasks:
        return
    job = Job(stub.Threshold(seconds), output, depict=depiction)
    with ProcessExecutor(job) as executor:
        run_batch(plan.tasks, executor, ledger, Listener(notice=print))


if __name__ == "__main__":
    run(Path(sys.argv[1]), float(sys.argv[2]), [Path(word) for word in sys.argv[3:]])
