"""The layout of a run is tried out, and both layouts train the same network."""

import copy
from types import SimpleNamespace

import pytest
import torch

from medseg.config import TrainConfig, validate
from medseg.errors import BadOutput
from medseg.networks import build_network
from medseg.training import Run, build
from medseg.training import layout as layouts
from medseg.training.build import run_layout
from medseg.training.layout import memory_format, quickest_layout
from medseg.training.run import write_schedule
from medseg.training.setup import patch_plan
from tests.training.plans import PLAN

CPU = torch.device("cpu")


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("slow", ["channels_last", "channels_first"])
def test_the_quicker_layout_is_taken(monkeypatch, dims, slow):
    network = build_network(
        "unet", dims=dims, in_channels=1, out_channels=3, options={"features": [4, 8]}
    )
    monkeypatch.setattr(layouts, "_seconds", lambda *words: 2.0 if words[-1] == slow else 1.0)
    shape = (2, 1, *(8,) * dims)
    other = {"channels_last", "channels_first"} - {slow}
    assert {quickest_layout(network, shape, CPU, torch.float32)} == other


def test_a_layout_that_does_not_fit_is_not_taken(monkeypatch):
    def seconds(*words):
        if words[-1] == "channels_first":
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate")
        return 9.0

    monkeypatch.setattr(layouts, "_seconds", seconds)
    assert quickest_layout(torch.nn.Identity(), (1, 1, 4, 4), CPU, torch.float32) == "channels_last"


def test_a_resumed_run_keeps_the_layout_that_it_had(monkeypatch, tmp_path):
    """A second trial may come out the other way, and sums would be added in another order."""
    trials = iter(["channels_first", "channels_last"])
    monkeypatch.setattr(build, "quickest_layout", lambda *words: next(trials))
    config = validate(TrainConfig, PLAN)
    cohort = SimpleNamespace(channels=("CT",))
    run = Run(tmp_path, torch.device("cuda"), 0.0)
    setup = SimpleNamespace(config=config, run=run, cohort=cohort, plan=patch_plan(config, [1] * 3))
    chosen = run_layout(setup, torch.nn.Identity())
    assert chosen == "channels_first"
    write_schedule(run.schedule, layout=chosen)
    assert run_layout(setup, torch.nn.Identity()) == "channels_first"
    write_schedule(run.schedule, layout="sideways")
    with pytest.raises(BadOutput, match=r"layout of the run.*sideways"):
        run_layout(setup, torch.nn.Identity())


@pytest.mark.parametrize("dims", [2, 3])
def test_a_trial_leaves_the_network_as_it_was(dims):
    network = build_network(
        "unet",
        dims=dims,
        in_channels=2,
        out_channels=3,
        options={"features": [4, 8], "norm": "batch"},
    )
    before = copy.deepcopy(network.state_dict())
    chosen = quickest_layout(network, (2, 2, *(8,) * dims), CPU, torch.float32)
    assert chosen in ("channels_last", "channels_first")
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert all(each.grad is None for each in network.parameters())


@pytest.mark.parametrize("dims", [2, 3])
def test_both_layouts_give_the_same_logits(dims):
    network = build_network(
        "unet", dims=dims, in_channels=1, out_channels=3, options={"features": [4, 8]}
    ).eval()
    image = torch.randn(2, 1, *(12,) * dims, generator=torch.Generator().manual_seed(1))
    logits = []
    for layout in ("channels_last", "channels_first"):
        order = memory_format(layout, dims)
        trial = copy.deepcopy(network).to(memory_format=order)
        logits.append(trial(image.contiguous(memory_format=order)))
    assert torch.allclose(*logits, atol=1e-4)
