"""Every voxel lies where the header says, on every grid, and the way to another grid holds."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medseg.errors import BadGeometry, GridMismatch
from medseg.geometry import (
    Alignment,
    Geometry,
    canonical_grid,
    grid_map,
    left_right_axis,
    role_grid,
    working_grid,
)
from tests.transforms.grids import NATIVE, grid

#: As a tilted gantry leaves it: slices shifted against each other along A.
SHEARED = Geometry(
    (20, 24, 11), [[0.8, 0, 0, -90], [0, 0.8, 1.4, -60], [0, 0, 5, 30], [0, 0, 0, 1]]
)
GRIDS = {**NATIVE, "sheared": SHEARED}

CODES = sorted(
    "".join(letters)
    for order in itertools.permutations(["RL", "AP", "SI"])
    for letters in itertools.product(*order)
)


#: Short-axis slices of a heart: across a line from the right, back and above to the left, front
#: and below, half-way between R, A and S.
FRAME = ((0.7, 0.7, 0.14), (-0.4, 0.22, 0.89), (0.59, -0.68, 0.43))


@st.composite
def grids(draw):
    """Any grid: 48 orientations, any spacing, turned by up to 40 degrees about all axes."""
    shape = draw(st.tuples(*[st.integers(1, 40)] * 3))
    spacing = draw(st.tuples(*[st.floats(0.2, 8)] * 3))
    base = grid(shape, spacing, draw(st.sampled_from(CODES)))
    rng = np.random.default_rng(draw(st.integers(0, 2**16)))
    turn = np.linalg.qr(np.eye(3) + 0.3 * rng.uniform(-1, 1, (3, 3)))[0]
    turn *= np.sign(np.diag(turn))
    affine = base.affine.copy()
    affine[:3, :3] = turn @ affine[:3, :3]
    affine[:3, 3] = rng.uniform(-300, 300, 3)
    return Geometry(shape, affine)


@pytest.mark.parametrize("codes", CODES)
def test_orientation_and_canonical_axes_agree_in_all_48_orders(codes):
    native = grid((4, 5, 6), (1.0, 2.0, 3.0), codes)
    assert native.orientation == codes
    axes, backwards = native.canonical_axes
    for world, (axis, back) in enumerate(zip(axes, backwards, strict=True)):
        assert codes[axis] == ("RAS", "LPI")[back][world]
    assert canonical_grid(native).orientation == "RAS"


@pytest.mark.parametrize("native", GRIDS.values(), ids=GRIDS)
def test_the_canonical_grid_holds_the_same_points(native):
    points = {tuple(np.round(point, 6)) for point in native.corners_mm()}
    assert {tuple(np.round(point, 6)) for point in canonical_grid(native).corners_mm()} == points
    assert canonical_grid(native).voxel_mm3 == pytest.approx(native.voxel_mm3)


def test_the_first_index_is_a_voxel_centre_in_ras():
    native = grid((10, 10, 10), (2.0, 3.0, 4.0), "LPS", origin=(100.0, 50.0, -20.0))
    np.testing.assert_allclose(native.to_world([0, 0, 0]), [100, 50, -20])
    np.testing.assert_allclose(native.to_world([1, 1, 1]), [98, 47, -16])
    np.testing.assert_allclose(native.to_index([98, 47, -16]), [1, 1, 1])
    assert native.spacing_mm == (2.0, 3.0, 4.0)
    assert native.voxel_ml == pytest.approx(0.024)


def test_a_sheared_voxel_is_as_large_as_the_determinant_says():
    assert SHEARED.voxel_mm3 == pytest.approx(0.8 * 0.8 * 5)
    assert np.prod(SHEARED.spacing_mm) > 1.03 * SHEARED.voxel_mm3  # the slanted edge is longer
    assert not SHEARED.is_orthogonal
    assert NATIVE["oblique"].is_orthogonal


@given(grids())
def test_world_and_index_undo_each_other(native):
    index = np.array([[0, 0, 0], [3.25, -1, 7], np.array(native.shape) - 1])
    np.testing.assert_allclose(native.to_index(native.to_world(index)), index, atol=1e-8)


@given(grids(), st.tuples(*[st.one_of(st.none(), st.floats(0.3, 9))] * 3))
def test_a_covering_grid_encloses_every_voxel_centre_and_is_no_larger_than_needed(native, spacing):
    working = working_grid(native, spacing)
    for here, there, wanted, size in zip(
        grid_map(role_grid(native), working),
        role_grid(native).shape,
        spacing,
        working.shape,
        strict=True,
    ):
        index = here.source_index()
        assert index[0] <= 1e-3 and index[-1] >= there - 1 - 1e-3
        assert index[0] + index[-1] == pytest.approx(
            there - 1, abs=2e-6
        )  # centred but for rounding
        if wanted is not None and size > 1:
            assert (there - 1) / here.step > size - 2 - 1e-3


@given(grids(), st.tuples(*[st.floats(0.3, 9)] * 3))
def test_an_edge_aligned_grid_ends_where_the_scan_ends(native, spacing):
    working = working_grid(native, spacing, alignment=Alignment.EDGES)
    source = role_grid(native)
    for axis, (near, far) in enumerate(zip(source.shape, working.shape, strict=True)):
        kept = abs(spacing[axis] / source.spacing_mm[axis] - 1) < 1e-3
        assert near * source.spacing_mm[axis] == pytest.approx(far * working.spacing_mm[axis])
        assert far == (
            near if kept else max(1, round(near * source.spacing_mm[axis] / spacing[axis]))
        )
    np.testing.assert_allclose(
        source.to_index(working.to_world([-0.5, -0.5, -0.5])), [-0.5] * 3, atol=1e-6
    )


@given(grids(), st.tuples(*[st.one_of(st.none(), st.floats(0.3, 9))] * 3))
def test_the_map_between_scan_and_working_grid_agrees_with_the_world_both_ways(native, spacing):
    working = working_grid(native, spacing)
    rng = np.random.default_rng(0)
    for source, target in ((native, working), (working, native)):
        maps = grid_map(source, target)
        index = rng.uniform(-2, 30, (5, 3))
        expected = source.to_index(target.to_world(index))
        mapped = np.empty_like(index)
        for axis, way in enumerate(maps):
            mapped[:, way.source_axis] = way.start + way.step * index[:, axis]
            assert (way.source_size, way.size) == (
                source.shape[way.source_axis],
                target.shape[axis],
            )
        np.testing.assert_allclose(mapped, expected, atol=1e-6)


@pytest.mark.parametrize("native", GRIDS.values(), ids=GRIDS)
def test_the_scans_own_spacing_copies_voxels_and_invents_none(native):
    for spacing in (None, role_grid(native).spacing_mm):
        assert all(way.is_copy for way in grid_map(native, working_grid(native, spacing)))
    coarser = [1.5 * mm for mm in role_grid(native).spacing_mm]
    maps = grid_map(native, working_grid(native, coarser))
    assert not any(way.is_copy for way in maps if way.size > 1)


def test_a_map_that_leaves_the_scan_is_no_copy():
    near, far = grid((10, 10, 10)), grid((10, 10, 10), origin=(14.0, -30.0, 7.0))
    assert [way.is_copy for way in grid_map(near, far)] == [False, True, True]


@st.composite
def storage_orders(draw):
    """An order and signs of array axes."""
    return draw(st.permutations(range(3))), draw(st.tuples(*[st.booleans()] * 3))


def stored(native, order, flips):
    """The same voxels of a grid with array axes in another order, some of them backwards."""
    affine, first = np.eye(4), np.zeros(3)
    for new, (axis, flip) in enumerate(zip(order, flips, strict=True)):
        affine[:3, new] = native.affine[:3, axis] * (-1 if flip else 1)
        first[axis] = native.shape[axis] - 1 if flip else 0
    affine[:3, 3] = native.to_world(first)
    return Geometry(tuple(native.shape[axis] for axis in order), affine)


@given(grids(), storage_orders(), st.sampled_from([None, FRAME]))
def test_the_working_grid_does_not_depend_on_the_storage_order(native, storage, frame):
    spacing = (2.0, 1.7, 3.1)
    twin = stored(native, *storage)
    here = working_grid(native, spacing, frame=frame)
    assert working_grid(twin, spacing, frame=frame).same_grid(here)
    for one, other in zip(grid_map(native, here), grid_map(twin, here), strict=True):
        ours, theirs = one.forwards(), other.forwards()
        assert (ours.start, ours.step) == (theirs.start, theirs.step), "to the bit"


@pytest.mark.parametrize(
    ("codes", "shape", "spacing", "turned"),
    [
        ("LPS", (256, 256, 30), (0.8, 0.8, 5.0), "RAS"),
        ("PSR", (256, 256, 30), (0.8, 0.8, 5.0), "ASR"),
        ("RSA", (256, 256, 30), (0.8, 0.8, 5.0), "RSA"),
        ("IRP", (256, 256, 30), (0.8, 0.8, 5.0), "RSA"),
        ("LPS", (256, 256, 180), (0.9, 0.9, 1.2), "RAS"),
        ("PSR", (256, 256, 180), (0.9, 0.9, 1.2), "RAS"),
        ("PSR", (256, 256, 12), (1.0, 1.0, 1.0), "ASR"),
        ("PSR", (256, 256, 1), (0.5, 0.5, 0.1), "ASR"),
        ("ASR", (1, 256, 256), (1.0, 1.0, 1.0), "SRA"),
        ("PSR", (90, 100, 80), (2.0, 2.0, 2.0), "RAS"),
        ("PSR", (90, 100, 80), (1.0, 5.0, 5.0), "RAS"),
    ],
)
def test_a_stack_has_its_slices_last_and_a_volume_is_turned_to_ras(codes, shape, spacing, turned):
    native = grid(shape, spacing, codes)
    if turned == "SRA":
        turned = "RSA"  # one voxel along A: coronal, whatever is stored first
    assert role_grid(native).orientation == turned
    assert left_right_axis(role_grid(native)) == turned.index("R")


@given(st.integers(0, 2**16), storage_orders())
def test_short_axis_hearts_about_one_direction_are_turned_alike_by_a_frame(seed, storage):
    rng = np.random.default_rng(seed)
    directions = np.linalg.qr(np.array(FRAME).T + 0.12 * rng.uniform(-1, 1, (3, 3)))[0]
    directions *= np.sign(np.sum(directions * np.array(FRAME).T, axis=0))
    affine = np.eye(4)
    affine[:3, :3] = directions * [1.4, 1.4, 8.0]
    native = Geometry((200, 220, 10), affine)
    ordered = role_grid(stored(native, *storage), FRAME)
    np.testing.assert_allclose(ordered.directions, directions, atol=1e-9)
    across = Geometry((200, 220, 10), np.diag([1.4, 1.4, 8.0, 1.0]))
    assert role_grid(across, FRAME).orientation == "RAS", "slices elsewhere follow their own plane"


def test_the_rounding_of_float32_headers_is_the_same_grid_and_a_real_shift_is_not():
    native = grid((512, 512, 900), (0.6836, 0.6836, 0.7), "LPS", degrees=9, origin=(170, 150, -900))
    stored = Geometry(native.shape, native.affine.astype(np.float32))
    assert native.same_grid(stored)
    assert stored.same_grid(native)
    shifted = native.affine.copy()
    shifted[0, 3] += 0.03 * 0.6836
    assert not native.same_grid(Geometry(native.shape, shifted))
    stretched = native.affine.copy()
    stretched[:3, 2] *= 1.0001  # 0.09 voxels at the far end, though none at the origin
    assert not native.same_grid(Geometry(native.shape, stretched))
    assert not native.same_grid(Geometry((512, 512, 899), native.affine))


@pytest.mark.parametrize(
    ("shape", "affine", "problem"),
    [
        ((0, 4, 4), np.eye(4), "one voxel or more"),
        ((4, 4), np.eye(4), "three axes"),
        ((4, 4, 4), np.eye(3), "4x4"),
        ((4, 4, 4), np.diag([1, np.nan, 1, 1]), "finite"),
        ((4, 4, 4), np.diag([1, 1, 1, 2]), "last row"),
        ((4, 4, 4), np.diag([1, 0, 1, 1]), "singular"),
        ((4, 4, 4), [[1, 1, 0, 0], [1, 1 + 1e-9, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]], "singular"),
    ],
)
def test_a_grid_that_cannot_place_voxels_is_refused(shape, affine, problem):
    with pytest.raises(BadGeometry, match=problem):
        Geometry(shape, affine)


def test_rotated_grids_do_not_map_onto_each_other():
    with pytest.raises(GridMismatch, match="rotated"):
        grid_map(grid((20, 20, 20)), grid((20, 20, 20), degrees=5))


def test_the_affine_is_the_grids_own_and_cannot_be_changed():
    affine = np.eye(4)
    native = Geometry((2, 2, 2), affine)
    affine[0, 3] = 7
    assert native.to_world([0, 0, 0]).tolist() == [0, 0, 0]
    with pytest.raises(ValueError, match="read-only"):
        native.affine[0, 3] = 7


def test_a_grid_describes_itself_in_one_phrase():
    assert NATIVE["axial LPS"].describe() == "25x22x17 voxels of 1.1x0.9x1.6 mm (LPS)"


def test_two_grids_of_one_shape_are_told_apart_by_their_distance() -> None:
    grid = Geometry((4, 5, 6), np.eye(4))
    shifted = np.eye(4)
    shifted[:3, 3] = 3, 4, 0
    assert "up to 5 mm away" in Geometry((4, 5, 6), shifted).describe_beside(grid)
    assert "away" not in Geometry((4, 5, 7), shifted).describe_beside(grid)


@pytest.mark.parametrize(
    ("shift_mm", "fits"), [(0.011, True), (0.04, True), (0.06, False), (0.5, False), (1.0, False)]
)
def test_a_mask_fits_its_image_but_for_rounding(shift_mm, fits):
    image = Geometry((30, 30, 30), np.eye(4))
    shifted = np.eye(4)
    shifted[1, 3] = shift_mm
    assert Geometry((30, 30, 30), shifted).fits(image) is fits
    assert not Geometry((30, 30, 29), np.eye(4)).fits(image)
