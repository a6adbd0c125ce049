"""What can go wrong that we foresee, said so that a radiology researcher can act on it.

Everything derived from :class:`MedsegError` prints as one line without a traceback; any other
exception is a bug and shows its traceback.
"""

from __future__ import annotations

from pathlib import Path


class MedsegError(Exception):
    """A foreseen refusal.

    Args:
        problem: what is wrong, in the user's words.
        path: the file or folder it is about, as the user named it.
        found: what was found there.
        expected: what was expected instead.
        remedy: what to do about it.
    """

    def __init__(
        self,
        problem: str,
        *,
        path: str | Path | None = None,
        found: object = None,
        expected: object = None,
        remedy: str | None = None,
    ) -> None:
        self.problem = problem
        self.path = None if path is None else str(path)
        self.found = found
        self.expected = expected
        self.remedy = remedy
        super().__init__(self._one_line())

    def _one_line(self) -> str:
        text = f"{self.path}: {self.problem}" if self.path else self.problem
        if self.found is not None:
            text += f"; found {self.found}"
        if self.expected is not None:
            text += (
                f", expected {self.expected}"
                if self.found is not None
                else (f"; expected {self.expected}")
            )
        if self.remedy:
            text = text.rstrip(".") + f". {self.remedy}"
        return " ".join(text.split())

    def about(self, path: str | None, *, part: str = "") -> MedsegError:
        """The same refusal under another path, and of which part of a whole."""
        problem = f"{part}: {self.problem}" if part else self.problem
        return type(self)(
            problem, path=path, found=self.found, expected=self.expected, remedy=self.remedy
        )

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle with the keywords, so that a refusal survives the way back from a worker."""
        state = (self.problem, self.path, self.found, self.expected, self.remedy)
        return _rebuild, (type(self), state)


def _rebuild(
    kind: type[MedsegError], state: tuple[str, str | None, object, object, str | None]
) -> MedsegError:
    problem, path, found, expected, remedy = state
    return kind(problem, path=path, found=found, expected=expected, remedy=remedy)


class BadGeometry(MedsegError):
    """A grid whose shape or affine cannot place voxels in the world."""


class GridMismatch(MedsegError):
    """Two arrays that must lie on one grid do not."""


class BadScan(MedsegError):
    """A scan that is damaged, ambiguous or not what its name says: refused."""


class NotAVolume(MedsegError):
    """A file that is whole but holds no volume of voxels to segment: skipped."""


class BadLabels(MedsegError):
    """A label table or a label file with values that nothing names."""


class BadConfig(MedsegError):
    """A configuration with an unknown key or a value out of range."""


class BadCohort(MedsegError):
    """A cohort card or table that contradicts itself or its files."""


class BadModel(MedsegError):
    """A model folder that is incomplete, altered or of an unknown kind."""


class BadOutput(MedsegError):
    """An output place that cannot be written, or holds something else."""


class TrainingFailed(MedsegError):
    """Training that cannot go on: no memory, no finite loss."""


class BadDownload(MedsegError):
    """A download that did not arrive as published."""
