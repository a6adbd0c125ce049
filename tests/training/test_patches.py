"""Every patch is a function of (seed, number), whoever cuts it, and holds what it should."""

from dataclasses import replace
from threading import Event, Thread, current_thread
from threading import enumerate as enumerate_threads

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from medseg.config import PrepareConfig
from medseg.training import read_ahead
from medseg.training.cache import cached_case
from medseg.training.device_cases import DeviceCases, needed_bytes
from medseg.training.patch_plan import PatchPlan
from medseg.training.patches import PatchStream, place_of
from medseg.training.read_ahead import ReadAhead
from medseg.transforms.augment import Patches
from tests.training.cohorts import partly_labelled, tiny_cohort

PLAN = PatchPlan(
    patch=(10, 8, 6), source_shape=(14, 12, 8), axes=(0, 1, 2), foreground=0.5, batch=4, seed=3
)


@pytest.fixture(scope="module")
def cases(tmp_path_factory):
    folder = tmp_path_factory.mktemp("patches")
    cohort = tiny_cohort(folder / "data", cases=3, shape=(22, 20, 18), spacing=(2.0, 2.0, 3.0))
    rows = cohort.select(split="train").cases
    return [cached_case(cohort, row, PrepareConfig(), folder / "cache") for row in rows]


def draw_patch(cases, plan, number):
    """Image (C, *source), classes (*source) and spacing (dims,) of one patch of a run."""
    batch = PatchStream(cases, replace(plan, batch=1)).batch_of(number)
    return batch.image[0].numpy(), batch.classes[0].numpy(), batch.spacing_mm[0].numpy()


def same(one, other):
    assert one.known is None and other.known is None  # every truth was drawn for every label
    names = set(vars(one)) - {"known"}
    return all(torch.equal(getattr(one, n), getattr(other, n)) for n in names)


def test_a_patch_is_a_function_of_seed_and_number(cases):
    first, again = (draw_patch(cases, PLAN, 7) for _ in range(2))
    for a, b in zip(first, again, strict=True):
        np.testing.assert_array_equal(a, b)
    assert not np.array_equal(first[0], draw_patch(cases, PLAN, 8)[0])
    assert not np.array_equal(first[0], draw_patch(cases, replace(PLAN, seed=4), 7)[0])


def test_a_stream_begun_later_gives_what_the_first_gave(cases):
    early, late = iter(PatchStream(cases, PLAN)), iter(PatchStream(cases, PLAN, first_step=2))
    for _ in range(2):
        next(early)
    for _ in range(3):
        assert same(next(early), next(late))


@pytest.mark.parametrize("ranks", [2, 4])
def test_ranks_share_a_batch_without_overlap_or_gap(cases, ranks):
    whole = PatchStream(cases, PLAN).batch_of(5)
    parts = [PatchStream(cases, PLAN, 0, rank, ranks).batch_of(5) for rank in range(ranks)]
    for name in ("image", "classes", "spacing_mm", "index"):
        joined = torch.cat([getattr(part, name) for part in parts])
        assert torch.equal(joined, getattr(whole, name)), name


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 3])
def test_workers_give_the_same_batches_in_the_same_order(cases, workers):
    loader = DataLoader(
        PatchStream(cases, PLAN, first_step=4),
        batch_size=None,
        num_workers=workers,
        multiprocessing_context="spawn",
    )
    stream = PatchStream(cases, PLAN)
    for step, batch in zip(range(4, 9), loader, strict=False):
        assert same(batch, stream.batch_of(step))


def test_every_epoch_visits_every_case_once_in_a_new_order(cases, monkeypatch):
    def visits(epoch):
        order = []
        for index in range(3 * epoch, 3 * epoch + 3):
            seen = []
            spied = [_Spy(case, number, seen) for number, case in enumerate(cases)]
            draw_patch(spied, PLAN, index)
            order.append(seen[0])
        return order

    epochs = [visits(epoch) for epoch in range(6)]
    assert all(sorted(order) == [0, 1, 2] for order in epochs)
    assert len({tuple(order) for order in epochs}) > 1


class _Spy:
    """A case that tells when it is cut."""

    def __init__(self, case, number, seen):
        self._case, self._number, self._seen = case, number, seen

    def __getattr__(self, name):
        return getattr(self._case, name)

    def box(self, start, stop):
        self._seen.append(self._number)
        return self._case.box(start, stop)


def middle_class(plan, patch):
    _, classes, _ = patch
    return classes[tuple(n // 2 for n in plan.source_shape)]


def test_the_asked_share_of_patches_is_centred_on_labels_in_turn(cases):
    # a patch of one voxel: nothing pushes its centre away from the edge
    plan = replace(PLAN, patch=(1, 1, 1), source_shape=(1, 1, 1), foreground=0.6)
    found = np.array([middle_class(plan, draw_patch(cases, plan, n)) for n in range(600)])
    by_chance = np.mean([(case.box((0, 0, 0), case.facts.shape)[1] > 0).mean() for case in cases])
    # 600 draws: a share of 0.6 is known to ±0.05 (2.5 standard errors)
    assert np.mean(found > 0) == pytest.approx(0.6 + 0.4 * by_chance, abs=0.05)
    ball, box = np.mean(found == 1), np.mean(found == 2)
    assert ball == pytest.approx(box, abs=0.08), "classes come in turn, whatever their size"


def test_no_foreground_means_anywhere(cases):
    plan = replace(PLAN, patch=(1, 1, 1), source_shape=(1, 1, 1), foreground=0.0)
    found = np.array([middle_class(plan, draw_patch(cases, plan, n)) for n in range(400)])
    by_chance = np.mean([(case.box((0, 0, 0), case.facts.shape)[1] > 0).mean() for case in cases])
    assert np.mean(found > 0) == pytest.approx(by_chance, abs=0.05)


def test_patches_from_anywhere_are_not_centred_on_empty_margins(cases):
    plan = replace(PLAN, patch=(1, 1, 1), source_shape=(1, 1, 1), foreground=0.0)
    content = ((3, 9), (0, 20), (17, 18))
    narrow = [replace(case, facts=replace(case.facts, content=content)) for case in cases]
    starts = np.array([place_of(narrow, plan, n).start for n in range(200)])
    for axis, (first, end) in enumerate(content):
        assert set(starts[:, axis]) == set(range(first, end))


def test_the_patch_itself_stays_inside_a_larger_scan(cases):
    for index in range(60):
        _, classes, _ = draw_patch(cases, PLAN, index)
        margins = [(s - p) // 2 for s, p in zip(PLAN.source_shape, PLAN.patch, strict=True)]
        inner = classes[tuple(slice(m, m + p) for m, p in zip(margins, PLAN.patch, strict=True))]
        assert inner.shape == PLAN.patch
        assert (inner >= 0).all(), "a voxel beyond the scan is marked -1"


def test_a_scan_smaller_than_the_patch_is_whole_with_its_border_repeated(cases):
    plan = replace(PLAN, patch=(40, 41, 39), source_shape=(44, 45, 43))
    image, classes, _ = draw_patch(cases, plan, 0)
    assert image.shape == (1, 44, 45, 43)
    inside = classes >= 0
    assert inside.sum() == 22 * 20 * 18, "the whole scan, once"
    assert np.isfinite(image).all()
    where = [np.flatnonzero(inside.any(tuple(set(range(3)) - {axis}))) for axis in range(3)]
    first = tuple(w[0] for w in where)
    np.testing.assert_array_equal(image[0, : first[0] + 1, first[1], first[2]], image[0][first])
    # it lies in the middle, so that a mirror keeps it there
    assert all(
        abs((w[0] + w[-1]) / 2 - (n - 1) / 2) <= 1
        for w, n in zip(where, plan.source_shape, strict=True)
    )


@pytest.mark.parametrize("sliced", [0, 1, 2])
def test_slices_run_across_the_asked_axis(cases, sliced):
    axes = tuple(axis for axis in range(3) if axis != sliced)
    plan = replace(PLAN, patch=(10, 8), source_shape=(12, 10), axes=axes)
    image, classes, spacing = draw_patch(cases, plan, 11)
    assert image.shape == (1, 12, 10)
    assert classes.shape == (12, 10)
    assert spacing.tolist() == [(2.0, 2.0, 3.0)[axis] for axis in axes]
    whole = [case.box((0, 0, 0), case.facts.shape)[0][0] for case in cases]
    inside = image[0][classes >= 0].reshape(-1)[:5]
    assert any(np.isin(inside, volume).all() for volume in whole)


def test_slices_through_foreground_show_it(cases):
    plan = replace(PLAN, patch=(22, 20), source_shape=(22, 20), axes=(0, 1), foreground=1.0)
    assert all((draw_patch(cases, plan, n)[1] > 0).any() for n in range(20))


def test_a_patch_says_which_classes_its_truth_was_drawn_for(tmp_path):
    cohort = partly_labelled(tmp_path / "data", cases=4)
    rows = cohort.select(split="train").cases
    cases = [cached_case(cohort, row, PrepareConfig(), tmp_path / "cache") for row in rows]
    assert [case.facts.known for case in cases] == [(True, True, False), (True, False, True)] * 2
    seen = set()
    for step in range(6):
        batch = PatchStream(cases, PLAN).batch_of(step)
        for classes, known in zip(batch.classes, batch.known, strict=True):
            there = {int(c) for c in classes.unique() if c > 0}
            assert there <= {int(c) for c in known.nonzero()}
            seen |= there
    assert seen == {1, 2}


@pytest.mark.parametrize(
    "plan",
    [
        PLAN,
        replace(PLAN, patch=(40, 41, 39), source_shape=(44, 45, 43)),
        replace(PLAN, patch=(10, 8), source_shape=(12, 10), axes=(0, 2)),
        replace(PLAN, patch=(20, 18), source_shape=(30, 30), axes=(1, 2)),
    ],
    ids=["inside", "beyond every border", "slices", "slices beyond the border"],
)
def test_cases_held_together_give_what_the_disk_gives(cases, plan):
    pool = DeviceCases(cases, torch.device("cpu"))
    taken = pool._images.nbytes + pool._classes.nbytes
    assert taken == needed_bytes(cases) == 3 * 22 * 20 * 18 * 4
    stream, held = PatchStream(cases, plan), PatchStream(cases, plan, pool=pool)
    for step in range(4):
        assert same(stream.batch_of(step), held.batch_of(step))


def test_threads_read_ahead_in_order(cases, monkeypatch):
    monkeypatch.setattr(Patches, "pin_memory", lambda self: self)  # needs a GPU
    stream = PatchStream(cases, PLAN, first_step=3)
    for step, batch in zip(range(3, 30), ReadAhead(stream), strict=False):
        assert same(batch, stream.batch_of(step))


def test_threads_take_over_where_the_cases_leave_the_device(cases, monkeypatch):
    by = []
    monkeypatch.setattr(Patches, "pin_memory", lambda self: by.append(current_thread()) or self)
    stream = PatchStream(cases, PLAN, pool=DeviceCases(cases, torch.device("cpu")))
    expected, batches = PatchStream(cases, PLAN), iter(ReadAhead(stream))
    for step in range(9):
        if step == 4:
            assert not by, "nothing is read while the device holds the cases"
            stream.pool = None
        assert same(next(batches), expected.batch_of(step))
    assert by
    assert current_thread() not in by


def test_the_end_of_a_run_does_not_wait_for_reads(cases, monkeypatch):
    monkeypatch.setattr(Patches, "pin_memory", lambda self: self)
    monkeypatch.setattr(read_ahead, "usable_cores", lambda: 3)
    disk, asked, plain = Event(), [], PatchStream.batch_of

    def slow(self, step):
        asked.append(step)
        if step > 0:
            disk.wait(60)
        return plain(self, step)

    monkeypatch.setattr(PatchStream, "batch_of", slow)
    batches = iter(ReadAhead(PatchStream(cases, PLAN)))
    next(batches)
    end = Thread(target=batches.close)
    end.start()
    end.join(30)
    try:
        assert not end.is_alive(), "the disk has not answered, and is not waited for"
    finally:
        disk.set()
    for thread in enumerate_threads():
        if thread.name.startswith("patches"):
            thread.join(30)
    assert len(asked) <= 3, "what no thread had begun is not read at all"
