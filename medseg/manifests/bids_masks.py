"""The mask of a BIDS session: by suffix and words, then by the entities of its scan."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from medseg.errors import BadCohort
from medseg.manifests.importing import scan_stem

#: Spaces that are the scan's own; a mask in another one (``MNI152…``) lies on another grid.
_OWN_SPACES = ("", "orig", "native", "individual", "scanner", "T1w", "T2w", "FLAIR")

#: Entities that say which of a session's scans a mask was drawn on.
_OF_THE_SCAN = (
    *("acq", "ce", "chunk", "dir", "echo", "flip"),
    *("inv", "mod", "mt", "part", "rec", "run"),
)


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


def choose_mask(
    files: Sequence[Path], choice: MaskChoice, scans: Sequence[Path] = ()
) -> Path | None:
    """The one mask of a session's scans, or ``None`` where they have none.

    A mask of another run or acquisition, or in the space of a template, is none of theirs, but
    for one whose space was asked for. Those that share most with the scans' names come first,
    then those whose entity ``label`` names a wanted label.

    Raises:
        BadCohort: several are left.
    """
    suffixed = [path for path in files if stem_of(path).endswith(f"_{choice.suffix}")]
    masks = [path for path in with_words(suffixed, choice.words) if _fits(path, scans, choice)]
    shared = [sum(_agrees(path, scan) for scan in scans) for path in masks]
    masks = [path for path, n in zip(masks, shared, strict=True) if n == max(shared)]
    wanted = {name.casefold() for name in choice.labels}
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


def with_words(files: Sequence[Path], words: Sequence[str]) -> list[Path]:
    """The files whose names hold every word, as whole entities where any have it so.

    >>> names = [Path("sub-1_acq-iso_T1w.nii"), Path("sub-1_acq-isolow_T1w.nii")]
    >>> [path.name for path in with_words(names, ["acq-iso"])]
    ['sub-1_acq-iso_T1w.nii']
    """
    kept = list(files)
    for word in words:
        whole = [path for path in kept if f"_{word}_" in f"_{stem_of(path)}_"]
        kept = whole or [path for path in kept if word in stem_of(path)]
    return kept


def stem_of(path: Path) -> str:
    """A file's name without its ending; empty where it is no scan."""
    return scan_stem(path.name) or ""


def _fits(mask: Path, scans: Sequence[Path], choice: MaskChoice) -> bool:
    """Whether it is drawn on these scans, by the entities of its name."""
    spaces = {entity(scan, "space") for scan in scans} | set(_OWN_SPACES)
    asked = any(word.startswith("space-") for word in choice.words)
    if entity(mask, "space") not in spaces and not asked:
        return False
    for key in _OF_THE_SCAN:
        values = {entity(scan, key) for scan in scans} - {""}
        if values and entity(mask, key) not in values | {""}:
            return False
    return True


def _agrees(mask: Path, scan: Path) -> int:
    """How many entities of the scan its mask repeats."""
    return sum(entity(mask, key) == entity(scan, key) != "" for key in _OF_THE_SCAN)


def entity(path: Path, key: str) -> str:
    """The value of ``key-value`` in a BIDS name, or an empty string.

    >>> entity(Path("sub-01_label-lesion_mask.nii.gz"), "label")
    'lesion'
    """
    match = re.search(rf"(?:^|_){key}-([A-Za-z0-9]+)", path.name)
    return match[1] if match else ""
