"""Surface distances: surfels of known area, brute force, another tool, and sheared grids."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from medseg.metrics import METRICS
from medseg.metrics.nearest import REACH
from medseg.metrics.surface import cube_codes, surface_distances
from medseg.metrics.surfels import CORNERS, surfel_areas
from tests.metrics.shapes import ball, box, made_pairs

REFERENCE = Path(__file__).with_name("surface_distance_0_1.csv")
PAIRS = {name: rest for name, *rest in made_pairs()}


def code_of(*corners):
    return sum(1 << int(np.flatnonzero((corner == CORNERS).all(axis=1))[0]) for corner in corners)


def test_a_flat_surface_has_the_area_of_a_voxel_face():
    areas = surfel_areas(np.diag([2.0, 3.0, 5.0]))
    assert areas[code_of((0, 0, 0), (0, 1, 0), (0, 0, 1), (0, 1, 1))] == pytest.approx(3 * 5)
    assert areas[code_of((0, 0, 0), (1, 0, 0), (0, 0, 1), (1, 0, 1))] == pytest.approx(2 * 5)
    assert areas[code_of((0, 0, 0), (1, 0, 0), (0, 1, 0), (1, 1, 0))] == pytest.approx(2 * 3)


def test_a_cut_corner_has_the_area_of_its_triangle():
    """Vertices half a step along each axis: sides sqrt(1/2), area sqrt(3)/8."""
    assert surfel_areas(np.eye(3))[code_of((0, 0, 0))] == pytest.approx(np.sqrt(3) / 8)


def test_a_cut_edge_has_the_area_of_its_rectangle():
    assert surfel_areas(np.eye(3))[code_of((0, 0, 0), (1, 0, 0))] == pytest.approx(np.sqrt(0.5))


def test_inside_and_outside_share_one_surface():
    areas = surfel_areas(np.diag([0.7, 1.3, 3.1]))
    assert np.allclose(areas, areas[::-1])
    assert areas[0] == areas[255] == 0
    assert (areas[1:255] > 0).all()


def test_the_area_of_a_ball_is_that_of_a_sphere():
    """Marching cubes on a binary ball overestimates by its steps, by less than a tenth."""
    radius = 20
    mask = ball((45, 45, 45), (22, 22, 22), radius)
    area = surfel_areas(np.eye(3))[cube_codes(mask)].sum()
    assert 1.0 < area / (4 * np.pi * (radius + 0.2) ** 2) < 1.1


def test_the_surface_area_does_not_depend_on_how_the_grid_is_sheared_along_a_face():
    """A slab's large faces keep their area when its planes slide over each other."""
    codes = cube_codes(box((40, 40, 3), (0, 0, 1), (40, 40, 2)))
    straight = surfel_areas(np.eye(3))[codes].sum()
    sheared = surfel_areas(np.array([[1, 0, 0.4], [0, 1, 0], [0, 0, 1.0]]))[codes].sum()
    assert sheared == pytest.approx(straight, rel=0.02)  # only the four narrow sides change


def brute_force(truth, prediction, steps):
    """HD, HD95, ASSD and NSD by all distances between all surface cubes."""
    areas = surfel_areas(steps)
    found = []
    for mask in (truth, prediction):
        codes = cube_codes(mask)
        cubes = np.argwhere((codes > 0) & (codes < 255))
        found.append((cubes @ steps.T, areas[codes[tuple(cubes.T)]]))
    (points, weights), (others, other_weights) = found
    apart = cdist(points, others)
    ways = [(apart.min(1), weights), (apart.min(0), other_weights)]
    directed = []
    for mm, mm2 in ways:
        order = np.lexsort((mm2, mm))
        share = np.cumsum(mm2[order]) / mm2.sum()
        directed.append(mm[order][min(np.searchsorted(share, 0.95), len(mm) - 1)])
    total = sum(mm2.sum() for _, mm2 in ways)
    return {
        "hd": max(mm.max() for mm, _ in ways),
        "hd95": max(directed),
        "assd": sum((mm * mm2).sum() for mm, mm2 in ways) / total,
        "nsd": sum(mm2[mm <= 1.0].sum() for mm, mm2 in ways) / total,
    }


@pytest.mark.parametrize("name", PAIRS)
def test_surface_metrics_equal_brute_force(name):
    truth, prediction, spacing = PAIRS[name]
    expected = brute_force(truth, prediction, np.diag(spacing))
    for metric, value in expected.items():
        assert METRICS[metric].compute(truth, prediction, spacing) == pytest.approx(value, abs=1e-9)


@pytest.mark.parametrize("number", range(12))
def test_surface_metrics_are_exact_on_sheared_and_rotated_grids(number):
    """The nearest surfel is sought in the world, not along the array."""
    truth, prediction, _ = list(PAIRS.values())[20 + number]
    steps = np.diag([0.8, 0.8, 2.5]) + np.random.default_rng(number).normal(0, 0.35, (3, 3))
    expected = brute_force(truth, prediction, steps)
    for metric, value in expected.items():
        assert METRICS[metric].compute(truth, prediction, steps) == pytest.approx(value, abs=1e-9)


def test_a_rotation_of_the_world_changes_nothing():
    truth, prediction, _ = PAIRS["blob 7"]
    turn = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))[0]
    spacing = np.diag([0.7, 1.1, 2.3])
    for metric in ("hd", "hd95", "assd", "nsd"):
        assert METRICS[metric].compute(truth, prediction, turn @ spacing) == pytest.approx(
            METRICS[metric].compute(truth, prediction, spacing), abs=1e-9
        )


@pytest.mark.skipif(not REFERENCE.is_file(), reason="reference values are not at hand")
def test_surface_metrics_equal_those_of_surface_distance():
    """Values of DeepMind's surface-distance 0.1 for these pairs (benchmarks makes them)."""
    with REFERENCE.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(PAIRS) >= 130
    for row in rows:
        truth, prediction, spacing = PAIRS[row["pair"]]
        for metric in ("hd", "hd95", "assd", "nsd"):
            value = METRICS[metric].compute(truth, prediction, spacing)
            assert value == pytest.approx(float(row[metric]), abs=1e-6), (row["pair"], metric)


def test_the_same_mask_has_no_distance():
    mask = ball((20, 20, 20), (9, 10, 11), 6)
    distances = surface_distances(mask, mask, np.eye(3))
    assert not distances.from_truth.mm.any()
    assert METRICS["nsd"].compute(mask, mask, (1, 1, 1), tolerance_mm=0) == 1.0


def test_a_moved_plane_is_as_far_as_it_moved():
    """Two half spaces in a long bar: the far ends agree, the near ends are 3 voxels apart."""
    truth, prediction = np.zeros((60, 30, 30), bool), np.zeros((60, 30, 30), bool)
    truth[:30], prediction[:33] = True, True
    assert METRICS["hd"].compute(truth, prediction, (1.5, 1, 1)) == pytest.approx(4.5)


def test_the_border_of_the_array_is_a_surface():
    """A mask that fills the scan ends where the scan ends."""
    codes = cube_codes(np.ones((4, 5, 6), bool))
    assert codes.shape == (5 + 2 * REACH, 6 + 2 * REACH, 7 + 2 * REACH)
    areas = surfel_areas(np.eye(3))[codes].sum()
    assert areas == pytest.approx(
        2 * (3 * 4 + 3 * 5 + 4 * 5) + np.sqrt(0.5) * 4 * 12 + np.sqrt(3)
    )  # faces, 12 edges, 8 corners


@pytest.mark.parametrize(
    ("shift", "assd", "nsd"), [(1, 0.27, 1.0), (3, 1.19, 0.527), (5, 2.10, 0.318)]
)
def test_the_stated_bias_of_a_shifted_ball_is_so(shift, assd, nsd):
    """docs/metrics.md: the true ASSD is half the shift, the true share within 1 mm 1 / shift."""
    truth = ball((66, 50, 50), (25, 25, 25), 20)
    moved = np.roll(truth, shift, axis=0)
    measured = METRICS["assd"].compute(truth, moved, (1, 1, 1))
    assert measured == pytest.approx(assd, abs=0.005)
    assert 0.2 < shift / 2 - measured < 0.5
    assert METRICS["nsd"].compute(truth, moved, (1, 1, 1)) == pytest.approx(nsd, abs=0.002)
