"""Runs a batch of scans and says how it goes: plan, progress, report and exit code."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medseg.cli.console import Console, duration
from medseg.cli.exits import DONE, SOME_FAILED, Interrupted

if TYPE_CHECKING:
    from medseg.batch.batch import Batch
    from medseg.batch.settings import Settings
    from medseg.batch.task import Forecast
    from medseg.scans import Selection
    from medseg.scans.channels import Channels

_RESUME = "Every mask written is complete. Run the same command again to resume."


@dataclass(frozen=True)
class Search:
    """Where scans are looked for, and which of them count.

    Attributes:
        scans: files, folders, archives, cohort cards or tables.
        split: rows of a cohort card.
        root: where a card's files lie.
        selection: which volume of a scan that holds several.
        channels: how series become the channels of a case.
    """

    scans: list[Path]
    split: str | None
    root: Path | None
    selection: Selection
    channels: Channels


def segment_batch(search: Search, settings: Settings, console: Console, *, dry_run: bool) -> int:
    """Find the scans and segment them; returns the exit code.

    Raises:
        Interrupted: Ctrl-C or SIGTERM; what was written is whole.
        MedsegError: the output folder or a model cannot be used.
    """
    from medseg.batch.batch import open_batch
    from medseg.batch.gather import CARDS, gather
    from medseg.batch.shards import remembered
    from medseg.batch.tables import BIDS_FILES, FILES
    from medseg.manifests.card import table_of
    from medseg.writers.guard import guard_outputs

    output = settings.output
    files = FILES if settings.layout == "flat" else (*FILES, *BIDS_FILES)
    cards = [path for path in search.scans if path.suffix.lower() in CARDS and path.is_file()]
    tables = map(table_of, cards)
    with guard_outputs(
        output,
        "segment",
        claims=files,
        patterns=files,
        inputs=[*search.scans, *tables],
        overwrite=settings.overwrite,
    ):
        items = gather(
            search.scans,
            split=search.split,
            root=search.root,
            channels=search.channels,
            selection=search.selection,
            progress=console.progress("looking for scans"),
            without=output,
            known=remembered(output),
        )
        checking = console.progress("checking")
        with open_batch(items, settings, searched=search.scans, progress=checking) as batch:
            _say_plan(batch, console, batch.seconds_needed() if dry_run else batch.needs.seconds)
            if dry_run:
                return DONE if batch.plan.tasks else _exit_code(batch)
            interrupted = _run(batch, console)
            _write_report(batch, console)
            code = _exit_code(batch)
            _say_end(batch, console)
    if interrupted:
        raise Interrupted(_RESUME)
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
            stage_seconds={stage: round(s, 3) for stage, s in summary.stage_seconds.items()},
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
    unfinished = sum(counts[state] for state in ("refused", "failed", "pending", "running"))
    return SOME_FAILED if unfinished or batch.plan.left_out or not counts["done"] else DONE
