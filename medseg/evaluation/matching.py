"""Names of masks matched with names of cases, also where a tool has added a suffix."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence

#: What tools put behind a case's name: nnU-Net's channel, or a word for a mask.
_SUFFIX = re.compile(
    r"(_\d{4}|[_\-. ](d?seg|segmentation|mask|pred|prediction|predicted|labels?|truth|gt))$",
    re.IGNORECASE,
)

#: What tools put before it.
_PREFIX = re.compile(
    r"^(pred|prediction|seg|segmentation|mask|msk|labels?|truth|gt|image|img)([_\-. ]|(?=\d))",
    re.IGNORECASE,
)


def core_name(name: str) -> str:
    """A name without what tools add to it.

    >>> core_name("liver_007_0000"), core_name("liver_007_seg"), core_name("msk07")
    ('liver_007', 'liver_007', '07')
    """
    while True:
        shorter = _PREFIX.sub("", _SUFFIX.sub("", name))
        if not shorter or shorter == name:
            return name
        name = shorter


def match_names(cases: Sequence[str], masks: Iterable[str]) -> dict[str, str]:
    """The mask of each case that has one, by name.

    Equal names are matched first. What is left is matched without suffixes and prefixes, where
    one case and one mask alone share what remains.

    Args:
        cases: names that are looked for.
        masks: names that are there.

    >>> match_names(["a", "b", "c"], ["a", "b_0000", "c_0000", "c_0001"])
    {'a': 'a', 'b': 'b_0000'}
    """
    present = set(masks)
    matches = {case: case for case in cases if case in present}
    cases_left = [case for case in cases if case not in matches]
    masks_left = sorted(present - set(matches))
    case_cores, mask_cores = ([core_name(n) for n in names] for names in (cases_left, masks_left))
    uses = Counter(case_cores), Counter(mask_cores)
    mask_of = dict(zip(mask_cores, masks_left, strict=True))
    for case, core in zip(cases_left, case_cores, strict=True):
        if uses[0][core] == 1 and uses[1][core] == 1:
            matches[case] = mask_of[core]
    return matches
