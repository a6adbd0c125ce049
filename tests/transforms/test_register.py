"""A scan that moved is laid onto another of the same anatomy, whatever contrasts and grids."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk
from scipy import ndimage
from scipy.spatial.transform import Rotation

from medseg.errors import GridMismatch
from medseg.geometry import Geometry
from medseg.labels import LabelTable
from medseg.manifests import Case, Cohort, load_cohort, read_case, write_cohort
from medseg.manifests.cohort import Split
from medseg.scans import Frames
from medseg.transforms.channels import aligner
from medseg.transforms.register import RigidMove, register, registered
from medseg.volume import Origin, Volume
from medseg.writers import write_volume
from medseg.writers.move import write_move

FIXED = Geometry(
    (46, 52, 40), np.array([[3.5, 0, 0, -80], [0, 3.5, 0, -90], [0, 0, 3.5, -70], [0, 0, 0, 1.0]])
)
#: The same field with thick coronal slices, stored superior first.
CORONAL = Geometry(
    (46, 37, 46), np.array([[0, 0, -3.5, 80], [0, 5, 0, -92], [-3.5, 0, 0, 80], [0, 0, 0, 1.0]])
)

GRIDS = [
    pytest.param(FIXED, id="axial"),
    pytest.param(CORONAL, id="coronal, thick slices", marks=pytest.mark.slow),
]


def head(points_mm):
    """Values of an uneven head without any symmetry: skull, brain, ventricle, lesion, ear."""
    x, y, z = np.moveaxis(points_mm, -1, 0)

    def ball(centre, radii):
        return sum(((c - m) / r) ** 2 for c, m, r in zip((x, y, z), centre, radii, strict=True)) < 1

    values = np.zeros(x.shape)
    for centre, radii, value in (
        ((0, 0, 0), (62, 76, 58), 60),
        ((0, 2, 2), (55, 69, 51), 100),
        ((-10, 12, 8), (9, 26, 12), 20),
        ((24, -30, 14), (13, 13, 13), 150),
        ((-50, -10, -30), (9, 16, 12), 130),
        ((8, 60, -20), (7, 6, 9), 30),
    ):
        values[ball(centre, radii)] = value
    return values


def scan_of(geometry, move=None, contrast=lambda v: v, frame="a", seed=0):
    """The head as a scanner saw it after the patient moved by `move`."""
    index = np.stack(np.meshgrid(*map(np.arange, geometry.shape), indexing="ij"), axis=-1)
    points = geometry.to_world(index.reshape(-1, 3))
    if move is not None:
        back = np.linalg.inv(move)
        points = points @ back[:3, :3].T + back[:3, 3]
    values = contrast(head(points)).reshape(geometry.shape)
    noise = np.random.default_rng(seed).normal(0, 4, values.shape)
    smooth = ndimage.gaussian_filter(values + noise, 0.6)
    return Volume(
        smooth[None].astype(np.float32), geometry, channels=("T2",), origin=Origin(frame=frame)
    )


def moved_by(degrees, mm):
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_euler("xyz", degrees, degrees=True).as_matrix()
    matrix[:3, 3] = mm
    return matrix


def error_mm(move: RigidMove, truth):
    """How far the corners of a head are from where they belong."""
    corners = np.array([(x, y, z, 1) for x in (-55, 55) for y in (-70, 70) for z in (-50, 50)])
    return np.linalg.norm((corners @ (move.matrix @ truth).T - corners)[:, :3], axis=1).max()


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize(
    ("degrees", "mm"),
    [((0, 0, 0), (0, 0, 0)), ((-12, 3, 5), (-9, 14, 6))],
)
def test_a_move_of_the_patient_is_found_to_a_fraction_of_a_voxel(grid, degrees, mm):
    truth = moved_by(degrees, mm)
    moving = scan_of(grid, truth, contrast=lambda v: np.abs(120 - v), seed=1)
    move = register(moving, scan_of(FIXED))
    assert error_mm(move, truth) < 1.0  # voxels are 3.5 to 5 mm
    assert move.degrees == pytest.approx(
        Rotation.from_euler("xyz", degrees, degrees=True).magnitude() * 180 / np.pi, abs=0.6
    )


@pytest.mark.slow
def test_two_scanners_with_other_origins_are_brought_together():
    far = moved_by((5, 0, -4), (300, -150, 90))
    grid = Geometry(FIXED.shape, moved_by((0, 0, 0), (300, -150, 90)) @ FIXED.affine)
    assert error_mm(register(scan_of(grid, far, frame="b"), scan_of(FIXED)), far) < 1.0


@pytest.fixture(scope="module")
def pair():
    """A scan of a patient who moved, before and after it was laid onto another."""
    moving = scan_of(FIXED, moved_by((3, 0, 6), (5, 2, 0)), seed=2)
    return moving, registered(moving, scan_of(FIXED))


def test_the_move_is_kept_and_told_and_the_voxels_are_not_touched(pair):
    moving, result = pair
    assert result.data is moving.data
    ((name, numbers),) = result.origin.moves
    assert name == "T2"
    matrix = np.array(numbers).reshape(4, 4)
    assert np.allclose(result.geometry.affine, matrix @ moving.geometry.affine)
    assert "moved by" in result.origin.warnings[-1]
    assert "°" in result.origin.warnings[-1]


def test_a_cohort_that_says_so_is_read_with_its_channels_registered(tmp_path):
    write_volume(scan_of(FIXED), tmp_path / "t1.nii.gz")
    write_volume(scan_of(CORONAL, moved_by((0, 0, 8), (6, 0, 0)), seed=5), tmp_path / "t2.nii.gz")
    images = {"T1": tmp_path / "t1.nii.gz", "T2": tmp_path / "t2.nii.gz"}
    case = Case("a", "a", Split.TRAIN, None, images)
    labels = LabelTable.from_card({"labels": {"tumour": 1}})
    cohort = Cohort("c", "MR", ("T1", "T2"), labels, (case,), tmp_path, frames=Frames.REGISTER)
    volume = read_case(cohort, case, align=aligner(cohort.frames))
    assert volume.data.shape == (2, *FIXED.shape)
    ((name, _),) = volume.origin.moves
    assert name == "T2"
    t1, t2 = volume.values()
    assert np.corrcoef(t1.ravel(), t2.ravel())[0, 1] > 0.97  # 0.9 as the headers put them
    assert load_cohort(write_cohort(cohort, tmp_path / "c.yaml")).frames is Frames.REGISTER


def test_the_move_that_is_written_repeats_what_was_done(pair, tmp_path):
    moving, result = pair
    write_move(result.origin.moves[0][1], tmp_path / "m.tfm")
    transform = sitk.ReadTransform(str(tmp_path / "m.tfm"))
    lps = np.array([-1, -1, 1])
    index = np.array([[10, 20, 30], [3, 40, 11]])
    there, before = result.geometry.to_world(index), moving.geometry.to_world(index)
    back = [transform.TransformPoint([float(mm) for mm in point]) for point in there * lps]
    assert np.allclose(np.array(back) * lps, before, atol=1e-6)


@pytest.mark.slow
def test_the_same_scans_give_the_same_move():
    moving, fixed = scan_of(FIXED, moved_by((2, 3, 4), (3, 2, 1)), seed=3), scan_of(FIXED)
    assert np.array_equal(register(moving, fixed).matrix, register(moving, fixed).matrix)


def test_noise_is_refused():
    noise = np.random.default_rng(4).normal(size=(1, *FIXED.shape)).astype(np.float32)
    with pytest.raises(GridMismatch, match="no plausible place"):
        register(Volume(noise, FIXED), scan_of(FIXED))


def test_an_empty_scan_is_refused():
    with pytest.raises(GridMismatch, match="no plausible place"):
        register(Volume(np.zeros((1, *FIXED.shape), np.float32), FIXED), scan_of(FIXED))


def test_a_sheared_grid_is_refused():
    shear = np.eye(4)
    shear[1, 2] = 0.3
    tilted = Geometry(FIXED.shape, FIXED.affine @ shear)
    with pytest.raises(GridMismatch, match="tilted gantry"):
        register(replace(scan_of(FIXED), geometry=tilted), scan_of(FIXED))
