"""Thousands of scans segmented and none lost: a ledger, a runner and its executors."""

from __future__ import annotations

from medseg.batch.case import Job
from medseg.batch.entry import Entry, Recipe
from medseg.batch.ledger import Ledger, look, open_ledger
from medseg.batch.runner import Listener, Summary, run_batch
from medseg.batch.task import Flag, Outcome, State, Task, Unusable

__all__ = [
    "EXECUTORS",
    "Entry",
    "Flag",
    "Job",
    "Ledger",
    "Listener",
    "Outcome",
    "Recipe",
    "State",
    "Summary",
    "Task",
    "Unusable",
    "look",
    "open_ledger",
    "run_batch",
]

#: Name -> module with ``build(job, placement)``; imported when used, for Dask is an extra.
EXECUTORS: dict[str, str] = {
    "process": "medseg.batch.process",
    "inline": "medseg.batch.inline",
    "cluster": "medseg.batch.cluster",
}
