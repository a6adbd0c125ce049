"""Every kind of bad case is flagged, and a good one is left in peace."""

from dataclasses import replace

import numpy as np
import pytest

from medseg.batch.quality import Expectations, unsure
from medseg.geometry import Geometry
from medseg.labels import LabelTable
from medseg.volume import LabelMap, Origin, Volume
from tests.batch.stub import Result

LABELS = LabelTable.from_card({"labels": {"ball": 1}})
#: A ball of radius 10 mm has 4.19 ml.
EXPECTED = Expectations(
    LABELS,
    modality="CT",
    spacing_mm=((0.9, 1.1), (0.9, 1.1), (1.8, 2.2)),
    intensity=((-1000.0, 0.0, 200.0),),
    volume_ranges_ml={"ball": (3.0, 6.0)},
)


def scanned(
    centre=(25, 30, 14),
    *,
    radius_mm=10.0,
    spacing=(1.0, 1.0, 2.0),
    modality="CT",
    values=(-1000.0, 0.0, 200.0),
    balls=None,
    expected=EXPECTED,
):
    """Kinds of the flags of a CT-like scan with a ball of voxels."""
    geometry = Geometry((60, 56, 30), np.diag([*spacing, 1.0]))
    grid = np.moveaxis(np.indices(geometry.shape), 0, -1) * (1.0, 1.0, 2.0)
    mask = np.zeros(geometry.shape, np.uint8)
    for ball, radius in balls or [(centre, radius_mm)]:
        mask[((grid - np.array(ball) * (1, 1, 2)) ** 2).sum(-1) <= radius**2] = 1
    air, tissue, bone = values
    data = np.full(geometry.shape, tissue)
    data[:10], data[-2:] = air, bone
    volume = Volume(data[None].astype(np.float32), geometry, origin=Origin(modality=modality))
    labelmap = LabelMap(mask, geometry, LABELS)
    return [
        flag.kind
        for flag in expected(volume)(
            Result(labelmap, {"ball": labelmap.named(LABELS).volume_ml("ball")})
        )
    ]


def test_a_good_case_has_no_flag():
    assert scanned() == []


def test_an_empty_mask():
    assert scanned(radius_mm=0.1, centre=(25.5, 30.5, 14.5)) == ["empty", "volume"]


@pytest.mark.parametrize("centre", [(2, 30, 14), (58, 30, 14), (25, 1, 14), (25, 30, 0)])
def test_a_structure_cut_by_any_face(centre):
    assert "cut" in scanned(centre)


def test_a_structure_that_only_grazes_a_face_is_not_cut():
    assert "cut" not in scanned((10, 30, 14))


def test_two_large_pieces_but_not_a_crumb():
    assert scanned(balls=[((15, 15, 14), 8), ((45, 40, 14), 8)]) == ["pieces"]
    assert scanned(balls=[((15, 15, 14), 10), ((45, 40, 14), 3)]) == []


def test_a_volume_outside_the_training_range():
    assert scanned(radius_mm=14) == ["volume"]
    assert scanned(radius_mm=7) == ["volume"]


def test_a_label_that_no_training_case_had():
    never = replace(EXPECTED, volume_ranges_ml={"ball": (0.0, 0.0)})
    assert scanned(expected=never) == ["volume"]
    assert scanned(expected=never, radius_mm=0.1, centre=(25.5, 30.5, 14.5)) == ["empty"]


def test_doubled_spacing():
    assert "spacing" in scanned(spacing=(2.0, 2.0, 4.0))


def test_another_modality():
    assert "modality" in scanned(modality="MR")
    assert scanned(modality="") == []


def test_a_blank_scan_and_values_of_another_kind():
    assert scanned(values=(0.0, 0.0, 0.0)) == ["intensity"]
    assert scanned(values=(0.0, 1000.0, 4000.0)) == ["intensity"]


def test_arbitrary_units_are_compared_by_shape_only():
    mr = Expectations(LABELS, "MR", intensity=((0.0, 50.0, 100.0),))
    assert scanned(modality="MR", values=(0.0, 500.0, 1000.0), expected=mr) == []
    assert scanned(modality="MR", values=(-1000.0, 0.0, 1000.0), expected=mr) == ["intensity"]
    assert scanned(modality="MR", values=(7.0, 7.0, 7.0), expected=mr) == ["intensity"]


def test_the_one_case_in_which_the_network_is_unsure_stands_out():
    sure = {f"c{n}": {"ball": 0.4 + 0.01 * (n % 5)} for n in range(30)} | {"odd": {"ball": 0.1}}
    assert list(unsure(sure)) == ["odd"]
    assert unsure({"a": {"ball": 0.9}, "b": {"ball": 0.1}}) == {}  # too few to tell
