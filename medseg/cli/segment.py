"""``medseg segment``: masks for one scan or for thousands; running it again resumes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

from medseg.cli.arguments import (
    is_open_to_others,
    require_choice,
    size_bytes,
    split_words,
    volume_choice,
)
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
    Memory,
    Overwrite,
    Quiet,
    Root,
    Volume,
)

if TYPE_CHECKING:
    from medseg.batch.models import Ways
    from medseg.batch.settings import Settings
    from medseg.config import SegmentConfig
    from medseg.scans.channels import Channels


_Words: TypeAlias = Annotated[
    list[Path],
    typer.Argument(
        metavar="MODEL [MODEL …] SCAN… [key=value …]",
        help="Model folders (several are an ensemble), then scans: files, folders searched "
        "recursively, zips, cohort cards, or an edited scans.csv. Then settings, if any.",
    ),
]
_Output: TypeAlias = Annotated[Path, typer.Option("--output", "-o", help="Folder for the masks.")]
_Split: TypeAlias = Annotated[
    str | None, typer.Option(help="Rows of a cohort card: train or test.")
]
_Format: TypeAlias = Annotated[
    str,
    typer.Option(
        help="Format of the masks: nifti, nrrd, slicer, mha, dicom-seg, dicom-labelmap, rtstruct."
    ),
]
_DryRun: TypeAlias = Annotated[
    bool, typer.Option("--dry-run", help="Show what would be done and what it needs, then stop.")
]
_OneFilePerLabel: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--one-file-per-label",
        help="Also write one mask per label: per_label/CASE/LABEL.nii.gz (nifti, nrrd, mha).",
        rich_help_panel=BESIDES,
    ),
]
_Layout: TypeAlias = Annotated[
    str,
    typer.Option(
        help="Layout of the output folder: flat (CASE.nii.gz) or bids, a BIDS derivative "
        "(sub-*/anat/*_dseg.nii.gz).",
        rich_help_panel=BESIDES,
    ),
]
_Probabilities: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--probabilities",
        help="Also write the probabilities of every label: probabilities/CASE_prob_….",
        rich_help_panel=BESIDES,
    ),
]
_Channel: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME=PATTERN",
        help="Which series of a study is this channel of the model, by description, protocol "
        "or sequence (files by name), such as 'T1=*t1*'; repeat for each channel.",
        rich_help_panel=CHANNELS,
    ),
]
_TrustFrames: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--trust-frames",
        help="Take the channels of a case to lie in one space, whatever their headers say.",
        rich_help_panel=CHANNELS,
    ),
]
_Register: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--register",
        help="Register every channel of a case rigidly to its first; the transforms are "
        "written to registration/.",
        rich_help_panel=CHANNELS,
    ),
]
_Verify: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--verify",
        help="Compare the checksum of every existing mask, not only size and time.",
        rich_help_panel=RESUMING,
    ),
]
_RetryFailed: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--retry-failed", help="Try failed and refused cases again.", rich_help_panel=RESUMING
    ),
]
_Redo: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--redo",
        help="Replace masks made by another model or with other options.",
        rich_help_panel=RESUMING,
    ),
]
_Executor: TypeAlias = Annotated[
    str,
    typer.Option(
        help="process (isolated, with time-outs) or inline (this process).",
        rich_help_panel=WORKERS,
    ),
]
_Cluster: TypeAlias = Annotated[
    str | None,
    typer.Option(
        metavar="ADDRESS", help="Run on this Dask cluster: tls://…", rich_help_panel=WORKERS
    ),
]
_Shard: TypeAlias = Annotated[
    str | None,
    typer.Option(
        metavar="I/N",
        help="Segment only this share of the cases, for job arrays: 1/8 to 8/8.",
        rich_help_panel=WORKERS,
    ),
]


def segment(
    context: typer.Context,
    words: _Words,
    *,
    output: _Output,
    split: _Split = None,
    root: Root = None,
    format: _Format = "nifti",  # noqa: A002
    volume: Volume = None,
    memory: Memory = None,
    dry_run: _DryRun = False,
    overwrite: Overwrite = False,
    device: Device = "auto",
    quiet: Quiet = False,
    json: Json = False,
    one_file_per_label: _OneFilePerLabel = False,
    layout: _Layout = "flat",
    probabilities: _Probabilities = False,
    channel: _Channel = None,
    trust_frames: _TrustFrames = False,
    register: _Register = False,
    verify: _Verify = False,
    retry_failed: _RetryFailed = False,
    redo: _Redo = False,
    break_lock: BreakLock = False,
    executor: _Executor = "process",
    cluster: _Cluster = None,
    shard: _Shard = None,
) -> None:
    """Segment scans; run the same command again to resume.

    Writes one mask per case, cases.csv, labels.yaml, run.yaml, report.html, and label_tables/ for
    3D Slicer, ITK-SNAP, FreeSurfer and BIDS. A scan that cannot be segmented gets its reason in
    cases.csv and the others are segmented; the exit code is then 1, as it is while cases are still
    pending. Ctrl-C lets cases under way finish. A scan keeps its case name as its archive grows.

    The column source of cases.csv holds file names below the arguments, which may name patients;
    a DICOM SEG or RTSTRUCT holds patient and study of its series, as DICOM requires.

    A model of several channels takes files CASE_0000, CASE_0001 … in its channels' order, series
    named by --channel, a cohort card, or a scans.csv with the columns group and channel.

    \b
    Examples:
        medseg segment runs/liver/model scan.nii.gz --output masks
        medseg segment runs/liver/model archive/ --output masks --dry-run
        medseg segment fold0/model fold1/model cohort.yaml --split test --output masks
        medseg segment runs/liver/model archive/ --output masks --cluster tls://head:8786
        medseg segment runs/brain/model archive/ --output masks --channel 'A=*t1*' …
        medseg segment runs/liver/model archive/ --output masks --shard $SLURM_ARRAY_TASK_ID/8
        medseg segment runs/liver/model scan.nii.gz --output masks tta=none engine=compiled
    """
    early = None
    if is_restarted() and executor == "process" and cluster is None and not dry_run:
        # it loads torch while this process imports its own modules and searches for scans
        early = context.with_resource(started_early(device))
    from medseg.batch.executors import Patience
    from medseg.batch.models import Limits
    from medseg.batch.resume import Check
    from medseg.batch.settings import OtherRecipe, Settings
    from medseg.batch.shards import Shard
    from medseg.batch.task import State
    from medseg.cli.segmenting import Search, segment_batch
    from medseg.config import SegmentConfig, override, validate
    from medseg.config.kinds import refuse_no_scans
    from medseg.scans.selection import Selection
    from medseg.writers.layout import Layout

    models, scans, assignments = split_words(words)
    refuse_no_scans(scans)
    chosen = validate(SegmentConfig, override({}, assignments))
    _check_choices(format, layout, executor, one_file_per_label=one_file_per_label)
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
        if cluster is not None and is_open_to_others(cluster):
            console.warn(
                f"{cluster}: whoever reaches this scheduler can run programs as you; use TLS, or"
                " bind it to 127.0.0.1"
            )
        channels = _channels(settings, channel or [], frames)
        search = Search(scans, split, root, selection, channels)
        code = segment_batch(search, settings, console, dry_run=dry_run)
    raise typer.Exit(code)


def _check_choices(
    format: str,  # noqa: A002
    layout: str,
    executor: str,
    *,
    one_file_per_label: bool,
) -> None:
    from medseg.writers import WRITERS
    from medseg.writers.layout import SINGLE, Layout

    require_choice("--format", format, tuple(WRITERS))
    require_choice("--layout", layout, tuple(Layout))
    if layout == Layout.BIDS:
        require_choice("--format with --layout bids", format, ("nifti",))
    if one_file_per_label:
        require_choice("--format with --one-file-per-label", format, SINGLE)
    require_choice("--executor", executor, ("process", "inline"))


def _ways(chosen: SegmentConfig, *, probabilities: bool) -> Ways:
    from medseg.batch.models import Ways

    return Ways(
        tta=chosen.tta,
        all_windows=chosen.all_windows,
        probabilities=probabilities,
        uncertainty=chosen.measures,
        locator=Path(chosen.locator).absolute() if chosen.locator else None,
        margin_mm=chosen.margin_mm,
    )


def _channels(settings: Settings, patterns: list[str], frames: str | None) -> Channels:
    from medseg.batch.models import load_models
    from medseg.scans import Frames
    from medseg.scans.channels import Channels, parse_patterns

    card = load_models(settings.models)[0].card
    rule = frames or (card.frames if card.frames != "check" else None)
    chosen = None if rule is None else Frames(rule)
    return Channels(card.channels, parse_patterns(patterns, card.channels), chosen)
