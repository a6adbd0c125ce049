"""MONAI's networks, for models that were trained with them elsewhere.

Only the classes of a short list, with plain values as arguments: a model folder never runs code.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any, Literal

import torch
from pydantic import Field, field_validator
from torch import Tensor, nn

from medseg.config import Options
from medseg.errors import BadConfig
from medseg.extras import require_packages

#: Of ``monai.networks.nets``; each maps (B, C, *spatial) to logits of the same size.
MonaiClass = Literal[
    "UNet",
    "BasicUNet",
    "DynUNet",
    "SegResNet",
    "SegResNetDS",
    "AttentionUnet",
    "VNet",
    "HighResNet",
    "UNETR",
    "SwinUNETR",
]

#: Arguments that the model's card says elsewhere.
SAID_ELSEWHERE = ("spatial_dims", "in_channels", "out_channels")

#: Networks with attention, which MONAI builds with the package einops.
_NEEDS_EINOPS = ("UNETR", "SwinUNETR")


#: Networks whose constructor reads numbers out of tensors, which the meta device does not keep.
_READS_NUMBERS = ("SwinUNETR",)


class MonaiOptions(Options):
    """Which network, and what its constructor is called with.

    Attributes:
        network: a class of ``monai.networks.nets``.
        arguments: of its constructor, but for the numbers of dimensions and channels.
        outputs: which of its channels is which of the logits; empty takes them as they come.
    """

    network: MonaiClass
    arguments: dict[str, Any] = Field(default_factory=dict)
    outputs: tuple[int, ...] = ()

    @field_validator("arguments")
    @classmethod
    def _check_plain(cls, arguments: dict[str, Any]) -> dict[str, Any]:
        for key, value in arguments.items():
            if key in SAID_ELSEWHERE:
                raise ValueError(f"{key} follows from the card's dims, channels and labels")
            if not is_plain(value):
                raise ValueError(f"{key} is no plain value: {value!r}")
        return arguments


class MonaiNetwork(nn.Module):
    """A network of MONAI with the methods of ours."""

    def __init__(
        self, dims: int, in_channels: int, out_channels: int, options: MonaiOptions
    ) -> None:
        super().__init__()
        from monai.networks import nets

        if options.network in _NEEDS_EINOPS:
            require_packages(f"MONAI's {options.network}", ("einops",), "bundle")
        if options.outputs and sorted(options.outputs) != list(range(out_channels)):
            raise BadConfig(
                "outputs must name every channel once",
                found=list(options.outputs),
                expected=f"0 to {out_channels - 1}",
            )
        self.outputs = list(options.outputs)
        build = getattr(nets, options.network)
        place = torch.device("cpu") if options.network in _READS_NUMBERS else nullcontext()
        try:
            with place:
                self.network: nn.Module = build(
                    spatial_dims=dims,
                    in_channels=in_channels,
                    out_channels=out_channels,
                    **options.arguments,
                )
        except (TypeError, ValueError, KeyError, AssertionError, NotImplementedError) as error:
            raise BadConfig(
                f"MONAI's {options.network} cannot be built with these arguments",
                found=str(error).splitlines()[0] if str(error) else type(error).__name__,
            ) from None

    def forward(self, image: Tensor) -> Tensor:
        """(B, C, *spatial) intensities to (B, K, *spatial) logits."""
        logits: Tensor = self.network(image)
        return logits[:, self.outputs] if self.outputs else logits

    def forward_deep(self, image: Tensor) -> list[Tensor]:
        """The same logits as the only level."""
        return [self(image)]


def is_plain(value: object) -> bool:
    """Whether a value is numbers, text, and lists and mappings of them.

    >>> is_plain(["group", {"num_groups": 8}]), is_plain(print)
    (True, False)
    """
    if isinstance(value, dict):
        return all(isinstance(key, str) and is_plain(inner) for key, inner in value.items())
    if isinstance(value, list | tuple):
        return all(is_plain(inner) for inner in value)
    return value is None or isinstance(value, bool | int | float | str)
