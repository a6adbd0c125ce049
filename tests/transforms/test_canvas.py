"""A mask that grows on a device comes home as one that is written box by box."""

import itertools

import numpy as np
import pytest
import torch

from medseg.geometry import working_grid
from medseg.transforms import restore as restore_module
from medseg.transforms.canvas import DeviceCanvas, HostCanvas
from medseg.transforms.cells import TILE, TILE_BYTES, tile_bytes, tile_for
from medseg.transforms.restore import restore
from tests.inference.models import LABELS, REGIONS
from tests.transforms.grids import NATIVE
from tests.transforms.test_restore import smooth_logits

CPU = torch.device("cpu")
HIGHEST = {np.uint8: 250, np.uint16: 60_000, np.uint32: 4_000_000_000}


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", HIGHEST, ids=lambda dtype: dtype.__name__)
@pytest.mark.parametrize("axes", list(itertools.permutations(range(3))), ids=str)
def test_boxes_painted_on_a_device_are_those_of_the_mask_itself(axes, dtype, order):
    rng = np.random.default_rng(0)
    values = np.array([0, 3, 7, HIGHEST[dtype]], dtype)
    for ways in itertools.product((1, -1), repeat=3):
        masks = [np.zeros((5, 6, 7), dtype, order=order) for _ in range(2)]
        reverse = tuple(slice(None, None, way) for way in ways)
        views = [mask.transpose(axes)[reverse] for mask in masks]
        canvases = HostCanvas(views[0], values, CPU), DeviceCanvas(views[1], values, CPU)
        for _ in range(4):
            ends = [sorted(rng.choice(n + 1, 2, replace=False).tolist()) for n in views[0].shape]
            box = tuple(slice(low, high) for low, high in ends)
            decision = torch.from_numpy(rng.integers(0, 4, [high - low for low, high in ends]))
            for canvas in canvases:
                canvas.paint(box, decision.to(torch.uint8))
        for canvas in canvases:
            canvas.finish()
        assert HIGHEST[dtype] in masks[0]
        assert np.array_equal(*masks)


@pytest.mark.parametrize("labels", [LABELS, REGIONS], ids=["labels", "regions"])
@pytest.mark.parametrize("native", NATIVE.values(), ids=NATIVE)
def test_the_large_tiles_of_a_gpu_give_the_mask_of_the_small_ones(native, labels, monkeypatch):
    working = working_grid(native, (1.3, 1.4, 1.5))
    logits = smooth_logits(labels.channels, working.shape, seed=4)
    small = restore(logits, working, native, labels)
    monkeypatch.setattr(restore_module, "tile_for", lambda *given: 64)
    monkeypatch.setattr(restore_module, "HostCanvas", DeviceCanvas)
    assert np.array_equal(restore(logits, working, native, labels), small)
    assert len(np.unique(small)) > 2


@pytest.mark.parametrize("channels", [2, 25, 105, 1000])
def test_a_tile_of_a_gpu_keeps_within_its_bytes_or_is_the_smallest(channels):
    for finer in (0.5, 1.0, 7.0, 40.0):
        tile = tile_for(torch.device("cuda"), channels, finer)
        assert tile == TILE or tile_bytes(tile, channels, finer, 4) <= TILE_BYTES
        assert tile_for(CPU, channels, finer) == TILE
