"""A config that suits a cohort, a machine and the time there is, chosen by rules with reasons."""

from __future__ import annotations

from medseg.planning.cost import MACS_A_CORE, MACS_A_GPU, Machine
from medseg.planning.fingerprint import CohortLooks, look_at
from medseg.planning.page import plan_text, write_plan
from medseg.planning.planner import Plan, make_plan
from medseg.planning.presets import PRESETS
from medseg.planning.screen import plan_differences, plan_screen

__all__ = [
    "MACS_A_CORE",
    "MACS_A_GPU",
    "PRESETS",
    "CohortLooks",
    "Machine",
    "Plan",
    "look_at",
    "make_plan",
    "plan_differences",
    "plan_screen",
    "plan_text",
    "write_plan",
]
