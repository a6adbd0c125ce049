"""``medseg export``: a model for other tools, as a MONAI bundle or as networks and a card."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from medseg.cli.console import open_console
from medseg.cli.options import Json, Overwrite, Quiet


def export(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="Model folder.")],
    *,
    to: Annotated[Literal["bundle", "onnx", "torchscript"], typer.Option(help="Format to write.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the files.")],
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Export a model for use without medseg.

    bundle: a MONAI bundle that segments scans with MONAI alone, pre- and post-processing included.
    onnx, torchscript: one file per network that maps windows to logits, compared with the original
    before it is kept; export.yaml says what to do before and after.

    \b
    Example:
        medseg export runs/liver/model --to bundle --output liver-bundle
    """
    from medseg.config.kinds import Kind, refuse_other_kinds
    from medseg.export import export_model
    from medseg.model import load_model
    from medseg.writers.guard import guard_outputs

    refuse_other_kinds(model, Kind.MODEL, also=[Kind.FOLDER])
    loaded = load_model(model)
    inputs = [path for path in model.rglob("*") if path.is_file()]
    with (
        open_console(quiet=quiet, json=json) as console,
        guard_outputs(output, "export", inputs=inputs, overwrite=overwrite),
    ):
        for path in export_model(loaded, to, output):
            console.say(f"wrote {path}", file=str(path))
