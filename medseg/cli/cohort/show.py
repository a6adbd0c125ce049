"""``medseg cohort show``: what a cohort holds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from medseg.cli.cohort.cards import Card, say_parts
from medseg.cli.console import open_console
from medseg.cli.options import Json, Quiet, Root

if TYPE_CHECKING:
    from medseg.manifests.summary import Spread


def show(card: Card, *, root: Root = None, quiet: Quiet = False, json: Json = False) -> None:
    """Show what a cohort holds: cases in each part, patients, grids, volumes of the labels.

    \b
    Example:
        medseg cohort show data_manifests/hippocampus.yaml --root DATA
    """
    from medseg.manifests import load_cohort
    from medseg.manifests.summary import summarise_cohort

    cohort = load_cohort(card, root=root)
    with open_console(quiet=quiet, json=json) as console:
        facts = summarise_cohort(cohort, progress=console.progress("reading"))
        console.say(
            f"{cohort.name} · {cohort.modality or 'modality not given'} · channels"
            f" {', '.join(cohort.channels)}",
            name=cohort.name,
            modality=cohort.modality,
        )
        for key in ("licence", "citation", "notes"):
            if text := getattr(cohort, key):
                console.say(f"  {key}: {' '.join(text.split())}", **{key: text})
        say_parts(console, cohort)
        if facts.shape:
            for what, spreads in (("voxels", facts.shape), ("spacing mm", facts.spacing_mm)):
                console.say(f"  {what:<14} " + "  ×  ".join(map(_range, spreads)))
            console.say(
                "  orientation    "
                + ", ".join(f"{codes} ({count})" for codes, count in facts.orientations.items()),
                orientations=facts.orientations,
            )
        for name, spread in facts.volumes_ml.items():
            console.say(
                f"  {name:<24} {spread.count:>6} cases  {_range(spread)} ml",
                label=name,
                count=spread.count,
                lowest_ml=spread.lowest,
                median_ml=spread.median,
                highest_ml=spread.highest,
            )
        if facts.unread:
            console.warn(
                f"{facts.unread} of {len(cohort.cases)} cases could not be read;"
                f" medseg cohort check {card} says why",
                unread=facts.unread,
            )


def _range(spread: Spread) -> str:
    if spread.lowest == spread.highest:
        return f"{spread.median:.4g}"
    return f"{spread.lowest:.4g}–{spread.median:.4g}–{spread.highest:.4g}"
