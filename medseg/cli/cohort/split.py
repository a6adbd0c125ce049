"""``medseg cohort split``: divide cases into test and folds, whole patients."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from medseg.cli.cohort.cards import Card, NewCard, guard_rows, say_parts, write_rows
from medseg.cli.console import Console, open_console
from medseg.cli.options import Json, Overwrite, Quiet, Root, Seed
from medseg.errors import BadConfig

if TYPE_CHECKING:
    from medseg.manifests import Cohort


def split(
    card: Card,
    *,
    output: NewCard = None,
    test: Annotated[
        str,
        typer.Option(
            metavar="SHARE|keep",
            help="Share of the patients to test on; keep leaves the test rows as they are.",
        ),
    ] = "0.2",
    folds: Annotated[int, typer.Option(min=2, help="Folds of the train rows.")] = 5,
    stratify: Annotated[
        list[str] | None,
        typer.Option(
            metavar="COLUMN", help="Column to balance between the parts; may be repeated."
        ),
    ] = None,
    root: Root = None,
    seed: Seed = 0,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Split the cases into test rows and folds of whole patients.

    Every scan is read, and patients who share one are kept together.

    \b
    Examples:
        medseg cohort split liver.yaml --stratify sex --stratify site
        medseg cohort split liver.yaml --test keep --folds 3 --output liver3.yaml
    """
    from medseg.manifests import load_cohort, split_cohort

    share = None if test == "keep" else _share(test)
    cohort = load_cohort(card)
    with (
        guard_rows(card, output, root=root, overwrite=overwrite),
        open_console(quiet=quiet, json=json) as console,
    ):
        divide = partial(
            split_cohort,
            cohort,
            test_share=share,
            folds=folds,
            stratify=stratify or (),
            seed=seed,
        )
        divide()  # refuses what cannot be before every scan is read
        joined = _joined(console, load_cohort(card, root=root), keep_test=share is None)
        divided = divide(joined=joined)
        written = write_rows(divided, card, output)
        console.say(f"{written}: divided with seed {seed}", path=str(written), seed=seed)
        say_parts(console, divided)


def _joined(console: Console, cohort: Cohort, *, keep_test: bool) -> dict[str, str]:
    """Patients who share a scan, to be kept together; each pair is named."""
    from medseg.manifests import joined_patients, survey_scans
    from medseg.manifests.remarks import remarks_by_text

    survey = survey_scans(cohort, progress=console.progress("comparing"))
    if survey.unread:
        console.warn(
            f"{len(survey.unread)} of {len(cohort.cases)} scans could not be read and compared;"
            " give --root if they were moved",
            unread=len(survey.unread),
        )
    for line, cases in remarks_by_text(survey.warnings).items():
        console.warn(line, cases=cases)
    kept = []
    for duplicate in survey.duplicates:
        fixed = keep_test and duplicate.case.split is not duplicate.other.split
        kept += [] if fixed else [duplicate]
        what = "one stays in test, one in train" if fixed else "kept together"
        console.warn(f"{duplicate.case.case}: {duplicate}; {what}", case=duplicate.case.case)
    return joined_patients(cohort, kept)


def _share(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise BadConfig(
            "--test is neither a share nor keep", found=repr(text), expected="for example 0.2"
        ) from None
