"""A run shows how it goes: tables, pictures, TensorBoard, the best weights, its pace."""

import builtins
import csv
import itertools
import struct
import time
import zlib
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import safetensors.torch
import torch

from medseg import pictures
from medseg.config import TrainConfig, override, validate
from medseg.errors import BadConfig
from medseg.model import load_model
from medseg.readers.labels import read_labels
from medseg.reports.training import draw_curves
from medseg.training import Run, begin_run, read_curves, train, watch
from medseg.training import validate as validating
from medseg.training.checkpoints import read_best
from medseg.training.module import SegmentationTask
from medseg.training.patches import PatchStream
from medseg.training.validate import ScoredCase, score_cases, worst_median_best
from medseg.volume import LabelMap
from medseg.writers import write_labels
from tests.training.cohorts import tiny_cohort
from tests.training.plans import PLAN, STEPS

HELD_OUT = ["training.fold=0", "training.validations=3", "training.checkpoint_minutes=9"]


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    return tiny_cohort(tmp_path_factory.mktemp("watch") / "data")


@pytest.fixture
def fit(cohort, tmp_path):
    def run(
        *assignments, resume=False, report=lambda *_, **__: None, name="run", draw=lambda *_: b""
    ):
        config = validate(TrainConfig, override(PLAN, assignments))
        begin_run(tmp_path / name, config, resume=resume)
        place = Run(
            tmp_path / name,
            torch.device("cpu"),
            time.monotonic(),
            cohort.path.parent / "cache",
            draw=draw,
        )
        return train(config, cohort, place, prepared=lambda *_: None, report=report)

    return run


@pytest.fixture
def scripted(monkeypatch):
    """Scores as told, validation by validation; the network is not asked."""

    def script(*means):
        left = list(means)

        def score(model, cohort, cases, device, goes_on):
            mean = left.pop(0)
            mask = np.zeros((24, 24, 24), np.uint8)
            mask[8:12, 8:12, 8:12] = 1
            packed = zlib.compress(mask.tobytes())
            return [
                ScoredCase(case, {"ball": mean + n / 100, "box": mean}, packed, mask.dtype)
                for n, case in enumerate(cases)
            ]

        monkeypatch.setattr(watch, "score_cases", score)

    return script


def rows_of(path):
    with path.open() as file:
        return list(csv.DictReader(file))


def size_of(png):
    assert png.startswith(b"\x89PNG")
    return struct.unpack(">II", png[16:24])


def test_the_dice_of_every_held_out_case_and_label_is_kept(fit, undrawn, cohort, tmp_path):
    fit(*HELD_OUT)
    rows = rows_of(tmp_path / "run" / "validation.csv")
    held_out = {case.case for case in cohort.select(split="train", fold=0).cases}
    assert list(rows[0]) == ["step", "case", "label", "dice"]
    assert {row["case"] for row in rows} == held_out
    keys = {(row["step"], row["case"], row["label"]) for row in rows}
    assert len(keys) == len(rows) == 3 * len(held_out) * 2
    assert {row["step"] for row in rows} == {"4", "8", "12"}
    for curve in read_curves(tmp_path / "run" / "curves.csv"):
        if curve["dice"]:
            dice = [float(row["dice"]) for row in rows if row["step"] == curve["step"]]
            assert float(curve["dice"]) == pytest.approx(np.mean(dice), abs=1e-4)


def test_the_weights_that_validated_best_are_kept_and_may_make_the_model(
    fit, undrawn, scripted, tmp_path
):
    scripted(0.4, 0.8, 0.6)
    last = fit(*HELD_OUT)
    kept = last.card.provenance.validation
    assert (kept.kept, kept.best[0], kept.last[0]) == ("last", 8, 12)
    assert kept.best[1] == pytest.approx(0.81, abs=0.006)
    assert kept.last[1] == pytest.approx(0.61, abs=0.006)
    step, dice = read_best(tmp_path / "run" / "checkpoints" / "best.safetensors")
    assert (step, dice) == kept.best
    scripted(0.4, 0.8, 0.6)
    best = fit(*HELD_OUT, "training.keep=best", name="best")
    assert best.card.provenance.validation.kept == "best"
    weights = [
        safetensors.torch.load_file(folder / "weights" / "fold_0.safetensors")
        for folder in (last.folder, best.folder)
    ]
    at_best = safetensors.torch.load_file(tmp_path / "run" / "checkpoints" / "best.safetensors")
    name = next(iter(at_best))
    assert torch.equal(weights[1][name], at_best[name])
    assert not torch.equal(weights[0][name], at_best[name])


def test_the_best_weights_need_scans_that_are_held_out(fit):
    with pytest.raises(BadConfig, match=r"keep=best.*training\.fold=0"):
        fit("training.keep=best")


def test_a_resumed_run_forgets_what_was_scored_after_its_checkpoint(
    fit, undrawn, scripted, tmp_path
):
    """The best so far (step 8) lies after the last checkpoint (step 6)."""

    class Killed(BaseException):
        pass

    def kill(done, total, **facts):
        if done == 9:
            raise Killed

    def checkpoint_at_six(self, *args):
        return self.trainer.save_checkpoint(self.trainer.callbacks[-1].dirpath + "/last.ckpt")

    plain = SegmentationTask.on_train_batch_end

    def saving(self, *args):
        plain(self, *args)
        if self.trainer.global_step == 6:
            checkpoint_at_six(self)

    scripted(0.4, 0.9)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SegmentationTask, "on_train_batch_end", saving)
        with pytest.raises(Killed):
            fit(*HELD_OUT, report=kill)
    assert read_best(tmp_path / "run" / "checkpoints" / "best.safetensors")[0] == 8
    scripted(0.5, 0.7)
    model = fit(*HELD_OUT, resume=True)
    assert model.card.provenance.validation.best[0] == 12
    rows = rows_of(tmp_path / "run" / "validation.csv")
    cases = len({row["case"] for row in rows})
    assert [row["step"] for row in rows] == [s for s in ("4", "8", "12") for _ in range(2 * cases)]


def test_pictures_show_worst_median_and_best_of_the_last_validation(fit, scripted, tmp_path):
    scripted(0.4, 0.8, 0.6)
    fit(*HELD_OUT)
    names = [path.name for path in sorted((tmp_path / "run" / "pictures").iterdir())]
    assert names[-3:] == [
        "step-000012_best_case_04.png",
        "step-000012_median_case_02.png",
        "step-000012_worst_case_00.png",
    ]
    width, height = size_of((tmp_path / "run" / "pictures" / names[-1]).read_bytes())
    assert width > 2 * height > 200


def test_a_picture_shows_truth_and_prediction_of_the_right_case(fit, scripted, monkeypatch):
    drawn = []

    def picture(image, geometry, layers, *, title):
        drawn.append((title, {layer.name: layer.mask.copy() for layer in layers}))
        return SimpleNamespace(png=lambda: b"\x89PNG")

    monkeypatch.setattr(pictures, "picture", picture)
    scripted(0.4, 0.8, 0.6)
    fit(*HELD_OUT)
    title, layers = drawn[-1]
    assert title.startswith("case_")
    assert title.endswith("step 12")
    assert np.argwhere(layers["prediction"]).min() == 8
    assert set(np.unique(layers["truth"])) == {0, 1, 3}


def test_one_or_two_cases_give_one_or_two_pictures():
    def scored(n):
        class Row:
            case = f"case_{n}"

        return ScoredCase(Row, {"ball": n / 10}, b"", np.dtype("uint8"))

    assert list(worst_median_best([scored(3)])) == ["worst"]
    two = worst_median_best([scored(3), scored(1)])
    assert {name: case.mean for name, case in two.items()} == {"worst": 0.1, "best": 0.3}
    five = worst_median_best([scored(n) for n in (5, 1, 4, 2, 3)])
    assert [five[name].mean for name in ("worst", "median", "best")] == [0.1, 0.3, 0.5]


def test_curves_are_drawn_with_and_without_held_out_scans(fit, undrawn, tmp_path):
    fit(*HELD_OUT, name="held", draw=draw_curves)
    fit(name="all", draw=draw_curves)
    sizes = [size_of((tmp_path / name / "curves.png").read_bytes()) for name in ("held", "all")]
    assert sizes[0] == sizes[1] == (864, 336)


def test_the_curves_are_drawn_once_for_the_same_rows(fit, undrawn, scripted, tmp_path):
    drawn = []

    def draw(curves, cases):
        drawn.append([row["step"] for row in curves])
        return b"\x89PNG"

    scripted(0.4, 0.8, 0.6)
    fit(*HELD_OUT, draw=draw)
    assert drawn[-1] == ["4", "8", "10", "12"], "the last shows all"
    assert all(one != other for one, other in itertools.pairwise(drawn))


def test_tensorboard_shows_what_the_tables_say(fit, undrawn, tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    fit(*HELD_OUT, "training.logger=auto")
    board = EventAccumulator(str(tmp_path / "run" / "tensorboard"))
    board.Reload()
    assert set(board.Tags()["scalars"]) == {
        "loss",
        "learning_rate",
        "data_wait",
        "dice",
        "dice/ball",
        "dice/box",
    }
    rows = read_curves(tmp_path / "run" / "curves.csv")
    written = {int(row["step"]): float(row["dice"]) for row in rows if row["dice"]}
    shown = {event.step: event.value for event in board.Scalars("dice")}
    assert shown == pytest.approx(written, abs=1e-4)


def test_without_tensorboard_only_its_file_is_missing(fit, tmp_path, monkeypatch, caplog):
    plain = builtins.__import__

    def without(name, *args, **kwargs):
        if name == "torch.utils.tensorboard":
            raise ImportError("No module named 'tensorboard'")
        return plain(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with caplog.at_level("INFO", logger="medseg"):
        fit("training.logger=auto")
    assert not (tmp_path / "run" / "tensorboard").exists()
    assert (tmp_path / "run" / "curves.png").is_file()
    told = [record for record in caplog.records if "tensorboard" in record.getMessage()]
    assert [record.levelname for record in told] == ["INFO"]


def test_the_card_says_how_quickly_the_run_went(fit, monkeypatch, tmp_path):
    plain = SegmentationTask.training_step

    def slow(self, batch, batch_idx):
        time.sleep(0.05)
        return plain(self, batch, batch_idx)

    cut = PatchStream.batch_of

    def late(self, step):
        time.sleep(0.05)
        return cut(self, step)

    monkeypatch.setattr(SegmentationTask, "training_step", slow)
    monkeypatch.setattr(PatchStream, "batch_of", late)
    told = []
    fit(report=lambda done, total, **facts: told.append((done, facts)))
    pace = load_model(tmp_path / "run" / "model").card.provenance.pace
    assert pace.seconds_a_step > 0.1
    assert 0.05 / pace.seconds_a_step < pace.data_wait < 0.7
    assert (pace.parts, pace.processes) == (1, 1)
    assert told[-1][0] == STEPS
    assert float(told[-1][1]["data_wait"].rstrip("%")) == pytest.approx(
        100 * pace.data_wait, abs=0.1
    )


def test_what_the_truth_ignores_counts_neither_for_nor_against(tmp_path, monkeypatch):
    cohort = tiny_cohort(tmp_path / "data", cases=2)
    labels = replace(cohort.labels, ignore=255)
    row = cohort.cases[0]
    truth = read_labels(row.label)
    hidden = truth.data.copy()
    hidden[:, :10] = 255
    write_labels(LabelMap(hidden, truth.geometry, labels), row.label)
    perfect = SimpleNamespace(labelmap=LabelMap(truth.data, truth.geometry, labels))
    monkeypatch.setattr(validating, "segment", lambda *_, **__: perfect)
    ignoring = replace(cohort, labels=labels)
    (scored,) = score_cases(None, ignoring, [row], torch.device("cpu"), lambda: True)
    assert scored.dice == {"ball": 1.0, "box": 1.0}


def test_scans_are_scored_as_users_get_them_rules_included(fit, undrawn, monkeypatch):
    seen = []
    plain = watch.score_cases

    def noted(model, *args):
        seen.append(model.postprocess)
        return plain(model, *args)

    monkeypatch.setattr(watch, "score_cases", noted)
    fit(*HELD_OUT, "postprocess=[{rule: keep_largest, label: ball}]")
    assert [[(rule.rule, rule.label) for rule in rules] for rules in seen] == [
        [("keep_largest", "ball")]
    ] * 3
