"""The figures of a run reach the tracker that the config names, and nothing of a scan does."""

import importlib.util
import json
import signal
import sys
import time

import pytest
import torch

from medseg.config import TrainConfig, override, validate
from medseg.errors import BadConfig
from medseg.training import Run, begin_run, read_curves, train
from medseg.training.trackers import IDENTITY, TRACKERS, mlflow_name, require_tracker
from tests.training.cohorts import tiny_cohort
from tests.training.plans import PLAN

HELD_OUT = ["training.fold=0", "training.validations=2"]


def test_without_a_word_the_run_needs_no_network():
    """Importing trackers must not import the packages, which phone home when they are loaded.

    It comes first: tests below load those that are installed.
    """
    assert not {"mlflow", "wandb"} & set(sys.modules)


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    return tiny_cohort(tmp_path_factory.mktemp("trackers") / "data")


@pytest.fixture
def fit(cohort, tmp_path, undrawn):
    def run(*assignments, resume=False):
        config = validate(TrainConfig, override(PLAN, assignments))
        begin_run(tmp_path / "run", config, resume=resume)
        place = Run(
            tmp_path / "run",
            torch.device("cpu"),
            time.monotonic(),
            tmp_path / "cache",
            draw=lambda *_: b"",
        )
        train(config, cohort, place, prepared=lambda *_: None, report=lambda *_, **__: None)
        return tmp_path / "run"

    return run


class Recorder:
    """What Lightning's logger would be told."""

    made: list["Recorder"] = []  # noqa: RUF012 - emptied by the fixture

    def __init__(self, **options):
        self.options, self.figures, self.settings, self.ended = options, {}, {}, ""
        self.run_id = options.get("run_id") or "abc123"
        Recorder.made.append(self)

    def log_hyperparams(self, settings):
        self.settings = settings

    def log_metrics(self, figures, step):
        self.figures.setdefault(step, {}).update(figures)

    def finalize(self, status):
        self.ended = status


@pytest.fixture
def recorder(monkeypatch):
    Recorder.made.clear()
    there = {"mlflow": True}
    plain = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *a: there.get(name) or plain(name, *a)
    )
    monkeypatch.setattr("lightning.pytorch.loggers.MLFlowLogger", Recorder)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return Recorder


def test_a_tracker_is_told_the_figures_of_the_table_and_no_scan(fit, recorder, cohort):
    run = fit("training.logger=mlflow", *HELD_OUT)
    (told,) = recorder.made
    for row in read_curves(run / "curves.csv"):
        for name in ("loss", "learning_rate", "dice"):
            if row[name]:
                assert told.figures[int(row["step"])][name] == pytest.approx(
                    float(row[name]), rel=1e-4
                )
    assert {"dice_by_label/ball", "dice_by_label/box"} <= set().union(*told.figures.values())
    assert told.options["tracking_uri"] == (run / "mlruns").as_uri()
    assert told.ended == "success"
    assert told.settings["training"]["logger"] == "mlflow"
    everything = repr((told.settings, told.figures))
    assert str(cohort.root) not in everything
    assert not any(case.case in everything for case in cohort.cases)


def test_mlflow_never_takes_one_figure_for_the_folder_of_another():
    names = [mlflow_name(name) for name in ("dice", "dice/ball", "dice/left (a)", "loss")]
    assert names == ["dice", "dice_by_label/ball", "dice_by_label/left _a_", "loss"]


def test_resuming_goes_on_with_the_same_run_of_the_tracker(fit, recorder, monkeypatch):
    def stop(self, step, figures):
        if step >= 10:
            raise KeyboardInterrupt

    from medseg.training import trackers

    monkeypatch.setattr(trackers._Logged, "show", stop)
    with pytest.raises(KeyboardInterrupt):
        fit("training.logger=mlflow")
    assert recorder.made[0].ended == "failed", "closed, whatever ended the run"
    monkeypatch.undo()
    monkeypatch.setattr("lightning.pytorch.loggers.MLFlowLogger", Recorder)
    monkeypatch.setattr(trackers, "require_tracker", lambda name: None)
    monkeypatch.setattr("medseg.training.checks.require_tracker", lambda name: None)
    run = fit("training.logger=mlflow", resume=True)
    assert json.loads((run / IDENTITY).read_text()) == {"mlflow": "abc123"}
    assert [made.options["run_id"] for made in recorder.made] == [None, "abc123"]


def test_a_tracker_that_fails_does_not_hide_what_ended_the_run(fit, recorder, monkeypatch, caplog):
    def unreachable(self, *words):
        raise ConnectionError("no route to the tracker")

    monkeypatch.setattr(recorder, "log_metrics", lambda self, figures, step: 1 / 0)
    monkeypatch.setattr(recorder, "finalize", unreachable)
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(ZeroDivisionError):
        fit("training.logger=mlflow")
    assert "the tracker could not be closed" in caplog.text
    assert signal.getsignal(signal.SIGINT) == before


def test_a_server_is_used_only_where_the_environment_names_it(fit, recorder, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://tracker:5000")
    fit("training.logger=mlflow")
    assert recorder.made[0].options["tracking_uri"] == "http://tracker:5000"


@pytest.mark.parametrize("name", list(TRACKERS))
def test_a_missing_package_is_named_before_any_case_is_prepared(name, fit, monkeypatch, tmp_path):
    monkeypatch.setattr(importlib.util, "find_spec", lambda *_: None)
    with pytest.raises(BadConfig, match=rf"pip install 'medseg\[{name}\]'"):
        fit(f"training.logger={name}")
    assert not (tmp_path / "cache").exists()
    require_tracker("auto")
    require_tracker("none")


def test_an_unknown_tracker_is_refused(fit):
    with pytest.raises(BadConfig, match="logger"):
        fit("training.logger=neptune")


def test_none_leaves_no_board(fit):
    run = fit("training.logger=none")
    assert not (run / "tensorboard").exists()
    assert (run / "curves.csv").is_file()


def test_mlflow_itself_keeps_the_run_in_its_folder(fit):
    mlflow = pytest.importorskip("mlflow", reason="MLflow is not installed")
    run = fit("training.logger=mlflow", *HELD_OUT)
    client = mlflow.MlflowClient((run / "mlruns").as_uri())
    identity = json.loads((run / IDENTITY).read_text())["mlflow"]
    kept = client.get_run(identity)
    assert kept.info.status == "FINISHED"
    shown = {m.step: m.value for m in client.get_metric_history(identity, "dice")}
    rows = {int(r["step"]): float(r["dice"]) for r in read_curves(run / "curves.csv") if r["dice"]}
    assert shown == pytest.approx(rows, abs=1e-4)


@pytest.mark.slow
def test_wandb_itself_writes_an_offline_run_with_the_figures(fit, cohort, monkeypatch):
    pytest.importorskip("wandb", reason="Weights & Biases is not installed")
    monkeypatch.delenv("WANDB_MODE", raising=False)
    run = fit("training.logger=wandb", *HELD_OUT)
    (offline,) = (run / "wandb").glob("offline-run-*")
    (log,) = offline.glob("*.wandb")
    content = log.read_bytes()  # records of text: names of figures, values, the config
    shown = [name for name in ("dice", "loss") if name.encode() in content]
    assert shown == ["dice", "loss"], "the run holds the figures of the table"
    assert not any(case.case.encode() in content for case in cohort.cases)
    assert str(cohort.root).encode() not in content
