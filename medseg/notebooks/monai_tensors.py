"""Scans and masks as MONAI's MetaTensors, and back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from medseg.errors import BadScan
from medseg.geometry import LPS_SIGNS
from medseg.notebooks.libraries import channels_first, has_class_of, placed
from medseg.volume import Gridded, Volume

if TYPE_CHECKING:
    from monai.data import MetaTensor


def recognises(image: Any) -> bool:
    """Whether this is a MetaTensor."""
    return has_class_of(image, "monai") and hasattr(image, "affine")


def scan(image: MetaTensor) -> Volume:
    """The values of a tensor (C, X, Y, Z), or (X, Y, Z) without channels.

    Raises:
        BadScan: another number of axes, spatial transforms that still wait to be carried out, or
            one number first of three, which a slice of a scan with a channel looks like, too.
    """
    import torch

    if image.pending_operations:
        raise BadScan(
            "the tensor has transforms that still wait to be carried out",
            remedy="Carry them out first: monai.transforms.ApplyPending()(tensor).",
        )
    numbers = image.detach().cpu().numpy()
    if numbers.ndim == 3 and len(numbers) == 1:
        raise BadScan(
            "a slice with a channel, or a volume of one sagittal plane: nothing says which",
            found=f"shape {numbers.shape}",
            expected="(C, X, Y, Z)",
            remedy="Convert the whole tensor and cut afterwards; or add a channel: tensor[None].",
        )
    if numbers.ndim == 3:
        numbers = numbers[None]
    affine = torch.as_tensor(image.affine).detach().cpu().double().numpy().copy()
    if affine.shape != (4, 4):
        raise BadScan("the tensor is not three-dimensional", found=f"affine {affine.shape}")
    if str(image.meta.get("space", "RAS")).rpartition(".")[2] == "LPS":
        affine[:3] *= LPS_SIGNS[:, None]
    return placed(numbers, affine)


def image(gridded: Gridded) -> MetaTensor:
    """A tensor (C, X, Y, Z) with affine and meta data as MONAI's own ``LoadImage`` leaves them."""
    import torch
    from monai.data import MetaTensor

    from medseg.transforms.load import meta_of

    meta = meta_of(gridded)
    return MetaTensor(torch.from_numpy(channels_first(gridded)), meta=meta)
