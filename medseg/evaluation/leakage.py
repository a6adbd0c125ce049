"""Scans that trained the model that is scored on them: recognised by pixels, not by names.

That one patient's scans lie on both sides of a split is refused earlier, when a card is loaded.
"""

from __future__ import annotations

from collections.abc import Sequence

from medseg.errors import BadCohort
from medseg.manifests import Cohort


def refuse_leaks(leaked: Sequence[str], *, cohort: Cohort) -> None:
    """Refuse scores of scans that trained the model.

    Raises:
        BadCohort: there are such scans.
    """
    if not leaked:
        return
    shown = ", ".join(leaked[:5]) + (f" and {len(leaked) - 5} more" if len(leaked) > 5 else "")
    raise BadCohort(
        "the model was trained on scans that it would be scored on",
        path=cohort.path,
        found=f"{len(leaked)} of the cases: {shown}",
        expected="scans that the model has never seen",
        remedy="Evaluate on a held-out split, or give --allow-leakage; the report will say so.",
    )
