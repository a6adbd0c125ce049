"""A phantom is what it says: volumes from formulas, sides, grids, noise, chance by seed."""

import itertools

import numpy as np
import pytest

from medseg.errors import BadConfig, BadGeometry
from medseg.phantoms import (
    ANATOMIES,
    GRIDS,
    draw_patient,
    make_phantom,
    phantom_grid,
    scan_patient,
    truth_of,
)

ORGANS = ("liver", "spleen", "left kidney", "right kidney", "aorta")


def truth_on(grid, *, seed, spacing_mm):
    """The truth of a patient on a named grid, and the exact volumes."""
    patient = draw_patient(np.random.default_rng(seed))
    grid = phantom_grid(grid, spacing_mm=spacing_mm, extent_mm=patient.extent_mm)
    return truth_of(patient, grid), patient.volumes_ml


def centre_mm(truth, name):
    inside = np.argwhere(truth.data == truth.labels.value_of(name))
    return truth.geometry.to_world(inside).mean(axis=0)


@pytest.mark.parametrize("grid", GRIDS)
def test_voxels_count_up_to_the_analytic_volume(grid):
    truth, volumes_ml = truth_on(grid, seed=4, spacing_mm=6.0)
    assert set(volumes_ml) == set(ORGANS)
    for name, volume_ml in volumes_ml.items():
        # Counting voxel centres errs by about the square root of the surface's voxels; the
        # thinnest organ is the aorta, four voxels wide here, three slices thick when anisotropic.
        tolerance = 0.09 if name == "aorta" else 0.04
        assert truth.volume_ml(name) == pytest.approx(volume_ml, rel=tolerance), name


def test_finer_voxels_count_more_exactly():
    patient = draw_patient(np.random.default_rng(2), anatomy="brain")
    grid = phantom_grid(spacing_mm=2.0, extent_mm=patient.extent_mm)
    fine = truth_of(patient, grid)
    for name, volume_ml in patient.volumes_ml.items():
        assert fine.volume_ml(name) == pytest.approx(volume_ml, rel=0.01)


@pytest.mark.parametrize("grid", GRIDS)
def test_left_is_left_whatever_the_grid(grid):
    truth, _ = truth_on(grid, seed=7, spacing_mm=6.0)
    left, right = centre_mm(truth, "left kidney"), centre_mm(truth, "right kidney")
    assert left[0] < -30 < 30 < right[0]  # RAS: x grows to the right
    assert centre_mm(truth, "liver")[0] > 20 and centre_mm(truth, "spleen")[0] < -60
    assert centre_mm(truth, "liver")[1] > left[1], "the liver lies in front of the kidneys"
    assert centre_mm(truth, "liver")[2] > right[2], "the liver lies above the right kidney"


@pytest.mark.parametrize("grid", GRIDS)
def test_one_patient_lies_in_one_place_on_every_grid(grid):
    (usual, volumes_ml), (other, same_ml) = (
        truth_on(name, seed=5, spacing_mm=6.0) for name in ("axial", grid)
    )
    assert same_ml == volumes_ml
    for name in ORGANS:
        # The aorta's ends are flat, so a whole slice more or less lies at either; a flip would
        # show as tens of mm.
        tolerance_mm = 6.0 if name == "aorta" else 2.5
        assert np.linalg.norm(centre_mm(other, name) - centre_mm(usual, name)) < tolerance_mm, name


def test_grids_are_what_their_names_say():
    grids = {name: phantom_grid(name, spacing_mm=5.0) for name in GRIDS}
    assert grids["axial"].orientation == "LPS" and grids["canonical"].orientation == "RAS"
    assert grids["sagittal"].orientation == "PIL" and grids["coronal"].orientation == "LIA"
    assert grids["mirrored"].orientation == "RPS"
    assert (
        np.linalg.det(grids["axial"].directions) > 0 > np.linalg.det(grids["mirrored"].directions)
    )
    assert grids["anisotropic"].spacing_mm == pytest.approx((5, 5, 15))
    assert [name for name, grid in grids.items() if not grid.is_orthogonal] == ["sheared"]
    assert not np.isclose(np.abs(grids["oblique"].directions), 0).any()


def test_a_grid_covers_its_extent():
    low, high = np.array([-50, -40, -30]), np.array([50, 40, 30])
    for name in ("axial", "sagittal", "coronal", "anisotropic"):
        corners = phantom_grid(name, spacing_mm=7.0, extent_mm=(100, 80, 60)).corners_mm()
        half = 7.0 / 2 * (3 if name == "anisotropic" else 1)
        assert (corners.min(axis=0) - half <= low + 1e-6).all()
        assert (corners.max(axis=0) + half >= high - 1e-6).all()


def test_same_seed_same_bytes_other_seed_other_patient():
    one, again, other = (make_phantom(seed, spacing_mm=9.0) for seed in (3, 3, 4))
    assert np.array_equal(one.volume.data, again.volume.data)
    assert np.array_equal(one.truth.data, again.truth.data)
    assert one.volumes_ml == again.volumes_ml != other.volumes_ml


def test_another_visit_is_the_same_patient_lying_otherwise():
    patient = draw_patient(np.random.default_rng(1))
    moved = patient.moved(np.random.default_rng(2))
    assert moved.volumes_ml == patient.volumes_ml
    grid = phantom_grid(spacing_mm=8.0)
    assert not np.array_equal(truth_of(patient, grid).data, truth_of(moved, grid).data)


def test_ct_is_in_hounsfield_units():
    phantom = make_phantom(6, spacing_mm=5.0)
    values, truth = phantom.volume.values()[0], phantom.truth.data
    assert phantom.volume.data.dtype == np.int16 and phantom.volume.origin.modality == "CT"
    assert np.median(values[0]) == pytest.approx(-1000, abs=15)  # air beside the patient
    assert 85 < np.median(values[truth == 1]) < 130  # liver with contrast
    left, right = (np.median(values[truth == value]) for value in (3, 4))
    assert left == pytest.approx(right, abs=12), "the kidneys differ by their side alone"


def test_boundary_voxels_mix_two_tissues():
    patient = draw_patient(np.random.default_rng(0))
    phantom = scan_patient(patient, np.random.default_rng(0), spacing_mm=5.0)
    values = phantom.volume.values()[0]
    skin = values[:, :, values.shape[2] // 2]
    assert ((skin > -850) & (skin < -250)).sum() > 20  # neither air nor fat


def test_mr_shading_and_noise_differ_between_scans():
    patient = draw_patient(np.random.default_rng(0))
    one, other = (
        scan_patient(patient, np.random.default_rng(s), modality="MR", spacing_mm=8.0)
        for s in (1, 2)
    )
    assert one.volume.channels == ("T1",) and (one.volume.data >= 0).all()
    liver = one.truth.data == 1
    ratio = one.volume.values()[0][liver] / other.volume.values()[0][liver]
    assert ratio.std() / ratio.mean() > 0.02
    assert np.array_equal(one.truth.data, other.truth.data)


def test_brain_has_two_channels_and_nested_regions():
    phantom = make_phantom(3, anatomy="brain", modality="MR2", spacing_mm=5.0)
    assert phantom.volume.channels == ("T1", "FLAIR") and phantom.volume.data.shape[0] == 2
    table = phantom.truth.labels
    assert [(r.name, r.values) for r in table.regions] == [("whole", (1, 2)), ("core", (2,))]
    t1, flair = (phantom.volume.values()[i][phantom.truth.data == 1].mean() for i in (0, 1))
    assert flair > t1, "oedema shines in FLAIR"
    assert 0 < phantom.volumes_ml["core"] < phantom.volumes_ml["oedema"]


def test_only_asked_structures_have_a_truth():
    phantom = make_phantom(1, structures=["right kidney", "left kidney"], spacing_mm=8.0)
    assert phantom.truth.labels.names == ("left kidney", "right kidney")
    assert set(np.unique(phantom.truth.data)) == {0, 1, 2}
    assert set(phantom.volumes_ml) == {"left kidney", "right kidney"}
    assert phantom.truth.labels.mirror_pairing() == ((1, 2),)


@pytest.mark.parametrize("anatomy", ANATOMIES)
def test_structures_never_overlap(anatomy):
    for seed in range(12):
        patient = draw_patient(np.random.default_rng(seed), anatomy=anatomy)
        solid = [part for part in patient.parts if part.label and not part.carved_from]
        for a, b in itertools.combinations(solid, 2):
            assert not a.shape.touches(b.shape, margin=1.0), (seed, a.label, b.label)


WRONG = {
    "anatomy": ({"anatomy": "knee"}, "no such anatomy; found 'knee', expected abdomen, brain"),
    "modality": ({"modality": "US"}, "no such modality; found 'US'"),
    "grid": ({"grid": "round"}, "no such grid; found 'round'"),
    "spacing": ({"spacing_mm": 0.0}, "a spacing must be above 0"),
    "structure": ({"structures": ["tail"]}, "no such structure"),
}


@pytest.mark.parametrize(("asked", "said"), WRONG.values(), ids=WRONG)
def test_what_cannot_be_made_is_refused(asked, said):
    with pytest.raises(BadConfig, match=said.replace("(", r"\(")):
        make_phantom(0, **asked)


def test_a_grid_that_cuts_an_organ_is_refused():
    small = phantom_grid(spacing_mm=8.0, extent_mm=(150, 290, 260))
    with pytest.raises(BadGeometry, match="cuts through a structure"):
        make_phantom(0, grid=small)


@pytest.mark.parametrize("modality", ["CT", "MR"])
def test_no_intensity_window_alone_finds_an_organ(modality):
    phantom = make_phantom(2, modality=modality, spacing_mm=6.0)
    values, truth = phantom.volume.values()[0], phantom.truth.data
    for name in ORGANS:
        organ = truth == phantom.truth.labels.value_of(name)
        low, high = np.percentile(values[organ], [5, 95])
        found = (values >= low) & (values <= high)
        dice = 2 * (found & organ).sum() / (found.sum() + organ.sum())
        assert dice < 0.5, name
