"""``medseg networks``: size, cost and receptive field of each architecture, and its figure."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medseg.cli.console import open_console
from medseg.cli.options import Json, Overwrite, Quiet
from medseg.cli.outputs import guard_file
from medseg.errors import BadConfig

if TYPE_CHECKING:
    from medseg.cli.console import Console


def networks(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="Show one network and its options.")
    ] = None,
    *,
    dims: Annotated[int, typer.Option("--dims", help="2 for slices, 3 for volumes.")] = 3,
    patch: Annotated[
        int, typer.Option("--patch", min=1, help="Voxels along each axis of the patch.")
    ] = 96,
    classes: Annotated[int, typer.Option("--classes", min=1, help="Output channels.")] = 2,
    figure: Annotated[
        str | None,
        typer.Option("--figure", metavar="NAME", help="Draw this network as SVG, for the patch."),
    ] = None,
    option: Annotated[
        list[str] | None,
        typer.Option(
            "--option", metavar="KEY=VALUE", help="Option of that network, e.g. features=[16,32]."
        ),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="SVG file; NAME.svg if not given.")
    ] = None,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Show parameters, multiply-adds, memory for a patch and receptive field of architectures.

    \b
    Examples:
        medseg networks
        medseg networks unet --dims 2 --patch 256
        medseg networks --figure unet_original --dims 2 --patch 388 --output unet.svg
    """
    if output is not None and figure is None:
        raise BadConfig("--output is the place of a figure", expected="--figure NAME beside it")
    with open_console(quiet=quiet, json=json) as console:
        if figure is not None:
            path = output or Path(f"{figure}.svg")
            _draw(console, figure, option or [], path, (dims, patch, classes), overwrite=overwrite)
        else:
            _say_costs(console, name, (dims, patch, classes))


def _say_costs(console: Console, name: str | None, size: tuple[int, int, int]) -> None:
    """A row for every network, or for one with its options; ``size`` is dims, patch, classes."""
    from medseg.networks import NETWORKS, build_network
    from medseg.networks.inspect import cost, receptive_field

    dims, patch, classes = size
    row = "{:<16}{:>14}{:>18}{:>18}{:>18}"
    heads = ("network", "parameters", "multiply-adds", "activations", "sees (voxels)")
    console.say(row.format(*heads))
    for each in [name] if name else NETWORKS:
        network = build_network(each, dims=dims, in_channels=1, out_channels=classes)
        spent = cost(network, (1, 1, *(patch,) * dims))
        sees = receptive_field(network, dims)
        text = row.format(
            each,
            f"{spent.parameters:,}",
            f"{spent.multiply_adds / 1e9:.2f} G",
            f"{spent.activation_bytes / 2**20:,.0f} MiB",
            "×".join(map(str, sees)),
        )
        facts = {
            "parameters": spent.parameters,
            "multiply_adds": spent.multiply_adds,
            "activation_bytes": spent.activation_bytes,
        }
        console.say(text, network=each, dims=dims, patch=patch, **facts, receptive_field=sees)
    if name:
        for key, field in NETWORKS[name].options.model_fields.items():
            console.say(f"  {key}: {field.default!r}", option=key, default=field.default)


def _draw(
    console: Console,
    name: str,
    options: list[str],
    path: Path,
    size: tuple[int, int, int],
    *,
    overwrite: bool,
) -> None:
    """Write the figure of a network; ``size`` is dims, patch and classes."""
    from medseg.config import override
    from medseg.networks import build_network
    from medseg.reports.network_figure import draw_network
    from medseg.writers.atomic import atomic_path

    dims, patch, classes = size
    chosen = override({}, options)
    network = build_network(name, dims=dims, in_channels=1, out_channels=classes, options=chosen)
    voxels = "×".join([str(patch)] * dims)
    with guard_file(path, "networks", overwrite=overwrite):
        svg = draw_network(network, (1, 1, *(patch,) * dims), title=f"{name}, input {voxels}")
        with atomic_path(path) as temporary:
            temporary.write_bytes(svg)
    console.say(f"{path}: {name} for an input of {voxels}", figure=str(path))
