"""``medseg cohort``: import, check, split and show which scans belong together."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medseg.cli.console import Console, open_console
from medseg.cli.exits import SOME_FAILED
from medseg.cli.options import Json, Overwrite, Quiet, Seed
from medseg.errors import BadConfig

if TYPE_CHECKING:
    from medseg.manifests import Cohort
    from medseg.manifests.summary import Spread

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Cohorts: a card (YAML) and a table (CSV). Import, check, split, show.",
)

Card = Annotated[Path, typer.Argument(metavar="CARD", help="The cohort's YAML file.")]
Root = Annotated[Path | None, typer.Option(help="Where the table's paths start, if moved.")]


@app.command("import")
def import_(
    convention: Annotated[str, typer.Argument(help="msd, nnunet, bids, folders or dicom.")],
    path: Annotated[Path, typer.Argument(help="Folder that follows it.")],
    options: Annotated[list[str] | None, typer.Argument(metavar="[key=value …]")] = None,
    *,
    output: Annotated[Path, typer.Option("--output", "-o", help="Card to write.")],
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Write a card and a table with checksums for data in a known layout; nothing is copied.

    Cases with a mask become train rows; divide them with `medseg cohort split`. The last lines
    say what was found and what was left out.

    \b
    Conventions and their options (key=value):
        msd      dataset.json of the Medical Segmentation Decathlon
                 unlabelled=keep           list scans without a mask as test rows
        nnunet   dataset.json, imagesTr/case_0000.nii.gz, labelsTr/case.nii.gz
                 unlabelled=keep           as above
        bids     sub-*/, derivatives/, participants.tsv
                 channels='[T1w, FLAIR]'   suffixes of the scans
                 mask=dseg|mask|…          suffix of the masks
                 only=[acq-iso]            words in the scans' names
                 mask_only=[label-lesion]  words in the masks' names
        folders  images/ and labels/ of equal names, case_0000 beside case, a folder a case,
                 img01 and msk01, or case and case_seg in one folder: recognised by the names
                 images=DIR masks=DIR      where they lie; . is PATH itself
                 mask_suffix=_seg          what a mask's name has after the case
                 channels='[T1, FLAIR]'    files are called case_T1, case_FLAIR
                 modality=CT|MR|PT|…
        dicom    any folder with DICOM series
                 masks=DIR                 masks named after the cases of `medseg convert`
                 modality=CT|MR|PT|…       only series of this one
        all but msd and nnunet: labels='{liver: 1, tumour: 2}' names the values of the masks

    \b
    Examples:
        medseg cohort import msd Task04_Hippocampus --output hippocampus.yaml
        medseg cohort import folders data --output liver.yaml labels='{liver: 1}' modality=CT
        medseg cohort import bids study --output study.yaml channels='[T1w, FLAIR]'
    """
    from medseg.config import override
    from medseg.manifests import findings, import_cohort, write_cohort

    with _guard(output, overwrite), open_console(quiet=quiet, json=json) as console:
        cohort = import_cohort(
            convention,
            path,
            options=override({}, options or []),
            progress=console.progress("checksums"),
        )
        write_cohort(cohort, output)
        found, *remarks = findings(cohort)
        console.say(
            f"{output}: {found}",
            card=str(output),
            cases=len(cohort.cases),
            patients=len(cohort.patients),
            with_masks=sum(case.label is not None for case in cohort.cases),
        )
        for remark in remarks:
            console.warn(remark, remark=remark)
        console.say(f"  next: medseg cohort split {output}, then medseg cohort check {output}")


@app.command()
def check(card: Card, *, root: Root = None, quiet: Quiet = False, json: Json = False) -> None:
    """Open every file: there, unchanged, on one grid, with known label values, no scan twice.

    A scan under two patients is found however it was saved: other format, orientation, number
    type or scaling, cropped, resampled, or with changed voxels. Not seen: cropped and resampled
    both, resampled onto turned axes, another acquisition of the same patient.

    Exit code 1 where anything is wrong; every problem is named on standard error. What the readers
    accepted but a person should know (NaN, headers that disagree) is a warning.

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
        problems = _counted(len(seen.problems), "problem")
        warnings = _counted(len(seen.warnings), "warning")
        console.say(
            f"{card}: {len(cohort.cases)} cases, {labelled} with a mask, {problems}, {warnings}",
            cases=len(cohort.cases),
            labelled=labelled,
            problems=len(seen.problems),
            warnings=len(seen.warnings),
        )
    if seen.problems:
        raise typer.Exit(SOME_FAILED)


@app.command()
def split(
    card: Card,
    *,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="New card; else the table is rewritten.")
    ] = None,
    test: Annotated[
        str, typer.Option(metavar="SHARE|keep", help="Of the patients; keep the present rows.")
    ] = "0.2",
    folds: Annotated[int, typer.Option(min=2, help="Folds of the train rows.")] = 5,
    stratify: Annotated[
        list[str] | None, typer.Option(metavar="COLUMN", help="Alike in every part; repeatable.")
    ] = None,
    root: Root = None,
    seed: Seed = 0,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Divide the cases again into test and folds, whole patients, the same for the same seed.

    Every scan is read, and patients who share one are kept together.

    \b
    Examples:
        medseg cohort split liver.yaml --stratify sex --stratify site
        medseg cohort split liver.yaml --test keep --folds 3 --output liver3.yaml
    """
    from medseg.manifests import load_cohort, split_cohort, write_cohort
    from medseg.manifests.card import inputs_of, rewrite_table, table_of

    share = None if test == "keep" else _share(test)
    cohort = load_cohort(card)
    if output is not None and output.suffix not in (".yaml", ".yml"):
        raise BadConfig("a card is a YAML file", path=output, expected="a name ending in .yaml")
    with open_console(quiet=quiet, json=json) as console:
        joined = _joined(console, load_cohort(card, root=root), keep_test=share is None)
        divided = split_cohort(
            cohort,
            test_share=share,
            folds=folds,
            stratify=stratify or (),
            seed=seed,
            joined=joined,
        )
        if output is None:
            with _guard(card, overwrite, in_place=[table_of(card).name]):
                written = rewrite_table(divided, card)
        else:
            with _guard(output, overwrite, inputs=inputs_of(card, root=root)):
                written = write_cohort(divided, output)
        console.say(f"{written}: divided with seed {seed}", path=str(written), seed=seed)
        _say_parts(console, divided)


def _joined(console: Console, cohort: Cohort, *, keep_test: bool) -> dict[str, str]:
    """Patients who share a scan, to be kept together; each pair is named."""
    from medseg.manifests import joined_patients, survey_scans

    survey = survey_scans(cohort, progress=console.progress("comparing"))
    if survey.unread:
        console.warn(
            f"{len(survey.unread)} of {len(cohort.cases)} scans could not be read and compared; say"
            " with --root where they lie",
            unread=len(survey.unread),
        )
    kept = []
    for found in survey.duplicates:
        fixed = keep_test and found.case.split is not found.other.split
        kept += [] if fixed else [found]
        what = "one stays in test, one in train" if fixed else "kept together"
        console.warn(f"{found.case.case}: {found}; {what}", case=found.case.case)
    return joined_patients(cohort, kept)


@app.command()
def add(
    card: Card,
    *,
    review: Annotated[
        Path, typer.Option("--from", metavar="REVIEW", help="Folder that was reviewed.")
    ],
    rater: Annotated[str, typer.Option(help="Whose verdicts count; everybody's by default.")] = "",
    patients: Annotated[
        Path | None, typer.Option(metavar="TABLE", help="CSV with the columns case and patient.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="New card; else the table is rewritten.")
    ] = None,
    root: Root = None,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Make train rows of masks that were accepted or corrected in medseg review.

    Test rows never change, and a patient or scan of the test part is never added. A scan that the
    cohort has under another patient joins that patient. Every row says why it came or was left
    out. Exit code 1 where nothing was added.

    \b
    Examples:
        medseg cohort add liver.yaml --from masks
        medseg cohort add liver.yaml --from masks --output liver2.yaml
        medseg train plan.yaml --init runs/liver/model --output runs/liver2
    """
    from medseg.manifests import load_cohort, write_cohort
    from medseg.manifests.card import inputs_of, rewrite_table, table_of
    from medseg.review.harvest import harvest

    cohort = load_cohort(card, root=root)
    with open_console(quiet=quiet, json=json) as console:
        result = harvest(
            cohort, review, rater=rater, patients=patients, progress=console.progress("comparing")
        )
        for remark in result.remarks:
            console.warn(remark, remark=remark)
        for case, reason in result.left_out.items():
            console.say(f"  left out  {case}: {reason}", case=case, left_out=reason)
        for case, what in result.added.items():
            console.say(f"  added     {case}: {what}", case=case, added=what)
        if not result.added:
            console.say(f"{card}: nothing to add", added=0)
            raise typer.Exit(SOME_FAILED)
        if output is None:
            with _guard(card, overwrite, in_place=[table_of(card).name]):
                written = rewrite_table(result.cohort, card)
        else:
            with _guard(output, overwrite, inputs=inputs_of(card, root=root)):
                written = write_cohort(result.cohort, output)
        console.say(
            f"{written}: {_counted(len(result.added), 'row')} added",
            path=str(written),
            rows=len(result.added),
        )
        _say_parts(console, result.cohort)


@app.command("next")
def next_(
    card: Card,
    *,
    masks: Annotated[
        Path, typer.Option("--from", metavar="MASKS", help="The --output of medseg segment.")
    ],
    count: Annotated[int, typer.Option("-n", "--count", min=1, help="How many cases.")] = 20,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="CSV", help="Write them as a table.")
    ] = None,
    root: Root = None,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Propose which cases to annotate next, with the reason for each.

    Cases that the network is unsure of, unlike one another and unlike what is labelled already;
    never a test row or a test patient, and first one scan of every patient.

    \b
    Example:
        medseg cohort next liver.yaml --from masks -n 20 --output next.csv
    """
    from medseg.batch.tables import CASES
    from medseg.manifests import load_cohort
    from medseg.manifests.card import inputs_of
    from medseg.review.choosing import choose_next
    from medseg.tables import csv_text
    from medseg.writers.atomic import atomic_path
    from medseg.writers.guard import guard_outputs

    choices = choose_next(load_cohort(card, root=root), masks, count=count)
    columns = ("case", "uncertainty", "distance", "reason")
    with open_console(quiet=quiet, json=json) as console:
        for rank, choice in enumerate(choices, start=1):
            facts = {name: getattr(choice, name) for name in columns}
            console.say(f"{rank:>4}  {choice.case}  {choice.reason}", **facts)
        if output is not None:
            rows = [{name: getattr(choice, name) for name in columns} for choice in choices]
            with (
                guard_outputs(
                    output.parent,
                    "cohort",
                    claims=[output.name],
                    patterns=[output.name],
                    inputs=[*inputs_of(card, root=root), masks / CASES],
                    overwrite=overwrite,
                ),
                atomic_path(output) as temporary,
            ):
                temporary.write_text(csv_text(columns, rows), encoding="utf-8", newline="")
            console.say(f"table: {output}", path=str(output))


@app.command()
def show(card: Card, *, root: Root = None, quiet: Quiet = False, json: Json = False) -> None:
    """Show what a cohort holds: cases a part, patients, grids, volumes of the labels.

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
        _say_parts(console, cohort)
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


def _say_parts(console: Console, cohort: Cohort) -> None:
    from medseg.manifests.summary import parts_of

    for part in parts_of(cohort):
        console.say(
            f"  {part.name:<14} {part.cases:>6} cases  {part.patients:>6} patients"
            f"  {part.labelled:>6} labelled",
            part=part.name,
            cases=part.cases,
            patients=part.patients,
            labelled=part.labelled,
        )


def _counted(count: int, noun: str) -> str:
    return f"{count or 'no'} {noun}" + ("" if count == 1 else "s")


def _range(spread: Spread) -> str:
    if spread.lowest == spread.highest:
        return f"{spread.median:.4g}"
    return f"{spread.lowest:.4g}–{spread.median:.4g}–{spread.highest:.4g}"


def _share(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise BadConfig(
            "--test is neither a share nor keep", found=repr(text), expected="for example 0.2"
        ) from None


def _guard(
    card: Path, overwrite: bool, *, inputs: Sequence[Path] = (), in_place: Sequence[str] = ()
) -> AbstractContextManager[object]:
    """Over a card and its table; with `in_place` over that table, which the user asked to edit."""
    from medseg.writers.guard import guard_outputs

    if card.suffix not in (".yaml", ".yml"):
        raise BadConfig("a card is a YAML file", path=card, expected="a name ending in .yaml")
    names = in_place or [card.name, card.with_suffix(".csv").name]
    return guard_outputs(
        card.parent,
        "cohort",
        claims=names,
        patterns=names,
        inputs=inputs,
        in_place=in_place,
        overwrite=overwrite,
    )
