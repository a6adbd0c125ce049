"""``medseg segment``: scans in, masks out, thousands of them if need be, none lost."""

from __future__ import annotations

from collections import Counter
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from medseg.cli.arguments import require_choice, size_bytes, told_apart, volume_choice
from medseg.cli.console import (
    DONE,
    SOME_FAILED,
    BreakLock,
    Console,
    Device,
    Interrupted,
    Json,
    Overwrite,
    Quiet,
    device_name,
    duration,
    open_console,
)

if TYPE_CHECKING:
    from medseg.batch.batch import Batch, Settings
    from medseg.batch.gather import Found
    from medseg.batch.task import Forecast
    from medseg.scans import Selection
    from medseg.scans.channels import Channels

_GO_ON = "Every mask that was written is whole. Run the same command again to go on."


def segment(
    arguments: Annotated[
        list[Path],
        typer.Argument(
            metavar="MODEL [MODEL …] SCAN…",
            help="Model folders (several are an ensemble), then scans: files, folders searched "
            "recursively, zips, cohort cards, or an edited scans.csv.",
        ),
    ],
    *,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the masks.")],
    split: Annotated[str | None, typer.Option(help="Rows of a cohort card: train or test.")] = None,
    root: Annotated[Path | None, typer.Option(help="Where a card's files lie.")] = None,
    format: Annotated[  # noqa: A002
        str,
        typer.Option(help="Of the masks: nifti, nrrd, slicer, mha, dicom-seg or dicom-labelmap."),
    ] = "nifti",
    volume: Annotated[
        str | None,
        typer.Option(metavar="N|all", help="Which volume, from 0, of scans that hold several."),
    ] = None,
    channel: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=PATTERN",
            help="Which series of a study is this channel of the model, by description, protocol "
            "or sequence (files by name), such as 'T1=*t1*'; again for each channel.",
        ),
    ] = None,
    trust_frames: Annotated[
        bool,
        typer.Option(
            "--trust-frames",
            help="Take the channels of a case to lie in one space, whatever their headers say.",
        ),
    ] = False,
    register: Annotated[
        bool,
        typer.Option(
            "--register",
            help="Register every channel of a case rigidly to its first; the transforms are "
            "written to registration/.",
        ),
    ] = False,
    memory: Annotated[
        str | None, typer.Option(metavar="SIZE", help="Memory limit, e.g. 4GB.")
    ] = None,
    device_memory: Annotated[
        str | None, typer.Option(metavar="SIZE", help="Memory limit on the GPU, e.g. 8GB.")
    ] = None,
    all_windows: Annotated[
        bool, typer.Option("--all-windows", help="Ask the network about empty air too.")
    ] = False,
    locator: Annotated[
        Path | None,
        typer.Option(metavar="MODEL", help="A coarse model that finds where to look first."),
    ] = None,
    margin_mm: Annotated[
        float, typer.Option("--margin-mm", min=0, help="Kept around what the locator finds.")
    ] = 20.0,
    probabilities: Annotated[
        bool,
        typer.Option(
            "--probabilities",
            help="Write those of every label, too: probabilities/CASE_prob_….",
        ),
    ] = False,
    engine: Annotated[
        str, typer.Option(help="What runs the network: torch, compiled (torch.compile), openvino.")
    ] = "torch",
    tta: Annotated[
        str, typer.Option(help="Mirrored copies to average: model (as its card says) or none.")
    ] = "model",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be done and what it needs; stop.")
    ] = False,
    verify: Annotated[
        bool, typer.Option("--verify", help="Read every mask that is already there.")
    ] = False,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Try failed and refused cases again.")
    ] = False,
    redo: Annotated[
        bool, typer.Option("--redo", help="Replace masks that another model or options made.")
    ] = False,
    overwrite: Overwrite = False,
    executor: Annotated[
        str, typer.Option(help="process (isolated, with time-outs) or inline (this process).")
    ] = "process",
    cluster: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="Run on this Dask cluster: tcp://…")
    ] = None,
    timeout: Annotated[
        float, typer.Option(min=1, metavar="SECONDS", help="For a small scan; large ones get more.")
    ] = 600.0,
    shard: Annotated[
        str | None,
        typer.Option(
            metavar="I/N", help="Only this share of the cases, for job arrays: 1/8 to 8/8."
        ),
    ] = None,
    break_lock: BreakLock = False,
    device: Device = "auto",
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Segment scans; run the same command again to resume.

    Writes one mask a case, cases.csv, labels.yaml, run.yaml and report.html. A bad scan gets its
    reason in cases.csv and the rest is done; the exit code is 1 then, or where cases still wait.
    Ctrl-C lets cases under way finish. A scan keeps the name of its case as its archive grows.

    The column source of cases.csv names files below the arguments, which may name patients; a
    DICOM SEG holds patient and study of its series, for that is where it belongs.

    A model of several channels takes files CASE_0000, CASE_0001 … in its channels' order, series
    told by --channel, a cohort card, or a scans.csv with the columns group and channel.

    \b
    Examples:
        medseg segment runs/liver/model scan.nii.gz --output masks
        medseg segment runs/liver/model archive/ --output masks --dry-run
        medseg segment fold0/model fold1/model cohort.yaml --split test --output masks
        medseg segment runs/liver/model archive/ --output masks --cluster tcp://head:8786
        medseg segment runs/brain/model archive/ --output masks --channel 'A=*t1*' …
        medseg segment runs/liver/model archive/ --output masks --shard $SLURM_ARRAY_TASK_ID/8
    """
    from medseg.batch.batch import OtherRecipe, Settings
    from medseg.batch.executors import Patience
    from medseg.batch.models import Limits, Mirrors, Ways
    from medseg.batch.resume import Check
    from medseg.batch.shards import Shard
    from medseg.batch.task import State
    from medseg.scans.selection import Selection
    from medseg.writers import WRITERS

    models, scans = told_apart(arguments)
    require_choice("--format", format, tuple(WRITERS))
    require_choice("--executor", executor, ("process", "inline"))
    require_choice("--tta", tta, ("model", "none"))
    require_choice("--engine", engine, ("torch", "compiled", "openvino"))
    settings = Settings(
        models=tuple(path.absolute() for path in models),
        output=output,
        device=device if cluster else device_name(device),
        format=format,
        ways=Ways(
            Mirrors(tta),
            all_windows=all_windows,
            probabilities=probabilities,
            locator=locator.absolute() if locator else None,
            margin_mm=margin_mm,
        ),
        limits=Limits(size_bytes(memory), size_bytes(device_memory), engine),
        executor="cluster" if cluster else executor,
        cluster=cluster,
        patience=Patience(segment_s=timeout),
        check=Check.CHECKSUM if verify else Check.QUICK,
        retry=frozenset({State.FAILED, State.REFUSED} if retry_failed else ()),
        other_recipe=OtherRecipe.REDO if redo else OtherRecipe.REFUSE,
        shard=Shard.parse(shard) if shard else None,
        break_lock=break_lock,
        overwrite=overwrite,
    )
    selection = Selection(volume=volume_choice(volume))
    with open_console(quiet=quiet, json=json) as console:
        frames = "register" if register else "trust" if trust_frames else None
        channels = _channels(settings, channel or [], frames)
        code = _segment(
            scans,
            settings,
            console,
            split=split,
            root=root,
            channels=channels,
            selection=selection,
            dry_run=dry_run,
        )
    raise typer.Exit(code)


def _channels(settings: Settings, patterns: list[str], frames: str | None) -> Channels:
    from medseg.batch.models import load_models
    from medseg.scans import Frames
    from medseg.scans.channels import Channels, parse_patterns

    card = load_models(settings.models)[0].card
    said = frames or (card.frames if card.frames != "check" else None)
    chosen = None if said is None else Frames(said)
    return Channels(card.channels, parse_patterns(patterns, card.channels), chosen)


def _segment(
    scans: list[Path],
    settings: Settings,
    console: Console,
    *,
    split: str | None,
    root: Path | None,
    channels: Channels,
    selection: Selection,
    dry_run: bool,
) -> int:
    from medseg.batch.gather import gather
    from medseg.batch.ledger import remembered
    from medseg.batch.tables import FILES
    from medseg.writers.guard import guard_outputs

    output = settings.output
    with guard_outputs(
        output,
        "segment",
        claims=FILES,
        patterns=FILES,
        inputs=scans,
        overwrite=settings.overwrite,
    ):
        found = gather(
            scans,
            split=split,
            root=root,
            channels=channels,
            selection=selection,
            progress=console.progress("looking for scans"),
            without=output,
            known=remembered(output),
        )
        return _segment_found(found, scans, settings, console, dry_run=dry_run)


def _segment_found(
    found: list[Found],
    scans: list[Path],
    settings: Settings,
    console: Console,
    *,
    dry_run: bool,
) -> int:
    from medseg.batch.batch import open_batch

    checking = console.progress("checking")
    with open_batch(found, settings, searched=scans, progress=checking) as batch:
        _say_plan(batch, console, batch.seconds_needed() if dry_run else batch.needs.seconds)
        if dry_run:
            return DONE if batch.plan.tasks else _exit_code(batch)
        interrupted = _run(batch, console)
        _write_report(batch, console)
        code = _exit_code(batch)
        _say_end(batch, console)
    if interrupted:
        raise Interrupted(_GO_ON)
    return code


def _run(batch: Batch, console: Console) -> bool:
    from medseg.batch.runner import Listener

    show: Any = console.progress("segmenting")
    listener = Listener(
        progress=show,
        notice=console.warn,
        begun=partial(_say_time, console),
        foreseen=partial(_say_memory, console),
    )
    summary = batch.run(listener)
    if summary.finished:
        pace = summary.finished / max(summary.seconds, 1e-9) * 60
        console.say(
            f"{summary.finished} cases in {duration(summary.seconds)} ({pace:.1f} a minute)",
            finished=summary.finished,
            seconds=summary.seconds,
            segment_seconds=summary.segment_seconds,
        )
    return summary.interrupted


def _say_time(console: Console, seconds: float | None) -> None:
    if seconds:
        console.say(f"the cases will take about {duration(seconds)}", seconds=seconds)


def _say_memory(console: Console, forecast: Forecast) -> None:
    console.say(
        f"{forecast.case}: {forecast.text}", case=forecast.case, predicted_bytes=forecast.host_bytes
    )


def _say_plan(batch: Batch, console: Console, seconds: float | None) -> None:
    for remark in batch.plan.remarks:
        console.warn(remark)
    counts = {str(state): count for state, count in batch.ledger.count().items() if count}
    console.say(
        "found " + ", ".join(f"{count} {state}" for state, count in counts.items()), **counts
    )
    needs = batch.needs
    if not needs.cases:
        return
    time = f", time about {duration(seconds)}" if seconds else ""
    console.say(
        f"{needs.cases} cases to do: disk {needs.disk_bytes / 1e9:.2f} GB of "
        f"{needs.disk_free / 1e9:.0f} GB free, memory for scans {needs.scans_bytes / 1e9:.2f} GB "
        f"besides the network's{time}",
        to_do=needs.cases,
        disk_bytes=needs.disk_bytes,
        scans_bytes=needs.scans_bytes,
        seconds=seconds,
    )


def _write_report(batch: Batch, console: Console) -> None:
    from medseg.reports.batch import write_batch_report

    with batch.alone():
        path = write_batch_report(batch.settings.output, batch.entries(), batch.labels)
    console.say(f"report: {path}", report=str(path))


def _say_end(batch: Batch, console: Console) -> None:
    entries = batch.entries()
    counts = Counter(str(entry.state) for entry in entries)
    flagged = sum(bool(entry.flags) for entry in entries)
    text = ", ".join(f"{count} {state}" for state, count in counts.items())
    look = f"; {flagged} worth a look" if flagged else ""
    console.say(f"masks: {batch.settings.output} ({text}{look})", flagged=flagged, **counts)
    if counts["pending"]:
        console.warn(
            f"{counts['pending']} cases of earlier calls are still pending: run those calls again"
        )
    elif not counts["done"]:
        console.warn("nothing usable was found; cases.csv says why")


def _exit_code(batch: Batch) -> int:
    counts = Counter(str(entry.state) for entry in batch.own_entries())
    if batch.settings.shard is not None and not counts:
        return DONE  # fewer cases than shards
    wanting = sum(counts[state] for state in ("refused", "failed", "pending", "running"))
    return SOME_FAILED if wanting or batch.plan.left_out or not counts["done"] else DONE
