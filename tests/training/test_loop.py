"""A run learns, leaves a whole model, and comes out the same whatever interrupts it."""

import csv
import hashlib
import importlib.util
import json
import os
import random
import signal
import subprocess
import sys
import textwrap
import time

import pytest
import torch
import yaml

from medseg.config import TrainConfig, override, validate
from medseg.errors import BadCohort, BadConfig, BadModel, BadOutput
from medseg.inference import segment
from medseg.labels import LabelTable
from medseg.model import load_model
from medseg.training import Run, begin_run, read_curves, train
from medseg.training.checkpoints import Interruption
from medseg.training.module import SegmentationTask
from tests.training.cohorts import make_scan, tiny_cohort
from tests.training.plans import PLAN, STEPS


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("loop")


@pytest.fixture(scope="module")
def cohort(folder):
    return tiny_cohort(folder / "data")


@pytest.fixture(scope="module")
def cache(folder):
    return folder / "cache"


@pytest.fixture
def fit(cohort, cache, tmp_path, undrawn):
    """Train in a folder below `tmp_path`; returns the model."""

    def run(name="run", *assignments, report=lambda *_, **__: None, cohort=cohort, **options):
        config = validate(TrainConfig, override(PLAN, assignments))
        begin_run(tmp_path / name, config, resume=options.pop("resume", False))
        place = Run(tmp_path / name, torch.device("cpu"), time.monotonic(), cache, **options)
        return train(config, cohort, place, prepared=lambda *_: None, report=report)

    return run


@pytest.fixture(scope="module")
def undisturbed(cohort, cache, folder):
    """Weights' checksums of a run that nothing disturbs."""
    config = validate(TrainConfig, PLAN)
    place = Run(folder / "undisturbed", torch.device("cpu"), time.monotonic(), cache)
    model = train(config, cohort, place, prepared=lambda *_: None, report=lambda *_, **__: None)
    return model.card.weights


class Killed(BaseException):
    """As sudden as a kill: no handler of ours catches it."""


def kill_after(step):
    def report(done, total, **facts):
        if done == step:
            raise Killed

    return report


def test_a_run_leaves_a_model_that_segments_and_says_where_it_came_from(fit, cohort, tmp_path):
    told = []
    model = fit(report=lambda done, total, **facts: told.append((done, total, facts)))
    assert [(done, total) for done, total, _ in told] == [(n + 1, STEPS) for n in range(STEPS)]
    assert set(told[-1][2]) >= {"loss", "data_wait"}
    again = load_model(tmp_path / "run" / "model")
    mask = segment(again, make_scan(9)[0]).labelmap
    assert mask.data.shape == (24, 24, 24)
    assert mask.labels == cohort.labels
    assert model.card.infer.window == (16, 16, 16)
    source = model.card.provenance
    assert (source.cohort, source.steps, source.training_patients) == ("tiny", STEPS, 5)
    assert len(source.training_pixels) == 5
    assert source.non_finite_steps == 0
    table = (cohort.path.parent / "tiny.csv").read_bytes()
    assert source.cohort_sha256 == hashlib.sha256(table).hexdigest()
    assert source.config["training"]["steps"] == STEPS
    assert set(model.volume_ranges_ml) == {"ball", "box"}
    low, high = model.volume_ranges_ml["ball"]
    assert 0 < low < high


def test_the_folder_holds_nothing_that_runs_code_beside_the_checkpoint(fit, tmp_path):
    fit("run", "training.logger=auto")
    names = {path.name for path in (tmp_path / "run").rglob("*") if path.is_file()}
    boards = {name for name in names if name.startswith("events.out.tfevents")}
    assert len(boards) == (importlib.util.find_spec("tensorboard") is not None)
    assert names - boards == {
        "model.yaml",
        "all.safetensors",
        "training_scans.safetensors",
        "last.ckpt",
        "curves.csv",
        "schedule.json",
        "config.yaml",
    }
    facts = json.loads((tmp_path / "run" / "schedule.json").read_text())
    assert facts["steps"] == STEPS
    assert facts["torch"] == torch.__version__
    assert facts["layout"] == "channels_last"


@pytest.mark.slow
def test_two_hundred_steps_find_the_ball_and_the_box(fit, tmp_path):
    larger = "network.options={features: [8, 16]}"
    model = fit("run", "training.steps=200", "training.checkpoint_minutes=9", larger)
    rows = read_curves(tmp_path / "run" / "curves.csv")
    assert [int(row["step"]) for row in rows] == list(range(10, 201, 10))
    assert float(rows[-1]["loss"]) < 0.5 * float(rows[0]["loss"])
    volume, truth = make_scan(9)
    mask = segment(model, volume).labelmap
    for value in (1, 3):
        a, b = truth.data == value, mask.data == value
        assert 2 * (a & b).sum() / (a.sum() + b.sum()) > 0.85


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(fit, undisturbed):
    assert fit("again").card.weights == undisturbed
    assert fit("other", "training.seed=1").card.weights != undisturbed


@pytest.mark.parametrize("step", [1, STEPS])
def test_a_killed_run_goes_on_to_the_very_weights_of_an_undisturbed_one(fit, undisturbed, step):
    with pytest.raises(Killed):
        fit(report=kill_after(step))
    assert fit(resume=True).card.weights == undisturbed


def test_a_run_killed_twice_does_too_and_its_curve_has_no_step_twice(fit, undisturbed, tmp_path):
    for step, resume in ((3, False), (11, True)):
        with pytest.raises(Killed):
            fit(report=kill_after(step), resume=resume)
    model = fit(resume=True)
    assert model.card.weights == undisturbed
    steps = [row["step"] for row in read_curves(tmp_path / "run" / "curves.csv")]
    assert steps == ["10"]
    names = {path.name for path in (tmp_path / "run").iterdir()}
    assert "run.lock" not in names


def test_a_finished_run_is_not_run_again(fit, undisturbed):
    fit()
    told = []
    model = fit(resume=True, report=lambda *args, **_: told.append(args))
    assert model.card.weights == undisturbed
    assert told == []


@pytest.mark.slow
@pytest.mark.parametrize("step", sorted(random.Random(2026).sample(range(1, STEPS), 3)))
def test_sigkill_anywhere_in_a_step_and_resume_give_the_undisturbed_weights(
    cohort, cache, tmp_path, undisturbed, repository, step
):
    program = textwrap.dedent(
        f"""
        import os, random, signal, sys, threading, time, torch, yaml
        from pathlib import Path
        from medseg.config import TrainConfig, validate
        from medseg.manifests import load_cohort
        from medseg.training import Run, begin_run, train
        torch.set_num_threads({torch.get_num_threads()})
        config = validate(TrainConfig, yaml.safe_load(Path("plan.yaml").read_text()))
        begin_run(Path("run"), config, resume=len(sys.argv) > 1)
        def report(done, total, **facts):
            if len(sys.argv) == 1 and done == {step}:
                kill = lambda: os.kill(os.getpid(), signal.SIGKILL)
                threading.Timer(random.Random({step}).uniform(0, 0.05), kill).start()
        run = Run(Path("run"), torch.device("cpu"), time.monotonic(), Path({str(cache)!r}))
        cohort = load_cohort({str(cohort.path)!r})
        train(config, cohort, run, prepared=lambda *_: None, report=report)
        """
    )
    (tmp_path / "plan.yaml").write_text(yaml.safe_dump(PLAN))
    places = os.environ | {"PYTHONPATH": str(repository)}
    call = [sys.executable, "-c", program]
    assert subprocess.run(call, cwd=tmp_path, env=places).returncode == -signal.SIGKILL
    assert not (tmp_path / "run" / "model").exists()
    subprocess.run([*call, "resume"], cwd=tmp_path, env=places, check=True)
    assert load_model(tmp_path / "run" / "model").card.weights == undisturbed


def test_a_changed_environment_is_named_when_a_run_goes_on(fit, tmp_path, caplog):
    with pytest.raises(Killed):
        fit(report=kill_after(5))
    path = tmp_path / "run" / "schedule.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"threads": 77}))
    fit(resume=True)
    assert "begun with 77" in caplog.text


def test_a_folder_with_a_run_is_not_written_over(fit):
    with pytest.raises(Killed):
        fit(report=kill_after(2))
    with pytest.raises(BadOutput, match="--resume"):
        fit()
    with pytest.raises(BadConfig, match=r"training\.batch, training\.seed"):
        fit("run", "training.seed=4", "training.batch=3", resume=True)


def test_ctrl_c_ends_after_the_step_and_loses_nothing(fit, undisturbed, tmp_path):
    def press(done, total, **facts):
        if done == 6:
            signal.raise_signal(signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        fit("run", "training.checkpoint_minutes=60", report=press)
    assert signal.getsignal(signal.SIGINT) == before
    state = torch.load(tmp_path / "run" / "checkpoints" / "last.ckpt", weights_only=False)
    assert state["global_step"] == 6
    resumed = fit("run", "training.checkpoint_minutes=60", resume=True)
    assert resumed.card.weights == undisturbed


def test_sigterm_keeps_the_state_as_ctrl_c_does_and_may_come_twice(fit, undisturbed, tmp_path):
    """Slurm sends it to every process of a job, and a parent passes it on."""

    def end(done, total, **facts):
        if done == 6:
            signal.raise_signal(signal.SIGTERM)
            signal.raise_signal(signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt):
        fit("run", "training.checkpoint_minutes=60", report=end)
    assert signal.getsignal(signal.SIGTERM) == before
    resumed = fit("run", "training.checkpoint_minutes=60", resume=True)
    assert resumed.card.weights == undisturbed


def test_after_an_error_signals_are_heard_as_before(tmp_path):
    """In a notebook a run that failed must not swallow the next Ctrl-C."""
    both = signal.SIGINT, signal.SIGTERM
    before = [signal.getsignal(number) for number in both]
    interruption = Interruption(tmp_path / "last.ckpt")
    interruption.on_train_start(None, None)
    assert [signal.getsignal(number) for number in both] == [interruption._hear] * 2
    interruption.on_exception(None, None, RuntimeError())
    assert [signal.getsignal(number) for number in both] == before


def test_the_first_loss_after_a_resume_is_the_mean_of_all_its_steps(fit, tmp_path):
    fit("whole")
    with pytest.raises(Killed):
        fit("cut", report=kill_after(7))
    fit("cut", resume=True)
    whole, cut = (read_curves(tmp_path / name / "curves.csv") for name in ("whole", "cut"))
    assert [row["loss"] for row in cut] == [row["loss"] for row in whole]


class Bomb:
    def __reduce__(self):
        return os.mkdir, (self.folder,)


def test_a_checkpoint_that_would_run_code_is_refused(fit, tmp_path):
    with pytest.raises(Killed):
        fit(report=kill_after(3))
    path = tmp_path / "run" / "checkpoints" / "last.ckpt"
    bomb = Bomb()
    bomb.folder = str(tmp_path / "was here")
    torch.save(torch.load(path, weights_only=True) | {"extra": bomb}, path)
    with pytest.raises(BadOutput, match=r"state of the run cannot be read.*medseg train wrote"):
        fit(resume=True)
    assert not (tmp_path / "was here").exists()


def test_a_checkpoint_is_never_half_written(fit, undisturbed, monkeypatch, tmp_path):
    """Power fails while the sixth checkpoint is being written: the fifth still stands."""
    save, count = torch.save, []

    def failing(state, path):
        count.append(path)
        if len(count) == 6:
            path.write_bytes(b"half of it")
            raise Killed
        save(state, path)

    monkeypatch.setattr(torch, "save", failing)
    with pytest.raises(Killed):
        fit()
    monkeypatch.undo()
    assert fit(resume=True).card.weights == undisturbed


def test_a_step_without_a_finite_gradient_changes_nothing_and_is_counted(fit, monkeypatch):
    plain = SegmentationTask.training_step

    def sometimes_infinite(self, batch, batch_idx):
        loss = plain(self, batch, batch_idx)
        return loss * float("inf") if self.trainer.global_step in (3, 4) else loss

    weights = []
    clip = SegmentationTask.configure_gradient_clipping

    def watched(self, *args, **kwargs):
        weights.append([p.detach().clone() for p in self.network.parameters()])
        clip(self, *args, **kwargs)

    monkeypatch.setattr(SegmentationTask, "training_step", sometimes_infinite)
    monkeypatch.setattr(SegmentationTask, "configure_gradient_clipping", watched)
    model = fit()
    assert model.card.provenance.non_finite_steps == 2
    moved = [
        any(not torch.equal(a, b) for a, b in zip(now, then, strict=True))
        for now, then in zip(weights[1:], weights, strict=False)
    ]
    assert moved == [n not in (3, 4) for n in range(STEPS - 1)]
    for network in model.networks():
        assert all(torch.isfinite(value).all() for value in network.state_dict().values())


def test_test_time_mirrors_that_training_lacks_are_refused_before_any_work(fit, tmp_path):
    with pytest.raises(BadConfig, match=r"infer\.mirror_axes.*found \[0, 2\]"):
        fit("run", "infer.mirror_axes=[0, 1, 2]")
    assert not (tmp_path / "run" / "checkpoints").exists()
    assert fit("good", "infer.mirror_axes=[1]").infer.mirror_axes == (1,)


REFUSED = {
    "network": ("network.name=vnet", "unknown network"),
    "network option": ("network.options={features: [4], depth: 3}", "depth"),
    "loss": ("loss.name=dice", "no loss of that name"),
    "rules": ("prepare.normalise=[{kind: zscore}, {kind: zscore}]", "2 rules"),
    "label": ("postprocess=[{rule: keep_largest, label: liver}]", "found liver, expected ball"),
}


@pytest.mark.parametrize(("assignment", "problem"), REFUSED.values(), ids=REFUSED)
def test_what_could_only_fail_later_is_refused_first(fit, assignment, problem):
    with pytest.raises(BadConfig, match=problem):
        fit("run", assignment)


def test_a_fold_is_held_out_and_scored_by_whole_scans(fit, tmp_path):
    model = fit("run", "training.fold=1", "training.validations=2")
    assert list(model.card.weights) == ["fold_1.safetensors"]
    assert model.card.provenance.training_patients == 3
    with (tmp_path / "run" / "curves.csv").open() as file:
        scored = [row for row in csv.DictReader(file) if row["dice"]]
    assert [int(row["step"]) for row in scored] == [6, 12]
    for row in scored:
        assert 0 <= float(row["dice"]) <= 1
        assert row["detail"].startswith("ball=")


def test_validating_does_not_change_what_is_learnt(fit):
    few = ["training.steps=6", "training.warmup=2", "training.validation_cases=1"]
    weights = [
        next(
            iter(
                fit(
                    f"run{n}", "training.fold=1", f"training.validations={n}", *few
                ).card.weights.items()
            )
        )
        for n in (0, 2)
    ]
    assert weights[0] == weights[1]


def test_an_unknown_fold_is_refused(fit):
    with pytest.raises(BadCohort, match=r"fold 7, expected one of \[0, 1\]"):
        fit("run", "training.fold=7")


def test_an_unreadable_case_is_refused_by_name_or_left_out_as_told(fit, tmp_path):
    cohort = tiny_cohort(tmp_path / "data")
    broken = cohort.case("case_03").sources[0]
    broken.write_bytes(broken.read_bytes()[:1000])
    told = []
    with pytest.raises(BadCohort, match=r"1 of 5 cases.*case_03.*on_error=skip"):
        fit("refuse", cohort=cohort, report=lambda *args, **_: told.append(args))
    assert told == [], "refused before the first step"
    model = fit("skip", "training.on_error=skip", cohort=cohort)
    assert model.card.provenance.training_patients == 4
    assert model.card.provenance.steps == STEPS


@pytest.mark.slow
def test_a_model_to_start_from_lends_its_weights(fit, tmp_path):
    fit("first", "training.steps=60", "training.checkpoint_minutes=9")
    losses = {}
    for name, init in (("fresh", None), ("tuned", tmp_path / "first" / "model")):
        fit(
            name,
            "training.steps=10",
            "training.checkpoint_minutes=9",
            "training.learning_rate=1e-6",
            init=init,
        )
        losses[name] = float(read_curves(tmp_path / name / "curves.csv")[0]["loss"])
    assert losses["tuned"] < 0.9 * losses["fresh"]
    with pytest.raises(BadModel, match="another architecture"):
        fit("deep", "network.name=fcn8s", "network.options={}", init=tmp_path / "first" / "model")


VARIANTS = {
    "slices": ["dims=2", "patch=[16, 16]"],
    "deep supervision": [
        "network.options={features: [4, 8, 8], deep_supervision: true}",
    ],
    "larger patch than scan": ["patch=[32, 16, 40]"],
    "bfloat16": ["training.precision=bfloat16"],
    "workers": ["training.workers=1"],
}


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        pytest.param(name, changes, marks=[pytest.mark.slow] if name == "workers" else [])
        for name, changes in VARIANTS.items()
    ],
)
def test_every_kind_of_patch_and_precision_trains_and_segments(fit, name, changes):
    model = fit("run", "training.steps=4", *changes)
    assert model.card.provenance.non_finite_steps == 0
    assert segment(model, make_scan(9)[0]).labelmap.data.shape == (24, 24, 24)


def test_patches_grow_and_a_killed_run_goes_on_to_the_same_weights(fit, tmp_path):
    grow = ("patch=[48, 16, 16]", "training.growth=2")
    shapes = []

    def seen(self, batch, *args):
        shapes.append(tuple(self.augment(batch).image.shape))
        return step_of(self, batch, *args)

    step_of = SegmentationTask.training_step
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SegmentationTask, "training_step", seen)
        whole = fit("whole", *grow, "training.batch=2").card.weights
    # even parts of the way after the warm-up, with which the first part begins
    assert shapes == 8 * [(2, 1, 32, 16, 16)] + 4 * [(2, 1, 48, 16, 16)]
    with pytest.raises(Killed):
        fit("cut", *grow, "training.batch=2", report=kill_after(9))
    assert fit("cut", *grow, "training.batch=2", resume=True).card.weights == whole


def test_coarser_outputs_are_learnt_where_they_are_supervised(fit, cohort, tmp_path):
    """Zero weight decay leaves a layer without a gradient as it was initialised."""
    deep = "network.options={features: [4, 8, 8], deep_supervision: true}"
    still = ["training.weight_decay=0", "training.precision=float32", deep]
    weights = [fit(f"run{n}", f"training.steps={n}", *still).networks()[0] for n in (1, 3)]
    heads = [network.heads[1].weight for network in weights]
    assert not torch.equal(*heads)


@pytest.mark.slow
def test_workers_do_not_change_what_is_learnt(fit, undisturbed):
    assert fit("run", "training.workers=2").card.weights == undisturbed


def test_two_channels_and_regions_train_and_segment(fit, tmp_path):
    labels = LabelTable.from_card(
        {"labels": {"ball": 1, "box": 3}, "regions": {"both": [1, 3], "box": [3]}}
    )
    cohort = tiny_cohort(
        tmp_path / "data", cases=2, channels=("T1", "FLAIR"), labels=labels, relabel=lambda d: d
    )
    model = fit("run", "training.steps=4", cohort=cohort)
    assert model.labels == labels
    (network,) = model.networks()
    assert network(torch.zeros(1, 2, 16, 16, 16)).shape[1] == 2


@pytest.mark.slow
def test_a_time_budget_becomes_steps_and_is_kept(fit, tmp_path):
    fit("run", "training.steps=null", "training.minutes=0.12", "training.warmup=8")
    facts = json.loads((tmp_path / "run" / "schedule.json").read_text())
    model = load_model(tmp_path / "run" / "model")
    assert 8 < model.card.provenance.steps <= facts["steps"]
    assert facts["seconds_a_step"] > 0
    assert model.card.provenance.seconds < 60  # generous: a busy machine is not a fault


def test_a_resumed_time_budget_keeps_its_number_of_steps(fit, tmp_path):
    budget = ["training.steps=null", "training.minutes=0.1", "training.warmup=8"]
    with pytest.raises(Killed):
        fit("run", *budget, report=kill_after(10))
    path = tmp_path / "run" / "schedule.json"
    facts = json.loads(path.read_text())
    path.write_text(
        json.dumps(facts | {"plans": [[8, 14]]})
    )  # as a quicker machine would have said
    assert fit("run", *budget, resume=True).card.provenance.steps == 14
