"""What metrics give where a mask is empty."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Empty(StrEnum):
    """What a metric gives where a mask is empty."""

    UNDEFINED = "undefined"
    ZERO = "0"
    FORMULA = "by the formula"


@dataclass(frozen=True)
class EmptyRule:
    """What a metric gives for an empty truth, an empty prediction, and both."""

    truth: Empty
    prediction: Empty
    both: Empty

    def of(self, *, truth: bool, prediction: bool) -> Empty:
        """What masks give of which at least one may be empty.

        >>> OVERLAP.of(truth=False, prediction=True)
        <Empty.ZERO: '0'>
        >>> OVERLAP.of(truth=True, prediction=True)
        <Empty.FORMULA: 'by the formula'>
        """
        if truth:
            return Empty.FORMULA if prediction else self.prediction
        return self.truth if prediction else self.both


#: Overlap: nothing gained by predicting something, or nothing, where the other differs.
OVERLAP = EmptyRule(Empty.ZERO, Empty.ZERO, Empty.UNDEFINED)
#: There is no distance to nothing.
DISTANCE = EmptyRule(Empty.UNDEFINED, Empty.UNDEFINED, Empty.UNDEFINED)
#: A volume error needs a structure on one side.
ERROR = EmptyRule(Empty.FORMULA, Empty.FORMULA, Empty.UNDEFINED)
#: An error relative to the truth needs a truth.
RELATIVE = EmptyRule(Empty.UNDEFINED, Empty.FORMULA, Empty.UNDEFINED)
#: A count or a volume is a figure whatever is empty.
ALWAYS = EmptyRule(Empty.FORMULA, Empty.FORMULA, Empty.FORMULA)
