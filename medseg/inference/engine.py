"""What runs a network: torch as it is, or compiled for this machine?"""

from __future__ import annotations

from enum import StrEnum

import torch
from torch import nn

from medseg.inference.forward import is_out_of_memory


class Engine(StrEnum):
    """What runs the networks."""

    TORCH = "torch"
    #: ``torch.compile``: minutes at the first window, for a faster network afterwards.
    COMPILED = "compiled"


class Compiled(nn.Module):
    """A network through ``torch.compile``; from its first failure on, the network as it is.

    Attributes:
        network: as it is.
        fault: why it is not compiled, once that has failed; empty before.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.fault = ""
        self._compiled = torch.compile(network, dynamic=False)

    def forward(self, windows: torch.Tensor) -> torch.Tensor:
        """(B, C, *spatial) to (B, K, *spatial) logits."""
        if not self.fault:
            try:
                answer: torch.Tensor = self._compiled(windows)
                return answer
            except Exception as error:
                if is_out_of_memory(error):
                    raise
                self.fault = (str(error) or type(error).__name__).splitlines()[0][:200]
        plain: torch.Tensor = self.network(windows)
        return plain


def engaged(network: nn.Module, engine: Engine) -> nn.Module:
    """The network, run by an engine."""
    return Compiled(network) if engine is Engine.COMPILED else network


def faults(networks: list[nn.Module]) -> list[str]:
    """A warning where networks were to be compiled and are not."""
    found = {network.fault for network in networks if isinstance(network, Compiled)}
    return [f"torch.compile failed, the network runs as it is: {fault}" for fault in found if fault]
