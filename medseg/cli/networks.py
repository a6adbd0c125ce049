"""``medseg networks``: which architectures are there, what do they see and what do they cost?"""

from __future__ import annotations

from typing import Annotated

import typer

from medseg.cli.console import open_console
from medseg.cli.options import Json, Quiet


def networks(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="One network, with its options.")
    ] = None,
    *,
    dims: Annotated[int, typer.Option("--dims", help="2 or 3.")] = 3,
    patch: Annotated[
        int, typer.Option("--patch", min=1, help="Voxels along each axis of the patch.")
    ] = 96,
    classes: Annotated[int, typer.Option("--classes", min=1, help="Output channels.")] = 2,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Architectures: parameters, multiply-adds and memory for a patch, receptive field.

    \b
    Examples:
        medseg networks
        medseg networks unet --dims 2 --patch 256
    """
    from medseg.networks import NETWORKS, build_network
    from medseg.networks.inspect import cost, receptive_field

    row = "{:<16}{:>14}{:>18}{:>18}{:>18}"
    with open_console(quiet=quiet, json=json) as console:
        console.say(
            row.format("network", "parameters", "multiply-adds", "activations", "sees (voxels)")
        )
        for each in [name] if name else NETWORKS:
            network = build_network(each, dims=dims, in_channels=1, out_channels=classes)
            spent = cost(network, (1, 1, *(patch,) * dims))
            sees = receptive_field(network, dims)
            console.say(
                row.format(
                    each,
                    f"{spent.parameters:,}",
                    f"{spent.multiply_adds / 1e9:.2f} G",
                    f"{spent.activation_bytes / 2**20:,.0f} MiB",
                    "×".join(map(str, sees)),
                ),
                network=each,
                dims=dims,
                patch=patch,
                parameters=spent.parameters,
                multiply_adds=spent.multiply_adds,
                activation_bytes=spent.activation_bytes,
                receptive_field=sees,
            )
        if name:
            for key, field in NETWORKS[name].options.model_fields.items():
                console.say(f"  {key}: {field.default!r}", option=key, default=field.default)
