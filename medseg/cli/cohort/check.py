"""``medseg cohort check``: open every file of a cohort."""

from __future__ import annotations

import typer

from medseg.cli.cohort.cards import Card, counted
from medseg.cli.console import open_console
from medseg.cli.exits import SOME_FAILED
from medseg.cli.options import Json, Quiet, Root


def check(card: Card, *, root: Root = None, quiet: Quiet = False, json: Json = False) -> None:
    """Check every file: readable, unchanged, on one grid, with known label values, no scan twice.

    A scan under two patients is found however it was saved: other format, orientation, number
    type or scaling, cropped, resampled, or with changed voxels. Not seen: both cropped and
    resampled, resampled onto turned axes, another acquisition of the same patient.

    The exit code is 1 if anything is wrong; every problem is named on standard error. What the
    readers accept but a person should know (NaN, headers that disagree) is a warning.

    \b
    Example:
        medseg cohort check data_manifests/hippocampus.yaml --root DATA
    """
    from medseg.manifests import examine_cohort, load_cohort

    cohort = load_cohort(card, root=root)
    with open_console(quiet=quiet, json=json) as console:
        seen = examine_cohort(cohort, progress=console.progress("checking"))
        for warning in seen.warnings:
            console.warn(str(warning), case=warning.case, remark=warning.text)
        for problem in seen.problems:
            console.warn(f"problem: {problem}", case=problem.case, problem=problem.text)
        labelled = sum(case.label is not None for case in cohort.cases)
        problems = counted(len(seen.problems), "problem")
        warnings = counted(len(seen.warnings), "warning")
        console.say(
            f"{card}: {len(cohort.cases)} cases, {labelled} with a mask, {problems}, {warnings}",
            cases=len(cohort.cases),
            labelled=labelled,
            problems=len(seen.problems),
            warnings=len(seen.warnings),
        )
    if seen.problems:
        raise typer.Exit(SOME_FAILED)
