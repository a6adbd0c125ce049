"""How far the mending of a mask is: what was drawn on it, and how much of that was saved."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from medseg.checksums import sha256_of
from medseg.errors import BadOutput
from medseg.review.store import Corrected, Store


@dataclass(frozen=True)
class Standing:
    """One rater's changes of one mask, as its file is now.

    Attributes:
        last_edit: number of the last change; 0 without any.
        saved: the corrected mask that was made of this file, or ``None``.
    """

    last_edit: int = 0
    saved: Corrected | None = None

    @property
    def is_unsaved(self) -> bool:
        """Whether the corrected mask lacks a change, or holds one that was undone since."""
        return self.last_edit != (self.saved.last_edit if self.saved else 0)

    @property
    def differs(self) -> bool:
        """Whether a corrected mask was saved that is not the prediction itself."""
        return self.saved is not None and self.saved.voxels_changed > 0


class Standings:
    """Of all cases at one moment; what was drawn on a mask that was made again does not count."""

    def __init__(self, store: Store) -> None:
        self._last, self._saved = store.last_edits(), store.corrected()
        self._touched = {key[:2] for key in self._last} | set(self._saved)

    def knows(self, case: str, rater: str) -> bool:
        """Whether the rater ever changed the case."""
        return (case, rater) in self._touched

    def of(self, case: str, rater: str, mask_sha256: str) -> Standing:
        """How it stands with a mask of that checksum."""
        saved = self._saved.get((case, rater))
        if saved is not None and saved.mask_sha256 != mask_sha256:
            saved = None
        return Standing(self._last.get((case, rater, mask_sha256), 0), saved)


class Digests:
    """Checksums of files, computed again only where size or time changed."""

    def __init__(self) -> None:
        self._known: dict[Path, tuple[tuple[int, int], str]] = {}

    def of(self, path: Path) -> str:
        """SHA-256 of a file.

        Raises:
            BadOutput: it cannot be read.
        """
        try:
            status = path.stat()
            stamp = (status.st_size, status.st_mtime_ns)
            if path not in self._known or self._known[path][0] != stamp:
                self._known[path] = (stamp, sha256_of(path))
        except OSError as error:
            raise BadOutput(
                "the mask can no longer be read",
                path=path,
                found=error.strerror,
                remedy="Put it back, or start the review again.",
            ) from None
        return self._known[path][1]
