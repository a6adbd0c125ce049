"""Writes card and table of the hippocampus cohort from the scans, byte for byte.

    python pipelines/fetch_hippocampus.py data
    python pipelines/hippocampus_card.py data/hippocampus --output data_manifests/hippocampus.yaml

Imports ``images/`` and ``labels/`` as ``medseg cohort import folders`` does, says what the data
is, and divides by a rule that needs no seed, so that others' figures can be compared: of the
sorted case ids, every fifth is a test row; the rest are dealt to five folds in turn.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from medseg.manifests import Case, Cohort, Split, import_cohort, write_cohort

EVERY, FOLDS = 5, 5

#: The 200 labelled cases that the committed table lists; Task04 has 260.
CASES = Path(__file__).parent.parent / "data_manifests/hippocampus.csv"

OPTIONS = {
    "channels": ["T1"],
    "modality": "MR",
    "labels": {
        "anterior": {"value": 1, "colour": "#e07a5f"},
        "posterior": {"value": 2, "colour": "#3d8bba"},
    },
}
ORIGIN = {
    "name": "hippocampus",
    "source": "Medical Segmentation Decathlon, Task04 Hippocampus (Vanderbilt University Medical "
    "Center), http://medicaldecathlon.com: T1-weighted MR of 1 mm, cropped around one hippocampus.",
    "licence": "CC-BY-SA-4.0",
    "citation": "Antonelli et al., The Medical Segmentation Decathlon, Nature Communications 2022, "
    "doi:10.1038/s41467-022-30695-9",
    "notes": "200 of the labelled cases. The public data set gives no patient ids: here every case "
    "counts as a patient of its own, though two cases may be scans of one person (its left and "
    "right hippocampus, or two visits), so scores may flatter a little. Test cases: of the sorted "
    "case ids, index j with j % 5 == 0. Folds: the i-th of the remaining ids is in fold i % 5.",
}


def hippocampus(folder: Path, home: Path, names: set[str]) -> Cohort:
    """The cohort of the named cases in a folder, as if its card lay beside the scans.

    Args:
        folder: holds ``images/`` and ``labels/``.
        home: where the card will lie; its ``root`` is ``.``, which ``--root`` overrides.
        names: case ids.
    """
    cohort = import_cohort("folders", folder, options=OPTIONS)
    kept = sorted((case for case in cohort.cases if case.case in names), key=lambda c: c.case)
    train = [case for place, case in enumerate(kept) if place % EVERY]
    fold_of = {case.case: place % FOLDS for place, case in enumerate(train)}
    cases = tuple(beside(home, folder, divided(case, fold_of.get(case.case))) for case in kept)
    return replace(cohort, root=home, cases=cases, **ORIGIN)


def divided(case: Case, fold: int | None) -> Case:
    """A train row of that fold, or a test row."""
    return replace(case, split=Split.TEST if fold is None else Split.TRAIN, fold=fold)


def beside(home: Path, folder: Path, case: Case) -> Case:
    """The case as if its card in ``home`` lay beside the scans of ``folder``."""
    images = {channel: home / path.relative_to(folder) for channel, path in case.images.items()}
    label = None if case.label is None else home / case.label.relative_to(folder)
    return replace(case, images=images, label=label)


def listed(table: Path = CASES) -> set[str]:
    """The case ids of the committed table."""
    lines = table.read_text(encoding="utf-8").splitlines()[1:]
    return {line.partition(",")[0] for line in lines}


def main(
    folder: Annotated[Path, typer.Argument(help="Holds images/ and labels/.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Card to write.")],
) -> None:
    """Write the card and its table."""
    cohort = hippocampus(folder, output.parent, listed())
    write_cohort(cohort, output)
    print(json.dumps({"card": str(output), "cases": len(cohort.cases)}))


if __name__ == "__main__":
    typer.run(main)
