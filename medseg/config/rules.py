"""Rules that clean masks, and what a learnt one was worth."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from medseg.config.checking import Options


class PostprocessRule(Options):
    """One step of cleaning, for one label by name (``*`` = each in turn).

    Attributes:
        rule: ``keep_largest`` (``count`` components), ``remove_small`` (``ml``),
            ``fill_holes``, ``close`` (``mm``), ``inside`` (of label ``of``).
    """

    rule: Literal["keep_largest", "remove_small", "fill_holes", "close", "inside"]
    label: str = "*"
    count: int = Field(default=1, ge=1)
    ml: float = Field(default=0.0, ge=0)
    mm: float = Field(default=0.0, ge=0)
    of: str | None = None

    @model_validator(mode="after")
    def _check_partner(self) -> PostprocessRule:
        if (self.rule == "inside") != (self.of is not None):
            raise ValueError("`of` names the label that `inside` keeps to; no other rule takes it")
        return self


class LearntRule(Options):
    """A rule that raised Dice on train rows that the network had not seen.

    It was chosen on the rows it was measured on, so the gain is a little too high.

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
