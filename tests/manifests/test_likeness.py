"""A copy is known however it was saved; two patients are two, however alike their anatomy."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from medseg.geometry import Geometry
from medseg.manifests.likeness import likeness, same_scans
from medseg.manifests.looks import pack_looks, unpack_looks
from medseg.manifests.slice_marks import slice_marks
from medseg.phantoms import Population
from medseg.phantoms.cohorts import phantom_of

SHAPE = (36, 40, 24)


def smooth(seed, shape=SHAPE):
    field = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=shape), 2)
    return field / field.std()


def patient(seed):
    """Half of what varies is common to all; air around it."""
    own = np.random.default_rng(seed).normal(0, 8, SHAPE)
    scan = 300 + 60 * smooth(99) + 60 * smooth(seed) + own
    grid = np.stack(np.meshgrid(*[np.linspace(-1, 1, n) for n in SHAPE], indexing="ij"))
    return np.where((grid**2).sum(0) < 0.9, scan, 0).clip(0)


def look(image):
    found = likeness(image, Geometry(image.shape, np.eye(4)))
    return replace(found, slices=slice_marks(image))


def changed_voxel(image):
    image = image.copy()
    image[18, 20, 12] = 4000
    return image


COPIES = {
    "other numbers": lambda image: image * 3.7 - 1000,
    "8 bits": lambda image: np.rint(image / image.max() * 255).astype(np.uint8),
    "a changed voxel": changed_voxel,
    "mirrored, axes swapped": lambda image: image[::-1].transpose(2, 0, 1)[:, ::-1],
    "cropped": lambda image: image[5:-4, 6:-3, 3:],
    "a half of it": lambda image: image[:, :20],
    "padded": lambda image: np.pad(image, ((3, 9), (0, 4), (2, 2))),
    "finer": lambda image: ndimage.zoom(image, 1.3, order=1),
    "coarser": lambda image: ndimage.zoom(image, 0.7, order=1),
    "smoothed": lambda image: ndimage.gaussian_filter(image, 0.8),
    "noise": lambda image: image + np.random.default_rng(5).normal(0, 12, image.shape),
    "holes of NaN": lambda image: np.where(np.indices(image.shape)[0] < 4, np.nan, image),
    "inverted": lambda image: image.max() - image,
    "inverted, axes swapped": lambda image: -image.transpose(1, 2, 0)[:, ::-1],
    "every second slice": lambda image: image[:, :, ::2],
    "every third slice, backwards": lambda image: image[:, :, ::-3],
    "every second row, scaled": lambda image: 2 * image[::2].transpose(1, 0, 2) + 100,
    "some slices in another order": lambda image: image[:, :, [11, 3, 17, 8, 14, 9]],
    "clipped": lambda image: image.clip(*np.percentile(image, [20, 98])),
}


@pytest.mark.parametrize("saved", COPIES.values(), ids=COPIES)
def test_a_copy_is_known(saved):
    cohort = [look(patient(seed)) for seed in range(6)]
    assert same_scans([*cohort, look(saved(patient(2)))]) == [(2, 6)]


def test_a_copy_in_a_cohort_of_two_is_known():
    assert same_scans([look(patient(1)), look(patient(1)[::-1, 4:] * 2)]) == [(0, 1)]


def test_patients_of_one_anatomy_are_told_apart():
    cohort = [look(patient(seed)) for seed in range(12)]
    for size in (2, 4, 6, 12):
        assert same_scans(cohort[:size]) == []


@pytest.fixture(scope="module")
def phantoms():
    """Two dozen phantoms of one anatomy that varies in few ways, several visits among them."""
    population = Population(spacing_mm=12.0, grids=("axial", "oblique"), seed=5)
    scans = [phantom_of(population, number) for number in range(24)]
    return [(patient, phantom.volume) for phantom, patient, _ in scans]


def test_two_phantoms_are_never_one_scan(phantoms):
    looks = [likeness(volume.data[0], volume.geometry) for _, volume in phantoms]
    patients = [patient for patient, _ in phantoms]
    for size in (5, 12, 24):
        pairs = same_scans(looks[:size])
        assert [pair for pair in pairs if patients[pair[0]] != patients[pair[1]]] == []


KEPT = (
    "other numbers",
    "8 bits",
    "mirrored, axes swapped",
    "a half of it",
    "padded",
    "finer",
    "noise",
)


@pytest.mark.parametrize("saved", KEPT)
def test_a_copied_phantom_is_known(phantoms, saved):
    looks = [likeness(volume.data[0], volume.geometry) for _, volume in phantoms]
    copy = look(COPIES[saved](phantoms[3][1].values()[0] + 1024))  # air is 0, as in the tests above
    assert (3, 24) in same_scans([*looks, copy])


@pytest.mark.parametrize("shape", [(6, 5, 4), (40, 40, 1), (3, 3, 3), (1, 1, 1)])
def test_small_and_flat_scans_of_noise_are_told_apart(shape):
    scans = [np.random.default_rng(seed).integers(0, 500, shape) for seed in range(12)]
    assert same_scans([look(scan) for scan in scans]) == []


@pytest.fixture(scope="module", params=[(48, 52, 30), (160, 150, 3), (64, 64, 8)], ids=str)
def one_anatomy(request):
    """Six scans of one head in empty air; only the noise is each its own."""
    shape = request.param
    grid = np.stack(np.meshgrid(*[np.linspace(-1, 1, n) for n in shape], indexing="ij"))
    radius = np.sqrt((grid[:2] ** 2).sum(0) + 0.5 * grid[2] ** 2)
    anatomy = np.where(radius < 0.9, 150 + 200 * (radius < 0.4) - 60 * (grid[0] > 0.3), 0.0)
    noises = (np.random.default_rng(seed).normal(0, 20, shape) for seed in range(6))
    return [np.where(anatomy > 0, anatomy + noise, 0).clip(0) for noise in noises]


def test_scans_that_differ_in_their_noise_are_told_apart(one_anatomy):
    looks = [look(scan) for scan in one_anatomy]
    for size in (2, 4, 6):
        assert same_scans(unpack_looks(pack_looks(looks[:size]))) == []


@pytest.mark.parametrize("saved", ["other numbers", "8 bits", "changed grid", "cropped"])
def test_a_copy_among_scans_of_one_anatomy_is_known(one_anatomy, saved):
    thin = one_anatomy[0].shape[2] < 6
    copy = {
        "cropped": lambda image: image[5:, 4:-3, 0 if thin else 2 :],
        "changed grid": lambda image: ndimage.zoom(image[::-1], (0.7, 0.7, 1), order=1),
    }
    looks = [look(scan) for scan in one_anatomy]
    again = look((COPIES | copy)[saved](one_anatomy[2]))
    assert same_scans([*looks, again]) == [(2, 6)]
    assert same_scans(unpack_looks(pack_looks([*looks, again]))) == [(2, 6)]


def test_a_copied_slice_image_is_known():
    scan = patient(3)[:, :, 12:13]
    assert same_scans([look(scan), look(scan[::-1] * 2 + 7)]) == [(0, 1)]


def test_simple_shapes_say_nothing():
    boxes = [np.zeros(SHAPE) for _ in range(4)]
    for number, box in enumerate(boxes):
        box[number : number + 10, 8:20, 4:14] = 100
    empty = [np.full(SHAPE, value, np.float32) for value in (0, 7, 700, 700, -3.3e7)]
    assert same_scans([look(image) for image in (*boxes, *empty)]) == []


def test_a_grid_stored_backwards_gives_the_same_thumbnail():
    scan = patient(4)
    turned = np.diag([-1.0, -1, 1, 1])
    turned[:2, 3] = SHAPE[0] - 1, SHAPE[1] - 1
    again = likeness(scan[::-1, ::-1], Geometry(SHAPE, turned))
    assert np.allclose(again.thumb, look(scan).thumb, atol=1e-6)
