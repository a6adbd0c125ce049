"""``medseg import-model``: another tool's trained model becomes a model folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, TypeAlias

import typer

from medseg.cli.console import open_console
from medseg.cli.options import Json, Overwrite, Quiet

_Tool: TypeAlias = Annotated[
    Literal["nnunet", "bundle"],
    typer.Argument(metavar="TOOL", help="nnunet (version 2) or bundle (MONAI's)."),
]
_Path: TypeAlias = Annotated[
    Path,
    typer.Argument(metavar="PATH", help="Folder of the trained model, or a bundle as a zip."),
]
_Output: TypeAlias = Annotated[Path, typer.Option("--output", "-o", help="Model folder to write.")]
_Folds: TypeAlias = Annotated[
    str | None,
    typer.Option(help="nnunet: folds to average, e.g. 0,1 or all. Default: all that exist."),
]
_Checkpoint: TypeAlias = Annotated[
    Literal["final", "best", "latest"], typer.Option(help="nnunet: checkpoint to take.")
]
_Orientation: TypeAlias = Annotated[
    str | None,
    typer.Option(
        metavar="CODES",
        help="Axis codes that all its training scans had, e.g. LPS or RAS; other scans are "
        "turned to them. Default: as the model says, else as stored.",
    ),
]
_AnyTrainer: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--any-trainer",
        help="nnunet: take weights of an unknown trainer if they fit the plan's network.",
    ),
]
_Name: TypeAlias = Annotated[
    str, typer.Option(help="Name of the model. Default: the name its tool gave it.")
]


def import_model(
    tool: _Tool,
    path: _Path,
    *,
    output: _Output,
    folds: _Folds = None,
    checkpoint: _Checkpoint = "final",
    orientation: _Orientation = None,
    any_trainer: _AnyTrainer = False,
    name: _Name = "",
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Import a model that another tool trained: nnU-Net, or a MONAI bundle.

    PATH is nnU-Net's folder TRAINER__PLANS__CONFIGURATION with plans.json, dataset.json and fold_0
    …; nnU-Net itself is not needed, and no code of the checkpoint is run. Or it is a MONAI bundle
    with configs/metadata.json, configs/inference.json and models/model.pt, whose network and
    transforms are MONAI's; no expression of it is run. Whatever is not supported is refused by
    name. The model then works like any other: segment, evaluate, export.

    \b
    Example:
        medseg import-model nnunet \\
            nnUNet_results/Dataset004_Hippocampus/nnUNetTrainer__nnUNetPlans__3d_fullres \\
            --output models/hippocampus
        medseg import-model bundle spleen_ct_segmentation --output models/spleen
    """
    from medseg.config.kinds import Kind, refuse_other_kinds
    from medseg.files import is_file
    from medseg.model_import import ImportOptions
    from medseg.model_import import import_model as convert
    from medseg.writers.guard import guard_outputs

    refuse_other_kinds(path, Kind.FOREIGN, also=[Kind.FOLDER, Kind.ARCHIVE])
    chosen = tuple(part.strip() for part in folds.split(",")) if folds else ()
    options = ImportOptions(name, chosen, checkpoint, orientation, any_trainer)
    inputs = [path] if is_file(path) else list(filter(is_file, path.rglob("*")))
    with (
        open_console(quiet=quiet, json=json) as console,
        guard_outputs(output, "import-model", inputs=inputs, overwrite=overwrite),
    ):
        imported = convert(tool, path, output, options)
        for remark in imported.remarks:
            console.say(remark, remark=remark)
        console.say(f"wrote {output}", file=str(output))
