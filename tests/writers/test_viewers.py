"""Masks and tables for viewers say the same names, values and colours as the card."""

import csv
import io
import re

import numpy as np
import pytest
import SimpleITK as sitk

from medseg.errors import BadLabels
from medseg.labels import LabelTable
from medseg.readers.labels import read_labels
from medseg.volume import LabelMap
from medseg.writers import write_labels
from medseg.writers.label_tables import FOLDER, LABEL_TABLES, write_label_tables
from tests.writers.scans import GRIDS, scan

TABLE = LabelTable.from_card(
    {
        "labels": {
            "left kidney": {"value": 2, "colour": "#ff8000"},
            "肝臓": {"value": 300, "colour": "#0102ff"},
        }
    }
)


def labelled(axes):
    volume = scan(axes)
    data = np.random.default_rng(2).choice([0, 2, 300], volume.geometry.shape).astype(np.uint16)
    return LabelMap(data, volume.geometry, TABLE)


@pytest.mark.parametrize("axes", GRIDS.values(), ids=GRIDS)
def test_a_slicer_segmentation_comes_back_with_names_and_colours(axes, tmp_path):
    labelmap = labelled(axes)
    write_labels(labelmap, tmp_path / "m.seg.nrrd", format="slicer")
    back = read_labels(tmp_path / "m.seg.nrrd")
    assert np.array_equal(back.data, labelmap.data)
    assert back.geometry.same_grid(labelmap.geometry)
    assert [(one.name, one.value, one.colour) for one in back.labels.labels] == [
        (one.name, one.value, one.colour) for one in TABLE.labels
    ]
    image = sitk.ReadImage(str(tmp_path / "m.seg.nrrd"))
    assert np.array_equal(sitk.GetArrayFromImage(image).T, labelmap.data)
    assert image.GetMetaData("Segment0_Name") == "left kidney"
    assert image.GetMetaData("Segment1_LabelValue") == "300"


def test_a_slicer_segmentation_needs_names(tmp_path):
    bare = labelled(GRIDS["oblique"])
    with pytest.raises(BadLabels, match="needs names"):
        write_labels(LabelMap(bare.data, bare.geometry), tmp_path / "m.seg.nrrd", format="slicer")


def rows_of(program, text):
    """(value, name, red, green, blue) of each label, by the format's own rules."""
    if program == "bids":
        rows = list(csv.DictReader(io.StringIO(text), delimiter="\t"))
        return [(int(row["index"]), row["name"], *bytes.fromhex(row["color"][1:])) for row in rows]
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    if program == "itk-snap":
        pattern = r'\s*(\d+)\s+(\d+)\s+(\d+)\s+(\d+)\s+[\d.]+\s+[01]\s+[01]\s+"(.*)"'
        found = [re.fullmatch(pattern, line).groups() for line in lines]
        return [(int(v), name, int(r), int(g), int(b)) for v, r, g, b, name in found]
    parts = [line.split() for line in lines]
    assert {len(part) for part in parts} == {6}
    return [(int(v), name, int(r), int(g), int(b)) for v, name, r, g, b, _ in parts]


def test_tables_say_what_the_card_says(tmp_path):
    write_label_tables(TABLE, tmp_path)
    tmp_path = tmp_path / FOLDER
    for program, form in LABEL_TABLES.items():
        background, kidney, liver = rows_of(
            program, (tmp_path / form.file_name).read_text(encoding="utf-8")
        )
        assert background[0] == 0
        assert kidney[0] == 2
        assert kidney[1].replace("_", " ") == "left kidney"
        assert kidney[2:] == (255, 128, 0)
        assert liver == (300, "肝臓", 1, 2, 255)
