"""Every shortage of memory ends in a mask, with a warning."""

import numpy as np
import pytest
import torch

from medseg.config import InferConfig
from medseg.errors import MedsegError
from medseg.inference import segment
from medseg.inference.forward import Forward, choose_precision
from medseg.memory import is_out_of_memory
from tests.inference.models import TinyModel, scan
from tests.transforms.grids import NATIVE

INFER = InferConfig(window=(12, 10, 14), batch=4)


class Short(torch.nn.Module):
    """A network that runs out of memory above so many windows, or on a device."""

    def __init__(self, network, most=100, error=None):
        super().__init__()
        self.network, self.most = network, most
        self.error = error or torch.OutOfMemoryError("CUDA out of memory. Tried to allocate")

    def forward(self, windows):
        if len(windows) > self.most:
            raise self.error
        return self.network(windows)


class ShortModel(TinyModel):
    most = 1
    error = None

    def networks(self, device="cpu"):
        return [Short(network, self.most, self.error) for network in super().networks(device)]


@pytest.mark.parametrize(
    "error",
    [None, MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried")],
)
def test_the_batch_halves_until_it_fits(error):
    volume = scan(NATIVE["axial LPS"])
    model = ShortModel(infer=INFER, folds=2)
    object.__setattr__(model, "error", error)
    result = segment(model, volume)
    expected = segment(TinyModel(infer=INFER, folds=2), volume)
    assert np.array_equal(result.labelmap.data, expected.labelmap.data)
    assert [w for w in result.warnings if "windows at a time" in w] == [
        "memory ran out: 2 windows at a time from here on",
        "memory ran out: 1 windows at a time from here on",
    ]


def test_one_window_that_does_not_fit_is_said_plainly():
    model = ShortModel(infer=INFER)
    object.__setattr__(model, "most", 0)
    with pytest.raises(MedsegError, match="not enough memory for one window"):
        segment(model, scan(NATIVE["axial LPS"]))


def test_bugs_are_not_taken_for_shortage():
    model = ShortModel(infer=INFER)
    object.__setattr__(model, "error", RuntimeError("shapes cannot be multiplied"))
    with pytest.raises(RuntimeError, match="multiplied"):
        segment(model, scan(NATIVE["axial LPS"]))
    assert not is_out_of_memory(ValueError("out of memory"))


class OnDevice(torch.nn.Module):
    """A network on a pretended device that is always full; its host twin works."""

    def __init__(self):
        super().__init__()
        self.full = True

    def cpu(self):
        self.full = False
        return self

    def forward(self, windows):
        if self.full:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return windows * 2


def test_logits_move_to_the_host_and_then_the_cpu_takes_over():
    said, room = [], [True, False]
    forward = Forward(
        [OnDevice()],
        device=torch.device("meta"),
        dtype=torch.float32,
        batch=2,
        relieve=lambda: room.pop(0),
        warn=said.append,
    )
    windows = torch.ones(3, 1, 4)
    answers = list(forward.run(0, windows))
    assert [start for start, _ in answers] == [0, 1, 2]
    assert all(bool((logits == 2).all()) for _, logits in answers)
    assert [line.split(":")[1] for line in said] == [
        " 1 windows at a time from here on",
        " logits are kept on the host from here on",
        " the CPU goes on",
    ]


def test_an_overflow_in_16_bits_is_done_again_in_32():
    class Overflows(torch.nn.Module):
        def forward(self, windows):
            return windows / 0 if torch.is_autocast_enabled("cpu") else windows

    said = []
    forward = Forward(
        [Overflows()],
        device=torch.device("cpu"),
        dtype=torch.bfloat16,
        batch=2,
        relieve=lambda: False,
        warn=said.append,
    )
    ((_, logits),) = forward.run(0, torch.ones(2, 1, 4))
    assert bool((logits == 1).all())
    assert said == ["bfloat16 overflowed: float32 from here on"]


def test_16_bits_are_taken_only_where_asked_or_in_hardware():
    cpu = torch.device("cpu")
    assert choose_precision("bfloat16", cpu) == torch.bfloat16
    in_hardware = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    expected = torch.bfloat16 if in_hardware else torch.float32
    assert choose_precision("auto", cpu) == expected


def test_bfloat16_agrees_but_for_a_few_voxels():
    volume = scan(NATIVE["oblique"], seed=3)
    exact = segment(TinyModel(infer=INFER), volume, precision="float32").labelmap.data
    mixed = segment(TinyModel(infer=INFER), volume, precision="bfloat16").labelmap.data
    assert (exact == mixed).mean() > 0.97
