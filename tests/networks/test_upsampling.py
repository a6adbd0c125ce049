"""Every upsampling kind enlarges by whole factors and keeps places."""

from __future__ import annotations

import pytest
import torch

from medseg.networks.upsampling import UPSAMPLING, SubPixel, cut_like, make_rise

every_kind = pytest.mark.parametrize("kind", UPSAMPLING)

#: Voxels from where a ramp should be; a 3-kernel at stride 2 sits half a voxel early.
OFFSET = dict.fromkeys(UPSAMPLING, 0.0) | {"transposed_uneven": 0.5}
#: Kinds that interpolate between cells; the others copy a cell's value over the cell.
SMOOTH = ("transposed_uneven", "transposed_even", "linear")


@every_kind
@pytest.mark.parametrize("stride", [1, 2, 3, 4, (1, 2, 3)])
def test_sizes_grow_by_the_stride(kind, stride):
    rise = make_rise(kind, 3, (4, 2), stride)
    steps = (stride,) * 3 if isinstance(stride, int) else stride
    fine = rise(torch.randn(2, 4, 3, 4, 5))
    assert fine.shape == (2, 2, *(n * s for n, s in zip((3, 4, 5), steps, strict=True)))


@every_kind
@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("groups", [1, 2])
def test_starting_as_interpolation_a_ramp_stays_where_it_is(kind, dims, groups):
    rise = make_rise(kind, dims, (2, 2), 2, groups=groups)
    rise.start_as_interpolation()
    centres = 2 * torch.arange(12.0) + 0.5  # of coarse cells, in fine voxels
    shape = [1, 2] + [1] * (dims - 1) + [12]
    ramp = torch.stack([centres, -centres])[None].reshape(shape)
    ramp = ramp.expand(1, 2, *[6] * (dims - 1), 12).contiguous()
    fine = rise(ramp).detach()
    middle = fine[(0, 0, *[6] * (dims - 1), slice(4, 20))]
    expected = torch.arange(4.0, 20.0) + OFFSET[kind]
    if kind in SMOOTH:
        torch.testing.assert_close(middle, expected)
    else:
        torch.testing.assert_close(middle.reshape(-1, 2).mean(1), expected.reshape(-1, 2).mean(1))
        assert torch.equal(middle[::2], middle[1::2])
    torch.testing.assert_close(fine[:, 1], -fine[:, 0])


@every_kind
def test_a_constant_map_stays_constant_up_to_its_edge(kind):
    rise = make_rise(kind, 2, (1, 1), 2)
    rise.start_as_interpolation()
    fine = rise(torch.ones(1, 1, 4, 5))
    torch.testing.assert_close(fine, torch.ones(1, 1, 8, 10))


def test_subpixel_starts_as_copies_of_one_kernel():
    fine = SubPixel(3, (4, 2), (2, 2, 2), 1)(torch.randn(1, 4, 3, 3, 3)).detach()
    cells = fine.reshape(1, 2, 3, 2, 3, 2, 3, 2)
    torch.testing.assert_close(cells, cells[:, :, :, :1, :, :1, :, :1].expand_as(cells))


def test_subpixel_equals_torchs_pixel_shuffle_in_2d():
    rise = SubPixel(2, (4, 3), (2, 2), 1)
    torch.nn.init.normal_(rise.conv.weight)
    image = torch.randn(2, 4, 5, 6)
    torch.testing.assert_close(rise(image), torch.pixel_shuffle(rise.conv(image), 2))


def test_cut_like_keeps_the_near_corner():
    image = torch.arange(24.0).reshape(1, 1, 4, 6)
    assert torch.equal(cut_like(image, torch.empty(1, 5, 3, 5)), image[:, :, :3, :5])
