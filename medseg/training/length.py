"""How far along a step is: a planned number of steps, corrected on the way without a jump."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Length:
    """How many steps a run has, by what was planned first and each correction since.

    Attributes:
        plans: (step up to which the one before holds, steps in all), in order; the first holds
            from the warm-up on.
    """

    plans: tuple[tuple[int, int], ...]

    @property
    def steps(self) -> int:
        """Steps in all, as planned now."""
        return self.plans[-1][1]

    def corrected(self, step: int, steps: int) -> Length:
        """The same up to a step; what is left from there is spread over other steps."""
        return Length((*self.plans, (step, steps)))

    def progress(self, step: int) -> float:
        """Share of the way from the warm-up to the last step, 0-1; never jumps or falls back."""
        (since, steps), *corrections = self.plans
        done = 0.0
        for start, corrected in corrections:
            if step <= start:
                break
            done += (1 - done) * _share(start - since, steps - since)
            since, steps = start, corrected
        return done + (1 - done) * _share(step - since, steps - since)


def _share(part: int, whole: int) -> float:
    return min(1.0, max(0, part) / max(1, whole))
