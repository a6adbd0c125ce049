"""``medseg segment``: scans in, masks out, thousands of them if need be, none lost."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medseg.cli.arguments import require_choice, size_bytes, split_words, volume_choice
from medseg.cli.console import open_console
from medseg.cli.device import worker_device
from medseg.cli.early import started_early
from medseg.cli.environment import is_restarted
from medseg.cli.options import (
    BESIDES,
    CHANNELS,
    RESUMING,
    WORKERS,
    BreakLock,
    Device,
    Json,
    Overwrite,
    Quiet,
)

if TYPE_CHECKING:
    from medseg.batch.batch import Settings
    from medseg.batch.models import Ways
    from medseg.config import SegmentConfig
    from medseg.scans.channels import Channels


def segment(
    context: typer.Context,
    words: Annotated[
        list[Path],
        typer.Argument(
            metavar="MODEL [MODEL …] SCAN… [key=value …]",
            help="Model folders (several are an ensemble), then scans: files, folders searched "
            "recursively, zips, cohort cards, or an edited scans.csv. Then settings, if any.",
        ),
    ],
    *,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the masks.")],
    split: Annotated[str | None, typer.Option(help="Rows of a cohort card: train or test.")] = None,
    root: Annotated[Path | None, typer.Option(help="Where a card's files lie.")] = None,
    format: Annotated[  # noqa: A002
        str,
        typer.Option(
            help="Of the masks: nifti, nrrd, slicer, mha, dicom-seg, dicom-labelmap, rtstruct."
        ),
    ] = "nifti",
    volume: Annotated[
        str | None,
        typer.Option(metavar="N|all", help="Which volume, from 0, of scans that hold several."),
    ] = None,
    memory: Annotated[
        str | None, typer.Option(metavar="SIZE", help="Memory limit, e.g. 4GB.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be done and what it needs; stop.")
    ] = False,
    overwrite: Overwrite = False,
    device: Device = "auto",
    quiet: Quiet = False,
    json: Json = False,
    one_file_per_label: Annotated[
        bool,
        typer.Option(
            "--one-file-per-label",
            help="Write one mask a label, too: per_label/CASE/LABEL.nii.gz (nifti, nrrd, mha).",
            rich_help_panel=BESIDES,
        ),
    ] = False,
    layout: Annotated[
        str,
        typer.Option(
            help="Of the output folder: flat (CASE.nii.gz), or bids, a BIDS derivative "
            "(sub-*/anat/*_dseg.nii.gz).",
            rich_help_panel=BESIDES,
        ),
    ] = "flat",
    probabilities: Annotated[
        bool,
        typer.Option(
            "--probabilities",
            help="Write those of every label, too: probabilities/CASE_prob_….",
            rich_help_panel=BESIDES,
        ),
    ] = False,
    channel: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=PATTERN",
            help="Which series of a study is this channel of the model, by description, protocol "
            "or sequence (files by name), such as 'T1=*t1*'; again for each channel.",
            rich_help_panel=CHANNELS,
        ),
    ] = None,
    trust_frames: Annotated[
        bool,
        typer.Option(
            "--trust-frames",
            help="Take the channels of a case to lie in one space, whatever their headers say.",
            rich_help_panel=CHANNELS,
        ),
    ] = False,
    register: Annotated[
        bool,
        typer.Option(
            "--register",
            help="Register every channel of a case rigidly to its first; the transforms are "
            "written to registration/.",
            rich_help_panel=CHANNELS,
        ),
    ] = False,
    verify: Annotated[
        bool,
        typer.Option(
            "--verify", help="Read every mask that is already there.", rich_help_panel=RESUMING
        ),
    ] = False,
    retry_failed: Annotated[
        bool,
        typer.Option(
            "--retry-failed", help="Try failed and refused cases again.", rich_help_panel=RESUMING
        ),
    ] = False,
    redo: Annotated[
        bool,
        typer.Option(
            "--redo",
            help="Replace masks that another model or options made.",
            rich_help_panel=RESUMING,
        ),
    ] = False,
    break_lock: BreakLock = False,
    executor: Annotated[
        str,
        typer.Option(
            help="process (isolated, with time-outs) or inline (this process).",
            rich_help_panel=WORKERS,
        ),
    ] = "process",
    cluster: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS", help="Run on this Dask cluster: tcp://…", rich_help_panel=WORKERS
        ),
    ] = None,
    shard: Annotated[
        str | None,
        typer.Option(
            metavar="I/N",
            help="Only this share of the cases, for job arrays: 1/8 to 8/8.",
            rich_help_panel=WORKERS,
        ),
    ] = None,
) -> None:
    """Segment scans; run the same command again to resume.

    Writes one mask a case, cases.csv, labels.yaml, run.yaml, report.html, and label_tables/ for 3D
    Slicer, ITK-SNAP, FreeSurfer and BIDS. A bad scan gets its
    reason in cases.csv and the rest is done; the exit code is 1 then, or where cases still wait.
    Ctrl-C lets cases under way finish. A scan keeps the name of its case as its archive grows.

    The column source of cases.csv names files below the arguments, which may name patients; a
    DICOM SEG or RTSTRUCT holds patient and study of its series, for that is where it belongs.

    A model of several channels takes files CASE_0000, CASE_0001 … in its channels' order, series
    named by --channel, a cohort card, or a scans.csv with the columns group and channel.

    \b
    Examples:
        medseg segment runs/liver/model scan.nii.gz --output masks
        medseg segment runs/liver/model archive/ --output masks --dry-run
        medseg segment fold0/model fold1/model cohort.yaml --split test --output masks
        medseg segment runs/liver/model archive/ --output masks --cluster tcp://head:8786
        medseg segment runs/brain/model archive/ --output masks --channel 'A=*t1*' …
        medseg segment runs/liver/model archive/ --output masks --shard $SLURM_ARRAY_TASK_ID/8
        medseg segment runs/liver/model scan.nii.gz --output masks tta=none engine=compiled
    """
    early = None
    if is_restarted() and executor == "process" and cluster is None and not dry_run:
        # it loads torch while this process loads its own modules and looks for scans
        early = context.with_resource(started_early(device))
    from medseg.batch.batch import OtherRecipe, Settings
    from medseg.batch.executors import Patience
    from medseg.batch.models import Limits
    from medseg.batch.resume import Check
    from medseg.batch.shards import Shard
    from medseg.batch.task import State
    from medseg.cli.segmenting import Search, segment_batch
    from medseg.config import SegmentConfig, override, validate
    from medseg.scans.selection import Selection
    from medseg.writers import WRITERS
    from medseg.writers.layout import SINGLE, Layout

    models, scans, assignments = split_words(words)
    chosen = validate(SegmentConfig, override({}, assignments))
    require_choice("--format", format, tuple(WRITERS))
    require_choice("--layout", layout, tuple(Layout))
    if layout == Layout.BIDS:
        require_choice("--format with --layout bids", format, ("nifti",))
    if one_file_per_label:
        require_choice("--format with --one-file-per-label", format, SINGLE)
    require_choice("--executor", executor, ("process", "inline"))
    settings = Settings(
        models=tuple(path.absolute() for path in models),
        output=output,
        device=device if cluster else worker_device(device),
        format=format,
        layout=Layout(layout),
        one_file_per_label=one_file_per_label,
        ways=_ways(chosen, probabilities=probabilities),
        limits=Limits(size_bytes(memory), size_bytes(chosen.device_memory), chosen.engine),
        executor="cluster" if cluster else executor,
        cluster=cluster,
        patience=Patience(segment_s=chosen.timeout),
        check=Check.CHECKSUM if verify else Check.QUICK,
        retry=frozenset({State.FAILED, State.REFUSED} if retry_failed else ()),
        other_recipe=OtherRecipe.REDO if redo else OtherRecipe.REFUSE,
        shard=Shard.parse(shard) if shard else None,
        break_lock=break_lock,
        overwrite=overwrite,
        early=early,
    )
    selection = Selection(volume=volume_choice(volume))
    frames = "register" if register else "trust" if trust_frames else None
    with open_console(quiet=quiet, json=json) as console:
        channels = _channels(settings, channel or [], frames)
        search = Search(scans, split, root, selection, channels)
        code = segment_batch(search, settings, console, dry_run=dry_run)
    raise typer.Exit(code)


def _ways(chosen: SegmentConfig, *, probabilities: bool) -> Ways:
    from medseg.batch.models import Ways

    return Ways(
        tta=chosen.tta,
        all_windows=chosen.all_windows,
        probabilities=probabilities,
        locator=Path(chosen.locator).absolute() if chosen.locator else None,
        margin_mm=chosen.margin_mm,
    )


def _channels(settings: Settings, patterns: list[str], frames: str | None) -> Channels:
    from medseg.batch.models import load_models
    from medseg.scans import Frames
    from medseg.scans.channels import Channels, parse_patterns

    card = load_models(settings.models)[0].card
    said = frames or (card.frames if card.frames != "check" else None)
    chosen = None if said is None else Frames(said)
    return Channels(card.channels, parse_patterns(patterns, card.channels), chosen)
