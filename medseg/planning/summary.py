"""Says in words what a cohort looks like and for what machine it was planned."""

from __future__ import annotations

from collections.abc import Mapping

from medseg.manifests import Cohort
from medseg.planning.cost import Machine
from medseg.planning.fingerprint import CohortLooks


def summary_lines(
    cohort: Cohort,
    looks: CohortLooks,
    typical: Mapping[str, float],
    machine: Machine,
) -> tuple[str, ...]:
    """A line each for scans, spacing and volumes, machine, and what the truths lack.

    Args:
        cohort: its name, labels and channels are named.
        looks: what its train rows look like.
        typical: label to median volume in ml, of the labels that occur.
        machine: that the plan is for.
    """
    low, high = looks.spacings_mm.min(0), looks.spacings_mm.max(0)
    spacing = ", ".join(
        f"{a:.3g}" if a == b else f"{a:.3g} to {b:.3g}" for a, b in zip(low, high, strict=True)
    )
    sizes = ", ".join(f"{name} {ml:.3g}" for name, ml in list(typical.items())[:8])
    more = "" if len(typical) <= 8 else f" and {len(typical) - 8} more"
    absent = [name for name in cohort.labels.names if name not in typical]
    lines = [
        f"Cohort {cohort.name}: {len(looks.cases)} labelled train scans, {cohort.modality}"
        f" ({', '.join(cohort.channels)}).",
        f"Spacing in plane, in plane, through plane: {spacing} mm. Typical volumes in ml:"
        f" {sizes}{more}.",
        f"Planned for {machine.minutes:g} minutes on {machine.name}.",
    ]
    partly = sum(len(case.volumes_ml) < len(cohort.labels.names) for case in looks.cases)
    if partly:
        lines.append(
            f"{partly} of the scans are annotated for some labels only: what their background may"
            " hide is no error there."
        )
    if absent:
        lines.append(f"Never seen, so it cannot be learnt: {', '.join(absent)}.")
    return tuple(lines)
