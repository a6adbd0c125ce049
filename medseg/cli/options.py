"""Options that several verbs share, and the groups in which ``--help`` shows them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

#: Groups of options; those without one come first.
BESIDES = "Further output"
CHOICE = "Which scans"
CHANNELS = "Several channels"
RESUMING = "Running again"
WORKERS = "Workers and clusters"

Device = Annotated[
    str, typer.Option("--device", metavar="DEVICE", help="auto, cpu, cuda or cuda:N.")
]
Seed = Annotated[
    int, typer.Option("--seed", min=0, help="Random seed; the same seed gives the same result.")
]
BreakLock = Annotated[
    bool,
    typer.Option(
        "--break-lock",
        help="Take over a folder that is locked by a run on another machine.",
        rich_help_panel=RESUMING,
    ),
]
Overwrite = Annotated[
    bool,
    typer.Option(
        "--overwrite",
        help="Replace files that medseg did not write or that were edited since; never an input.",
    ),
]
Root = Annotated[
    Path | None,
    typer.Option("--root", help="Folder that paths in a card or table are relative to, if moved."),
]
Memory = Annotated[
    str | None, typer.Option("--memory", metavar="SIZE", help="Memory limit, e.g. 4GB.")
]
Assignments = Annotated[
    list[str] | None,
    typer.Argument(metavar="[key=value …]", help="Changes to it, e.g. training.minutes=30."),
]
Quiet = Annotated[bool, typer.Option("--quiet", help="Print errors only.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object per line.")]
VOLUME_HELP = "Volume to take, from 0, where a scan holds several."
Volume = Annotated[
    str | None,
    typer.Option("--volume", metavar="N|all", help=VOLUME_HELP),
]
