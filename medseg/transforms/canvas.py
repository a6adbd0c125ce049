"""A mask that grows box by box: in its own array, or on a GPU until it is whole."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

Box = tuple[slice, slice, slice]

#: Signed stand-ins for the unsigned numbers that torch hardly knows: the same bits.
_STAND_INS: dict[np.dtype[Any], np.dtype[Any]] = {
    np.dtype(np.uint16): np.dtype(np.int16),
    np.dtype(np.uint32): np.dtype(np.int32),
}


class Canvas(Protocol):
    """Takes what was decided."""

    def paint(self, box: Box, decision: torch.Tensor) -> None:
        """Write a box of (x, y, z) positions in the table of values."""

    def finish(self) -> None:
        """Have everything in the mask."""


class HostCanvas:
    """Writes into the mask at once.

    Args:
        mask: (X, Y, Z) in any order of axes.
        values: by position.
        device: the CPU.
    """

    def __init__(self, mask: NDArray[Any], values: NDArray[Any], device: torch.device) -> None:
        self._mask, self._values = mask, values

    def paint(self, box: Box, decision: torch.Tensor) -> None:
        """Write a box of (x, y, z) positions in the table of values."""
        self._mask[box] = self._values[decision.cpu().numpy()]

    def finish(self) -> None:
        """Nothing is left to do."""


class DeviceCanvas:
    """Keeps the mask on a device, so that the host waits for it once.

    Args:
        mask: (X, Y, Z) in any order of axes.
        values: by position.
        device: where boxes come from.
    """

    def __init__(self, mask: NDArray[Any], values: NDArray[Any], device: torch.device) -> None:
        self._mask = mask
        self._kind: np.dtype[Any] = _STAND_INS.get(values.dtype, values.dtype)
        self._values = torch.from_numpy(values.view(self._kind)).to(device)
        self._grown = torch.zeros(mask.shape, dtype=self._values.dtype, device=device)

    def paint(self, box: Box, decision: torch.Tensor) -> None:
        """Write a box of (x, y, z) positions in the table of values."""
        positions = decision.to(self._values.device, torch.int32)
        self._grown[box] = self._values[positions]

    def finish(self) -> None:
        """Bring the mask home in the order in which its own array lies in memory."""
        order = sorted(range(3), key=lambda axis: -abs(self._mask.strides[axis]))
        backwards = [at for at, axis in enumerate(order) if self._mask.strides[axis] < 0]
        arranged = self._grown.permute(order).flip(backwards).contiguous()
        home = torch.empty(
            arranged.shape, dtype=arranged.dtype, pin_memory=arranged.device.type == "cuda"
        )
        home.copy_(arranged)
        straight = tuple(slice(None, None, -1 if at in backwards else 1) for at in range(3))
        self._mask.transpose(order)[straight].view(self._kind)[...] = home.numpy()
