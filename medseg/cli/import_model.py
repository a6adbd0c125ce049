"""``medseg import-model``: another tool's trained model becomes a model folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from medseg.cli.console import open_console
from medseg.cli.options import Json, Quiet


def import_model(
    tool: Annotated[
        Literal["nnunet", "bundle"],
        typer.Argument(metavar="TOOL", help="nnunet (version 2) or bundle (MONAI's)."),
    ],
    path: Annotated[
        Path, typer.Argument(metavar="PATH", help="What its training left, or a bundle as a zip.")
    ],
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
            help="Axis codes of the scans it was trained on, such as LPS or RAS, if all had the "
            "same: other scans are turned to it. Default: as stored, or as the model says.",
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
    …; nnU-Net itself is not needed, and no code of the checkpoint is run. Or it is a MONAI bundle
    with configs/metadata.json, configs/inference.json and models/model.pt, whose network and
    transforms are MONAI's; no expression of it is run. What is not known is refused by its name.
    The model then segments archives, exports and evaluates as any other.

    \b
    Example:
        medseg import-model nnunet \\
            nnUNet_results/Dataset004_Hippocampus/nnUNetTrainer__nnUNetPlans__3d_fullres \\
            --output models/hippocampus
        medseg import-model bundle spleen_ct_segmentation --output models/spleen
    """
    from medseg.model_import import ImportOptions
    from medseg.model_import import import_model as convert
    from medseg.writers.guard import guard_outputs

    chosen = tuple(part.strip() for part in folds.split(",")) if folds else ()
    options = ImportOptions(name, chosen, checkpoint, orientation, any_trainer)
    inputs = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    with (
        open_console(quiet=quiet, json=json) as console,
        guard_outputs(output, "import-model", inputs=inputs, overwrite=overwrite),
    ):
        imported = convert(tool, path, output, options)
        for remark in imported.remarks:
            console.say(remark, remark=remark)
        console.say(f"wrote {output}", file=str(output))
