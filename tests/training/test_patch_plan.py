"""Patches grow in even parts of a run, none is drawn twice, and a step costs what it did."""

import math
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from medseg.config import LoopConfig
from medseg.training.length import Length
from medseg.training.patch_plan import Growth, PatchPlan, patches_in_place_of, sizes_up_to

WHOLE = PatchPlan(
    patch=(96, 96, 10), source_shape=(120, 120, 16), axes=(0, 1, 2), foreground=0.5, batch=1, seed=3
)
STAGES = (
    replace(WHOLE, patch=(32, 32, 10), batch=9),
    replace(WHOLE, patch=(64, 64, 10), batch=2),
    WHOLE,
)


@given(st.lists(st.integers(1, 400), min_size=2, max_size=3), st.integers(1, 8))
def test_sizes_grow_along_every_axis_up_to_the_patch(patch, count):
    sizes = sizes_up_to(patch, count)
    assert sizes[-1] == tuple(patch)
    assert len(sizes) <= count
    for smaller, larger in pairwise(sizes):
        assert all(a <= b for a, b in zip(smaller, larger, strict=True))
        assert smaller != larger


@given(st.lists(st.integers(1, 400), min_size=2, max_size=3), st.integers(1, 8))
def test_a_step_never_has_more_voxels_than_with_whole_patches(patch, count):
    whole = math.prod(patch)
    for size in sizes_up_to(patch, count):
        voxels = math.prod(size) * patches_in_place_of(patch, size)
        assert whole / 2 < voxels <= whole


def test_one_size_alone_numbers_patches_as_ever():
    assert Growth((WHOLE,)).of(7) == (WHOLE, 7)
    assert Growth((replace(WHOLE, batch=4),)).of(7)[1] == 28


def test_every_stage_holds_for_an_even_part_of_the_steps():
    growth = Growth(STAGES, lambda step: step / 30)
    sizes = [growth.of(step)[0].patch[0] for step in (0, 9, 10, 19, 20, 29, 40)]
    assert sizes == [32, 32, 64, 64, 96, 96, 96]


@given(st.lists(st.integers(0, 40), min_size=1, max_size=20))
def test_patches_are_numbered_without_a_gap_in_whatever_order_steps_are_asked(asked):
    growth = Growth(STAGES, lambda step: step / 30)
    for step in asked:
        plan, first = growth.of(step)
        assert growth.of(step + 1)[1] == first + plan.batch
        assert Growth(STAGES, lambda step: step / 30).of(step) == (plan, first)


def test_a_correction_changes_nothing_of_what_was_drawn():
    """A run that is resumed knows all corrections at once, an undisturbed one step by step."""
    length = Length(((4, 40),))
    undisturbed = Growth(STAGES, lambda step: length.progress(step))
    drawn = [undisturbed.of(step) for step in range(12)]
    length = length.corrected(11, 25)  # while step 11 is drawn already
    drawn += [undisturbed.of(step) for step in range(12, 25)]
    resumed = Growth(STAGES, length.progress)
    assert [resumed.of(step) for step in range(25)] == drawn


def test_workers_which_know_no_progress_are_refused():
    with pytest.raises(ValidationError, match="growth"):
        LoopConfig(steps=10, growth=2, workers=1)
