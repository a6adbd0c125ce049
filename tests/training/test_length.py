"""A corrected plan leads from the warm-up to the last step without a jump."""

import numpy as np
import pytest

from medseg.training.length import Length
from medseg.training.run import read_schedule, write_length


def test_one_plan_is_a_straight_way():
    length = Length(((40, 240),))
    assert [length.progress(step) for step in (0, 40, 140, 240, 300)] == [0, 0, 0.5, 1, 1]


@pytest.mark.parametrize("steps", [150, 400])
def test_a_correction_changes_nothing_before_it_and_leads_to_the_new_end(steps):
    planned = Length(((40, 240),))
    corrected = planned.corrected(101, steps)
    assert [corrected.progress(s) for s in range(102)] == [planned.progress(s) for s in range(102)]
    way = np.array([corrected.progress(step) for step in range(40, steps + 1)])
    pace = np.diff(way)
    assert (pace > 0).all()
    assert way[-1] == 1
    assert way[-2] < 1
    # evenly to the end: the last part of the way is as long for each of its steps
    assert pace[101 - 40 :] == pytest.approx((1 - planned.progress(101)) / (steps - 101))


def test_corrections_add_up():
    length = Length(((10, 110),)).corrected(35, 85).corrected(60, 160)
    assert length.steps == 160
    assert length.progress(35) == pytest.approx(0.25)
    assert length.progress(60) == pytest.approx(0.25 + 0.75 * 0.5)
    assert length.progress(110) == pytest.approx(0.625 + 0.375 / 2)
    assert length.progress(160) == 1


def test_a_correction_to_an_end_that_has_come_is_the_end():
    length = Length(((10, 110),)).corrected(61, 61)
    assert length.progress(61) == pytest.approx(0.51)
    assert length.progress(62) == 1


def test_a_run_that_resumes_knows_every_plan(tmp_path):
    length = Length(((40, 240),)).corrected(101, 150)
    write_length(tmp_path / "schedule.json", length)
    assert read_schedule(tmp_path / "schedule.json") == (length, 1)
    assert read_schedule(tmp_path / "none.json") == (None, 1)
