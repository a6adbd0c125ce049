"""Measures what needs no training of its own: sizes, classifier, borders, ceilings."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from medseg.networks.classifier import convolutionalise
from study.cells import BY_NAME, REFERENCE
from study.checkerboard import checkerboard_index
from study.cohorts import StudyCohort
from study.results import Folder
from study.scoring import network_input, score_cases
from study.training import CLASSIFIED, built, classifier_with

#: Sizes of square images (cubes in 3D) that must come out as themselves.
EVERY_SIZE = {2: range(1, 71), 3: range(1, 36)}

#: Strides whose ceiling is measured.
STRIDES = (2, 4, 8, 16, 32)

#: The most slices that the border probe takes, and the voxels that count as border.
SLICES, BORDER = 64, 16


@dataclass(frozen=True)
class Probe:
    """A measurement and the dimensions in which it makes sense."""

    dims: tuple[int, ...]
    measure: Callable[[Folder, StudyCohort, torch.device], dict[str, Any] | None]


def checkerboard_of(network: nn.Module, image: Tensor) -> float:
    """The index at stride 2 of the logits of one scan."""
    with torch.no_grad():
        logits = network(image).cpu()
    return checkerboard_index(logits, 2)


def trained(
    folder: Folder, cohort: StudyCohort, name: str, device: torch.device
) -> nn.Module | None:
    """The network of a finished cell that kept its weights, of the first seed."""
    weights = folder.weights(cohort.name, name, 0)
    if weights is None:
        return None
    network = built(BY_NAME[name], cohort, 0)
    network.load_state_dict(weights)
    return network.to(device).eval()


@torch.no_grad()
def any_size(folder: Folder, cohort: StudyCohort, device: torch.device) -> dict[str, Any] | None:
    """One weight set of each kind on images of every size; and what cutting an end off changes.

    The far end of a test image is cut off voxel by voxel. Where no changed voxel is in sight the
    class should stay; an instance norm sees the whole image, so a few may change.
    """
    facts: dict[str, Any] = {}
    image = network_input(cohort.test[0], cohort.dims, device)
    image = image[len(image) // 2][None]
    for name in (REFERENCE, "fcn32s", "fcn16s"):
        network = trained(folder, cohort, name, device)
        if network is None:
            continue
        sizes = EVERY_SIZE[cohort.dims]
        kept = 0
        for size in sizes:
            shape = (size,) * cohort.dims
            kept += network(torch.zeros(1, 1, *shape, device=device)).shape[2:] == shape
        whole = network(image).argmax(1)
        size = image.shape[2]
        changed = []
        for cut in range(1, 17):
            part = network(image[:, :, : size - cut]).argmax(1)
            near = size // 2
            changed.append(float((part[:, :near] != whole[:, :near]).float().mean()))
        facts[name] = {
            "sizes": len(sizes),
            "kept": int(kept),
            "changed_most": max(changed),
            "changed_mean": float(np.mean(changed)),
        }
    return facts or None


@torch.no_grad()
def classifier(folder: Folder, cohort: StudyCohort, device: torch.device) -> dict[str, Any] | None:
    """The patch classifier and the same weights as convolutions: equal answers, cheaper map."""
    weights = folder.weights(cohort.name, "classifier", 0)
    if weights is None:
        return None
    connected = classifier_with(weights, BY_NAME["classifier"], cohort).to(device).eval()
    convolved = convolutionalise(connected).to(device).eval()
    image = network_input(cohort.test[0], 2, device)
    image = nn.functional.interpolate(image, (256, 256), mode="bilinear")
    crop = image[:, :, :CLASSIFIED, :CLASSIFIED]
    with torch.backends.cudnn.flags(allow_tf32=False):
        alike = float((connected(crop) - convolved(crop).flatten(1)).abs().max())
    places = convolved(image)
    corners = [
        (x, y)
        for x in range(0, 256 - CLASSIFIED + 1, 32)
        for y in range(0, 256 - CLASSIFIED + 1, 32)
    ]
    crops = torch.cat([image[:1, :, x : x + CLASSIFIED, y : y + CLASSIFIED] for x, y in corners])
    one_by_one = connected(crops).argmax(1)
    at_once = places[0].flatten(1).argmax(0)
    return {
        "largest_difference": alike,
        "tf32": False,
        "places": len(corners),
        "same_class": float((one_by_one == at_once).float().mean()),
        "map_seconds": _seconds(lambda: convolved(image[:1]), device),
        "crops_seconds": _seconds(lambda: connected(crops), device),
    }


def _seconds(work: Callable[[], Tensor], device: torch.device) -> float:
    """The best of five calls after one to warm up."""
    best = float("inf")
    for _ in range(6):
        _wait(device)
        started = time.perf_counter()
        work()
        _wait(device)
        best = min(best, time.perf_counter() - started)
    return best


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


@torch.no_grad()
def odd_maps(folder: Folder, cohort: StudyCohort, device: torch.device) -> dict[str, Any] | None:
    """Slices cut through the heart, of every residue modulo 16, by three ways of odd feature maps.

    The cut runs through the middle of what is labelled, so that structures reach the border.
    """
    network = trained(folder, cohort, REFERENCE, device)
    if network is None:
        return None
    images, truths = _slices(cohort, device)
    wrong: dict[str, list[float]] = {way: [] for way in WAYS}
    for residue in range(16):
        size = images.shape[2] // 32 * 16 + residue
        part, truth = images[:, :, :size], truths[:, :size]
        for way, run in WAYS.items():
            classes = run(network, part)
            border = slice(size - BORDER, size)
            wrong[way].append(float((classes[:, border] != truth[:, border]).float().mean()))
    return {"wrong_at_border": wrong, "slices": len(images), "border_voxels": BORDER}


def _slices(cohort: StudyCohort, device: torch.device) -> tuple[Tensor, Tensor]:
    """(N, 1, X, Y) labelled test slices moved so that the labels' middle is the image's; truths."""
    images, truths = [], []
    for case in cohort.test:
        z = int(case.classes.astype(bool).sum((0, 1)).argmax())
        image = network_input(case, 2, device)[z]
        truth = torch.from_numpy(case.classes[..., z].astype(np.int64)).to(device)
        middle = int(truth.any(1).nonzero().float().mean())
        shift = len(truth) // 2 - middle
        images.append(image.roll(shift, 1))
        truths.append(truth.roll(shift, 0))
    return torch.stack(images[:SLICES]), torch.stack(truths[:SLICES])


def _ceil(network: nn.Module, image: Tensor) -> Tensor:
    return network(image).argmax(1)


def _padded(network: nn.Module, image: Tensor) -> Tensor:
    """Zeros up to a multiple of 16, cut off again."""
    size = image.shape[2]
    wide = nn.functional.pad(image, (0, 0, 0, -size % 16))
    return network(wide).argmax(1)[:, :size]


def _cropped(network: nn.Module, image: Tensor) -> Tensor:
    """The far end cut down to a multiple of 16; background there."""
    size = image.shape[2]
    whole = size // 16 * 16
    classes = network(image[:, :, :whole]).argmax(1)
    return nn.functional.pad(classes, (0, 0, 0, size - whole))


WAYS: dict[str, Callable[[nn.Module, Tensor], Tensor]] = {
    "ceil-pooled": _ceil,
    "padded with zeros": _padded,
    "cropped": _cropped,
}


def ceiling(folder: Folder, cohort: StudyCohort, device: torch.device) -> dict[str, Any] | None:
    """Dice of the truth itself, averaged over cells of a stride and enlarged again."""
    del folder
    facts: dict[str, Any] = {}
    for stride, copied in itertools.product(STRIDES, (True, False)):
        masks = [
            down_and_up(
                case.classes, len(cohort.labels) + 1, stride, cohort.dims, device, copied=copied
            )
            for case in cohort.test
        ]
        scores = score_cases(cohort.test, masks, cohort.labels, cohort.tolerance_mm)
        dice = scores[scores["metric"] == "dice"].groupby("label", sort=False)["value"].mean()
        facts[f"{stride}, {'copied' if copied else 'linear'}"] = {
            str(label): float(value) for label, value in dice.items()
        }
    return facts


def down_and_up(
    classes: NDArray[np.uint8],
    count: int,
    stride: int,
    dims: int,
    device: torch.device,
    *,
    copied: bool = False,
) -> NDArray[np.uint8]:
    """Each cell keeps the shares of its classes; copied, or enlarged linearly as FCNs start."""
    truth = torch.from_numpy(classes.astype(np.int64)).to(device)
    masks = nn.functional.one_hot(truth, count).movedim(-1, 0).float()
    image = masks.movedim(-1, 0) if dims == 2 else masks[None]
    sizes = image.shape[2:]
    wide = _edged(image, stride)
    pool = nn.functional.avg_pool2d if dims == 2 else nn.functional.avg_pool3d
    linear = "bilinear" if dims == 2 else "trilinear"
    mode = "nearest" if copied else linear
    fine = nn.functional.interpolate(pool(wide, stride), scale_factor=stride, mode=mode)
    answer = fine.argmax(1)[(slice(None), *(slice(size) for size in sizes))]
    shown = answer.movedim(0, -1) if dims == 2 else answer[0]
    return np.asarray(shown.to(torch.uint8).cpu().numpy())


def _edged(image: Tensor, stride: int) -> Tensor:
    """The border repeated at the far ends up to whole cells (any width, unlike torch's pad)."""
    for axis in range(2, image.ndim):
        size = image.shape[axis]
        places = torch.arange(size + -size % stride, device=image.device).clamp(max=size - 1)
        image = image.index_select(axis, places)
    return image


PROBES: dict[str, Probe] = {
    "ceiling": Probe((2, 3), ceiling),
    "any_size": Probe((2, 3), any_size),
    "odd_maps": Probe((2,), odd_maps),
    "classifier": Probe((2,), classifier),
}
