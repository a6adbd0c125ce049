"""One step is right: learning rates, batches in parts, and what happens when memory runs out."""

import gc
import itertools
import json
import math
import time
from types import SimpleNamespace

import pytest
import torch

from medseg.config import TrainConfig, override, validate
from medseg.errors import TrainingFailed
from medseg.training import Run, begin_run, loop, read_curves, train
from medseg.training.data import PatchData
from medseg.training.device_cases import DeviceCases
from medseg.training.module import SegmentationTask
from medseg.training.parts import split
from medseg.transforms.augment import Augment, Patches
from tests.training.cohorts import partly_labelled, tiny_cohort
from tests.training.plans import PLAN

BATCH_OF_FOUR = ["training.batch=4", "network.options={features: [4, 8]}"]
FEW = ["training.steps=7", "training.warmup=2"]


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    return tiny_cohort(tmp_path_factory.mktemp("module") / "data")


@pytest.fixture
def fit(cohort, tmp_path, undrawn):
    def run(name, *assignments, resume=False, report=lambda *_, **__: None, cohort=cohort):
        config = validate(TrainConfig, override(PLAN, [*BATCH_OF_FOUR, *assignments]))
        begin_run(tmp_path / name, config, resume=resume)
        place = Run(
            tmp_path / name, torch.device("cpu"), time.monotonic(), cohort.path.parent / "cache"
        )
        return train(config, cohort, place, prepared=lambda *_: None, report=report)

    return run


@pytest.fixture
def memory_for(monkeypatch):
    """Let memory hold so many patches at once from a step on; returns the sizes of all tries."""

    def limit(patches, from_step=0):
        plain, sizes = SegmentationTask._loss, []

        def tight(self, batch):
            sizes.append(len(batch.index))
            if self.trainer.global_step >= from_step and len(batch.index) > patches:
                raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to …")
            return plain(self, batch)

        monkeypatch.setattr(SegmentationTask, "_loss", tight)
        return sizes

    return limit


def weights_of(model):
    return model.networks()[0].state_dict()


def test_a_batch_in_parts_keeps_every_patch_in_order():
    batch = Patches(
        torch.arange(5.0).reshape(5, 1, 1, 1, 1),
        torch.arange(5).reshape(5, 1, 1, 1),
        torch.ones(5, 3),
        torch.arange(10, 15),
        torch.eye(5, dtype=torch.bool),
    )
    parts = split(batch, 2)
    assert [part.index.tolist() for part in parts] == [[10, 11, 12], [13, 14]]
    assert torch.equal(torch.cat([part.known for part in parts]), batch.known)
    assert len(split(batch, 8)) == 5
    (whole,) = split(batch, 1)
    assert torch.equal(whole.image, batch.image)


def test_memory_that_runs_out_halves_the_batch_until_it_fits_and_is_told(
    fit, memory_for, caplog, tmp_path
):
    sizes = memory_for(1, from_step=5)
    model = fit("run", *FEW)
    assert sizes == [4] * 5 + [4, 2] + [1] * 4 * 2
    assert model.card.provenance.steps == 7
    assert model.card.provenance.pace.parts == 4
    assert "memory ran out at step 5" in caplog.text
    assert "undisturbed run" in caplog.text
    facts = json.loads((tmp_path / "run" / "schedule.json").read_text())
    assert (facts["parts"], facts["parts_from_step"], facts["steps"]) == (4, 5, 7)


def test_parts_follow_the_whole_batch(fit, memory_for, tmp_path):
    """Cross-entropy alone is the mean over voxels: every patch as large, so the parts add up."""
    same = ["loss={name: dice_ce, options: {dice: 0}}", "augment.spatial=0", "training.steps=10"]
    whole = fit("whole", *same)
    memory_for(2)
    parts = fit("parts", *same)
    for name, value in weights_of(whole).items():
        assert torch.allclose(value, weights_of(parts)[name], atol=2e-5), name
    losses = [
        float(read_curves(tmp_path / name / "curves.csv")[0]["loss"]) for name in ("whole", "parts")
    ]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def test_parts_add_up_in_bfloat16_too(fit, memory_for):
    memory_for(1)
    model = fit("run", "training.precision=bfloat16", "training.steps=4")
    assert model.card.provenance.non_finite_steps == 0
    assert all(torch.isfinite(value).all() for value in weights_of(model).values())


def test_a_resumed_run_keeps_the_parts_it_came_to(fit, memory_for):
    class Killed(BaseException):
        pass

    def kill(done, total, **facts):
        if done == 4:
            raise Killed

    sizes = memory_for(2, from_step=2)
    with pytest.raises(Killed):
        fit("run", *FEW, report=kill)
    sizes.clear()
    resumed = fit("run", *FEW, resume=True)
    assert sizes == [2] * 2 * (7 - 3), "no step is tried whole again"
    undisturbed = fit("again", *FEW)
    assert resumed.card.weights == undisturbed.card.weights


def test_of_several_processes_one_without_memory_ends_the_run_which_resumes_in_parts(
    fit, monkeypatch, tmp_path
):
    """Before any checkpoint: the others wait for gradients, nothing can be tried again."""
    plain = SegmentationTask._halve

    def as_one_of_two(self):
        trainer = SimpleNamespace(world_size=2, global_rank=1, global_step=0)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(SegmentationTask, "trainer", trainer)
            plain(self)

    def out_of_memory(self, batch):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SegmentationTask, "_halve", as_one_of_two)
        patch.setattr(SegmentationTask, "_loss", out_of_memory)
        with pytest.raises(TrainingFailed, match=r"process 1 at step 0.*--resume.*2 parts"):
            fit("run")
    assert not (tmp_path / "run" / "checkpoints").exists()
    assert fit("run", resume=True).card.provenance.pace.parts == 2


def test_of_several_processes_none_gives_up_its_cases_alone(monkeypatch):
    """The others wait for its gradients: going on by itself, it would never meet them again."""
    asked = []
    monkeypatch.setattr(PatchData, "relieve", lambda self: asked.append(True) or True)
    settings = validate(TrainConfig, override(PLAN, ["training.batch=4"])).training
    task = SegmentationTask(torch.nn.Linear(1, 1), torch.nn.Identity(), None, settings, 12)
    facts = {"global_rank": 1, "global_step": 3, "datamodule": PatchData((), None, 0)}
    monkeypatch.setattr(SegmentationTask, "trainer", SimpleNamespace(world_size=2, **facts))
    with pytest.raises(TrainingFailed, match=r"process 1 at step 3"):
        task._retreat()
    assert not asked
    monkeypatch.setattr(SegmentationTask, "trainer", SimpleNamespace(world_size=1, **facts))
    task._retreat()
    assert asked
    assert task.parts == 2, "what the several came to stays; alone the cases go first"


def test_the_average_of_the_weights_does_not_hold_the_cases_again(fit, monkeypatch):
    class Pool(DeviceCases):
        """Counted apart from other tests' pools."""

    def pools(done, total, **facts):
        held.append(sum(type(each) is Pool for each in gc.get_objects()))

    held = []
    monkeypatch.setattr(loop, "cases_on", lambda cases, device, share: Pool(cases, device))
    fit("run", "training.steps=2", "training.warmup=1", report=pools)
    assert held == [1, 1]


def test_a_patch_that_does_not_fit_alone_ends_the_run_with_what_to_do(fit, memory_for):
    memory_for(0)
    with pytest.raises(TrainingFailed, match=r"memory ran out with a single patch.*\[16, 16, 16\]"):
        fit("run")


def test_another_fault_is_not_taken_for_memory(fit, monkeypatch):
    def broken(self, batch):
        raise RuntimeError("shapes do not match")

    monkeypatch.setattr(SegmentationTask, "_loss", broken)
    with pytest.raises(RuntimeError, match="shapes do not match"):
        fit("run")


def test_a_partly_labelled_batch_goes_through_in_parts(fit, memory_for, tmp_path):
    cohort = partly_labelled(tmp_path / "partly")
    memory_for(2)
    assert fit("run", "training.steps=3", cohort=cohort).card.provenance.steps == 3


@pytest.mark.parametrize("decay", ["cosine", "poly"])
def test_the_rate_rises_to_its_peak_and_falls_to_zero(decay):
    loop = validate(TrainConfig, override(PLAN, [f"training.decay={decay}"])).training
    task = SegmentationTask(torch.nn.Linear(1, 1), torch.nn.Identity(), None, loop, 104)
    rates = [task.rate(step) for step in range(105)]
    assert rates[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert all(b < a for a, b in itertools.pairwise(rates[4:]))
    assert rates[104] == pytest.approx(0, abs=1e-12)
    middle = {"cosine": 0.5, "poly": math.pow(0.5, 0.9)}[decay]
    assert rates[54] == pytest.approx(middle)


@pytest.mark.slow
def test_a_compiled_network_learns_the_same(fit, tmp_path):
    plain, compiled = (fit(f"{on}", f"training.compile={on}") for on in ("false", "true"))
    for name, value in weights_of(plain).items():
        assert torch.allclose(value, weights_of(compiled)[name], atol=1e-3), name


def test_patches_are_cut_alike_whatever_the_precision_of_the_network(fit, monkeypatch):
    cut = {"float32": [], "bfloat16": []}
    plain = Augment.__call__
    for precision, patches in cut.items():

        def noted(self, batch, patches=patches):
            answer = plain(self, batch)
            patches.append(answer.image)
            return answer

        monkeypatch.setattr(Augment, "__call__", noted)
        fit(precision, f"training.precision={precision}", "training.steps=3", "augment.spatial=1")
    for one, other in zip(*cut.values(), strict=True):
        assert one.dtype == other.dtype == torch.float32
        assert torch.equal(one, other)


class _Trainer:
    precision = "bf16-mixed"
    global_step = 10


def _task_on_a_device(monkeypatch):
    """A task whose optimiser is the fused one, as on a GPU; its kernel for CPUs does the same."""
    loop = validate(TrainConfig, PLAN).training
    task = SegmentationTask(torch.nn.Linear(2, 1), torch.nn.Identity(), None, loop, 104)
    monkeypatch.setattr(SegmentationTask, "trainer", _Trainer())
    return task, torch.optim.AdamW(task.network.parameters(), lr=0.1, fused=True)


def test_a_device_leaves_out_a_step_whose_gradient_is_not_finite(monkeypatch):
    task, optimizer = _task_on_a_device(monkeypatch)
    finite, before = torch.ones(3, 2), [p.detach().clone() for p in task.network.parameters()]
    for image, skipped in ((finite, 0), (finite * math.inf, 1), (finite, 1)):
        optimizer.zero_grad()
        task.network(image).sum().backward()
        task.configure_gradient_clipping(optimizer)
        optimizer.step()
        after = [p.detach().clone() for p in task.network.parameters()]
        changed = [not torch.equal(a, b) for a, b in zip(after, before, strict=True)]
        assert all(changed) != bool(image.isinf().any())
        assert all(torch.isfinite(each).all() for each in after)
        assert int(task.skipped) == skipped
        before = after
    (state, _) = optimizer.state.values()
    assert int(state["step"]) == 2


def test_a_device_ends_a_run_whose_gradients_are_never_finite(monkeypatch):
    task, optimizer = _task_on_a_device(monkeypatch)
    with pytest.raises(TrainingFailed, match="50 steps in a row"):
        for _ in range(60):
            optimizer.zero_grad()
            (task.network(torch.ones(3, 2)) * math.nan).sum().backward()
            task.configure_gradient_clipping(optimizer)
            optimizer.step()
    assert int(task.skipped) == 50


def test_cases_leave_the_device_before_a_batch_is_divided(fit, memory_for):
    """The first retreat changes no weight: the same patches are cut elsewhere."""
    undisturbed = weights_of(fit("undisturbed", *FEW))
    roomy = SegmentationTask._loss
    memory_for(2, from_step=4)
    relieved = []

    def relieve(self):
        relieved.append(True)
        SegmentationTask._loss = roomy
        return True

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PatchData, "relieve", relieve)
        model = fit("run", *FEW)
    assert relieved == [True]
    assert model.card.provenance.pace.parts == 1
    for name, value in weights_of(model).items():
        assert torch.equal(value, undisturbed[name]), name
