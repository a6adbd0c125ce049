"""``medseg preview``: a contact sheet of what the network will see, before training."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from medseg.cli.arguments import train_config
from medseg.cli.console import open_console
from medseg.cli.options import Assignments, Json, Overwrite, Quiet, Root
from medseg.cli.outputs import guard_file


def preview(
    config: Annotated[
        Path, typer.Argument(metavar="CONFIG.yaml", help="Config to draw patches of.")
    ],
    assignments: Assignments = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="PNG file to write.")] = Path(
        "preview.png"
    ),
    root: Root = None,
    cache: Annotated[Path | None, typer.Option(help="Folder of prepared cases to share.")] = None,
    patches: Annotated[int, typer.Option(min=1, help="How many patches to draw.")] = 24,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Draw augmented training patches with the truth outlined.

    These are the patches that training draws; where patches grow, at their final size.

    \b
    Example:
        medseg preview plan.yaml --output preview.png
        medseg preview plan.yaml augment.rotate_degrees=45 --output turned.png
    """
    from medseg.manifests import load_cohort
    from medseg.reports.patches import contact_sheet
    from medseg.scratch import scratch_folder
    from medseg.training.preview import drawn_patches
    from medseg.writers.atomic import atomic_path

    settings = train_config(config, assignments or [])
    cohort = load_cohort(config.parent / settings.cohort, root=root)
    with (
        guard_file(output, "preview", inputs=[config], overwrite=overwrite),
        open_console(quiet=quiet, json=json) as console,
        scratch_folder() as temporary,
    ):
        batch = drawn_patches(
            settings, cohort, cache or temporary, patches, console.progress("preparing")
        )
        sheet = contact_sheet(batch.image.numpy(), batch.classes.numpy(), cohort.labels)
        with atomic_path(output) as path:
            path.write_bytes(sheet)
        console.say(f"{patches} patches: {output}", path=str(output))
