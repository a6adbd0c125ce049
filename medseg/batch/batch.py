"""A batch is segmented into a folder, from what was found to tables beside the masks."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from importlib import import_module
from pathlib import Path

from medseg import __version__
from medseg.batch.case import Job
from medseg.batch.companions import map_paths
from medseg.batch.entry import Entry
from medseg.batch.executors import Executor, Placement
from medseg.batch.ledger import Ledger, open_ledger
from medseg.batch.mask_places import occupied_places
from medseg.batch.models import (
    Limits,
    ModelSegmenter,
    expectations,
    load_models,
    require_networks,
    try_networks,
)
from medseg.batch.preflight import Estimate, estimate, require_room
from medseg.batch.probe import window_seconds, windows_of
from medseg.batch.quality import unsure
from medseg.batch.resume import Plan, forget_gone, plan_run, sweep
from medseg.batch.runner import Listener, Summary, run_batch
from medseg.batch.settings import OtherRecipe, Settings, recipe_of
from medseg.batch.shards import keep_shares, merged_entries, merging, require_one_division
from medseg.batch.stale import remove_stale
from medseg.batch.tables import write_cases, write_labels_card, write_run_card
from medseg.batch.task import State, Task, Unusable
from medseg.batch.thumbnail import depiction
from medseg.batch.trial import trial_of
from medseg.labels import LabelTable
from medseg.manifests.looks import read_looks, write_looks
from medseg.memory import resident_bytes
from medseg.model import Model, versions
from medseg.writers.guard import require_writable
from medseg.writers.label_tables import write_label_tables
from medseg.writers.layout import Layout, write_description
from medseg.writers.lock import FolderLock

#: From so many cases on, a window is timed before the first of them.
_MANY = 20


@dataclass(frozen=True)
class Batch:
    """An output folder held by this process, with what is to do in it.

    Attributes:
        settings: as given.
        models: read and checked; their weights are loaded by workers.
        ledger: of the folder.
        plan: cases to do, and remarks about earlier ones.
        needs: disk, memory and time for them.
        taken: case to reason, of those whose place is taken by a file that must stay.
        before: entries of the ledger as the run before left them.
    """

    settings: Settings
    models: Sequence[Model]
    ledger: Ledger
    plan: Plan
    needs: Estimate
    taken: Mapping[str, str] = field(default_factory=dict)
    before: Mapping[str, Entry] = field(default_factory=dict)

    @property
    def labels(self) -> LabelTable:
        """What the masks' integers mean."""
        return self.models[0].labels

    def seconds_needed(self) -> float | None:
        """Time for what is planned, before anything runs: by earlier cases, else timed."""
        if self.needs.seconds is not None or not self.plan.tasks:
            return self.needs.seconds
        return self._seconds_at(window_seconds(self._segmenter(), self.models[0]))

    def run(self, listener: Listener | None = None) -> Summary:
        """Do what is planned; tables are right whenever this ends.

        Raises:
            BadOutput: there is no room, or the folder was lost on the way.
            MedsegError: the model cannot be loaded.
        """
        require_room(self.needs, self.settings.output)
        callbacks = listener or Listener()
        callbacks = replace(callbacks, tables=self.write_tables)
        self._write_cards()
        try:
            if not self.plan.tasks:
                return Summary(0, interrupted=False, seconds=0.0, stage_seconds={})
            for remark in remove_stale(self.plan.tasks, self.before, self.settings):
                callbacks.notice(remark)
            first = self.plan.tasks[0]
            with make_executor(self._job(), self.settings, first) as executor:
                callbacks.begun(self._seconds_at(executor.window_seconds))
                return run_batch(self.plan.tasks, executor, self.ledger, callbacks)
        finally:
            sweep(self.settings.output)  # a worker that died may have left a part of a file
            self.write_tables()

    def entries(self) -> list[Entry]:
        """Every case as it stands now, with the flags that only the whole batch shows.

        Those of all shards, where there are any.
        """
        sharded = self.settings.shard is not None
        entries = merged_entries(self.settings.output) if sharded else self.ledger.entries()
        flags = unsure({e.case: e.confidence for e in entries if e.state is State.DONE})
        entries = [
            replace(entry, flags=(*entry.flags, *flags.get(entry.case, ()))) for entry in entries
        ]
        return self._without_place(entries)

    def own_entries(self) -> list[Entry]:
        """The cases of this run: of its shard alone, where there are shards."""
        return self._without_place(self.ledger.entries())

    def _without_place(self, entries: Sequence[Entry]) -> list[Entry]:
        return [
            replace(entry, state=State.REFUSED, reason=self.taken[entry.case])
            if entry.case in self.taken
            else entry
            for entry in entries
        ]

    def write_tables(self) -> None:
        """Bring cases.csv up to date."""
        with self.alone():
            write_cases(self.settings.output, self.entries(), self.labels)

    def alone(self) -> AbstractContextManager[None]:
        """Hold off other shards while what is written is about all of them."""
        return merging(self.settings.output) if self.settings.shard else nullcontext()

    def _worth_a_trial(self) -> bool:
        return self.needs.seconds is None and len(self.plan.tasks) >= _MANY

    def _seconds_at(self, window: float | None) -> float | None:
        return window * windows_of(self.plan.tasks, self.models[0]) if window else None

    def _segmenter(self) -> ModelSegmenter:
        chosen = self.settings
        beside = chosen.ways.probabilities or chosen.ways.uncertainty
        scratch = chosen.output.absolute() if beside else None
        return ModelSegmenter(chosen.models, chosen.device, chosen.ways, self._limits(), scratch)

    def _limits(self) -> Limits:
        """One scan in the network shares the limit with its neighbours and with this process."""
        beside = self.needs.beside_bytes
        if self.settings.executor == "process":
            beside += resident_bytes()
        return replace(self.settings.limits, elsewhere_bytes=beside)

    def _job(self) -> Job:
        chosen = self.settings
        return Job(
            self._segmenter(),
            chosen.output.absolute(),
            chosen.format,
            chosen.layout,
            chosen.one_file_per_label,
            expectations(list(self.models)),
            depiction,
            trial_of(self.models[0]) if self._worth_a_trial() else None,
        )

    def _write_cards(self) -> None:
        write_labels_card(self.settings.output, self.labels)
        bids = self.settings.layout is Layout.BIDS
        write_label_tables(self.labels, self.settings.output, at_the_top=("bids",) if bids else ())
        if bids:
            write_description(self.settings.output, version=__version__)
        write_looks(self.settings.output, read_looks(model.folder for model in self.models))
        recipe = recipe_of(self.settings, self.models)
        write_run_card(
            self.settings.output,
            {
                "models": [
                    {"name": model.card.name, "sha256": checksum, "weights": model.card.weights}
                    for model, checksum in zip(self.models, recipe.models, strict=True)
                ],
                "options": dict(recipe.options),
                "executor": self.settings.executor,
                "device": self.settings.device,
                "engine": self.settings.limits.engine,
                "started": datetime.now(UTC).isoformat(timespec="seconds"),
                "versions": versions(),
                "system": platform.platform(terse=True),
                # by which an evaluation notices that it scores what the models learnt from
                "training_pixels": sorted(
                    {p for model in self.models for p in model.card.provenance.training_pixels}
                ),
            },
        )


@contextmanager
def open_batch(
    found: Sequence[Task | Unusable],
    settings: Settings,
    *,
    searched: Sequence[Path] = (),
    progress: Callable[[int, int], object] = lambda done, total: None,
) -> Iterator[Batch]:
    """Hold the output folder and plan what is to do in it.

    Args:
        found: from :mod:`medseg.batch.gather`.
        settings: models, output and the rest.
        searched: places that were looked into: an earlier case without a mask that is not found
            there any more is forgotten.
        progress: called while masks of an earlier run are looked at.

    Raises:
        BadModel: a model cannot be used.
        BadOutput: the folder cannot be written, or another run holds it.
        BadConfig: the folder holds masks made another way.
    """
    models = load_models(settings.models)
    require_networks(models, settings.ways)
    require_one_division(settings.output, settings.shard)
    everything = found
    if settings.shard is not None:
        found = settings.shard.share(found)
    require_writable(settings.home)
    with FolderLock(settings.home, break_lock=settings.break_lock):
        ledger = open_ledger(settings.home)
        try:
            before = {entry.case: entry for entry in ledger.entries()}
            recipe = recipe_of(settings, models)
            if settings.other_recipe is OtherRecipe.REDO:
                try_networks(settings.models)  # before any finished case is given up
                ledger.rebind(recipe)
            else:
                ledger.adopt(recipe)
            sweep(settings.output)
            if settings.shard is not None:  # every shard keeps the names of all
                with ledger.together():
                    for item in everything:
                        ledger.keep_name(item)
                    keep_shares(ledger, [one.case for one in everything], settings.shard.total)
            plan = plan_run(
                found,
                ledger,
                settings.output,
                check=settings.check,
                retry=settings.retry,
                companions=partial(map_paths, settings.output, measures=settings.ways.uncertainty),
                progress=progress,
            )
            forget_gone(ledger, found, searched)
            reasons = occupied_places(plan.tasks, before, settings)
            free = tuple(task for task in plan.tasks if task.case not in reasons)
            plan = replace(plan, tasks=free)
            needs = estimate(plan.tasks, ledger.entries(), settings.output)
            yield Batch(settings, models, ledger, plan, needs, reasons, before)
        finally:
            ledger.close()


def make_executor(job: Job, settings: Settings, ahead: Task | None = None) -> Executor:
    """The executor that the settings name."""
    from medseg.batch import EXECUTORS

    module = import_module(EXECUTORS[settings.executor])
    place = Placement(settings.patience, settings.cluster, settings.early, ahead)
    executor: Executor = module.build(job, place)
    return executor
