"""The row of a cohort that a mask belongs to, by name, also where a tool has added a suffix."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from medseg.evaluation.matching import core_name, match_names
from medseg.manifests import Case, Cohort


@dataclass(frozen=True)
class Rows:
    """Masks and their rows.

    Attributes:
        of: mask -> its row.
        unclear: masks without a row whose names are like that of one: two masks of one case, or
            one mask of two.
    """

    of: dict[str, Case]
    unclear: frozenset[str]


def rows_of(cohort: Cohort, masks: Sequence[str]) -> Rows:
    """The rows of masks.

    Args:
        cohort: whose rows.
        masks: names without endings.
    """
    by_name = {case.case: case for case in cohort.cases}
    matches = match_names(list(by_name), masks)
    of = {mask: by_name[case] for case, mask in matches.items()}
    cores = {core_name(name) for name in by_name}
    unclear = {mask for mask in masks if mask not in of and core_name(mask) in cores}
    return Rows(of, frozenset(unclear))
