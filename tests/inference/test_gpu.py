"""A mask made on a GPU is the CPU's, in every precision and whatever memory there is."""

from contextlib import contextmanager

import numpy as np
import pytest
import torch

from medseg.config import (
    InferConfig,
    NormalisePercentiles,
    NormaliseWindow,
    NormaliseZScore,
    PrepareConfig,
)
from medseg.geometry import working_grid
from medseg.inference import Allowance, Segmenter, segment
from medseg.inference.windows import plan_windows
from medseg.transforms.prepare import prepare_volume
from medseg.transforms.restore import Restorer
from medseg.volume import Volume
from tests.inference.models import LABELS, REGIONS, TinyModel, scan
from tests.inference.test_segment import MODELS
from tests.inference.whole import whole_volume
from tests.transforms.grids import NATIVE, grid
from tests.transforms.test_restore import smooth_logits

pytestmark = pytest.mark.gpu

CUDA = torch.device("cuda")
#: More voxels than one batch of windows; mirrored, oblique, and not a whole number of windows.
LARGER = grid((150, 140, 90), (0.8, 0.9, 1.4), "LPS", degrees=13)
GRIDS = {**NATIVE, "larger": LARGER}
every_grid = pytest.mark.parametrize("native", GRIDS.values(), ids=GRIDS)


class Trained(torch.nn.Module):
    """Logits as a trained network gives them: smooth, sure inside, unsure along the surface."""

    def __init__(self, channels_out):
        super().__init__()
        self.blur = torch.nn.Conv3d(1, 1, 5, padding=2, bias=False)
        self.head = torch.nn.Conv3d(1, channels_out, 1)
        torch.nn.init.constant_(self.blur.weight, 1 / 125)
        levels = torch.linspace(-1, 1, channels_out)
        with torch.no_grad():
            self.head.weight.copy_((20 * levels).reshape(-1, 1, 1, 1, 1))
            self.head.bias.copy_(-10 * levels**2)

    def forward(self, image):
        return self.head(self.blur(image))


class TrainedModel(TinyModel):
    def networks(self, device="cpu"):
        return [Trained(self.labels.channels).eval().to(device)]


def on_gpu(model, volume, precision="float32", device_bytes=None):
    allowance = Allowance(None, device_bytes)
    return Segmenter(model, device=CUDA, precision=precision, allowance=allowance)(volume)


def dice(one, other):
    both = ((one == other) & (one > 0)).sum()
    return 2 * both / ((one > 0).sum() + (other > 0).sum())


@every_grid
@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
def test_float32_differs_from_the_cpu_at_ties_alone(model, native):
    volume = scan(native, model.channels_in, seed=5)
    expected, margin, _ = whole_volume(model, volume, torch.float32)
    mask = on_gpu(model, volume).labelmap.data
    wrong = mask != expected
    assert margin[wrong].max(initial=0) < 1e-2  # of logits with a spread above 5
    foreground = (expected > 0) | (mask > 0)
    assert wrong[foreground].mean() <= 1e-4 or wrong.sum() <= 1


@pytest.mark.parametrize(("precision", "alike"), [("float16", 0.9995), ("bfloat16", 0.998)])
@pytest.mark.parametrize("labels", [LABELS, REGIONS], ids=["labels", "regions"])
def test_16_bits_change_few_voxels_of_structures_a_few_voxels_wide(labels, precision, alike):
    model = TrainedModel(labels=labels, infer=InferConfig(window=(48, 48, 32)))
    volume = scan(LARGER, seed=6)
    full, mixed = (on_gpu(model, volume, way).labelmap.data for way in ("float32", precision))
    assert len(np.unique(full)) > 2
    assert dice(full, mixed) >= alike


def test_the_same_scan_gives_the_same_mask_again_in_float32():
    model, volume = TinyModel(folds=2), scan(LARGER, seed=7)
    first, second = (on_gpu(model, volume).labelmap.data for _ in range(2))
    assert np.array_equal(first, second)


@every_grid
@pytest.mark.parametrize("labels", [LABELS, REGIONS], ids=["labels", "regions"])
def test_logits_on_the_device_are_restored_as_on_the_cpu(native, labels):
    working = working_grid(native, (1.3, 1.4, 1.5))
    logits = smooth_logits(labels.channels, working.shape, seed=1)
    masks = []
    for device in (torch.device("cpu"), CUDA):
        restorer = Restorer(working, native, labels, device=device)
        restorer.put(logits.to(device), (0, 0, 0))
        masks.append(restorer.finish())
    assert len(np.unique(masks[0])) > 2
    assert np.array_equal(*masks)


@every_grid
@pytest.mark.parametrize("stored", [np.int16, np.uint16, np.uint8, np.float32, np.float64])
@pytest.mark.parametrize(
    "rule",
    [
        NormaliseZScore(),
        NormaliseZScore(nonzero=True),
        NormaliseWindow(low=-160, high=240),
        NormalisePercentiles(),
    ],
    ids=["zscore", "body", "window", "percentiles"],
)
def test_scans_are_prepared_on_the_device_as_on_the_cpu(native, stored, rule):
    values = np.abs(scan(native, seed=8).data) if stored in (np.uint8, np.uint16) else None
    data = (scan(native, seed=8).data if values is None else values % 250).astype(stored)
    volume = Volume(np.asfortranarray(data), native, slope=1.5, intercept=-10.0)
    config = PrepareConfig(spacing_mm=(1.3, 1.4, 1.5), normalise=(rule,))
    here, there = (prepare_volume(volume, config, device=d) for d in (torch.device("cpu"), CUDA))
    assert there.image.device.type == "cuda"
    torch.testing.assert_close(there.image.cpu(), here.image, rtol=1e-4, atol=1e-4)


@contextmanager
def short_of_memory(byte_count):
    """The allocator of the device refuses to hold more than so many bytes."""
    total = torch.cuda.get_device_properties(CUDA).total_memory
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(byte_count / total)
    try:
        yield
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
        torch.cuda.empty_cache()


class Hungry(torch.nn.Module):
    """A network that needs some memory for each window beside its answer."""

    def __init__(self, network, window_bytes):
        super().__init__()
        self.network, self.window_bytes = network, window_bytes

    def forward(self, windows):
        beside = torch.empty(
            len(windows) * self.window_bytes, dtype=torch.uint8, device=windows.device
        )
        logits = self.network(windows)
        return logits + 0 * beside[:1].float().sum().nan_to_num()


class HungryModel(TinyModel):
    window_bytes = 64 << 20

    def networks(self, device="cpu"):
        return [Hungry(network, self.window_bytes) for network in super().networks(device)]


@pytest.mark.parametrize("megabytes", [1000, 500, 220, 90])
def test_every_shortage_ends_in_the_same_mask(megabytes):
    """From windows in small batches to one at a time, and on to the CPU."""
    model, volume = HungryModel(infer=InferConfig(window=(24, 24, 24))), scan(LARGER, seed=9)
    expected = segment(model, volume, precision="float32").labelmap.data
    with short_of_memory(megabytes << 20):
        # told that all of a large card is free, as beside another process that takes it
        result = on_gpu(model, volume, device_bytes=40 << 30)
    wrong = result.labelmap.data != expected
    assert wrong.mean() <= 1e-4
    assert any("memory ran out" in warning for warning in result.warnings)
    if megabytes <= 100:
        assert any("the CPU goes on" in warning for warning in result.warnings)


@pytest.mark.parametrize("device_bytes", [None, 700 << 20, 100 << 20, 1])
def test_a_stated_limit_changes_the_way_and_not_the_mask(device_bytes):
    model, volume = TinyModel(folds=2, infer=InferConfig(window=(40, 40, 40))), scan(LARGER, seed=4)
    expected = on_gpu(model, volume).labelmap.data
    result = on_gpu(model, volume, device_bytes=device_bytes)
    assert (result.labelmap.data != expected).mean() <= 1e-4
    assert result.budget.fits or device_bytes == 1


def test_the_device_holds_no_more_than_was_foretold():
    model = TinyModel(infer=InferConfig(window=(64, 64, 64)))
    volume = scan(grid((300, 280, 160), (0.7, 0.7, 1.0), "LPS"), seed=3)
    segmenter = Segmenter(model, device=CUDA, precision="float16")
    segmenter(volume)  # cuDNN's trials are over
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    result = segmenter(volume)
    taken = torch.cuda.max_memory_allocated() - before
    assert taken <= result.budget.device_bytes * 1.1 + (64 << 20)
    assert torch.cuda.memory_allocated() <= before + (8 << 20)  # nothing is kept


def test_windows_are_many_at_a_time_and_the_time_of_the_network_is_known():
    plan = plan_windows((128, 128, 128), (32, 32, 32), 0.5)
    model = TinyModel(infer=InferConfig(window=plan.window, batch=1))
    result = on_gpu(model, scan(LARGER, seed=2), precision="float16")
    assert result.budget.batch >= 64
    assert 0 < result.seconds["network"] < 60
