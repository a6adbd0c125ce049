"""A plan keeps within what was allowed, and says so when it cannot."""

import pytest
import torch

from medseg.config import InferConfig
from medseg.inference import budget as budget_module
from medseg.inference import segment
from medseg.inference.budget import Allowance, Demand, plan_budget
from medseg.inference.forward_memory import forward_bytes
from medseg.inference.windows import plan_windows
from medseg.memory import resident_bytes
from tests.inference.models import TinyModel, TinyNet, scan
from tests.transforms.grids import grid

CPU = torch.device("cpu")
DEMAND = Demand(
    plan=plan_windows((128, 128, 256), (64, 64, 64), 0.5),
    channels=25,
    itemsize=4,
    image_bytes=1 << 24,
    mask_bytes=1 << 25,
    native_per_working=3.0,
    window_bytes=100 << 20,
)


def plan(memory_bytes=None, device=CPU, device_bytes=None, batch=8):
    return plan_budget(
        DEMAND, batch=batch, device=device, allowance=Allowance(memory_bytes, device_bytes)
    )


def test_without_a_limit_the_wished_batch_is_taken():
    budget = plan()
    assert budget.batch == 8
    assert budget.fits
    assert budget.host_bytes > 8 * DEMAND.window_bytes + resident_bytes() * 0.9


def test_what_other_processes_hold_counts():
    alone = sum(plan().host.values())
    beside = plan_budget(DEMAND, batch=8, device=CPU, allowance=Allowance(None, None, 10 << 30))
    assert beside.host_bytes > alone + (9 << 30)
    assert "other scans and processes 10.74 GB" in beside.describe()
    twice = Allowance(2 * alone, None, 2 * alone)
    limited = plan_budget(DEMAND, batch=8, device=CPU, allowance=twice)
    assert not limited.fits


def test_what_was_reached_before_is_told_where_it_is_more(monkeypatch):
    monkeypatch.setattr(budget_module, "peak_bytes", lambda: 0)
    assert "reached before" not in plan().describe()
    monkeypatch.setattr(budget_module, "peak_bytes", lambda: 90 << 30)
    later = plan(memory_bytes=80 << 30)
    assert later.host_bytes == 90 << 30
    assert "96.64 GB (reached before the first window; then held" in later.describe()
    assert later.fits  # the plan itself does


def test_the_batch_shrinks_to_fit():
    full, one = (sum(plan(batch=batch).host.values()) for batch in (8, 1))
    budget = plan(memory_bytes=(full + one) // 2)
    assert 1 <= budget.batch < 8
    assert budget.fits


def test_what_cannot_fit_is_planned_as_small_as_can_be_and_said():
    budget = plan(memory_bytes=1000)
    assert budget.batch == 1
    assert not budget.fits
    small = TinyModel(infer=InferConfig(window=(12, 10, 14)))
    result = segment(small, scan(grid((20, 20, 20))), memory_bytes=1000)
    assert any("more memory than allowed" in warning for warning in result.warnings)
    assert result.labelmap.data.any()


def test_on_a_small_device_the_batch_shrinks_and_then_the_logits_leave():
    device = torch.device("cuda")
    near = plan(device=device, device_bytes=8 << 30)
    assert near.accumulators == device
    assert near.device_bytes > 8 * DEMAND.window_bytes
    smaller = plan(device=device, device_bytes=500 << 20)
    assert (smaller.accumulators, smaller.batch) == (device, 1)
    far = plan(device=device, device_bytes=130 << 20)
    assert (far.accumulators, far.batch) == (CPU, 1)
    assert far.device_bytes <= 130 << 20
    assert sum(far.host.values()) > sum(near.host.values())


@pytest.mark.parametrize("batch", [1, 4])
def test_the_prediction_grows_with_classes_and_windows_not_with_length(batch):
    longer = Demand(**{**DEMAND.__dict__, "plan": plan_windows((128, 128, 1024), (64,) * 3, 0.5)})
    more = plan_budget(longer, batch=batch, device=CPU, allowance=Allowance())
    assert more.host["logits"] == plan(batch=batch).host["logits"]


def test_a_forward_pass_is_measured_without_knowing_the_network():
    net = TinyNet(3, 1, 40, seed=0)
    image = torch.zeros(1, 1, 32, 32, 32)
    voxels = 4 * 32**3
    found = forward_bytes(net, image)
    assert found >= (40 + 40) * voxels  # the head's answer, and its scaled copy
    assert found <= (1 + 6 * 3 + 16 + 40 * 2 + 48) * voxels
    assert forward_bytes(net, image.expand(2, -1, -1, -1, -1)) == pytest.approx(2 * found, rel=0.05)


def test_an_answer_finds_no_place_in_what_was_freed_before_it():
    def answer(image):
        wide = torch.cat([image] * 8)
        narrow = wide.sum(0, keepdim=True)
        del wide
        return narrow.expand(20, *image.shape[1:]).clone()

    image = torch.zeros(1, 1, 32, 32, 32)
    one = image.nbytes
    assert forward_bytes(answer, image) == one + (8 + 1) * one + 20 * one
