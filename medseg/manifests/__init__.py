"""Which scans belong together, and what may each be used for?  Cards, tables, splits, importers."""

from __future__ import annotations

from medseg.manifests.card import load_cohort, write_cohort
from medseg.manifests.check import Problem, check_cohort, require_files
from medseg.manifests.cohort import Case, Cohort, Split
from medseg.manifests.reading import read_case, read_truth
from medseg.manifests.split import split_cohort

__all__ = [
    "Case",
    "Cohort",
    "Problem",
    "Split",
    "check_cohort",
    "load_cohort",
    "read_case",
    "read_truth",
    "require_files",
    "split_cohort",
    "write_cohort",
]
