"""TorchScript: a traced network that libtorch runs without Python."""

from __future__ import annotations

import warnings
from pathlib import Path

import torch
from torch import nn

ENDING = ".pt"
PACKAGES: tuple[str, ...] = ()


def write(network: nn.Module, windows: torch.Tensor, path: Path) -> None:
    """Write a network traced on windows of one size; the number of windows stays free.

    Args:
        network: in evaluation mode.
        windows: (B, C, *spatial) float32 example.
        path: the file.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of shapes that become constants: the size is fixed
        traced = torch.jit.trace(network, windows, check_trace=False)
    torch.jit.save(torch.jit.freeze(traced.eval()), str(path))


def run(path: Path, windows: torch.Tensor) -> torch.Tensor:
    """(B, K, *spatial) logits of an exported network."""
    logits: torch.Tensor = torch.jit.load(str(path))(windows)
    return logits
