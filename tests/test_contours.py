"""Outlines lie half a voxel around a structure, whatever its shape and place."""

from __future__ import annotations

import numpy as np
import pytest

from medseg.contours import outlines


def area(line):
    x, y = line.T
    return abs(0.5 * np.sum(x[:-1] * y[1:] - x[1:] * y[:-1]))


def test_a_box_keeps_its_size_but_for_the_corners():
    inside = np.zeros((20, 30), bool)
    inside[4:10, 5:17] = True
    (line,) = outlines(inside)
    assert np.array_equal(line[0], line[-1])
    assert line.min(0).tolist() == [3.5, 4.5]
    assert line.max(0).tolist() == [9.5, 16.5]
    assert area(line) == pytest.approx(6 * 12 - 4 * 0.125)


def test_a_hole_and_an_island_have_lines_of_their_own():
    inside = np.zeros((20, 20), bool)
    inside[2:12, 2:12] = True
    inside[5:8, 5:8] = False
    inside[15, 15] = True
    assert len(outlines(inside)) == 3


def test_what_reaches_the_edge_is_closed_beyond_it():
    (line,) = outlines(np.ones((4, 5), bool))
    assert line.min() == -0.5
    assert line.max(0).tolist() == [3.5, 4.5]


def test_nothing_has_no_outline():
    assert outlines(np.zeros((3, 3), bool)) == []
