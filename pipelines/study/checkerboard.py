"""The checkerboard in a map: energy at the frequencies of the stride, as an index.

Upsampling by s can leave a pattern that repeats every s voxels: lines in the spectrum at 1/s, 2/s …
cycles a voxel (Odena, Dumoulin and Olah 2016, doi:10.23915/distill.00003). The index is the energy
in those lines over the energy that their neighbourhood would lead one to expect: 1 is none.
"""

from __future__ import annotations

import torch
from torch import Tensor


def checkerboard_index(maps: Tensor, stride: int) -> float:
    """Energy of the pattern with period ``stride`` relative to its spectral neighbourhood.

    Each axis in turn: the spectrum along it (each line without its mean, under a Hann window, so
    that edges do not leak), averaged over everything else; at each multiple of 1/stride up to a
    half, the line over the mean of the neighbourhood around it.

    Args:
        maps: (B, K, *spatial) logits or features; 8 · stride voxels an axis at least.
        stride: voxels after which the pattern repeats, 2 or more.

    Returns:
        The mean over axes and frequencies; about 1 for a map without periodic pattern (noise,
        smooth shapes), and unbounded above.
    """
    ratios = [
        ratio for axis in range(2, maps.ndim) for ratio in _line_ratios(maps.double(), axis, stride)
    ]
    return sum(ratios) / len(ratios)


def _line_ratios(maps: Tensor, axis: int, stride: int) -> list[float]:
    """Line over neighbourhood at each frequency of the stride, along one axis."""
    size = maps.shape[axis] // stride * stride  # the frequencies fall on whole bins
    lines = maps.narrow(axis, 0, size).movedim(axis, -1).reshape(-1, size)
    lines = lines - lines.mean(-1, keepdim=True)
    window = torch.hann_window(size, periodic=True, dtype=lines.dtype)
    energy = torch.fft.rfft(lines * window).abs().square().mean(0)
    reach = max(4, size // (4 * stride))
    ratios = []
    for multiple in range(1, stride // 2 + 1):
        bin_ = multiple * size // stride
        # a Hann window spreads a line over its two neighbours; those count to neither side
        around = [
            place
            for place in range(bin_ - reach, bin_ + reach + 1)
            if abs(place - bin_) > 1 and 0 < place < len(energy)
        ]
        ratios.append(float(energy[bin_] / energy[around].mean()))
    return ratios
