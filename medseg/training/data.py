"""A cohort as Lightning wants it: prepared cases, and the stream of patches from any step on."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import lightning as L
import torch
from torch.utils.data import DataLoader

from medseg.config import TrainConfig
from medseg.errors import BadCohort, MedsegError
from medseg.manifests import Case, Cohort
from medseg.manifests.remarks import remarks_by_text, some_names
from medseg.progress import Progress
from medseg.training.cache import CachedCase, cached_case
from medseg.training.device_cases import DeviceCases
from medseg.training.patch_plan import PatchPlan
from medseg.training.patches import PatchStream
from medseg.training.read_ahead import ReadAhead
from medseg.transforms.augment import Patches

_log = logging.getLogger(__name__)

#: A label that keeps less than this share of its volume, or grows by its inverse, is worth a word.
LEAST_KEPT = 0.67


@dataclass(frozen=True)
class TrainingData:
    """The prepared cases of one run.

    Attributes:
        train: patches come from these.
        validation: scored as whole scans; empty when every row trains.
        left_out: case id -> why it was not used.
    """

    train: tuple[CachedCase, ...]
    validation: tuple[tuple[Case, CachedCase], ...]
    left_out: dict[str, str]

    @property
    def digest(self) -> str:
        """Changes with the scans, their truth, order and division; not with where they lie."""
        parts = (self.train, tuple(case for _, case in self.validation))
        content = [
            [(case.facts.case, case.facts.pixels, case.facts.truth) for case in part]
            for part in parts
        ]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def prepare_cohort(
    config: TrainConfig, cohort: Cohort, folder: Path, progress: Progress
) -> TrainingData:
    """Prepare every labelled train row, or find it prepared; test rows are never opened.

    Raises:
        BadCohort: no case can be used, or one is refused and ``on_error`` says so.
    """
    rows = cohort.select(split="train").labelled().cases
    fold = config.training.fold
    if fold is not None and fold not in cohort.folds:
        raise BadCohort(
            "no train row is in the fold that should validate",
            path=cohort.path,
            found=f"fold {fold}",
            expected=f"one of {list(cohort.folds)}",
            remedy="Divide with `medseg cohort split`, or set training.fold.",
        )
    prepared: dict[str, CachedCase] = {}
    left_out: dict[str, str] = {}
    for done, case in enumerate(rows, start=1):
        try:
            prepared[case.case] = cached_case(cohort, case, config.prepare, folder)
        except MedsegError as error:
            left_out[case.case] = str(error)
        progress(done, len(rows))
    if left_out and config.training.on_error == "refuse":
        first, reason = next(iter(left_out.items()))
        raise BadCohort(
            f"{len(left_out)} of {len(rows)} cases cannot be used; case {first}: {reason}",
            path=cohort.path,
            remedy="Mend or remove them, or set training.on_error=skip.",
        )
    for line in remarks_by_text({name: one.facts.warnings for name, one in prepared.items()}):
        _log.warning("%s", line)
    _warn_of_losses(tuple(prepared.values()))
    seen = {name for one in prepared.values() for name in one.facts.kept}
    if absent := [name for name in cohort.labels.names if name not in seen]:
        _log.warning("in no train mask, so it cannot be learnt: %s", some_names(absent))
    kept = [case for case in rows if case.case in prepared]
    train = tuple(prepared[case.case] for case in kept if fold is None or case.fold != fold)
    if not train:
        raise BadCohort("no case is left to train on", path=cohort.path)
    validation = tuple(
        (case, prepared[case.case]) for case in kept if fold is not None and case.fold == fold
    )
    return TrainingData(train, validation, left_out)


def _warn_of_losses(cases: Sequence[CachedCase]) -> None:
    """Say which labels the working spacing cannot show as they are."""
    shares: dict[str, list[float]] = {}
    for case in cases:
        for name, share in case.facts.kept.items():
            shares.setdefault(name, []).append(share)
    for name, each in shares.items():
        odd = sum(not LEAST_KEPT <= share <= 1 / LEAST_KEPT for share in each)
        if odd:
            _log.warning(
                "%s keeps %.0f %% of its volume at the working spacing at worst, at best %.0f %%"
                " (%d of %d scans are far off): it is too small for prepare.spacing_mm",
                name,
                100 * min(each),
                100 * max(each),
                odd,
                len(each),
            )


class PatchData(L.LightningDataModule):
    """Feeds the training cases' patches from the trainer's current step on.

    Args:
        cases: to cut from.
        plan: how patches are drawn.
        workers: processes that read ahead; with 0 a CPU reads in between its steps, and a GPU is
            fed by threads.
        pool: the same cases on a GPU, if they fit; nothing is read then.
        share: a step's share of the way to the last one, 0-1, by which patches grow.
    """

    def __init__(
        self,
        cases: tuple[CachedCase, ...],
        plan: PatchPlan,
        workers: int,
        pool: DeviceCases | None = None,
        share: Callable[[int], float] | None = None,
    ) -> None:
        super().__init__()
        self.cases = cases
        self.plan = plan
        self.workers = workers if pool is None else 0
        self.pool = pool
        self.share = share
        self._stream: PatchStream | None = None

    def train_dataloader(self) -> DataLoader[Patches]:
        """Batches from the step the trainer is at, so that a resumed run sees what it missed."""
        trainer = self.trainer
        first = trainer.global_step if trainer is not None else 0
        rank, ranks = (trainer.global_rank, trainer.world_size) if trainer is not None else (0, 1)
        self._stream = PatchStream(self.cases, self.plan, first, rank, ranks, self.pool, self.share)
        on_gpu = trainer is not None and trainer.strategy.root_device.type == "cuda"
        return DataLoader(
            ReadAhead(self._stream) if on_gpu and not self.workers else self._stream,
            batch_size=None,
            num_workers=self.workers,
            persistent_workers=self.workers > 0,
            pin_memory=on_gpu and self.workers > 0,
            multiprocessing_context="spawn" if self.workers else None,
        )

    def relieve(self) -> bool:
        """Give the GPU's memory back that cases take; whether there was any."""
        if self.pool is None or self._stream is None:
            return False
        self.pool.release()
        self.pool = self._stream.pool = None
        _log.warning("memory ran out: the prepared cases leave the GPU, the batch stays whole")
        return True

    def transfer_batch_to_device(
        self, batch: Patches, device: torch.device, dataloader_idx: int
    ) -> Patches:
        """Move a batch."""
        del dataloader_idx
        return batch.to(device)
