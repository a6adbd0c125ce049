"""A small world of everything that medseg reads as text, and the verbs that read each of it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from medseg.cli.app import app
from medseg.config import Choice, InferConfig, PrepareConfig
from medseg.labels import LabelTable
from medseg.model import ModelCard, save_model
from medseg.networks import build_network
from tests.evaluation.cohorts import LABELS, make_cohort, predict

#: Verbs write below this alone, and below what they are told to go on with.
OUTPUTS = ("new",)

_CONFIG = {
    "cohort": "cohort/cohort.yaml",
    "dims": 3,
    "patch": [8, 8, 8],
    "network": {"name": "unet", "options": {"features": [4, 8]}},
    "prepare": {"spacing_mm": [2.0, 2.0, 2.0]},
    "training": {"steps": 2, "batch": 1, "seed": 1},
}


@dataclass(frozen=True)
class Target:
    """A file that is damaged.

    Attributes:
        name: of the kind of text.
        file: in the world.
        commands: one of them reads it.
        writes: folders besides ``new`` that the verbs go on in.
        share: how often it is chosen beside the others; slow verbs less often.
    """

    name: str
    file: str
    commands: Sequence[Sequence[str]]
    writes: tuple[str, ...] = ()
    share: float = 1.0


_CARD = (
    ("cohort", "check", "cohort/cohort.yaml"),
    ("cohort", "show", "cohort/cohort.yaml"),
    ("cohort", "split", "cohort/cohort.yaml", "--folds", "2", "--output", "new/c.yaml"),
    (
        "cohort",
        "split",
        "cohort/cohort.yaml",
        "--test",
        "keep",
        "--folds",
        "2",
        "--stratify",
        "sex",
        "--output",
        "new/c.yaml",
    ),
    ("plan", "cohort/cohort.yaml", "--output", "new/plan.yaml", "--device", "cpu"),
    (
        "segment",
        "model",
        "cohort/cohort.yaml",
        "--split",
        "test",
        "--executor",
        "inline",
        "--output",
        "new",
    ),
)
_EVALUATE = (("evaluate", "masks", "cohort/cohort.yaml", "--output", "new"),)
_CONFIGS = (
    ("train", "config.yaml", "--output", "new", "--device", "cpu"),
    ("preview", "config.yaml", "--output", "new/p.png", "--patches", "1"),
)
_PLANS = (
    ("train", "plans/plan.yaml", "--output", "new", "--device", "cpu"),
    (
        "plan",
        "cohort/cohort.yaml",
        "--output",
        "new/plan.yaml",
        "--against",
        "plans/plan.yaml",
        "--device",
        "cpu",
    ),
    ("plan", "cohort/cohort.yaml", "--output", "plans/plan.yaml", "--overwrite", "--device", "cpu"),
)
_SCANS = (
    ("convert", "volumes/scans.csv", "--output", "new"),
    ("convert", "volumes/scans.csv", "--output", "new", "--dry-run"),
    ("segment", "model", "volumes/scans.csv", "--output", "new", "--executor", "inline"),
)
_MODEL = (
    ("segment", "model", "scans", "--output", "new", "--executor", "inline"),
    ("segment", "model", "scans", "--output", "new", "--dry-run"),
    ("train", "config.yaml", "--init", "model", "--output", "new", "--device", "cpu"),
)
_CONVERTED = (
    ("convert", "scans", "--output", "volumes"),
    ("status", "volumes"),
)
_SEGMENTED = (
    ("segment", "model", "scans", "--output", "segmented", "--executor", "inline"),
    ("status", "segmented"),
    ("evaluate", "segmented", "cohort/cohort.yaml", "--output", "new"),
)
_COMPARE = (("compare", "scores", "scores2", "--output", "new"),)


def _import(convention: str, folder: str, *options: str) -> tuple[tuple[str, ...], ...]:
    return (("cohort", "import", convention, folder, *options, "--output", "new/c.yaml"),)


_TRUTHS = (("evaluate", "masks", "truths", "--output", "new"),)
_RESUMED = (("train", "config.yaml", "--output", "run", "--resume", "--device", "cpu"),)

TARGETS = (
    Target("card", "cohort/cohort.yaml", _CARD),
    Target("table", "cohort/cohort.csv", _CARD),
    Target("card, evaluated", "cohort/cohort.yaml", _EVALUATE, share=0.2),
    Target("table, evaluated", "cohort/cohort.csv", _EVALUATE, share=0.2),
    Target("config", "config.yaml", _CONFIGS, share=2),
    Target("plan", "plans/plan.yaml", _PLANS, ("plans",)),
    Target("what a plan saw", "plans/.plan.looks.json", _PLANS[2:], ("plans",), 0.5),
    Target("scans.csv", "volumes/scans.csv", _SCANS, share=2),
    Target("model card", "model/model.yaml", _MODEL, share=2),
    Target("ledger of volumes", "volumes/ledger.sqlite", _CONVERTED, ("volumes",)),
    Target("ledger of masks", "segmented/ledger.sqlite", _SEGMENTED[:2], ("segmented",)),
    Target("record", "volumes/.medseg-written", _CONVERTED[:1], ("volumes",), 0.3),
    Target("labels of masks", "masks/labels.yaml", _EVALUATE, share=0.2),
    Target("run of masks", "masks/run.yaml", _EVALUATE, share=0.2),
    Target("labels of truths", "truths/labels.yaml", _TRUTHS, share=0.2),
    Target("names of truths", "truths/dataset.json", _TRUTHS, share=0.2),
    Target(
        "journal",
        "scored/.scoring.jsonl",
        (("evaluate", "masks", "cohort/cohort.yaml", "--output", "scored"),),
        ("scored",),
        0.2,
    ),
    Target("scores", "scores/scores.csv", _COMPARE, share=0.6),
    Target("cases of scores", "scores/cases.csv", _COMPARE, share=0.3),
    Target("about scores", "scores/evaluation.yaml", _COMPARE, share=0.3),
    Target("MSD", "msd/dataset.json", _import("msd", "msd")),
    Target("nnU-Net", "nnunet/dataset.json", _import("nnunet", "nnunet")),
    Target("nnU-Net folds", "nnunet/splits_final.json", _import("nnunet", "nnunet"), share=0.3),
    Target("BIDS participants", "bids/participants.tsv", _import("bids", "bids", "labels={a: 1}")),
    Target(
        "BIDS sidecar",
        "bids/sub-1/anat/sub-1_T1w.json",
        _import("bids", "bids", "labels={a: 1}"),
        share=0.2,
    ),
    Target("run", "run/config.yaml", _RESUMED, ("run",), 0.3),
    Target("schedule", "run/schedule.json", _RESUMED, ("run",), 0.3),
    Target("curves", "run/curves.csv", _RESUMED, ("run",), 0.3),
    Target("origin", "run/init.json", _RESUMED, ("run",), 0.3),
    Target("out of fold", "run/out_of_fold/made_by.json", _RESUMED, ("run",), 0.3),
    Target("model of a run", "run/model/model.yaml", _RESUMED, ("run",), 0.3),
)


def make_world(folder: Path) -> Path:
    """Everything intact; the current folder must be `folder` when a verb runs."""
    cohort = make_cohort(folder / "cohort", 2)
    predict(cohort, folder / "masks")
    truths = folder / "truths"
    shutil.copytree(folder / "cohort" / "labels", truths)
    (truths / "labels.yaml").write_text(yaml.safe_dump({"labels": LABELS}))
    (truths / "dataset.json").write_text(json.dumps({"labels": {"background": 0, **LABELS}}))
    (folder / "config.yaml").write_text(yaml.safe_dump(_CONFIG, sort_keys=False))
    _small_model(folder / "model")
    (folder / "scans").mkdir()
    for name in ("c0", "c1"):
        shutil.copy(folder / f"cohort/images/{name}.nii.gz", folder / "scans")
    _make_conventions(folder)
    for words in (
        ("convert", "scans", "--output", "volumes"),
        ("segment", "model", "scans", "--output", "segmented", "--executor", "inline"),
        ("evaluate", "masks", "cohort/cohort.yaml", "--output", "scores"),
        ("plan", "cohort/cohort.yaml", "--output", "plans/plan.yaml", "--device", "cpu"),
        ("train", "config.yaml", "--output", "run", "--device", "cpu"),
    ):
        app([*words, "--quiet"], standalone_mode=False)
    shutil.rmtree(folder / "scores" / "figures")
    shutil.copytree(folder / "scores", folder / "scores2")
    _make_leavings(folder / "run")
    (folder / "scored").mkdir()
    (folder / "scored" / ".scoring.jsonl").write_text('{"version": "0"}\n{"begin": "abc"}\n')
    return folder


def _make_leavings(run: Path) -> None:
    """What a longer training leaves besides."""
    origin = {"name": "a", "weights": {"all.safetensors": "0" * 64}}
    _write_json(run / "init.json", {"origin": origin, "training_pixels": ["0" * 64]})
    (run / "curves.csv").write_text("step,loss,learning_rate\n1,0.5,0.1\n2,0.4,0.1\n")
    (run / "out_of_fold").mkdir()
    _write_json(run / "out_of_fold" / "made_by.json", {"c2": "0" * 64})


def _small_model(folder: Path) -> None:
    options = {"features": [4, 8]}
    network = build_network("unet", dims=3, in_channels=1, out_channels=3, options=options)
    table = LabelTable.from_card({"labels": LABELS})
    card = ModelCard(
        name="small",
        modality="CT",
        channels=("CT",),
        labels=LABELS,
        dims=3,
        network=Choice(name="unet", options=options),
        prepare=PrepareConfig(spacing_mm=(3.0, 3.0, 3.0)),
        infer=InferConfig(window=(8, 8, 8)),
        volume_ranges_ml={"liver": (0.03, 0.6)},
    )
    save_model(folder, card, table, {"all": network.state_dict()})


def _make_conventions(folder: Path) -> None:
    """The first scans again as other tools lay them out."""
    source = folder / "cohort"
    places = {
        "msd": ("imagesTr/c{}.nii.gz", "labelsTr/c{}.nii.gz"),
        "nnunet": ("imagesTr/c{}_0000.nii.gz", "labelsTr/c{}.nii.gz"),
        "bids": (
            "sub-{}/anat/sub-{}_T1w.nii.gz",
            "derivatives/seg/sub-{}/anat/sub-{}_T1w_dseg.nii.gz",
        ),
    }
    for convention, names in places.items():
        for number in (1, 2):
            for kind, name in zip(("images", "labels"), names, strict=True):
                target = folder / convention / name.format(number, number)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(source / kind / f"c{number}.nii.gz", target)
    labels = {"background": 0, **LABELS}
    files = [
        {"image": f"./imagesTr/c{n}.nii.gz", "label": f"./labelsTr/c{n}.nii.gz"} for n in (1, 2)
    ]
    _write_json(
        folder / "msd/dataset.json",
        {
            "name": "a",
            "modality": {"0": "CT"},
            "labels": {str(value): name for name, value in labels.items()},
            "training": files,
            "test": [],
            "numTraining": 2,
        },
    )
    _write_json(
        folder / "nnunet/dataset.json",
        {
            "channel_names": {"0": "CT"},
            "labels": labels,
            "numTraining": 2,
            "file_ending": ".nii.gz",
        },
    )
    folds = [{"train": ["c1"], "val": ["c2"]}, {"train": ["c2"], "val": ["c1"]}]
    _write_json(folder / "nnunet/splits_final.json", folds)
    (folder / "bids/participants.tsv").write_text(
        "participant_id\tsex\tage\nsub-1\tF\t40\nsub-2\tM\t51\n"
    )
    _write_json(folder / "bids/dataset_description.json", {"Name": "a", "BIDSVersion": "1.8.0"})
    _write_json(folder / "bids/sub-1/anat/sub-1_T1w.json", {"Modality": "MR"})


def _write_json(path: Path, content: object) -> None:
    path.write_text(json.dumps(content, indent=1))
