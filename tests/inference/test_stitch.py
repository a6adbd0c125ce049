"""Blocks are finished in order, each once, and equal everything added up at once."""

import numpy as np
import pytest
import torch

from medseg.inference import stitch
from medseg.inference.stitch import Mirror, Stitcher, peak_voxels, plan_blocks
from medseg.inference.windows import importance, plan_windows

PLANS = {
    "overlap": plan_windows((50, 44, 70), (16, 20, 24), 0.5),
    "no overlap": plan_windows((50, 44, 70), (16, 20, 24), 0.0),
    "dense": plan_windows((11, 20, 17), (8, 8, 8), 0.75),
    "padded": plan_windows((9, 44, 17), (16, 20, 24), 0.5),
    "one window": plan_windows((9, 8, 7), (16, 20, 24), 0.5),
    "slices": plan_windows((40, 36, 50), (24, 20), 0.5, slice_axis=2),
    "slices of x": plan_windows((7, 36, 50), (24, 20), 0.5, slice_axis=0),
}
every_plan = pytest.mark.parametrize("plan", PLANS.values(), ids=PLANS)


def at_once(plan, windows, weight):
    """Weighted mean of all windows over the whole padded grid, cropped."""
    total = torch.zeros(windows[0].shape[0], *plan.padded, dtype=torch.float64)
    weights = torch.zeros(plan.padded, dtype=torch.float64)
    for corner, window in zip(plan.corners, windows, strict=True):
        box = tuple(slice(c, c + n) for c, n in zip(corner, plan.window, strict=True))
        total[(slice(None), *box)] += window * weight
        weights[box] += weight
    crop = tuple(
        slice(before, before + n) for (before, _), n in zip(plan.padding, plan.size, strict=True)
    )
    return (total / weights)[(slice(None), *crop)]


def collect(plan, channels):
    """A sink that writes boxes into a whole field and counts what it was given."""
    field = torch.full((channels, *plan.size), torch.nan, dtype=torch.float64)
    cells = np.zeros([max(1, n - 1) for n in plan.size], int)

    def sink(logits, corner):
        box = [slice(c, c + n) for c, n in zip(corner, logits.shape[1:], strict=True)]
        field[(slice(None), *box)] = logits
        inner = [slice(s.start, s.stop - (n > 1)) for s, n in zip(box, plan.size, strict=True)]
        cells[tuple(inner)] += 1

    return field, cells, sink


def run(plan, windows, sink, **options):
    weight = importance(plan.window, "gaussian")
    stitcher = Stitcher(plan, len(windows[0]), weight, 1, sink, dtype=torch.float64, **options)
    for number, (corner, window) in enumerate(zip(plan.corners, windows, strict=True)):
        stitcher.reserve(corner)
        stitcher.weigh(corner)
        stitcher.add(corner, window, Mirror())
        stitcher.finish(number + 1)
    return stitcher


@every_plan
@pytest.mark.parametrize("thinnest", [4, 16])
def test_boxes_equal_everything_added_at_once(plan, thinnest, monkeypatch):
    monkeypatch.setattr(stitch, "THINNEST", thinnest)
    monkeypatch.setattr(stitch, "CLASSES_AT_A_TIME", 2)
    generator = torch.Generator().manual_seed(1)
    windows = [
        torch.randn(3, *plan.window, dtype=torch.float64, generator=generator) for _ in plan.corners
    ]
    field, cells, sink = collect(plan, 3)
    stitcher = run(plan, windows, sink)
    expected = at_once(plan, windows, importance(plan.window, "gaussian"))
    torch.testing.assert_close(field, expected, rtol=1e-12, atol=1e-12)
    assert (cells == 1).all()  # every gap between voxels belongs to one box
    assert not stitcher._growing and not stitcher._floor and not stitcher._side


@every_plan
@pytest.mark.parametrize("batch", [1, 3])
def test_the_predicted_peak_is_what_is_held(plan, batch):
    blocks, most = plan_blocks(plan), 0
    for start in range(0, len(plan.corners), batch):
        held = [b for b in blocks if b.first < start + batch and b.last >= start]
        most = max(most, sum(int(np.prod(block.held(plan))) for block in held))
    faces = int(np.prod(plan.padded)) // plan.padded[plan.stream]
    assert peak_voxels(plan, batch) == most + faces


def test_what_is_held_does_not_grow_with_the_scan():
    short = plan_windows((64, 64, 128), (32, 32, 32), 0.5)
    long = plan_windows((64, 64, 1024), (32, 32, 32), 0.5)
    assert peak_voxels(long, 1) == peak_voxels(short, 1)
    assert peak_voxels(long, 1) < 64 * 64 * 33 * 1.2  # less than a layer of windows


@pytest.mark.parametrize("overlap", [0.0, 0.25, 0.5])
def test_less_than_a_layer_of_windows_is_held_whatever_the_size(overlap):
    rng = np.random.default_rng(2)
    for size in rng.integers(70, 300, (30, 3)):
        plan = plan_windows(sorted(size), (32, 32, 32), overlap)
        x, y, _ = plan.padded
        assert peak_voxels(plan, 1) <= 1.02 * x * y * (32 + 5)  # blocks share single layers


def test_a_mirrored_contribution_is_turned_back_and_its_channels_swapped():
    plan = plan_windows((8, 8, 8), (8, 8, 8), 0.5)
    window = torch.randn(3, 8, 8, 8, dtype=torch.float64)
    field, _, sink = collect(plan, 3)
    stitcher = Stitcher(plan, 3, importance(plan.window, "constant"), 2, sink, dtype=torch.float64)
    stitcher.reserve((0, 0, 0))
    stitcher.weigh((0, 0, 0))
    stitcher.add((0, 0, 0), window, Mirror())
    stitcher.add((0, 0, 0), window[[0, 2, 1]].flip(1, 3), Mirror((0, 2), (0, 2, 1)))
    stitcher.finish(1)
    torch.testing.assert_close(field, window)


@pytest.mark.parametrize("background", [0, None])
def test_where_no_window_was_asked_nothing_wins(background):
    plan = plan_windows((8, 8, 40), (8, 8, 8), 0.0)
    field, cells, sink = collect(plan, 3)
    stitcher = Stitcher(
        plan, 3, importance(plan.window, "constant"), 1, sink, background, dtype=torch.float64
    )
    stitcher.reserve((0, 0, 0))
    stitcher.weigh((0, 0, 0))
    stitcher.add((0, 0, 0), torch.ones(3, 8, 8, 8), Mirror())
    stitcher.finish(5)
    assert (field[..., :8] == 1).all()
    assert (field[1:, ..., 8:] < 0).all()
    assert (field[0, ..., 8:] > 0).all() if background == 0 else (field[0, ..., 8:] < 0).all()
    assert (cells == 1).all()
