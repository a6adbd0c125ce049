"""Anatomy whose every volume is known: what is tested and shown without a real patient."""

from __future__ import annotations

from medseg.phantoms.archives import ArchivedScan, write_phantom_archive
from medseg.phantoms.cohorts import Population, write_phantom_cohort
from medseg.phantoms.grids import GRIDS, phantom_grid
from medseg.phantoms.render import (
    ANATOMIES,
    Phantom,
    draw_patient,
    make_phantom,
    scan_patient,
    truth_of,
)

__all__ = [
    "ANATOMIES",
    "GRIDS",
    "ArchivedScan",
    "Phantom",
    "Population",
    "draw_patient",
    "make_phantom",
    "phantom_grid",
    "scan_patient",
    "truth_of",
    "write_phantom_archive",
    "write_phantom_cohort",
]
