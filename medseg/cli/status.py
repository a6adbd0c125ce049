"""``medseg status``: cases of a batch by state, its rate, and the time left."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from medseg.cli.console import duration, open_console
from medseg.cli.exits import DONE, SOME_FAILED
from medseg.cli.options import Json, Quiet


def status(
    folder: Annotated[Path, typer.Argument(help="Output folder of medseg segment.")],
    *,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Show how a batch stands: cases by state, rate, time left, and what went wrong.

    Exit code 1 where cases were refused or failed, or where a shard is still to be run.

    \b
    Example:
        medseg status masks
    """
    from medseg.batch.status import stand
    from medseg.config.kinds import Kind, refuse_other_kinds

    refuse_other_kinds(folder, Kind.MASKS, also=(Kind.FOLDER, Kind.VOLUMES, Kind.EVALUATION))
    now = stand(folder)
    with open_console(quiet=quiet, json=json) as console:
        console.say(
            ", ".join(f"{count} {state}" for state, count in now.counts.items() if count),
            **now.counts,
        )
        console.say(
            f"held by {now.holder}" if now.holder else "no run is under way", holder=now.holder
        )
        if now.cases_per_hour:
            left = f", {duration(now.seconds_left)} left" if now.seconds_left else ""
            console.say(
                f"{now.cases_per_hour:.0f} cases an hour{left}",
                cases_per_hour=now.cases_per_hour,
                seconds_left=now.seconds_left,
            )
        for case, text in now.under_way.items():
            console.say(f"under way: {case} ({text})", case=case)
        for case, reason in now.troubles.items():
            console.say(f"{case}: {reason}", case=case, reason=reason)
        for text in now.unfinished:
            console.say(text, unfinished=text)
    raise typer.Exit(SOME_FAILED if now.troubles or now.unfinished else DONE)
