"""Draws what the page shows: the networks, and one painted slice as every network segments it."""

from __future__ import annotations

import io
from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure as Canvas
from numpy.typing import NDArray

from medseg.networks import build_network
from medseg.pictures import PALETTE
from medseg.reports.figure_style import drawn
from medseg.reports.network_figure import draw_network
from study.cells import BY_NAME, FEATURES, RESOLVED, SKIPPED, UPSAMPLED
from study.page import Figure
from study.statistics import Findings

#: Which cells stand side by side, by the number of the question.
PANELS = {"3": RESOLVED, "4": tuple(UPSAMPLED), "5": SKIPPED}


def pictures(findings: Sequence[Findings]) -> dict[str, list[Figure]]:
    """The pictures of each question, by its number."""
    shown: dict[str, list[Figure]] = {
        "2": [_network("fcn32s", 128), _network("fcn8s", 128)],
        "5": [
            _network("unet", 388, features=(64, 128, 256, 512, 1024)),
            _network("unet_original", 388),
        ],
    }
    for each in findings:
        if each.cohort.name == "phantoms":
            for number, cells in PANELS.items():
                shown.setdefault(number, []).extend(_panels(each, number, cells))
            if len(findings) > 1:
                continue
        shown.setdefault("3", []).extend(_fields(each))
        shown.setdefault("6", []).extend(_borders(each))
    return shown


def _network(name: str, size: int, **options: object) -> Figure:
    given = options or ({"features": FEATURES} if name != "unet_original" else {})
    network = build_network(name, dims=2, in_channels=1, out_channels=4, options=given)
    title = f"{name}, input {size}×{size}"
    svg = draw_network(network, (1, 1, size, size), title=title)
    return Figure(f"{name}.svg", svg, f"{title}: channels above each map, size below it")


def _panels(f: Findings, number: str, cells: Sequence[str]) -> list[Figure]:
    """One slice, its truth and every network's answer."""
    case = f.cohort.test[0]
    z = case.image.shape[2] // 2
    masks: list[tuple[str, NDArray[np.uint8]]] = [("truth", case.classes[..., z])]
    for cell in cells:
        panel = f.facts(cell).get("panel")
        if panel is not None:
            masks.append((BY_NAME[cell].title, np.asarray(panel, dtype=np.uint8)))
    if len(masks) < 2:
        return []
    colours = mpl.colors.ListedColormap(["#00000000", PALETTE[6], PALETTE[2], PALETTE[1]])
    across = 4
    down = -(-len(masks) // across)
    canvas = Canvas(figsize=(7.2, 2.0 * down), layout="constrained")
    for ax in canvas.subplots(down, across, squeeze=False).ravel():
        ax.set_axis_off()
    for ax, (title, mask) in zip(canvas.axes, masks, strict=False):
        ax.imshow(case.image[..., z].T, cmap="gray", interpolation="nearest")
        ax.imshow(mask.T, cmap=colours, vmin=0, vmax=3, alpha=0.6, interpolation="nearest")
        ax.set_title(title.replace("U-Net, ", "U-Net,\n"), fontsize=7)
    buffer = io.BytesIO()
    canvas.savefig(buffer, format="png", dpi=110, metadata={"Software": None})
    steps = f.facts(f.cells[0])["steps"]
    alt = f"One painted heart, its truth, and what each network makes of it after {steps} steps"
    return [Figure(f"panels_{number}.png", buffer.getvalue(), alt)]


def _fields(f: Findings) -> list[Figure]:
    """Dice against the effective receptive field."""
    cells = [cell for cell in RESOLVED if cell in f.cells]
    if len(cells) < 3:
        return []
    canvas = Canvas(figsize=(7.2, 2.8), layout="constrained")
    ax = canvas.add_subplot()
    mm = f.cohort.cases[0].spacing_mm[0]
    for cell in cells:
        out, field = f.outcome(cell, "dice"), f.facts(cell)["effective_field"][0] * mm
        kind = "o" if BY_NAME[cell].network == "unet" else "s"
        colour = PALETTE[6] if BY_NAME[cell].network == "unet" else PALETTE[1]
        ax.plot([field, field], [out.low, out.high], color=colour, linewidth=1.5)
        ax.plot([field], [out.mean], kind, color=colour)
        ax.annotate(
            BY_NAME[cell].title,
            (field, out.mean),
            xytext=(5, 3),
            fontsize=7,
            textcoords="offset points",
        )
    ax.set(xlabel="effective receptive field, mm", ylabel="Dice")
    alt = f"{f.cohort.name}: Dice with its interval against the effective receptive field"
    return [Figure(f"field_{f.cohort.name}.svg", drawn(canvas), alt)]


def _borders(f: Findings) -> list[Figure]:
    """Wrong voxels at the border for each residue."""
    probe = f.probe("odd_maps")
    if not probe:
        return []
    canvas = Canvas(figsize=(7.2, 2.4), layout="constrained")
    ax = canvas.add_subplot()
    for place, (way, values) in enumerate(probe["wrong_at_border"].items()):
        style = ("-", "--", ":")[place % 3]
        ax.plot(range(16), [100 * v for v in values], style, color=PALETTE[6 - place], label=way)
    ax.set(xlabel="size modulo 16", ylabel="wrong at the border, %")
    ax.legend(frameon=False, fontsize=8)
    alt = f"{f.cohort.name}: wrong voxels beside the cut for each size modulo 16"
    return [Figure(f"borders_{f.cohort.name}.svg", drawn(canvas), alt)]
