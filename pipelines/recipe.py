"""Trains on the train rows, segments the test rows and scores them: what every recipe does."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from medseg.cli import run


def train_and_score(
    config: Path,
    card: Path,
    *,
    root: Path,
    output: Path,
    changes: Sequence[str] = (),
    device: str = "auto",
) -> None:
    """One run from a config to its scores; going on where an earlier attempt stopped.

    Args:
        config: what ``medseg train`` reads.
        card: of the cohort.
        root: where its scans lie.
        output: folder of the run; ``model``, ``masks`` and ``evaluation`` come to lie in it.
        changes: ``key=value`` for the config.
        device: auto, cpu or cuda.
    """
    model, masks, scores = (output / name for name in ("model", "masks", "evaluation"))
    place = ("--root", root)
    there = ("--split", "test", *place)
    where = ("--device", device)
    verb("train", config, *changes, *place, "--output", output, "--resume", *where)
    verb("segment", model, card, *there, "--output", masks, "--executor", "inline", *where)
    curves = output / "curves.csv"  # with folds, each has its own
    drawn = ("--curves", curves) if curves.is_file() else ()
    verb("evaluate", masks, card, *there, "--output", scores, *drawn)
    print((scores / "summary.csv").read_text(encoding="utf-8"))


def verb(*words: object) -> None:
    """Run one verb of medseg; where it fails, the recipe ends with its exit code."""
    code = run(*words)
    if code:
        sys.exit(code)
