"""Scans and masks show themselves: three lines, a picture, a file, and no patient."""

import base64
import io
import re

import numpy as np
import pytest
from matplotlib import image as matplotlib_image

from medseg.ct_windows import WINDOWS
from medseg.errors import BadOutput, BadScan, GridMismatch
from medseg.geometry import Geometry
from medseg.labels import LabelTable
from medseg.readers.labels import read_labels
from medseg.scans import read
from medseg.volume import LabelMap, Origin, Volume
from tests.notebooks.test_libraries import LABELS, mask_on, scan_on
from tests.transforms.grids import NATIVE, grid

WHO = "Mustermann^Erika"


def head(channels=1):
    """A bright off-centre ball in a CT, and its mask."""
    geometry = grid((30, 28, 20), (1.0, 1.0, 2.0), "LPS", origin=(0, 0, 0))
    index = np.stack(np.meshgrid(*map(np.arange, geometry.shape), indexing="ij"), -1)
    ball = np.linalg.norm((index - [20, 9, 12]) * [1, 1, 2], axis=-1) < 6
    origin = Origin(path=f"/data/{WHO}/ct.nii", modality="CT", case=WHO)
    scan = Volume(
        np.repeat((ball * 100).astype(np.int16)[None], channels, 0), geometry, origin=origin
    )
    table = LabelTable.from_card({"labels": LABELS})
    return scan, LabelMap(ball.astype(np.uint8), geometry, table, origin)


def test_a_scan_says_three_things():
    scan, _ = head()
    assert repr(scan).splitlines() == [
        "Volume (CT): 30x28x20 voxels of 1x1x2 mm (LPS)",
        "values 0 to 100, stored as int16",
        "from (-29.0, -27.0, 0.0) to (0.0, 0.0, 38.0) mm in RAS",
    ]


def test_a_scan_names_its_channels_and_its_real_world_values():
    volume = Volume(
        np.array([[[[0]]], [[[1000]]]], np.uint16),
        Geometry((1, 1, 1), np.eye(4)),
        intercept=-1024.0,
        channels=("T1", "FLAIR"),
    )
    assert repr(volume).splitlines()[1] == (
        "values -1024 to -24, stored as uint16; channels T1, FLAIR"
    )


def test_a_scan_without_a_finite_value_says_so():
    volume = Volume(np.full((1, 2, 2, 2), np.nan, np.float32), Geometry((2, 2, 2), np.eye(4)))
    assert "no finite values" in repr(volume)


def test_a_mask_says_its_structures_and_volumes():
    _, mask = head()
    ml = mask.volume_ml("left kidney")
    assert repr(mask).splitlines()[:2] == [
        "LabelMap: 30x28x20 voxels of 1x1x2 mm (LPS)",
        f"left kidney {ml:.4g} ml, stored as uint8",
    ]
    bare = LabelMap(np.arange(8).reshape(2, 2, 2), Geometry((2, 2, 2), np.eye(4)))
    assert "value 1 0.001 ml" in repr(bare)
    assert "and 1 more" in repr(bare)
    assert "empty" in repr(LabelMap(np.zeros((2, 2, 2), int), bare.geometry))


@pytest.mark.parametrize("which", [0, 1], ids=["scan", "mask"])
def test_jupyter_shows_the_lines_and_a_picture_but_no_patient(which):
    shown = head()[which]
    html = shown._repr_html_()
    assert len(repr(shown).splitlines()) == 3
    assert repr(shown).splitlines()[0].split(":")[0] in html
    png = base64.b64decode(re.search(r"base64,([^\"]+)", html)[1])
    pixels = matplotlib_image.imread(io.BytesIO(png))[..., :3]
    assert pixels.max() > 0.9, "the ball must show"
    assert WHO not in html
    assert "/data" not in html


def test_label_names_cannot_write_html():
    table = LabelTable.from_card({"labels": {"<script>alert(1)</script>": 1}})
    mask = LabelMap(np.ones((3, 3, 3), np.uint8), Geometry((3, 3, 3), np.eye(4)), table)
    assert "<script>" not in mask._repr_html_()


def test_a_plot_is_a_figure_that_draws_the_mask_in_its_colour():
    scan, mask = head()
    alone, both = scan.plot(), scan.plot(mask, title="liver")
    assert alone._repr_png_() != both._repr_png_()
    legends = [text.get_text() for legend in both.legends for text in legend.get_texts()]
    assert legends == ["left kidney"]
    assert mask.plot(scan).legends


@pytest.mark.parametrize(("name", "window"), [("left kidney", "soft tissue"), ("lung", "lung")])
def test_a_ct_is_shown_in_the_window_of_its_structures(name, window):
    scan, mask = head()
    mask = LabelMap(mask.data, mask.geometry, LabelTable.from_card({"labels": {name: 1}}))
    assert scan.plot(mask).axes[0].images[0].get_clim() == WINDOWS[window]
    assert scan.plot(mask, window=(0, 9)).axes[0].images[0].get_clim() == (0, 9)


def test_a_plot_of_many_structures_has_no_legend():
    data = np.arange(27, dtype=np.uint8).reshape(3, 3, 3)
    mask = LabelMap(data, Geometry((3, 3, 3), np.eye(4)))
    assert not mask.plot().legends


def test_a_plot_refuses_another_grid_a_second_scan_and_a_missing_channel():
    scan, _ = head()
    with pytest.raises(GridMismatch):
        scan.plot(mask_on(NATIVE["coarse"]))
    with pytest.raises(BadScan, match="2 scans"):
        scan.plot(scan)
    with pytest.raises(BadScan, match="no such channel"):
        scan.plot(channel=1)


@pytest.mark.parametrize("name", ["mask.nii.gz", "mask.nii", "mask.nrrd", "mask.seg.nrrd"])
def test_a_mask_is_saved_by_its_ending(tmp_path, name):
    mask = mask_on(NATIVE["oblique"])
    path = mask.save(tmp_path / name)
    back = read_labels(path)
    np.testing.assert_array_equal(back.array, mask.array)
    assert (back.labels is not None) == (name == "mask.seg.nrrd")


def test_a_scan_is_saved_with_its_channels(tmp_path):
    scan_on(NATIVE["oblique"], 2).save(tmp_path / "scan.nii.gz")
    back = read(tmp_path / "scan.nii.gz", volume=1)
    np.testing.assert_array_equal(back.array, scan_on(NATIVE["oblique"], 2).array[1])


def test_nothing_is_replaced_unasked(tmp_path):
    mask = mask_on(NATIVE["oblique"])
    mask.save(tmp_path / "mask.nii.gz")
    with pytest.raises(BadOutput, match="overwrite=True"):
        mask.save(tmp_path / "mask.nii.gz")
    mask.save(tmp_path / "mask.nii.gz", overwrite=True)


def test_an_unknown_ending_and_a_scan_in_a_format_of_masks_are_refused(tmp_path):
    with pytest.raises(BadOutput, match="ending is of no format"):
        mask_on(NATIVE["oblique"]).save(tmp_path / "mask.png")
    with pytest.raises(BadOutput, match="NIfTI"):
        scan_on(NATIVE["oblique"]).save(tmp_path / "scan.nrrd")
    assert not list(tmp_path.iterdir())


def test_numpy_takes_scans_and_masks_as_arrays():
    scan, mask = head()
    assert np.asarray(scan).shape == (30, 28, 20)
    assert scan.array[mask.array == 1].mean() == 100
    assert np.mean(scan, where=np.asarray(mask) == 1) == 100
    assert np.asarray(mask, dtype=bool).sum() == mask.data.sum()
    with pytest.raises(ValueError, match="read-only"):
        np.asarray(mask)[:] = 0
    np.array(mask)[:] = 0
    assert mask.data.any()
    assert scan_on(NATIVE["coarse"], 3).array.shape == (3, 9, 8, 7)
