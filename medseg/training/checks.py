"""Configs and cohorts that could only fail later are refused before any work."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

from medseg.config import TrainConfig
from medseg.errors import BadCohort, BadConfig, BadModel
from medseg.losses import build_loss
from medseg.manifests import Cohort
from medseg.model import Model
from medseg.training.origin import read_origin
from medseg.training.run import Run
from medseg.training.setup import Setup, network_of
from medseg.training.trackers import require_tracker

_log = logging.getLogger(__name__)


def check_config(config: TrainConfig, cohort: Cohort) -> None:
    """Refuse what could only fail later.

    Raises:
        BadConfig: unknown network, loss, option or label; mirrors at test time that training
            lacks; nothing that could tell which weights are best.
        BadLabels: a region that could not be painted in a mask.
    """
    _ = cohort.labels.channel_values
    build_loss(config.loss, cohort.labels)
    network_of(config, cohort)
    if len(config.prepare.normalise) not in (1, len(cohort.channels)):
        raise BadConfig(
            "prepare.normalise does not fit the cohort's channels",
            found=f"{len(config.prepare.normalise)} rules",
            expected=f"1 or {len(cohort.channels)}",
        )
    named = {name for rule in config.postprocess for name in (rule.label, rule.of) if name}
    unknown = sorted(named - {"*", *cohort.labels.names})
    if unknown:
        raise BadConfig(
            "postprocess names labels that the cohort does not have",
            found=", ".join(unknown),
            expected=", ".join(cohort.labels.names),
        )
    loop = config.training
    require_tracker(loop.logger)
    if loop.keep == "best" and loop.fold is None and config.folds is None:
        raise BadConfig(
            "training.keep=best needs scans to validate on",
            found="no fold held out",
            expected="training.fold=0, or folds",
        )
    if loop.keep == "best" and loop.validations == 0:
        raise BadConfig(
            "training.keep=best needs validations",
            found="training.validations=0",
            expected="at least 1",
        )
    trained = config.augment.mirror_axes
    untrained = sorted(set(config.infer.mirror_axes) - set(trained), key=str)
    if untrained:
        raise BadConfig(
            "infer.mirror_axes asks for mirrors that training does not show the network",
            found=untrained,
            expected=f"axes among {list(trained)}",
            remedy="Train them with augment.mirror_axes, or leave them out of infer.mirror_axes.",
        )
    if trained and cohort.labels.mirror_pairing() is None:
        _log.warning(
            "no scan is mirrored from left to right, whatever augment.mirror_axes says: %s",
            cohort.labels.mirror_obstacle,
        )


def check_held_out(setup: Setup) -> None:
    """Refuse a choice of weights without scans to choose by; name scans that are no longer new.

    Raises:
        BadCohort: the fold that should validate has no case that can be used.
    """
    validation, loop = setup.data.validation, setup.config.training
    if loop.keep == "best" and not validation:
        raise BadCohort(
            "training.keep=best needs scans to validate on",
            found=f"no usable case with a label in fold {loop.fold}",
            remedy="Choose another training.fold, or training.keep=last.",
        )
    known = [case.case for case, one in validation if one.facts.pixels in _seen(setup.run)]
    if known:
        _log.warning(
            "the model to start from was trained on %d of the %d validation scans (such as %s):"
            " their Dice is too high",
            len(known),
            len(validation),
            known[0],
        )


def check_unseen(run: Run, pixels: Mapping[str, str]) -> None:
    """Refuse to start from a model that was trained on rows which folds hold out.

    Raises:
        BadModel: it has seen some of these pixel hashes, by case.
    """
    known = [case for case, pixel in pixels.items() if pixel in _seen(run)]
    if known:
        raise BadModel(
            "the model to start from was trained on cases that the folds hold out",
            path=run.init or run.folder,
            found=f"{len(known)} of {len(pixels)} cases, such as {known[0]}",
            expected="none: their out-of-fold Dice would be too high",
            remedy="Start from a model of other scans, or train one network without folds.",
        )


def check_division(
    model: Model, rows: Cohort, pixels: Mapping[str, str], table: Path | None
) -> None:
    """Refuse a fold that was trained when the rows were divided otherwise.

    Args:
        model: of the fold.
        rows: that it holds out.
        pixels: case -> pixel hash of all train rows.
        table: of the cohort.

    Raises:
        BadCohort: it has seen what it should be scored on, or lacks others.
    """
    named = {case.case for case in rows.cases}
    others = {pixel for case, pixel in pixels.items() if case not in named}
    own = {pixel for case, pixel in pixels.items() if case in named} - others
    seen = set(model.card.provenance.training_pixels)
    if own & seen or others - seen:
        raise BadCohort(
            f"{model.folder.parent.name} was trained when the rows were divided otherwise",
            path=table,
            found=f"it has seen {len(own & seen)} of the {len(own)} scans that it should be"
            f" scored on, and not {len(others - seen)} of the others",
            expected="0 and 0",
            remedy="Use the table as it was then, or remove that folder to train it again.",
        )


def check_share(config: TrainConfig, run: Run) -> None:
    """Refuse a batch that the processes cannot share evenly.

    Raises:
        BadConfig: it is no multiple of their number.
    """
    if config.training.batch % run.world.size:
        raise BadConfig(
            "the batch cannot be shared evenly by the processes",
            found=f"training.batch {config.training.batch}, {run.world.size} processes",
            expected=f"a multiple of {run.world.size}",
        )


def _seen(run: Run) -> frozenset[str]:
    """Pixel hashes of the scans that the model to start from was trained on."""
    origin = read_origin(run)
    return frozenset(origin[1]) if origin is not None else frozenset()
