"""Lists the cells of the study: which network is trained how, in the order of importance."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

#: Channels at each level of every U-Net, and of the five stages of every FCN.
FEATURES = (16, 32, 64, 128, 128)

#: What every other network is compared with.
REFERENCE = "unet"


@dataclass(frozen=True)
class Cell:
    """One network of the study.

    Attributes:
        name: of its folder.
        title: in tables.
        network: name in ``medseg.networks.NETWORKS``; ``classifier`` is the patch classifier.
        options: of the network.
        starts_from: the cell whose weights it begins with.
        dims: dimensions in which it is part of the study.
        note: what differs beside the network.
    """

    name: str
    title: str
    network: str
    options: Mapping[str, Any] = field(default_factory=dict)
    starts_from: str | None = None
    dims: tuple[int, ...] = (2,)
    note: str = ""


def _unet(name: str, title: str, *, dims: tuple[int, ...] = (2,), **options: Any) -> Cell:
    return Cell(name, title, "unet", {"features": FEATURES, **options}, dims=dims)


BOTH = (2, 3)
_BATCH = {"features": FEATURES, "norm": "batch"}

CELLS: tuple[Cell, ...] = (
    _unet("unet", "U-Net", dims=BOTH),
    Cell("fcn32s", "FCN-32s", "fcn32s", {"features": FEATURES}, dims=BOTH),
    Cell("fcn16s", "FCN-16s", "fcn16s", {"features": FEATURES}, dims=BOTH),
    Cell("fcn8s", "FCN-8s", "fcn8s", {"features": FEATURES}, dims=BOTH),
    _unet("unet_sum", "U-Net, skips added", dims=BOTH, skips="sum"),
    _unet("unet_none", "U-Net without skips", dims=BOTH, skips="none"),
    _unet("unet_linear", "U-Net, linear + convolution", dims=BOTH, upsampling="linear"),
    _unet("unet_nearest", "U-Net, nearest + convolution", dims=BOTH, upsampling="nearest"),
    _unet("unet_even", "U-Net, transposed, even overlap", upsampling="transposed_even"),
    _unet("unet_uneven", "U-Net, transposed, uneven overlap", upsampling="transposed_uneven"),
    _unet("unet_subpixel", "U-Net, sub-pixel", upsampling="subpixel"),
    _unet("unet_depth2", "U-Net, 2 levels", dims=BOTH, features=FEATURES[:2]),
    _unet("unet_depth3", "U-Net, 3 levels", dims=BOTH, features=FEATURES[:3]),
    _unet("unet_depth4", "U-Net, 4 levels", dims=BOTH, features=FEATURES[:4]),
    Cell(
        "unet_original",
        "U-Net, valid convolutions, border mirrored",
        "unet_original",
        {"features": FEATURES},
        note="no norm, as in its paper",
    ),
    Cell(
        "classifier",
        "Patch classifier, fully connected",
        "classifier",
        _BATCH,
        note="learns the class of the middle voxel of 96 x 96 patches",
    ),
    Cell("fcn32s_random", "FCN-32s, batch norm, random start", "fcn32s", _BATCH),
    Cell(
        "fcn32s_classifier",
        "FCN-32s, batch norm, from the classifier",
        "fcn32s",
        _BATCH,
        starts_from="classifier",
        note="after as many steps of the classifier",
    ),
    Cell(
        "fcn16s_staged",
        "FCN-16s, from the FCN-32s",
        "fcn16s",
        {"features": FEATURES},
        starts_from="fcn32s",
        note="after as many steps of the FCN-32s",
    ),
    Cell(
        "fcn8s_staged",
        "FCN-8s, from that FCN-16s",
        "fcn8s",
        {"features": FEATURES},
        starts_from="fcn16s_staged",
        note="after as many steps of the FCN-32s and of the FCN-16s",
    ),
    Cell(
        "residual_unet",
        "Residual-encoder U-Net",
        "residual_unet",
        {"features": FEATURES},
        dims=BOTH,
    ),
)

BY_NAME = {cell.name: cell for cell in CELLS}

#: Cells whose weights others, or the probes, begin with.
KEPT = {REFERENCE, *(cell.starts_from for cell in CELLS if cell.starts_from)}

#: Cells that are compared: by upsampling (with its name), skips, resolution, start and price.
UPSAMPLED = {
    REFERENCE: "transposed, k = s",
    "unet_uneven": "transposed, k = s + 1 (uneven overlap)",
    "unet_even": "transposed, k = 2s (even overlap)",
    "unet_nearest": "nearest + convolution",
    "unet_linear": "linear + convolution",
    "unet_subpixel": "sub-pixel",
}
SKIPPED = (REFERENCE, "unet_sum", "unet_none", "fcn8s", "fcn16s", "fcn32s", "unet_original")
RESOLVED = (
    "fcn32s",
    "fcn16s",
    "fcn8s",
    "unet_depth2",
    "unet_depth3",
    "unet_depth4",
    REFERENCE,
)
STARTED = ("fcn32s_random", "fcn32s_classifier", "fcn16s", "fcn16s_staged", "fcn8s", "fcn8s_staged")
PRICED = (REFERENCE, "residual_unet", "unet_original", "fcn8s", "fcn16s", "fcn32s")
