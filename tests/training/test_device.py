"""Training on a GPU comes to what training on a CPU comes to; skipped where there is none."""

import time
import warnings

import pytest
import torch
import yaml

from medseg.cli import run
from medseg.config import AugmentConfig, PrepareConfig, TrainConfig, override, validate
from medseg.model import load_model
from medseg.training import Run, begin_run, read_curves, train
from medseg.training.cache import cached_case
from medseg.training.device_cases import DeviceCases
from medseg.training.pace import measure_steps
from medseg.training.patch_plan import PatchPlan
from medseg.training.patches import PatchStream
from medseg.transforms.augment import Augment, Patches, source_shape
from tests.training.cohorts import ORGANS, tiny_cohort
from tests.training.plans import PLAN, STEPS

pytestmark = pytest.mark.gpu

GPU = torch.device("cuda", 0)


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    return tiny_cohort(tmp_path_factory.mktemp("device") / "data")


@pytest.fixture
def fit(cohort, tmp_path):
    def run(name, *assignments, device=GPU, resume=False, report=lambda *_, **__: None):
        config = validate(TrainConfig, override(PLAN, assignments))
        begin_run(tmp_path / name, config, resume=resume)
        place = Run(tmp_path / name, device, time.monotonic(), tmp_path / "cache")
        return train(config, cohort, place, prepared=lambda *_: None, report=report)

    return run


class Killed(BaseException):
    """As sudden as a kill."""


def weights_of(model):
    return model.networks()[0].state_dict()


def apart(one, other):
    """Mean distance of two models' weights; single ones near 0 may go either way with Adam."""
    one, other = weights_of(one), weights_of(other)
    return max(float((one[name].cpu() - other[name].cpu()).abs().mean()) for name in one)


def loss_of(run):
    """Mean loss of the first ten steps."""
    return float(read_curves(run / "curves.csv")[0]["loss"])


def test_a_short_run_ends_with_a_model(fit):
    model = fit("run", "training.precision=bfloat16")
    assert model.card.provenance.steps == STEPS
    assert model.card.provenance.non_finite_steps == 0


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_run_resumes_to_the_weights_of_an_undisturbed_one(fit, precision):
    """Up to the order of sums on the device, which may change from run to run."""

    def kill(done, total, **facts):
        if done == 7:
            raise Killed

    changed = (f"training.precision={precision}",)
    whole = fit("whole", *changed)
    with pytest.raises(Killed):
        fit("run", *changed, report=kill)
    resumed = fit("run", *changed, resume=True)
    # weights move by about 0.05 in all
    assert apart(whole, resumed) < (1e-4 if precision == "float32" else 2e-3)


def test_float32_follows_the_cpu_and_bfloat16_is_near(fit, tmp_path):
    """Without noise, which is drawn on the device, and without dropout."""
    still = (
        "augment.noise=0",
        "network.options={features: [4, 8]}",
        "training.learning_rate=0.001",
    )
    fit("cpu", *still, device=torch.device("cpu"))
    fit("gpu", *still)
    fit("half", *still, "training.precision=bfloat16")
    fit("last", *still, "training.layout=channels_first")
    cpu = loss_of(tmp_path / "cpu")
    assert loss_of(tmp_path / "gpu") == pytest.approx(cpu, rel=1e-3)
    assert loss_of(tmp_path / "last") == pytest.approx(cpu, rel=1e-3)
    assert loss_of(tmp_path / "half") == pytest.approx(cpu, rel=2e-2)


@pytest.mark.parametrize("patch", [(20, 18, 16), (24, 20)])
def test_a_batch_is_augmented_on_the_device_as_on_the_cpu(patch):
    config = AugmentConfig(
        **dict.fromkeys(("brightness", "contrast", "gamma", "blur", "low_resolution", "bias"), 1.0),
        noise=0.0,
        mirror_axes=(0, 1),
    )
    source = source_shape(patch, config, (1.0,) * 3)
    generator = torch.Generator().manual_seed(3)
    image = torch.randn(4, 2, *source, generator=generator)
    classes = (image[:, 0] > 0).long() + (image[:, 1] > 1).long() - (image[:, 0] < -2).long()
    batch = Patches(image, classes, torch.ones(4, len(patch)), torch.arange(4))
    augment = Augment(config, patch, range(len(patch)), ORGANS, 5)
    cpu, gpu = augment(batch), augment(batch.to(GPU))
    assert gpu.image.device.type == gpu.classes.device.type == "cuda"
    torch.testing.assert_close(gpu.image.cpu(), cpu.image, rtol=1e-3, atol=2e-3)
    same = (gpu.classes.cpu() == cpu.classes).float().mean()
    assert same > 0.999, "they may differ where two classes are level"


def test_cases_on_the_device_give_what_the_disk_gives(cohort, tmp_path):
    rows = cohort.select(split="train").cases
    cases = [cached_case(cohort, row, PrepareConfig(), tmp_path) for row in rows]
    plan = PatchPlan((16, 16, 16), (22, 22, 22), (0, 1, 2), 0.5, 4, 3)
    pool = DeviceCases(cases, GPU)
    disk, held = PatchStream(cases, plan), PatchStream(cases, plan, pool=pool)
    for step in range(3):
        one, other = disk.batch_of(step), held.batch_of(step)
        assert torch.equal(one.image, other.image.cpu())
        assert torch.equal(one.classes, other.classes.cpu())


@pytest.mark.parametrize("held", [0.25, 0.0], ids=["on the device", "read ahead"])
def test_cases_on_the_device_or_read_ahead_train_the_same(fit, held):
    one, other = fit("one"), fit("other", f"training.cases_on_device={held}")
    assert apart(one, other) < 1e-4


def test_no_step_waits_for_the_device(cohort, tmp_path):
    """Torch warns of every operation that makes the host wait; the loop looks every tenth step."""
    changed = ["training.precision=bfloat16", "training.checkpoint_minutes=60"]
    config = validate(TrainConfig, override(PLAN, changed))

    def look(done, total, **facts):
        torch.cuda.set_sync_debug_mode("warn" if 3 <= done < 9 else "default")

    begin_run(tmp_path / "run", config, resume=False)
    place = Run(tmp_path / "run", GPU, time.monotonic(), tmp_path / "cache")
    try:
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            train(config, cohort, place, prepared=lambda *_: None, report=look)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    heard = [str(each.message).lower() for each in warned]
    waits = [text for text in heard if "synchron" in text and "prototype" not in text]
    assert not waits, waits[:3]


def test_memory_that_runs_out_for_real_is_retreated_from(fit, cohort, tmp_path):
    """The allocator is limited to a little more than half of what a step needs."""
    big = [
        "patch=[64, 64, 64]",
        "training.batch=8",
        "training.steps=4",
        "training.warmup=2",
        "network.options={features: [16, 32]}",
    ]
    config = validate(TrainConfig, override(PLAN, big))
    torch.cuda.empty_cache()
    cost = measure_steps(config, cohort, tmp_path / "cache", GPU, steps=2, untimed=1)
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(GPU).total_memory
    try:
        torch.cuda.set_per_process_memory_fraction(0.6 * cost.peak_bytes / total, GPU)
        model = fit("run", *big)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, GPU)
    assert model.card.provenance.pace.parts in (2, 4)
    assert model.card.provenance.steps == 4


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")
def test_two_processes_with_nccl_train_as_one(cohort, tmp_path):
    plan = tmp_path / "plan.yaml"
    plan.write_text(yaml.safe_dump({**PLAN, "cohort": str(cohort.path)}))
    options = ("--device", "cuda", "--quiet")
    for name, count in (("one", 1), ("two", 2)):
        call = ("train", plan, f"training.processes={count}", "training.batch=4")
        assert run(*call, "--output", tmp_path / name, *options) == 0
    one, two = (load_model(tmp_path / name / "model") for name in ("one", "two"))
    assert apart(one, two) < 1e-3
