"""A trained nnU-Net (version 2) becomes a model of medseg: plans, dataset.json and folds.

Isensee et al. 2021, doi:10.1038/s41592-020-01008-z; residual encoders: Isensee et al. 2024,
doi:10.1007/978-3-031-72114-4_47. Every rule of its inference becomes a choice in the model's card,
so that masks agree with its own; nothing of nnU-Net is needed or run.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medseg.config import load_json
from medseg.errors import BadModel
from medseg.manifests.importing import modality_of
from medseg.model import ModelCard, Provenance, versions
from medseg.model_import.checkpoint import read_checkpoint
from medseg.model_import.foreign import Foreign, ImportOptions
from medseg.model_import.nnunet_plans import Plan, read_plan
from medseg.model_import.nnunet_rules import inferring, labels_and_remarks, preparing
from medseg.model_import.nnunet_shape import Shape, shape_of
from medseg.model_import.nnunet_weights import weights_of

#: nnU-Net's own trainers that change neither the plan's network nor how it is asked.
_TRAINERS = re.compile(
    r"nnUNetTrainer(_\d+epochs?|_warmup|Benchmark_5epochs|DA5|DAOrd0|NoDA|_NoMirroring|NoMirroring"
    r"|_onlyMirror01|_noDummy2DDA|CELoss|DiceLoss|DiceCELoss_noSmooth|DiceTopK10Loss|TopK10Loss"
    r"|CosAnneal|Adam|Adan|Vanilla\w+|NoDeepSupervision|_probabilisticOversampling\w*"
    r"|DA5ord0|DA5Segord0|_DASegOrd0\w*|DASegOrd0)*"
)
_BATCH_NORM = "nnUNetTrainerBN"


def foreign(path: Path, options: ImportOptions) -> Foreign:
    """Read a folder that nnU-Net's training left.

    Args:
        path: ``TRAINER__PLANS__CONFIGURATION`` with plans.json, dataset.json and fold folders, or
            a folder that holds one such folder.
        options: what to take.

    Raises:
        BadModel: it is no such folder, or something in it is not known here.
    """
    folder = _model_folder(path)
    checkpoints = _checkpoints(folder, options)
    try:
        return _read(folder, checkpoints, options)
    except (LookupError, AttributeError, TypeError, ValueError, OverflowError) as error:
        raise BadModel(
            "a value that nnU-Net writes is missing or cannot be used",
            path=folder,
            found=repr(error)[:200],
        ) from None


def _read(folder: Path, checkpoints: Mapping[str, Path], options: ImportOptions) -> Foreign:
    """Everything of a folder whose files were found."""
    dataset = load_json(folder / "dataset.json", refusal=BadModel)
    contents = {fold: read_checkpoint(file) for fold, file in checkpoints.items()}
    trained = _alike({checkpoints[fold]: content for fold, content in contents.items()})
    plan = read_plan(folder / "plans.json", trained.configuration)
    shape = _shape(plan, trained.trainer, options)
    weights = {
        fold: weights_of(content["network_weights"], shape, checkpoints[fold])
        for fold, content in contents.items()
    }
    channels = _channels(dataset, folder)
    labels, remarks = labels_and_remarks(
        dataset, folder / "dataset.json", mirrored=bool(trained.mirror_axes)
    )
    card = ModelCard(
        name=options.name or f"{plan.dataset or folder.parent.name} {plan.configuration}",
        modality=modality_of(channels),
        channels=channels,
        labels={},
        dims=2 if plan.dims == 2 else 3,
        slice_axis=0 if plan.dims == 2 else None,
        network=shape.choice,
        prepare=preparing(plan, len(channels), options.orientation),
        infer=inferring(plan, trained.mirror_axes),
        provenance=_provenance(plan, trained, weights),
    )
    if card.prepare.turned_to is None:
        remarks += (
            "scans are taken as they are stored, as nnU-Net takes them; where all its training "
            "scans had one orientation, --orientation makes others alike",
        )
    return Foreign(card, labels, weights, remarks)


@dataclass(frozen=True)
class _Trained:
    """What a checkpoint says of its training."""

    trainer: str
    configuration: str
    mirror_axes: tuple[int, ...]


def _alike(contents: Mapping[Path, Mapping[str, Any]]) -> _Trained:
    """What the checkpoints of all folds say.

    Raises:
        BadModel: they say different things, or are not nnU-Net's.
    """
    first: _Trained | None = None
    for path, content in contents.items():
        try:
            trained = _Trained(
                str(content["trainer_name"]),
                str(content["init_args"]["configuration"]),
                tuple(int(n) for n in content.get("inference_allowed_mirroring_axes") or ()),
            )
            _ = content["network_weights"].items()
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise BadModel(
                "not a checkpoint of nnU-Net version 2", path=path, found=repr(error)
            ) from None
        if first is not None and trained != first:
            raise BadModel(
                "the folds were not trained alike", path=path, found=trained, expected=first
            )
        first = trained
    if first is None:
        raise BadModel("no checkpoint to import")
    return first


def _shape(plan: Plan, trainer: str, options: ImportOptions) -> Shape:
    known = trainer == _BATCH_NORM or _TRAINERS.fullmatch(trainer)
    if not known and not options.any_trainer:
        raise BadModel(
            "the trainer is not known here, and may change the network or how it is used",
            path=plan.path,
            found=trainer,
            expected="nnUNetTrainer or one of its own variants",
            remedy="If it changes training alone, give --any-trainer: the weights must fit the "
            "plan's network.",
        )
    return shape_of(plan, batch_norm=trainer == _BATCH_NORM)


def _provenance(plan: Plan, trained: _Trained, folds: Mapping[str, Any]) -> Provenance:
    facts = {
        "trainer": trained.trainer,
        "plans": plan.values.get("data_identifier", ""),
        "configuration": plan.configuration,
        "folds": list(folds),
    }
    return Provenance(cohort=plan.dataset, config={"nnunet": facts}, versions=versions())


def _channels(dataset: Mapping[str, Any], folder: Path) -> tuple[str, ...]:
    named = dataset.get("channel_names") or dataset.get("modality")
    try:
        return tuple(str(named[key]) for key in sorted(named, key=int))  # type: ignore[index, arg-type]
    except (TypeError, ValueError, KeyError):
        raise BadModel(
            "the channels are not as expected",
            path=folder / "dataset.json",
            found=named,
            expected='"channel_names": {"0": "CT"}',
        ) from None


def _model_folder(path: Path) -> Path:
    """The folder with plans.json: the one given, or the only one in it."""
    if (path / "plans.json").is_file():
        return path
    inside = sorted(plans.parent for plans in path.glob("*/plans.json"))
    if len(inside) == 1:
        return inside[0]
    expected = "plans.json, dataset.json and fold_0 …, as nnU-Net's training leaves them"
    if not inside:
        raise BadModel(
            "not a model of nnU-Net", path=path, found="no plans.json", expected=expected
        )
    raise BadModel(
        "several models of nnU-Net; name one of them",
        path=path,
        found=", ".join(folder.name for folder in inside),
    )


def _checkpoints(folder: Path, options: ImportOptions) -> dict[str, Path]:
    """The chosen checkpoint of each chosen fold, by the folder's name."""
    name = f"checkpoint_{options.checkpoint}.pth"
    there = sorted(path for path in folder.glob("fold_*") if path.is_dir())
    numbered = [path for path in there if path.name != "fold_all"] or there
    folds = [folder / f"fold_{fold}" for fold in options.folds] or numbered
    if not folds:
        raise BadModel("no trained fold", path=folder, expected=f"fold_0/{name}")
    for fold in folds:
        if not (fold / name).is_file():
            others = sorted(path.name for path in fold.glob("checkpoint_*.pth"))
            raise BadModel(
                "a fold has no such checkpoint",
                path=fold,
                found=", ".join(others) or "none",
                expected=name,
                remedy="Choose others by --folds or --checkpoint.",
            )
    return {fold.name: fold / name for fold in folds}
