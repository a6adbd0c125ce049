"""``medseg import-model``: another tool's trained model becomes a model folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from medseg.cli.console import open_console
from medseg.cli.options import Json, Quiet


def import_model(
    tool: Annotated[Literal["nnunet"], typer.Argument(metavar="TOOL", help="nnunet (version 2).")],
    path: Annotated[Path, typer.Argument(metavar="PATH", help="What its training left.")],
    *,
    output: Annotated[Path, typer.Option("--output", "-o", help="Model folder to write.")],
    folds: Annotated[
        str | None,
        typer.Option(
            help="nnunet: folds to average, such as 0,1 or all. Default: all that are there."
        ),
    ] = None,
    checkpoint: Annotated[
        Literal["final", "best", "latest"], typer.Option(help="nnunet: which of its checkpoints.")
    ] = "final",
    orientation: Annotated[
        str | None,
        typer.Option(
            metavar="CODES",
            help="nnunet: axis codes of the scans it was trained on, such as LPS or RAS, if all "
            "had the same: other scans are turned to it. Default: as stored, as nnU-Net does.",
        ),
    ] = None,
    any_trainer: Annotated[
        bool,
        typer.Option(
            "--any-trainer",
            help="nnunet: take weights of an unknown trainer if they fit the plan's network.",
        ),
    ] = False,
    name: Annotated[str, typer.Option(help="Name of the model. Default: the tool's.")] = "",
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace files that medseg did not write, too.")
    ] = False,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Make a model of medseg from a trained model of another tool.

    PATH is nnU-Net's folder TRAINER__PLANS__CONFIGURATION with plans.json, dataset.json and fold_0
    …; nnU-Net itself is not needed, and no code of the checkpoint is run. What is not known is
    refused by its name. The model then segments archives, exports and evaluates as any other.

    \b
    Example:
        medseg import-model nnunet \\
            nnUNet_results/Dataset004_Hippocampus/nnUNetTrainer__nnUNetPlans__3d_fullres \\
            --output models/hippocampus
    """
    from medseg.model_import import ImportOptions
    from medseg.model_import import import_model as convert
    from medseg.writers.guard import guard_outputs

    chosen = tuple(part.strip() for part in folds.split(",")) if folds else ()
    options = ImportOptions(name, chosen, checkpoint, orientation, any_trainer)
    inputs = [file for file in path.rglob("*") if file.is_file()]
    with (
        open_console(quiet=quiet, json=json) as console,
        guard_outputs(output, "import-model", inputs=inputs, overwrite=overwrite),
    ):
        imported = convert(tool, path, output, options)
        for remark in imported.remarks:
            console.say(remark, remark=remark)
        console.say(f"wrote {output}", file=str(output))
