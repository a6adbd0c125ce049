"""Measures which way of upsampling leaves a checkerboard; draws it and writes the table.

    python pipelines/upsampling_study.py [docs]

Rewrites the table in ``docs/upsampling.md`` and the picture ``docs/upsampling.png``; a few minutes
on two cores. Nothing is downloaded: the images are synthetic.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
import numpy as np
import torch
from matplotlib import pyplot as plt
from study.checkerboard import checkerboard_index
from torch import Tensor, nn
from torch.nn import functional

from medseg.networks import build_network
from medseg.networks.upsampling import UPSAMPLING, Transposed, make_rise

SIZE = 64
SEEDS = range(3)
STEPS = 120
BEGIN, END = "<!-- table: begin -->", "<!-- table: end -->"

#: What is compared: a name, an upsampling kind, and whether a stamp's weights start independent.
KINDS = [
    *((kind, kind, False) for kind in UPSAMPLING),
    ("transposed, random start", "transposed", True),
]


@dataclass(frozen=True)
class Row:
    """What was measured of one kind: indices as medians over the seeds, and maps to look at."""

    name: str
    one_step: float
    untrained: float
    untrained_3d: float
    trained: float
    dice: float
    maps: tuple[Tensor, Tensor, Tensor]


def ellipses(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Noisy images (B, 1, X, Y) of an ellipse and their masks (B, X, Y)."""
    rng = np.random.default_rng(seed)
    x, y = np.mgrid[:SIZE, :SIZE]
    images, masks = [], []
    for _ in range(count):
        (cx, cy), (a, b) = rng.uniform(0.3, 0.7, 2) * SIZE, rng.uniform(0.1, 0.25, 2) * SIZE
        turn = rng.uniform(0, np.pi)
        u = (x - cx) * np.cos(turn) + (y - cy) * np.sin(turn)
        v = (y - cy) * np.cos(turn) - (x - cx) * np.sin(turn)
        mask = (u / a) ** 2 + (v / b) ** 2 < 1
        images.append(mask + 0.5 * rng.standard_normal((SIZE, SIZE)))
        masks.append(mask)
    return (
        torch.from_numpy(np.stack(images)).float()[:, None],
        torch.from_numpy(np.stack(masks)).long(),
    )


def smooth_features(*size: int) -> Tensor:
    """Positive maps that vary slowly, as features after an activation do."""
    coarse = torch.randn(1, 8, *(n // 8 for n in size))
    mode = "bilinear" if len(size) == 2 else "trilinear"
    return 2 + functional.interpolate(coarse, size, mode=mode, align_corners=True)


def scramble(network: nn.Module) -> None:
    """Independent weights within each stamp: the usual start of a transposed convolution."""
    for module in network.modules():
        if isinstance(module, Transposed):
            nn.init.normal_(module.conv.weight, std=float(module.conv.weight.detach().std()))


def unet(kind: str, dims: int, start: Callable[[nn.Module], None]) -> nn.Module:
    """A small U-Net of this kind of upsampling."""
    network = build_network(
        "unet",
        dims=dims,
        in_channels=1,
        out_channels=2,
        options={"features": (8, 16, 32), "upsampling": kind},
    )
    start(network)
    return network


def trained(network: nn.Module, seed: int) -> nn.Module:
    """The same network after a few hundred images."""
    optimiser = torch.optim.AdamW(network.parameters(), lr=3e-3)
    for step in range(STEPS):
        images, masks = ellipses(4, seed=10_000 * seed + step)
        loss = functional.cross_entropy(network(images), masks)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return network.eval()


@torch.no_grad()
def index_of(network: nn.Module, image: Tensor) -> tuple[float, Tensor]:
    """The checkerboard index of a network's logits, and the logits."""
    logits = network(image)
    return checkerboard_index(logits, 2), logits


def measure(name: str, kind: str, start: Callable[[nn.Module], None]) -> Row:
    """One row of the table."""
    figures: list[tuple[float, ...]] = []
    maps: tuple[Tensor, Tensor, Tensor] | None = None
    held_out, truth = ellipses(8, seed=999)
    for seed in SEEDS:
        torch.manual_seed(seed)
        features = smooth_features(SIZE // 2, SIZE // 2)
        step = make_rise(kind, 2, (8, 8), 2)
        start(step)
        one_step, fine = index_of(step, features)
        network = unet(kind, 2, start)
        untrained, logits = index_of(network, held_out)
        solid, _ = index_of(unet(kind, 3, start), torch.randn(1, 1, 32, 32, 32))
        after, learned = index_of(trained(network, seed), held_out)
        found, true = learned.argmax(1) == 1, truth == 1
        dice = 2 * (found & true).sum() / (found.sum() + true.sum())
        figures.append((one_step, untrained, solid, after, float(dice)))
        maps = maps or (fine[0, 0], logits[0, 1] - logits[0, 0], learned[0, 1] - learned[0, 0])
    return Row(name, *(float(np.median(column)) for column in zip(*figures, strict=True)), maps)


def table(rows: list[Row]) -> str:
    """The rows as Markdown."""
    lines = [
        "| upsampling | one step | untrained U-Net | the same in 3D | trained U-Net | its Dice |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    lines += [
        f"| {r.name} | {r.one_step:.1f} | {r.untrained:.1f} | {r.untrained_3d:.1f} "
        f"| {r.trained:.1f} | {r.dice:.3f} |"
        for r in rows
    ]
    return "\n".join(lines)


def draw(rows: list[Row], path: Path) -> None:
    """Close-ups of one step, of untrained and of trained logits, a row a kind."""
    mpl.use("Agg")
    titles = ("one step, smooth features", "U-Net, untrained", "U-Net, trained")
    figure, axes = plt.subplots(len(rows), 3, figsize=(6.6, 2.1 * len(rows)), layout="constrained")
    for line, row in zip(axes, rows, strict=True):
        for axis, title, values in zip(line, titles, row.maps, strict=True):
            axis.imshow(values[16:48, 16:48].numpy(), cmap="gray", interpolation="nearest")
            axis.set(xticks=[], yticks=[])
            if row is rows[0]:
                axis.set_title(title, fontsize=9)
        line[0].set_ylabel(row.name, fontsize=8)
    figure.savefig(path, dpi=90, metadata={"Software": None})


def main(folder: Path) -> None:
    """Measure every kind, then write the picture and the table."""
    rows = []
    for name, kind, random_start in KINDS:
        rows.append(measure(name, kind, scramble if random_start else lambda network: None))
        print(f"{name}: {table(rows).splitlines()[-1]}", flush=True)
    draw(rows, folder / "upsampling.png")
    page = folder / "upsampling.md"
    before, rest = page.read_text(encoding="utf-8").split(BEGIN)
    after = rest.split(END)[1]
    page.write_text(f"{before}{BEGIN}\n{table(rows)}\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "docs"))
