"""``medseg review``: look at masks in the browser; accept, correct or reject them."""

from __future__ import annotations

import getpass
from functools import partial
from pathlib import Path
from typing import Annotated, TypeAlias

import typer

from medseg.cli.console import Console, open_console
from medseg.cli.options import Json, Quiet, Root

#: Packages of the extra ``review`` that the server cannot do without.
_NEEDED = ("starlette", "uvicorn")


_Masks: TypeAlias = Annotated[
    Path,
    typer.Argument(metavar="MASKS", help="The --output of medseg segment or evaluate, or masks."),
]
_Port: TypeAlias = Annotated[
    int,
    typer.Option(min=0, max=65535, help="Port of the loopback address; 0 picks a free one."),
]
_Rater: TypeAlias = Annotated[
    str, typer.Option(help="Name of the rater; by default your user name.")
]
_Blind: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--blind",
        help="Hide flags, scores, truth and other raters' verdicts; random order.",
    ),
]
_Scans: TypeAlias = Annotated[
    Path | None,
    typer.Option(help="Folder of the scans, for masks that no batch made."),
]
_Truth: TypeAlias = Annotated[
    Path | None,
    typer.Option(metavar="CARD|TRUTHS", help="A cohort's card, or a folder of true masks."),
]
_Evaluation: TypeAlias = Annotated[
    Path | None,
    typer.Option(help="The --output of medseg evaluate: worst Dice first."),
]
_Group: TypeAlias = Annotated[
    str, typer.Option(metavar="COLUMN", help="Column of the cohort's table to filter by.")
]
_Labels: TypeAlias = Annotated[
    str,
    typer.Option(
        metavar="NAME=VALUE,…|FILE", help="Label values of masks from other tools: liver=1."
    ),
]
_Output: TypeAlias = Annotated[
    Path | None,
    typer.Option("--output", "-o", help="Folder for verdicts and corrected masks; else MASKS."),
]


def review(
    masks: _Masks,
    *,
    port: _Port = 0,
    rater: _Rater = "",
    blind: _Blind = False,
    scans: _Scans = None,
    truth: _Truth = None,
    evaluation: _Evaluation = None,
    root: Root = None,
    group: _Group = "",
    labels: _Labels = "",
    output: _Output = None,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Look at masks, worst first; accept, correct or reject each, in a browser.

    Serves on this machine alone and prints the address, which holds a secret token. From another
    machine: ssh -L PORT:localhost:PORT, then the same address. Ends with Ctrl-C. Verdicts and
    strokes are saved at once: review.csv, corrected/CASE.nii.gz. A mask itself is never changed.

    \b
    Examples:
        medseg review masks
        medseg review evaluation --port 8765
        medseg review masks --truth cohort.yaml --group site
        medseg review predictionsTs --scans imagesTs --labels liver=1,tumour=2 --rater ab
    """
    from medseg.extras import require_packages

    require_packages("medseg review", _NEEDED, "review")
    from medseg.config.kinds import Kind, refuse_other_kinds
    from medseg.evaluation.folders import labels_given
    from medseg.review.desk import Desk, Review
    from medseg.review.items import Places, cohort_of, items_of
    from medseg.review.remembered import Named
    from medseg.review.running import serve
    from medseg.review.sources import evaluated, require_folder, run_facts, scores_of
    from medseg.review.store import open_store
    from medseg.writers.guard import require_writable

    refuse_other_kinds(masks, Kind.MASKS, also=(Kind.FOLDER, Kind.VOLUMES, Kind.EVALUATION))
    folder = require_folder(masks)
    made_of = evaluated(folder)
    if made_of is not None:
        evaluation, folder = folder, made_of.masks
        truth, root = truth or made_of.truths, root or made_of.root
    table = labels_given(labels) if labels else None
    cohort = None if truth is None else cohort_of(truth, table, root)
    scores = {} if evaluation is None else scores_of(evaluation)
    named, items = items_of(Places(folder, scans, cohort, table, scores, group))
    home = output or folder
    require_writable(home)
    who = rater.strip() or getpass.getuser()
    about = Review(folder, home, named, who, blind=blind, run=run_facts(folder))
    desk = Desk(about, items, open_store(home))
    with open_console(quiet=quiet, json=json) as console:
        announce = partial(_say_address, console, len(items))
        serve(desk, Named(folder, named, scans, truth, root), port=port, tell=announce)
        console.say(f"verdicts: {home / 'review.csv'}", review=str(home / "review.csv"))


def _say_address(console: Console, cases: int, address: str, port: int) -> None:
    console.say(f"{cases} masks. Open {address}", address=address, port=port, cases=cases)
    console.say(
        f"From another machine first: ssh -L {port}:localhost:{port} THIS_MACHINE. Ctrl-C ends."
    )
