"""A cleaning rule that was learnt, and what it was worth."""

from __future__ import annotations

from medseg.config.checking import Options
from medseg.config.settings import PostprocessRule


class LearntRule(Options):
    """A rule that raised Dice on train rows that the network had not seen.

    It was chosen on the rows it was measured on, so the gain flatters a little.

    Attributes:
        rule: of one label.
        dice_before, dice_after: mean Dice of that label without and with it, after the rules
            before it; 1 where truth and mask are both empty.
        gain_low, gain_high: interval of the gain over patients, widened for the number of rules
            that were tried.
        cases, patients: how many it was measured on.
    """

    rule: PostprocessRule
    dice_before: float
    dice_after: float
    gain_low: float
    gain_high: float
    cases: int
    patients: int
