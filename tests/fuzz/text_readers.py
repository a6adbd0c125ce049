"""What the verbs do first with each text, without the work that follows: thousands in a minute."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from medseg.batch import look, open_ledger
from medseg.batch.entry import Recipe
from medseg.batch.status import stand
from medseg.config import TrainConfig, load_yaml, override, validate
from medseg.config.kinds import Kind, refuse_other_kinds
from medseg.evaluation import compare, read_scores
from medseg.evaluation.folders import truth_cohort
from medseg.evaluation.journal import Journal
from medseg.evaluation.pairing import load_predictions
from medseg.manifests import import_cohort, load_cohort
from medseg.model import load_model
from medseg.planning.fingerprint import look_at
from medseg.reports.evaluation_charts import training
from medseg.scans import scans_of
from medseg.training.curves import Table, read_curves
from medseg.training.origin import read_origin
from medseg.training.out_of_fold import masks_made
from medseg.training.run import begin_run, check_same_cases, read_schedule
from medseg.writers.guard import FileRecord

Reader = Callable[[Path], object]


def _cohort(world: Path) -> None:
    cohort = load_cohort(world / "cohort/cohort.yaml")
    _ = cohort.labels.channel_values, cohort.patients, cohort.folds
    cohort.select(split="test")


def _config(path: str) -> Reader:
    def read(world: Path) -> None:
        refuse_other_kinds(world / path, Kind.CONFIG)
        values = load_yaml(world / path)
        validate(TrainConfig, override(values, ["training.seed=2"]), path=path)

    return read


def _ledger(folder: str) -> Reader:
    def read(world: Path) -> None:
        for ledger in (look(world / folder), open_ledger(world / folder)):
            try:
                ledger.entries(), ledger.count(), ledger.named()
                ledger.rebind(Recipe((), {}))
            finally:
                ledger.close()

    return read


def _compared(world: Path) -> None:
    scores = {name: read_scores(world / name) for name in ("scores", "scores2")}
    config = scores["scores2"].config.model_copy(update={"resamples": 100})
    compare(scores, config=config)


def _imported(convention: str, **options: object) -> Reader:
    return lambda world: import_cohort(convention, world / convention, options=options)


def _run(world: Path) -> None:
    run: Any = SimpleNamespace(folder=world / "run")
    read_origin(run)
    masks_made(run)
    check_same_cases(world / "run/schedule.json", "")
    read_schedule(world / "run/schedule.json")
    config = validate(TrainConfig, load_yaml(world / "config.yaml"))
    begin_run(world / "run", config, resume=True)


def _curves(world: Path) -> None:
    path = world / "run/curves.csv"
    read_curves(path)
    training(path)
    Table(path, ("step", "loss")).cut_back(1)


def _looks(world: Path) -> None:
    look_at(load_cohort(world / "cohort/cohort.yaml"), kept=world / "plans/.plan.looks.json")


#: By the name of the target in ``texts.TARGETS``.
READERS: dict[str, Reader] = {
    "card": _cohort,
    "table": _cohort,
    "config": _config("config.yaml"),
    "plan": _config("plans/plan.yaml"),
    "what a plan saw": _looks,
    "scans.csv": lambda world: scans_of([world / "volumes/scans.csv"]),
    "model card": lambda world: load_model(world / "model"),
    "model of a run": lambda world: load_model(world / "run/model"),
    "ledger of volumes": _ledger("volumes"),
    "ledger of masks": lambda world: (_ledger("segmented")(world), stand(world / "segmented")),
    "record": lambda world: FileRecord(world / "volumes", "convert").names(),
    "labels of masks": lambda world: load_predictions(world / "masks"),
    "run of masks": lambda world: load_predictions(world / "masks").training_pixels,
    "labels of truths": lambda world: truth_cohort(world / "truths"),
    "names of truths": lambda world: truth_cohort(world / "truths"),
    "journal": lambda world: Journal(world / "scored/.scoring.jsonl"),
    "scores": _compared,
    "cases of scores": _compared,
    "about scores": _compared,
    "MSD": _imported("msd"),
    "nnU-Net": _imported("nnunet"),
    "nnU-Net folds": _imported("nnunet"),
    "BIDS participants": _imported("bids", labels={"a": 1}),
    "BIDS sidecar": _imported("bids", labels={"a": 1}),
    "run": _run,
    "schedule": _run,
    "origin": _run,
    "out of fold": _run,
    "curves": _curves,
}
