"""The mask of a BIDS session: by suffix, then by the entities ``label``, ``space`` and ``desc``."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from medseg.errors import BadCohort
from medseg.manifests.importing import scan_stem

#: Spaces that are the scan's own; a mask in another one (``MNI152…``) lies on another grid.
_OWN_SPACES = ("", "orig", "native", "individual", "scanner", "T1w", "T2w", "FLAIR")


@dataclass(frozen=True)
class MaskChoice:
    """What marks the wanted mask.

    Attributes:
        suffix: ``dseg`` or ``mask``.
        words: that its file name must hold.
        labels: names that the entity ``label`` may have, where the user said them.
    """

    suffix: str
    words: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()

    def describe(self) -> str:
        """In words, for refusals."""
        words = f" with {', '.join(self.words)}" if self.words else ""
        return f"*_{self.suffix}.nii.gz{words}, called after its subject"


def choose_mask(files: Sequence[Path], choice: MaskChoice) -> Path | None:
    """The session's one mask, or ``None`` where it has none.

    Masks in the scan's own space come before those in a template's, and those whose entity
    ``label`` names a wanted label before others.

    Raises:
        BadCohort: several are left.
    """
    masks = [
        path
        for path in files
        if (name := scan_stem(path.name) or "").endswith(f"_{choice.suffix}")
        and all(word in name for word in choice.words)
    ]
    wanted = {name.casefold() for name in choice.labels}
    masks = [path for path in masks if entity(path, "space") in _OWN_SPACES] or masks
    masks = [path for path in masks if entity(path, "label").casefold() in wanted] or masks
    if len(masks) > 1:
        raise BadCohort(
            f"several files end in _{choice.suffix}",
            path=masks[0].parent,
            found=", ".join(path.name for path in masks[:4]),
            expected="one mask per session, with one value per label",
            remedy="Give words of the one you want, for example mask_only=[label-lesion].",
        )
    return masks[0] if masks else None


def entity(path: Path, key: str) -> str:
    """The value of ``key-value`` in a BIDS name, or an empty string.

    >>> entity(Path("sub-01_label-lesion_mask.nii.gz"), "label")
    'lesion'
    """
    match = re.search(rf"(?:^|_){key}-([A-Za-z0-9]+)", path.name)
    return match[1] if match else ""
