"""The networks as one literal table; ``build_network`` makes one by its name.

A network maps (B, C, *spatial) intensities to (B, K, *spatial) logits of the same size
(``forward``) and to a list of logits, finest first (``forward_deep``), coarser ones at their own
sizes where its options say ``deep_supervision``; ``deep_strides`` then says how coarse they are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import nn

from medseg.config import Options, validate
from medseg.errors import BadConfig
from medseg.networks.blocks import LAYERS
from medseg.networks.fcn import FCN, FCNOptions
from medseg.networks.monai_nets import MonaiNetwork, MonaiOptions
from medseg.networks.unet import ResidualUNetOptions, UNet, UNetOptions
from medseg.networks.unet_original import OriginalUNet, OriginalUNetOptions


@dataclass(frozen=True)
class NetworkEntry:
    """A network: what can be chosen, and a builder (dims, in channels, out channels, options)."""

    options: type[Options]
    build: Callable[[int, int, int, Any], nn.Module]


NETWORKS: dict[str, NetworkEntry] = {
    "unet": NetworkEntry(UNetOptions, UNet),
    "residual_unet": NetworkEntry(ResidualUNetOptions, UNet),
    "unet_original": NetworkEntry(OriginalUNetOptions, OriginalUNet),
    "fcn32s": NetworkEntry(FCNOptions, partial(FCN, finest=5)),
    "fcn16s": NetworkEntry(FCNOptions, partial(FCN, finest=4)),
    "fcn8s": NetworkEntry(FCNOptions, partial(FCN, finest=3)),
}

#: Networks of other libraries, for models that were imported.
FOREIGN: dict[str, NetworkEntry] = {
    "monai": NetworkEntry(MonaiOptions, MonaiNetwork),
}


def build_network(
    name: str,
    *,
    dims: int,
    in_channels: int,
    out_channels: int,
    options: Mapping[str, Any] | Options | None = None,
) -> nn.Module:
    """Build a network of either table, its weights in the memory order that is quick.

    Raises:
        BadConfig: an unknown name or option, or one out of range; lists what is valid.
    """
    if name not in NETWORKS and name not in FOREIGN:
        raise BadConfig(
            "unknown network", found=repr(name), expected=f"one of {', '.join(sorted(NETWORKS))}"
        )
    if dims not in LAYERS:
        raise BadConfig("networks are in 2D or 3D", found=f"dims {dims}", expected="2 or 3")
    entry = NETWORKS[name] if name in NETWORKS else FOREIGN[name]
    if not isinstance(options, entry.options):
        given = options.model_dump() if isinstance(options, Options) else options or {}
        options = validate(entry.options, given, path=f"network {name}")
    network = entry.build(dims, in_channels, out_channels, options)
    network.to(memory_format=LAYERS[dims].memory_format)  # type: ignore[call-overload]
    return network
