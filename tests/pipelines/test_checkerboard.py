"""The checkerboard index sees periodic patterns of the stride and nothing else."""

from __future__ import annotations

import sys

import pytest
import torch
from torch import Tensor

from medseg.networks.upsampling import make_rise
from tests.conftest import REPOSITORY

sys.path.insert(0, str(REPOSITORY / "pipelines"))
from study.checkerboard import checkerboard_index


def noise(*shape: int) -> Tensor:
    return torch.randn(4, 2, *shape, generator=torch.Generator().manual_seed(0))


def smooth(*shape: int) -> Tensor:
    """Blobs much larger than a few voxels, on a level above zero."""
    coarse = torch.randn(4, 2, *(n // 8 for n in shape), generator=torch.Generator().manual_seed(1))
    mode = "bilinear" if len(shape) == 2 else "trilinear"
    return 3 + torch.nn.functional.interpolate(coarse, shape, mode=mode, align_corners=True)


@pytest.mark.parametrize("stride", [2, 3, 4, 8])
@pytest.mark.parametrize("shape", [(96, 64), (32, 32, 32)])
def test_noise_has_no_checkerboard(stride, shape):
    if min(shape) >= 8 * stride:
        assert 0.7 < checkerboard_index(noise(*shape), stride) < 1.4


@pytest.mark.parametrize("stride", [2, 4, 8])
def test_a_pattern_at_the_stride_shows_and_grows_with_its_strength(stride):
    rows = torch.arange(96) % stride == 0
    board = (rows[:, None] ^ rows[None, :]).float()
    none, weak, strong = (
        checkerboard_index(noise(96, 96) + strength * board, stride) for strength in (0, 1, 4)
    )
    assert 1.5 * none < weak < strong / 4


def test_a_pattern_of_another_period_does_not_count():
    thirds = (torch.arange(96) % 3 == 0).float()[:, None].expand(96, 96)
    assert checkerboard_index(noise(96, 96) + 2 * thirds, 4) < 1.4


def test_level_and_scale_do_not_count():
    maps = noise(64, 64) + (torch.arange(64) % 2).float()
    assert checkerboard_index(10 * maps + 7, 2) == pytest.approx(checkerboard_index(maps, 2))


def test_a_pattern_in_all_directions_of_3d_shows():
    board = sum(
        (torch.arange(32) % 2).float().view(s) for s in ((-1, 1, 1), (1, -1, 1), (1, 1, -1))
    )
    assert checkerboard_index(noise(32, 32, 32) + board, 2) > 5


@pytest.mark.parametrize("dims", [2, 3])
def test_untrained_uneven_overlap_is_far_above_the_kinds_without_stamps(dims):
    shape = (64, 64) if dims == 2 else (24, 24, 24)
    index = {}
    for kind in ("transposed_uneven", "transposed", "nearest", "linear", "subpixel"):
        torch.manual_seed(0)
        rise = make_rise(kind, dims, (2, 8), 2)
        index[kind] = checkerboard_index(rise(smooth(*shape)).detach(), 2)
    uneven = index.pop("transposed_uneven")
    assert uneven > 10 * max(index.values())
