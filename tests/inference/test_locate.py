"""The region is found and kept with its margin, and the mask is still the whole scan's twin."""

import numpy as np
import pytest

from medseg.config import InferConfig, LocateModel, LocateThreshold, PrepareConfig, validate
from medseg.errors import BadConfig, BadLabels
from medseg.geometry import working_grid
from medseg.inference import Segmenter, segment
from medseg.inference.locate import (
    Locator,
    largest_above,
    part_of,
    region_about,
)
from medseg.volume import LabelMap, Volume
from medseg.volume.box import box_of_values
from tests.inference.models import LABELS, TinyModel, scan
from tests.transforms.grids import NATIVE, grid, stored_otherwise

WINDOW = InferConfig(window=(12, 10, 14), batch=3)
every_grid = pytest.mark.parametrize("native", NATIVE.values(), ids=NATIVE)


def with_rule(rule, **changes):
    return TinyModel(infer=WINDOW.model_copy(update={"locate": rule}), **changes)


def body_in_air(shape=(60, 50, 70), box=((20, 38), (15, 33), (10, 31))):
    """A body of 0 HU in air, and a smaller thing beside it."""
    data = np.full((1, *shape), -1000, np.int16)
    data[(0, *(slice(*side) for side in box))] = 0
    data[0, 52:57, 40:46, 60:66] = 0
    return Volume(data, grid(shape))


@every_grid
def test_a_region_that_is_everything_changes_no_voxel(native):
    volume = scan(native, seed=1)
    everything = with_rule(LocateThreshold(above=-20000, margin_mm=0))
    expected = segment(TinyModel(infer=WINDOW), volume, precision="float64")
    found = segment(everything, volume, precision="float64")
    assert np.array_equal(found.labelmap.data, expected.labelmap.data)
    assert found.warnings == expected.warnings


@every_grid
def test_inside_the_region_windows_decide_and_outside_is_background(native):
    volume = scan(native, seed=2)
    volume.data[:] -= 3000
    volume.data[tuple([0] + [slice(n // 3, 2 * n // 3 + 1) for n in native.shape])] += 6000
    working = working_grid(native, (1.3, 1.4, 1.5))
    region = region_about(largest_above(volume, 0), 2.0, working, native, (12, 10, 14))
    inside = np.zeros(native.shape, bool)
    inside[region.native_box] = True
    assert inside[volume.data[0] > 0].all()
    model = with_rule(LocateThreshold(above=0, margin_mm=2.0))
    result = segment(model, volume).labelmap
    assert result.geometry is native
    assert result.data.shape == native.shape
    assert not result.data[~inside].any()
    assert result.data[inside].any()


@every_grid
def test_the_grids_of_a_region_are_parts_of_the_whole_ones(native):
    working = working_grid(native, (1.3, 1.4, 1.5))
    third = tuple(slice(n // 3, n // 3 + 2) for n in native.shape)
    region = region_about(third, 3.0, working, native, (4, 4, 4))
    for part, box, whole in (
        (region.native, region.native_box, native),
        (region.working, region.working_box, working),
    ):
        np.testing.assert_allclose(
            part.to_world((1, 2, 3)),
            whole.to_world([side.start + n for side, n in zip(box, (1, 2, 3), strict=True)]),
            atol=1e-9,
        )
    highest = np.array(working.shape) - 1
    corners = working.to_index(region.native.corners_mm()).clip(0, highest)
    ends = np.array([[side.start, side.stop - 1] for side in region.working_box])
    assert (corners >= ends[:, 0] - 1e-6).all()
    assert (corners <= ends[:, 1] + 1e-6).all()


def test_the_margin_is_in_millimetres_along_each_axis():
    native = grid((100, 100, 40), (1.0, 1.0, 4.0))
    found = (slice(40, 60), slice(40, 60), slice(15, 25))
    region = region_about(found, 8.0, native, native, (2, 2, 2))
    assert region.native_box == (slice(32, 68), slice(32, 68), slice(13, 27))


def test_a_region_is_no_smaller_than_a_window_where_the_scan_is_not():
    native = grid((100, 10, 100))
    found = (slice(0, 3), slice(4, 6), slice(95, 100))
    region = region_about(found, 0.0, native, native, (20, 20, 20))
    assert region.working_box == (slice(0, 20), slice(0, 10), slice(80, 100))


def test_the_largest_part_above_a_threshold_is_found():
    volume = body_in_air()
    box = largest_above(volume, -500)
    for side, (low, high) in zip(box, ((20, 38), (15, 33), (10, 31)), strict=True):
        assert side.start <= low
        assert side.stop >= high
        assert side.stop - side.start <= high - low + 8
    scaled = Volume(volume.data * 2, volume.geometry, 0.5, 0.0)
    assert largest_above(scaled, -500) == box
    assert largest_above(volume, 500) is None


def test_fewer_windows_are_asked_in_a_region_and_less_memory_is_taken():
    asked = []

    class Counting(TinyModel):
        def networks(self, device="cpu"):
            networks = super().networks(device)
            networks[0].register_forward_hook(lambda n, args, out: asked.append(len(args[0])))
            return networks

    plain = Counting(infer=WINDOW, prepare=PrepareConfig())
    rule = LocateThreshold(above=-500, margin_mm=2)
    near = Counting(infer=WINDOW.model_copy(update={"locate": rule}), prepare=PrepareConfig())
    whole = segment(plain, body_in_air())
    everything, asked[:] = sum(asked), []
    located = segment(near, body_in_air())
    assert sum(asked) < everything / 3
    assert located.budget.host["logits"] < whole.budget.host["logits"]
    assert located.budget.host["mask"] < whole.budget.host["mask"]


class AlwaysLiver(TinyModel):
    """A coarse model that calls everything bright liver, by a rule of its head."""

    def networks(self, device="cpu"):
        networks = super().networks(device)
        networks[0].forward = self.answer
        return networks

    def answer(self, image):
        logits = image.new_zeros((len(image), self.labels.channels, *image.shape[2:]))
        logits[:, 1] = 10 * (image[:, 0] > self.above) - 5
        return logits

    above = 0.0


COARSE = PrepareConfig(spacing_mm=(3.0, 3.0, 3.0))


def test_a_coarse_model_finds_the_region():
    volume = body_in_air()
    coarse = AlwaysLiver(prepare=COARSE, infer=InferConfig(window=(8, 8, 8)))
    mask = segment(coarse, volume).labelmap
    box = box_of_values(mask.data, ())
    assert box == box_of_values(mask.data, [LABELS.value_of("liver")])
    fine = Segmenter(TinyModel(infer=WINDOW), locator=Locator(coarse, 3.0, labels=("liver",)))(
        volume
    ).labelmap
    everywhere = segment(TinyModel(infer=WINDOW), volume).labelmap
    assert 0 < (fine.data > 0).sum() < (everywhere.data > 0).sum()
    assert fine.data[20:38, 15:33, 10:31].any()


def test_what_is_not_found_is_a_warning_and_the_whole_scan_is_looked_at():
    volume = body_in_air()
    nothing = AlwaysLiver(prepare=COARSE, infer=InferConfig(window=(8, 8, 8)))
    object.__setattr__(nothing, "above", 1e9)
    found = Segmenter(TinyModel(infer=WINDOW), locator=Locator(nothing, 3.0))(volume)
    expected = segment(TinyModel(infer=WINDOW), volume)
    assert np.array_equal(found.labelmap.data, expected.labelmap.data)
    assert found.warnings == ("the locator found nothing: the whole scan is looked at",)


def test_the_locator_travels_in_the_models_folder():
    class Holding(TinyModel):
        def inner(self, folder):
            assert folder == "locator"
            return AlwaysLiver(prepare=COARSE, infer=InferConfig(window=(8, 8, 8)))

    rule = LocateModel(folder="locator", margin_mm=3.0)
    inside = Holding(infer=WINDOW.model_copy(update={"locate": rule}))
    apart = Segmenter(TinyModel(infer=WINDOW), locator=Locator(inside.inner("locator"), 3.0))
    volume = body_in_air()
    assert np.array_equal(segment(inside, volume).labelmap.data, apart(volume).labelmap.data)


def test_a_label_that_the_locator_does_not_have_is_refused():
    with pytest.raises(BadLabels, match="spleen"):
        Segmenter(TinyModel(), locator=Locator(AlwaysLiver(), 3.0, labels=("spleen",)))


@pytest.mark.parametrize("folder", ["../other", "/models/coarse", "", "a/../../b"])
def test_a_locator_outside_the_models_folder_is_refused(folder):
    values = {"locate": {"kind": "model", "folder": folder}}
    with pytest.raises(BadConfig, match="name a folder inside"):
        validate(InferConfig, values)


def test_the_part_of_a_grid_that_is_all_of_it_is_that_grid():
    native = NATIVE["oblique"]
    assert part_of(native, tuple(slice(0, n) for n in native.shape)) is native


def test_the_box_of_labels_is_exact():
    data = np.zeros((9, 8, 7), np.uint8, order="F")
    data[2:4, 5, 1:6] = 1
    data[8, 0, 0] = 4
    mask = LabelMap(data, grid((9, 8, 7)), LABELS)
    assert box_of_values(mask.data, [1]) == (slice(2, 4), slice(5, 6), slice(1, 6))
    assert box_of_values(mask.data, []) == (slice(2, 9), slice(0, 6), slice(0, 6))
    assert box_of_values(mask.data, [9]) is None


@pytest.mark.parametrize("axes", [(0, 1, 2), (2, 0, 1), (1, 0, 2)])
@pytest.mark.parametrize("flips", [(True, False, False), (False, True, True), (True, True, True)])
def test_the_largest_part_is_the_same_in_whatever_order_the_scan_is_stored(axes, flips):
    data = np.zeros((1, 61, 47, 53), np.int16)
    data[0, 10:22, 7:19, 12:25] = 500  # two parts of one size
    data[0, 36:48, 27:39, 31:44] = 500
    volume = Volume(data, grid((61, 47, 53), (1.0, 1.0, 1.0)))
    twin = stored_otherwise(volume, axes, flips)
    corners = []
    for stored in (volume, twin):
        box = largest_above(stored, 100)
        ends = np.array([[side.start for side in box], [side.stop - 1 for side in box]])
        corners.append(np.sort(stored.geometry.to_world(ends), axis=0))
    np.testing.assert_allclose(*corners, atol=1e-9)
