"""A plan follows from the scans and the budget, and a person can read and run it."""

import dataclasses
import math
import os
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import yaml

from medseg import planning
from medseg.config import TrainConfig, validate
from medseg.errors import BadCohort, BadConfig
from medseg.geometry import Geometry
from medseg.labels import LabelTable
from medseg.manifests import Cohort
from medseg.networks import build_network
from medseg.networks.inspect import receptive_field
from medseg.planning import Machine, look_at, make_plan, plan_text, write_plan
from medseg.planning import filled as filled_module
from medseg.planning.cost import WHOLE_STEPS, Levels, levels_for
from medseg.planning.filled import filled
from medseg.planning.fingerprint import CaseLooks, CohortLooks
from medseg.volume import LabelMap
from tests.training.cohorts import ORGANS, make_scan, partly_labelled, tiny_cohort

LAPTOP = Machine(minutes=10, memory_bytes=8e9, macs_a_second=6.8e10, name="2 CPU cores")
GPU = Machine(minutes=600, memory_bytes=40e9, macs_a_second=5e12, name="a GPU")
HIPPOCAMPUS = LabelTable.from_card({"labels": {"anterior": 1, "posterior": 2}})
KIDNEYS = LabelTable.from_card({"labels": {"left kidney": 1, "right kidney": 2}})
LEFT_ONLY = LabelTable.from_card({"labels": {"left kidney": 1, "liver": 2}})


def cohort_of(labels=HIPPOCAMPUS, modality="MR", channels=("T1",)):
    return Cohort("made up", modality, channels, labels, (), Path("nowhere"))


def looks_of(labels=HIPPOCAMPUS, spacing=(1.0, 1.0, 1.0), shape=(35, 50, 36), cases=9, **changes):
    """Scans of about one size, with HU of liver in the first channel."""
    rng = np.random.default_rng(0)
    sample = tuple(float(v) for v in rng.normal(80, 20, 400))
    sizes = [(shape[0] + n % 3 - 1, shape[1] + n % 3 - 1, shape[2]) for n in range(cases)]
    made = [
        CaseLooks(
            spacing_mm=spacing,
            shape=size,
            content=size,
            volumes_ml=dict.fromkeys(labels.names, 1.7),
            labelled_share=changes.get("labelled_share", 0.05),
            zero_share=changes.get("zero_share", 0.0),
            sample=(sample,) * changes.get("channels", 1),
        )
        for size in sizes
    ]
    return CohortLooks(tuple(made), {})


def plan_of(looks, machine=LAPTOP, cohort=None, **options):
    return make_plan(cohort or cohort_of(), looks, machine, card="card.yaml", **options)


def test_small_scans_on_a_laptop_are_seen_whole_by_a_small_network():
    plan = plan_of(looks_of())
    assert plan.config.patch == (40, 56, 40)
    assert plan.config.prepare.spacing_mm == (1.0, 1.0, 1.0)
    assert plan.config.network.options == {"features": [16, 32, 64, 128]}
    assert plan.config.training.minutes == 10
    assert 700 < plan.steps < 2500
    assert 0.5e9 < plan.memory_bytes < 4e9


def test_what_is_written_reads_back_as_the_same_config(tmp_path):
    for options in ({}, {"dims": 2}, {"preset": "accurate"}):
        plan = plan_of(looks_of(), **options)
        write_plan(plan, tmp_path / "plan.yaml")
        text = (tmp_path / "plan.yaml").read_text()
        assert validate(TrainConfig, yaml.safe_load(text)) == plan.config
        assert max(map(len, text.splitlines())) <= 100
        assert len(text.splitlines()) < 100, "short enough to read"


def test_every_section_says_why_beside_what():
    text = plan_text(plan_of(looks_of()))
    lines = text.splitlines()
    for key in ("patch", "  spacing_mm", "  normalise", "  mirror_axes", "  minutes", "dims"):
        (at,) = [n for n, line in enumerate(lines) if line.startswith(f"{key}:")]
        assert lines[at - 1].strip().startswith("# "), key
    assert "35×50×36" in text
    assert "GB" in text


def test_less_time_or_memory_makes_the_patch_smaller():
    chest = looks_of(shape=(300, 300, 250), spacing=(1.2, 1.2, 1.2))
    base = math.prod(plan_of(chest, GPU).config.patch)
    hurried = dataclasses.replace(GPU, minutes=0.4)
    cramped = dataclasses.replace(GPU, memory_bytes=4e9)
    for machine in (hurried, cramped):
        assert math.prod(plan_of(chest, machine).config.patch) < 0.7 * base
    assert plan_of(chest, cramped).memory_bytes <= 4e9 * 1.1


@pytest.mark.parametrize("gigabytes", [2, 4, 8, 24])
def test_the_predicted_memory_keeps_within_what_is_allowed(gigabytes):
    chest = looks_of(shape=(400, 400, 300), spacing=(0.8, 0.8, 1.0))
    machine = dataclasses.replace(GPU, memory_bytes=gigabytes * 1e9)
    assert plan_of(chest, machine).memory_bytes <= gigabytes * 1e9 * 1.1


def test_a_memory_that_holds_nothing_is_refused():
    with pytest.raises(BadConfig, match=r"does not hold a training; found 0\.5 GB, expected"):
        plan_of(looks_of(), dataclasses.replace(LAPTOP, memory_bytes=0.5e9))


def test_a_laptop_takes_coarser_voxels_where_a_patch_would_see_too_little():
    body = looks_of(shape=(512, 512, 300), spacing=(0.8, 0.8, 2.0))
    slow, fast = plan_of(body, LAPTOP), plan_of(body, GPU)
    coarse = slow.config.prepare.spacing_mm
    assert fast.config.prepare.spacing_mm < coarse
    assert "coarser" in slow.reasons["prepare.spacing_mm"]
    assert coarse[0] == coarse[1] <= coarse[2]
    whole = math.prod(n * mm for n, mm in zip((512, 512, 300), (0.8, 0.8, 2.0), strict=True))
    seen = math.prod(n * mm for n, mm in zip(slow.config.patch, coarse, strict=True))
    assert seen > whole / 60


def mixed_slices():
    """Stacks of 10 mm slices, an eighth of them of 5 mm."""
    thick = looks_of(shape=(217, 250, 9), spacing=(1.5, 1.5, 10.0), cases=7)
    thin = looks_of(shape=(217, 250, 18), spacing=(1.5, 1.5, 5.0), cases=1)
    return CohortLooks(thick.cases + thin.cases, {})


def test_thick_slices_are_divided_where_time_pays_for_it():
    slow, fast = (plan_of(mixed_slices(), machine) for machine in (LAPTOP, GPU))
    assert slow.config.prepare.spacing_mm[2] == 10.0
    assert "more minutes or a GPU" in slow.reasons["prepare.spacing_mm"]
    assert fast.config.prepare.spacing_mm[2] < 10.0


@pytest.mark.parametrize("minutes", [10, 20, 40, 80, 160])
@pytest.mark.parametrize("shape", [(35, 50, 36), (217, 250, 10), (120, 300, 90), (512, 512, 200)])
def test_time_buys_enough_steps_first_then_larger_patches(shape, minutes):
    machine = dataclasses.replace(LAPTOP, minutes=minutes)
    plan = plan_of(looks_of(shape=shape), machine)
    assert "too few" not in plan.reasons["training.minutes"] + plan.weakest
    if plan.share > 0.6:
        assert plan.steps > 0.9 * WHOLE_STEPS
    longer = plan_of(looks_of(shape=shape), dataclasses.replace(machine, minutes=4 * minutes))
    assert math.prod(longer.config.patch) >= math.prod(plan.config.patch)


def test_voxels_give_way_a_little_while_time_is_short_and_structures_are_wide():
    heart = looks_of(shape=(217, 250, 10), spacing=(1.5, 1.5, 10.0))
    wide = tuple(
        dataclasses.replace(case, volumes_ml=dict.fromkeys(case.volumes_ml, 100.0))
        for case in heart.cases
    )
    short, long = (
        plan_of(CohortLooks(wide, {}), dataclasses.replace(LAPTOP, minutes=minutes))
        for minutes in (10, 600)
    )
    assert 1.5 < short.config.prepare.spacing_mm[0] <= 1.5 * 1.36
    assert long.config.prepare.spacing_mm[0] == 1.5
    narrow = tuple(
        dataclasses.replace(case, volumes_ml=dict.fromkeys(case.volumes_ml, 0.5))
        for case in heart.cases
    )
    kept = plan_of(CohortLooks(narrow, {}), dataclasses.replace(LAPTOP, minutes=10))
    assert kept.config.prepare.spacing_mm[0] == 1.5, "a ball of 0.5 ml is 7 voxels wide"


@pytest.mark.parametrize(
    ("side", "zero_share", "value", "crop", "zeros"),
    [
        (0.7, 0.7, 80.0, "zeros", "background"),
        (0.7, 0.7, 0.0, "zeros", "network"),
        (0.7, 0.0, 80.0, "nothing", "network"),
        (0.95, 0.5, 80.0, "nothing", "network"),
    ],
)
def test_margins_are_cut_off_where_they_are_wide_and_exactly_zero(
    side, zero_share, value, crop, zeros
):
    looks = looks_of(shape=(160, 200, 160), zero_share=zero_share)
    looks = CohortLooks(
        tuple(
            dataclasses.replace(
                case,
                content=tuple(int(side * n) for n in case.shape),
                sample=((value, *case.sample[0]),),
            )
            for case in looks.cases
        ),
        {},
    )
    config = plan_of(looks).config
    assert (config.prepare.crop, config.infer.zeros) == (crop, zeros)


def test_scans_vary_gently_while_steps_are_few():
    short, long = (
        plan_of(looks_of(), dataclasses.replace(LAPTOP, minutes=minutes)).config.augment
        for minutes in (5, 600)
    )
    assert short.spatial < long.spatial
    assert short.scale[0] > long.scale[0]
    assert short.noise < long.noise


def test_thick_slices_are_halved_last_and_keep_their_neighbours_apart():
    plan = plan_of(looks_of(shape=(160, 160, 20), spacing=(0.7, 0.7, 5.0)), GPU)
    options = plan.config.network.options
    assert options["strides"][0] == [2, 2, 1]
    assert options["kernels"][0] == [3, 3, 1]
    assert options["kernels"][-1] == [3, 3, 3]
    assert plan.config.augment.rotate_degrees < 15
    build_network("unet", dims=3, in_channels=1, out_channels=3, options=options)


def test_pooling_makes_no_axis_of_a_scan_coarse():
    levels = levels_for((256, 256, 12), (1.0, 1.0, 1.0), 32, 320, 6)
    assert all(kernel == (3, 3, 3) for kernel in levels.kernels)
    options = {"features": [4] * len(levels.features)}
    options |= {"kernels": levels.kernels, "strides": levels.strides}
    network = build_network("unet", dims=3, in_channels=1, out_channels=2, options=options)
    field = receptive_field(network, 3)
    assert field[0] == field[1] > 400
    assert field[2] > 80


@pytest.mark.parametrize("thick", [2.0, 3.0, 5.0, 10.0])
def test_a_kernel_that_has_grown_never_shrinks_again(thick):
    for shape in ((224, 224, 12), (320, 320, 20), (512, 256, 9)):
        kernels = np.array(levels_for(shape, (0.7, 0.7, thick * 0.7), 32, 320, 6).kernels)
        assert (np.diff(kernels, axis=0) >= 0).all()
        assert (kernels[:, :2] == 3).all(), "in plane, voxels are near at every level"


def test_thinner_slices_of_some_scans_are_not_thrown_away():
    thick, thin = looks_of(spacing=(0.8, 0.8, 5.0)), looks_of(spacing=(0.8, 0.8, 3.0), cases=3)
    both = CohortLooks(thick.cases + thin.cases, {})
    assert plan_of(both, GPU).config.prepare.spacing_mm[2] == pytest.approx(3.0, abs=0.01)


def test_spacing_is_the_median_and_not_moved_by_one_odd_scan():
    odd = looks_of(spacing=(9.0, 9.0, 9.0), cases=1)
    assert plan_of(CohortLooks(looks_of().cases + odd.cases, {})).config.prepare.spacing_mm == (
        1.0,
        1.0,
        1.0,
    )


def test_ct_has_one_window_from_the_labels_and_mr_its_own_spread():
    rule = plan_of(
        looks_of(), cohort=cohort_of(modality="CT", channels=("CT",))
    ).config.prepare.normalise[0]
    values = np.array(looks_of().cases[0].sample[0])
    assert (rule.kind, rule.low, rule.high) == (
        "window",
        pytest.approx(np.percentile(values, 0.5), rel=0.01),
        pytest.approx(np.percentile(values, 99.5), rel=0.01),
    )
    assert rule.mean == pytest.approx(80, abs=3)
    assert plan_of(looks_of()).config.prepare.normalise[0].kind == "zscore"


def test_air_is_left_out_of_a_ct_unless_a_structure_is_as_dark():
    ct = cohort_of(modality="CT", channels=("portal venous",))
    assert plan_of(looks_of(), cohort=ct).config.infer.skip_below == -900
    assert plan_of(looks_of()).config.infer.skip_below is None
    airways = looks_of()
    dark = tuple(dataclasses.replace(c, sample=((-980.0,) * 400,)) for c in airways.cases)
    plan = plan_of(dataclasses.replace(airways, cases=dark), cohort=ct)
    assert plan.config.infer.skip_below is None
    assert "dark as air" in plan.reasons["infer.skip_below"]


def test_zeros_around_the_body_do_not_count_where_there_are_many():
    bare = plan_of(looks_of(zero_share=0.6)).config.prepare.normalise[0]
    assert bare.nonzero
    assert not plan_of(looks_of(zero_share=0.1)).config.prepare.normalise[0].nonzero


def test_channels_of_a_kind_share_a_rule_and_others_have_their_own():
    looks = looks_of(channels=2)
    same = plan_of(looks, cohort=cohort_of(channels=("T1", "FLAIR")))
    assert len(same.config.prepare.normalise) == 1
    mixed = plan_of(looks, cohort=cohort_of(modality="PT", channels=("CT", "PET")))
    assert [rule.kind for rule in mixed.config.prepare.normalise] == ["window", "zscore"]


@pytest.mark.parametrize(
    ("labels", "minutes", "axes"),
    [
        (KIDNEYS, 600, (0,)),
        (HIPPOCAMPUS, 600, (0,)),
        (LEFT_ONLY, 600, ()),
        (KIDNEYS, 10, ()),
    ],
)
def test_left_and_right_are_mirrored_only_where_that_is_safe_and_there_is_time(
    labels, minutes, axes
):
    machine = dataclasses.replace(GPU, minutes=minutes)
    plan = plan_of(looks_of(labels), machine, cohort_of(labels))
    assert plan.config.augment.mirror_axes == axes
    assert plan.config.infer.mirror_axes == ()


def test_the_mirrored_axis_has_no_number_where_scans_lie_differently():
    axial, *others = looks_of(KIDNEYS, spacing=(1.0, 1.0, 5.0), shape=(200, 200, 20)).cases
    turned = [
        dataclasses.replace(case, directions=((0, 1, 0), (0, 0, 1), (1, 0, 0))) for case in others
    ]
    looks = dataclasses.replace(looks_of(KIDNEYS), cases=(axial, *turned))
    machine = dataclasses.replace(GPU, minutes=600)
    plan = plan_of(looks, machine, cohort_of(KIDNEYS))
    assert plan.config.augment.mirror_axes == ("left-right",)


def test_rare_structures_are_shown_more_often():
    rare, common = plan_of(looks_of(labelled_share=0.0005)), plan_of(looks_of())
    assert rare.config.training.foreground > common.config.training.foreground


def test_slices_are_planned_across_the_coarsest_axis():
    plan = plan_of(looks_of(shape=(200, 220, 30), spacing=(0.8, 0.8, 4.0)), GPU, dims=2)
    assert plan.config.dims == 2
    assert plan.config.slice_axis == 2
    assert len(plan.config.patch) == 2
    assert plan.config.prepare.spacing_mm == (0.8, 0.8, None)
    assert plan.config.training.batch > 2


def test_scans_of_a_few_slices_are_planned_in_two_dimensions():
    assert plan_of(looks_of(shape=(200, 200, 5), spacing=(1.0, 1.0, 8.0))).config.dims == 2


def test_a_label_that_never_occurs_is_said_and_none_at_all_is_refused():
    absent = [
        dataclasses.replace(case, volumes_ml={"anterior": 1.0, "posterior": 0.0})
        for case in looks_of().cases
    ]
    assert any(
        "cannot be learnt: posterior" in line
        for line in plan_of(CohortLooks(tuple(absent), {})).summary
    )
    empty = [dataclasses.replace(case, volumes_ml={"anterior": 0.0}) for case in absent]
    with pytest.raises(BadCohort, match="nothing to learn"):
        plan_of(CohortLooks(tuple(empty), {}))


def test_an_unknown_preset_lists_the_known_ones():
    with pytest.raises(BadConfig, match="fast, residual, fcn8s, standard, accurate"):
        plan_of(looks_of(), preset="best")


@pytest.mark.parametrize("preset", planning.PRESETS)
def test_every_preset_builds_its_network(preset):
    plan = plan_of(looks_of(), GPU, preset=preset)
    network = plan.config.network
    build_network(network.name, dims=3, in_channels=1, out_channels=3, options=network.options)


@pytest.mark.parametrize("preset", planning.PRESETS)
def test_every_preset_says_what_has_been_measured_of_it(preset):
    text = plan_text(plan_of(looks_of(), preset=preset)).replace("\n# ", " ")
    assert f"Preset {preset}: {planning.PRESETS[preset].about}." in text
    assert ("not measured" in text) == (preset in ("standard", "accurate"))
    assert ("found less" in text) == (preset == "residual")


def test_the_baseline_differs_from_fast_in_its_network_alone():
    fast, baseline = (plan_of(looks_of(), preset=name).config for name in ("fast", "fcn8s"))
    assert baseline.network.name == "fcn8s"
    assert baseline.model_copy(update={"network": fast.network}) == fast
    assert fast.network.name == "unet"


def test_a_patient_preset_plans_a_larger_network_and_a_longer_run():
    fast, standard, accurate = (
        plan_of(
            looks_of(),
            dataclasses.replace(GPU, minutes=planning.PRESETS[name].minutes),
            preset=name,
        ).config
        for name in ("fast", "standard", "accurate")
    )
    widths = [max(c.network.options["features"]) for c in (fast, standard, accurate)]
    assert widths[0] < widths[1] <= widths[2]
    assert fast.training.minutes < standard.training.minutes < accurate.training.minutes
    assert accurate.network.name == "residual_unet"


@pytest.mark.parametrize("most", [filled_module.MOST_VOXELS, 20_000])
def test_a_structure_drawn_in_part_is_planned_for_as_a_whole(monkeypatch, most):
    monkeypatch.setattr(filled_module, "MOST_VOXELS", most)
    grid = Geometry((48, 50, 16), np.diag([2.0, -2.0, 6.0, 1.0]))
    away_mm = (np.indices(grid.shape).T - [20, 27, 7]) * [2, 2, 6]
    ball = (np.linalg.norm(away_mm, axis=-1).T < 30).astype(np.uint8)
    is_drawn = np.random.default_rng(0).random(grid.shape) < 0.06
    values, voxel_ml = filled(LabelMap(np.where(is_drawn, ball, 255).astype(np.uint8), grid), 255)
    assert values.max() == 1
    whole_ml = ball.sum() * grid.voxel_ml  # 113 ml, of which 7 are drawn
    assert (values == 1).sum() * voxel_ml == pytest.approx(whole_ml, rel=0.15)


def test_scans_annotated_in_part_are_told(tmp_path):
    looks = look_at(partly_labelled(tmp_path, cases=3, **SCAN))
    assert [sorted(case.volumes_ml) for case in looks.cases] == [["ball"], ["box"], ["ball"]]
    organs = cohort_of(ORGANS)
    text = " ".join(plan_of(looks, cohort=organs).summary)
    assert "3 of the scans are annotated for some labels only" in text
    whole = look_at(tiny_cohort(tmp_path / "whole", cases=3, **SCAN))
    assert "annotated for some" not in " ".join(plan_of(whole, cohort=organs).summary)


def test_a_step_takes_one_patch_where_two_leave_few_steps_and_one_is_half_the_work():
    hearts = looks_of(spacing=(1.4, 1.4, 10.0), shape=(220, 220, 10))
    short, long = (plan_of(hearts, dataclasses.replace(LAPTOP, minutes=m)) for m in (20, 600))
    assert (short.config.training.batch, long.config.training.batch) == (1, 2)
    assert short.config.training.learning_rate > long.config.training.learning_rate
    assert plan_of(looks_of()).config.training.batch == 2  # a small patch gains nothing alone


def test_a_hundred_classes_cost_steps_or_voxels():
    many = LabelTable.from_card({"labels": {f"gyrus {n}": n for n in range(1, 141)}})
    shape = (140, 180, 140)
    few = plan_of(looks_of(shape=shape))
    dear = plan_of(looks_of(many, shape=shape), cohort=cohort_of(many))
    seen = [plan.steps * math.prod(plan.config.patch) for plan in (few, dear)]
    assert seen[1] < 0.75 * seen[0]


def test_large_patches_grow_on_a_cpu_unless_labels_are_many():
    many = LabelTable.from_card({"labels": {f"gyrus {n}": n for n in range(1, 41)}})
    shape = (200, 200, 120)
    gpu = Machine(60, 24e9, 1e14, "a GPU", "cuda")
    assert plan_of(looks_of(shape=shape)).config.training.growth == 3
    assert plan_of(looks_of()).config.training.growth == 1  # patches of 40×56×40
    assert plan_of(looks_of(shape=shape), gpu).config.training.growth == 1
    large = plan_of(looks_of(many, shape=shape), cohort=cohort_of(many))
    assert large.config.training.growth == 1


def test_many_labels_get_many_steps_and_a_loss_that_hears_the_rare_ones():
    many = LabelTable.from_card({"labels": {f"gyrus {n}": n for n in range(1, 141)}})
    few = LabelTable.from_card({"labels": {f"gyrus {n}": n for n in range(1, 4)}})
    plans = {
        len(labels.names): plan_of(
            looks_of(labels, shape=(140, 180, 140)),
            dataclasses.replace(LAPTOP, minutes=60),
            cohort=cohort_of(labels),
        )
        for labels in (many, few)
    }
    assert plans[140].steps > 1900
    assert 1 / 6 < plans[140].share < 0.7
    spacings = [plans[n].config.prepare.spacing_mm[0] for n in (140, 3)]
    assert spacings[0] > 1.3 * spacings[1]
    assert plans[140].config.loss.options["balance"] == 1.0
    long = dataclasses.replace(LAPTOP, minutes=600)
    long = plan_of(looks_of(many, shape=(140, 180, 140)), long, cohort=cohort_of(many))
    assert long.config.loss.options["balance"] == 0.5
    assert "balance" not in plans[3].config.loss.options
    # and structures stay four voxels wide
    width_mm = (6 * 1700 / math.pi) ** (1 / 3)
    assert max(plans[140].config.prepare.spacing_mm) <= width_mm / 3.9


def test_neither_specks_nor_a_few_of_many_labels_keep_voxels_fine():
    many = LabelTable.from_card({"labels": {f"gyrus {n}": n for n in range(1, 141)}})
    plain = looks_of(many, shape=(140, 180, 140))
    sizes = dict.fromkeys(many.names, 3.0) | {"gyrus 1": 0.001, "gyrus 2": 0.012}
    cases = tuple(dataclasses.replace(case, volumes_ml=sizes) for case in plain.cases)
    plan = plan_of(CohortLooks(cases, {}), cohort=cohort_of(many))
    assert min(plan.config.prepare.spacing_mm) > 1.2
    assert plan.weakest.startswith("gyrus 2")


def test_weights_and_multiplications_are_counted_as_they_are():
    levels = levels_for((64, 64, 64), (1, 1, 1), 8, 32, 4)
    assert levels == Levels((8, 16, 32, 32), ((3, 3, 3),) * 4, ((2, 2, 2),) * 3)
    network = build_network(
        "unet", dims=3, in_channels=1, out_channels=2, options={"features": [8, 16, 32, 32]}
    )
    true = sum(weight.numel() for weight in network.parameters())
    assert levels.weights(1) == pytest.approx(true, rel=0.15)
    one_level = Levels((8,), ((3, 3, 3),), ())
    assert one_level.macs_a_voxel(1, 0) == 27 * (8 + 64)


SCAN = {"shape": (14, 12, 10), "codes": "PSR", "spacing": (2.0, 2.5, 3.0)}


def test_only_labelled_train_rows_are_looked_at(tmp_path):
    looks = look_at(tiny_cohort(tmp_path, cases=3, **SCAN))  # the test row's files do not exist
    assert len(looks.cases) == 3
    assert looks.left_out == {}
    first, (volume, truth) = looks.cases[0], make_scan(0, **SCAN)
    assert first.spacing_mm == pytest.approx((3.0, 2.0, 2.5))
    assert first.shape == (10, 14, 12)
    assert first.volumes_ml == pytest.approx({n: truth.volume_ml(n) for n in ("ball", "box")})
    assert first.labelled_share == pytest.approx((truth.data > 0).mean())
    inside = volume.values()[0][truth.data > 0]
    np.testing.assert_allclose(np.sort(first.sample[0]), np.sort(inside), atol=1e-3)


def test_looking_again_opens_nothing_but_what_changed(tmp_path, monkeypatch):
    cohort = tiny_cohort(tmp_path, cases=3, **SCAN)
    kept = tmp_path / "looks.json"
    first = look_at(cohort, kept=kept)
    assert "case_0" not in kept.read_text(), "nothing tells which case it was"
    with monkeypatch.context() as blind:
        blind.setattr("medseg.planning.fingerprint.read_case", None)
        assert look_at(cohort, kept=kept).cases == first.cases
    scan = cohort.case("case_01").sources[0]
    before = scan.stat()
    scan.write_bytes(b"x" * before.st_size)
    os.utime(scan, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert list(look_at(cohort, kept=kept).left_out) == ["case_01"]
    kept.write_text("no JSON at all")
    monkeypatch.setattr("medseg.planning.fingerprint.read_case", None)
    with pytest.raises(TypeError):  # everything is looked at again
        look_at(cohort, kept=kept)


def test_empty_margins_change_no_plan(tmp_path):
    made = []
    for margin in (0, 9):
        cohort = tiny_cohort(tmp_path / str(margin), cases=3, **SCAN)
        for case in cohort.select(split="train").cases:
            for path, empty in ((case.sources[0], -1000), (case.label, 0)):
                image = nib.load(path)
                data = np.pad(np.asanyarray(image.dataobj), margin, constant_values=empty)
                affine = image.affine.copy()
                affine[:3, 3] -= affine[:3, :3] @ np.full(3, margin)
                nib.save(nib.Nifti1Image(data, affine), path)
        looks = look_at(cohort)
        made.append(plan_of(looks, cohort=cohort))
    assert looks.cases[0].content == (10, 14, 12)
    assert looks.cases[0].shape == (28, 32, 30)
    tight, roomy = (plan.config.model_dump(mode="json") for plan in made)
    assert (tight["patch"], tight["network"]) == (roomy["patch"], roomy["network"])
    assert tight["prepare"]["spacing_mm"] == roomy["prepare"]["spacing_mm"]


def test_what_the_reader_of_a_mask_accepted_is_kept_for_the_plan(tmp_path):
    cohort = tiny_cohort(tmp_path, cases=3, **SCAN)
    path = cohort.case("case_01").label
    image = nib.load(path)
    changed = nib.Nifti1Image(np.asanyarray(image.dataobj), image.affine)
    changed.set_sform(image.affine, 1)
    changed.set_qform(image.affine + 9 * np.eye(4, k=3), 1)
    changed.to_filename(path)
    for _ in range(2):  # read, and found again
        told = look_at(cohort, kept=tmp_path / "looks.json").warnings
        assert list(told) == ["case_01"]
        assert told["case_01"][0].startswith("the mask: sform and qform disagree by 9 mm")


def test_padding_is_no_tissue(tmp_path):
    sample = planning.fingerprint._sample
    volume, truth = make_scan(0, **SCAN)
    data = volume.data.copy()
    data[:, ::2] = -3024
    padded = dataclasses.replace(
        volume, data=data, origin=dataclasses.replace(volume.origin, padding_value=-3024.0)
    )
    assert min(sample(padded, truth.data > 0)[0]) > -1000
