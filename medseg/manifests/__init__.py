"""Which scans belong together, and what may each be used for?  Cards, tables, splits, importers."""

from __future__ import annotations

from medseg.manifests.card import load_cohort, write_cohort
from medseg.manifests.cohort import Case, Cohort, Split
from medseg.manifests.reading import read_case, read_truth

__all__ = ["Case", "Cohort", "Split", "load_cohort", "read_case", "read_truth", "write_cohort"]
