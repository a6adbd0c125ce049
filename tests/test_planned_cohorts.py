"""Plans for ten kinds of cohort: what each must look like, so that a change of rules faces it."""

import dataclasses
import math

import numpy as np
import pytest
import torch

from medseg.cli import run
from medseg.config import Choice, TrainConfig, validate
from medseg.labels import LabelTable
from medseg.networks import build_network
from medseg.planning import Machine, make_plan, plan_differences, plan_screen
from medseg.planning.cost import levels_for
from medseg.planning.fingerprint import CohortLooks
from medseg.planning.memory import (
    GPU_CONTEXT_BYTES,
    kept_values,
    step_memory,
)
from medseg.training.trial import memory_of_a_step
from tests.test_planning import cohort_of, looks_of
from tests.training.cohorts import tiny_cohort

WORKSTATION = Machine(600, 24e9, 5e12, "a GPU", "cuda")
LAPTOP = Machine(30, 8e9, 6.8e10, "2 CPU cores")
ORGANS = LabelTable.from_card({"labels": {"organ": 1, "lesion": 2}})
TUMOUR = LabelTable.from_card(
    {
        "labels": {"oedema": 1, "core": 2, "enhancing": 3},
        "regions": {"whole": [1, 2, 3], "inner": [2, 3], "enhancing": [3]},
    }
)

#: Spacing, shape, volumes in ml, and what a plan for a GPU of 24 GB and ten hours must be:
#: dimensions, least voxels of the patch, least share of a scan, and the first kernel.
COHORTS = {
    # small organs beside large ones: fine voxels are kept
    "head and neck CT": ((1.0, 1.0, 3.0), (512, 512, 120), (5.0, 0.6), 3, 1e6, 0.02, (3, 3, 1)),
    "abdomen CT": ((0.8, 0.8, 2.5), (512, 512, 200), (1500, 5.0), 3, 1e6, 0.02, (3, 3, 1)),
    "whole-body CT": ((1.0, 1.0, 1.5), (512, 512, 1000), (1500, 20.0), 3, 1e6, 0.01, (3, 3, 3)),
    # a few thick slices: in plane first
    "cine heart": ((1.4, 1.4, 10.0), (220, 220, 10), (100, 120), 3, 2e5, 0.5, (3, 3, 1)),
    "brain tumour": ((1.0, 1.0, 1.0), (140, 170, 140), (60, 20), 3, 1e6, 0.3, (3, 3, 3)),
    "prostate": ((0.6, 0.6, 3.0), (320, 320, 22), (40, 12), 3, 1e6, 0.4, (3, 3, 1)),
    "hand, thin slices": ((0.4, 0.4, 0.5), (250, 400, 180), (2.0, 1.0), 3, 1e6, 0.05, (3, 3, 3)),
    "X-ray": ((0.15, 0.15, 1.0), (2000, 2400, 1), (10, 5), 2, 6e4, 0.01, (3, 3)),
    "tiny crops": ((1.0, 1.0, 1.0), (35, 50, 36), (1.7, 1.5), 3, 6e4, 0.99, (3, 3, 3)),
    "small lesions": ((1.0, 1.0, 1.0), (240, 240, 200), (0.5, 0.1), 3, 1e6, 0.05, (3, 3, 3)),
}


def looks_at(name, labels=ORGANS):
    spacing, shape, volumes, *_ = COHORTS[name]
    looks = looks_of(labels, spacing=spacing, shape=shape, cases=12)
    sizes = dict(zip(labels.names, volumes, strict=False))
    cases = tuple(dataclasses.replace(case, volumes_ml=sizes) for case in looks.cases)
    return CohortLooks(cases, {})


def planned(name, machine=WORKSTATION, labels=ORGANS, **options):
    looks = looks_at(name, labels)
    return make_plan(cohort_of(labels), looks, machine, card="card.yaml", **options)


@pytest.mark.parametrize("name", COHORTS)
def test_each_kind_of_cohort_gets_a_plan_that_suits_it(name):
    spacing, _, _, dims, voxels, share, kernel = COHORTS[name]
    plan = planned(name, preset="standard")
    config = plan.config
    assert config.dims == dims
    assert math.prod(config.patch) >= voxels
    assert plan.share >= share
    kernels = config.network.options.get("kernels", [[3] * dims])
    assert tuple(kernels[0]) == kernel
    assert np.all(np.diff(np.array(kernels), axis=0) >= 0), "a kernel never shrinks"
    assert plan.memory_bytes <= WORKSTATION.memory_bytes * 1.1
    assert plan.steps > 350
    for mm, own in zip(config.prepare.spacing_mm, spacing, strict=True):
        assert mm is None or mm >= own * 0.99, "no voxels are invented in plane"
    assert plan.weakest


@pytest.mark.parametrize("name", COHORTS)
def test_a_laptop_never_plans_what_it_cannot_hold(name):
    plan = planned(name, LAPTOP)
    assert plan.memory_bytes <= LAPTOP.memory_bytes * 1.1
    assert len(plan_screen(plan)) == 6
    assert max(map(len, plan_screen(plan))) < 200


def test_small_lesions_keep_the_voxels_that_show_them():
    plan = planned("small lesions", dataclasses.replace(LAPTOP, minutes=0.5))
    lesion_mm = (6000 * 0.1 / math.pi) ** (1 / 3)
    assert max(plan.config.prepare.spacing_mm) <= lesion_mm / 2.4
    large = looks_of(ORGANS, spacing=(1.0,) * 3, shape=(240, 240, 200))
    cases = tuple(
        dataclasses.replace(case, volumes_ml={"organ": 1500.0, "lesion": 900.0})
        for case in large.cases
    )
    coarse = make_plan(
        cohort_of(ORGANS),
        CohortLooks(cases, {}),
        dataclasses.replace(LAPTOP, minutes=0.5),
        card="card.yaml",
    )
    assert max(coarse.config.prepare.spacing_mm) > max(plan.config.prepare.spacing_mm)


def test_a_cohort_of_axial_coronal_and_sagittal_stacks_is_one_kind_of_stack():
    axes = {"R": (1.0, 0.0, 0.0), "A": (0.0, 1.0, 0.0), "S": (0.0, 0.0, 1.0)}
    cases = looks_of(ORGANS, spacing=(0.9, 0.9, 5.0), shape=(256, 256, 24)).cases
    mixed = tuple(
        dataclasses.replace(case, directions=tuple(axes[a] for a in ("RAS", "RSA", "ASR")[n % 3]))
        for n, case in enumerate(cases)
    )
    one, other = (
        make_plan(cohort_of(ORGANS), CohortLooks(each, {}), LAPTOP, card="card.yaml").config
        for each in (cases, mixed)
    )
    assert one == other
    assert other.prepare.frame is None


def test_regions_and_classes_count_in_the_memory():
    levels = levels_for((48, 48, 48), (1, 1, 1), 16, 128, 6)
    voxels = 2 * 48**3
    few, many = (step_memory(LAPTOP, levels, 1, count).bytes_of(voxels) for count in (2, 106))
    assert many - few == pytest.approx(104 * 18 * voxels)
    apart = step_memory(LAPTOP, levels, 1, 106, loss="written out").bytes_of(voxels) - many
    assert apart == pytest.approx(106 * 14 * voxels)
    assert planned("brain tumour", labels=TUMOUR).memory_bytes > 0


@pytest.mark.parametrize("gigabytes", [8, 12, 24, 80])
def test_gpus_are_planned_by_what_a_gpu_holds(gigabytes):
    machine = dataclasses.replace(WORKSTATION, memory_bytes=gigabytes * 2**30)
    plan = planned("whole-body CT", machine, preset="standard")
    assert plan.memory_bytes <= gigabytes * 2**30
    assert plan.config.prepare.spacing_mm == (1.0, 1.0, 1.5), "no coarser than the scans"
    assert math.prod(plan.config.patch) >= 0.9 * 128**3


def test_the_network_of_the_literature_takes_what_was_reported():
    """Two patches of 128³ through 32 to 320 features: about 7 GB of a card in 16 bits."""
    cube = levels_for((128, 128, 128), (1, 1, 1), 32, 320, 6)
    memory = step_memory(WORKSTATION, cube, 1, 2)
    assert 6e9 < memory.bytes_of(2 * 128**3) < 8e9
    assert memory.voxels_in(memory.bytes_of(1e6)) == pytest.approx(1e6)


@pytest.mark.parametrize(("network", "classes"), [("unet", 2), ("unet", 90), ("residual_unet", 4)])
def test_what_a_network_keeps_is_what_autograd_keeps(network, classes):
    """Counted once more on real tensors, by the memory that they are seen to share."""
    options = {"features": (4, 8), "kernels": ((3, 3, 3),) * 2, "strides": ((2, 2, 2),)}
    kept = kept_values(Choice(name=network, options=options), 3, 1, classes)
    model = build_network(network, dims=3, in_channels=1, out_channels=classes, options=options)
    assert kept.weights == sum(each.numel() for each in model.parameters())
    weights, places = {each.data_ptr() for each in model.parameters()}, {}

    def note(tensor):
        if tensor.untyped_storage().data_ptr() not in weights:
            size = 2 if tensor.is_floating_point() else 8
            places[tensor.untyped_storage().data_ptr()] = tensor.numel() * size
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        logits = model.forward_deep(torch.randn(1, 1, 16, 16, 16))
    del logits
    assert kept.bytes_a_voxel == pytest.approx(sum(places.values()) / 16**3, rel=0.1)


def test_a_gpu_with_room_takes_more_small_scans_a_step():
    roomy = planned("tiny crops", preset="standard").config.training.batch
    assert roomy > planned("tiny crops", LAPTOP, preset="standard").config.training.batch
    hurried = dataclasses.replace(WORKSTATION, minutes=5)
    assert planned("tiny crops", hurried, preset="standard").config.training.batch <= roomy


def test_two_plans_are_compared_setting_by_setting():
    one, other = planned("prostate"), planned("prostate", dims=2)
    lines = plan_differences(one.config, other.config)
    assert "dims: 3 | 2" in lines
    assert plan_differences(one.config, one.config) == ()


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is here and would be tried")
def test_a_gpu_that_is_elsewhere_is_planned_for_by_its_memory(tmp_path):
    cohort = tiny_cohort(tmp_path / "data", cases=3)
    call = ("plan", cohort.path, "--output", tmp_path / "plan.yaml", "--quiet")
    assert run(*call, "--device", "cuda", "--memory", "24GB", "--preset", "standard") == 0
    assert "a GPU of 24 GB" in (tmp_path / "plan.yaml").read_text()
    assert run(*call, "--device", "cuda") == 2, "its memory is not known"


@pytest.mark.gpu
@pytest.mark.parametrize(
    ("patch", "first", "most", "network"),
    [
        ((128,) * 3, 32, 320, "unet"),
        ((96,) * 3, 16, 128, "residual_unet"),
        ((64,) * 3, 32, 320, "unet"),
    ],
)
def test_a_gpu_takes_what_was_foretold(patch, first, most, network):
    """A real step; cuDNN's workspaces differ from card to card."""
    levels = levels_for(patch, (1, 1, 1), first, most, 6)
    labels = LabelTable.from_card({"labels": {"organ": 1, "lesion": 2}})
    content = {
        "cohort": "card.yaml",
        "patch": patch,
        "network": {"name": network, "options": levels.options()},
        "training": {"steps": 2, "batch": 2},
    }
    config = validate(TrainConfig, content)
    memory = step_memory(WORKSTATION, levels, 1, 3, network=network)
    measured = memory_of_a_step(config, cohort_of(labels), torch.device("cuda"))
    foretold = memory.bytes_of(2 * math.prod(patch))
    assert foretold - GPU_CONTEXT_BYTES == pytest.approx(measured - GPU_CONTEXT_BYTES, rel=0.25)
