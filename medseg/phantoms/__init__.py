"""What can be tested and shown without a real patient?  Anatomy whose every volume is known."""

from __future__ import annotations

from medseg.phantoms.cohorts import Population, write_phantom_cohort
from medseg.phantoms.grids import GRIDS, phantom_grid
from medseg.phantoms.render import ANATOMIES, Phantom, draw_patient, make_phantom, scan_patient

__all__ = [
    "ANATOMIES", "GRIDS", "Phantom", "Population", "draw_patient", "make_phantom", "phantom_grid",
    "scan_patient", "write_phantom_cohort",
]
