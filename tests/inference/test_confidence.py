"""A surface's certainty is that of its voxels, whatever share of them is looked at."""

import pytest
import torch

from medseg.inference import confidence
from medseg.inference.confidence import BoundaryConfidence
from medseg.labels import LabelTable

LABELS = LabelTable.from_card({"labels": {"liver": 1, "nodule": 2}})


def halves(sharp=9.0, vague=0.5):
    """A sharp liver beside background, and a small vague nodule elsewhere."""
    logits = torch.zeros(3, 30, 30, 30)
    logits[0] = sharp
    logits[:2, :12] = torch.tensor([0.0, sharp])[:, None, None, None]
    logits[:, 24:27, 4:7, 4:7] = torch.tensor([0.0, 0.0, vague])[:, None, None, None]
    return logits


def of(logits):
    gathered = BoundaryConfidence(LABELS)
    gathered.observe(logits, logits.argmax(0))
    return gathered.result()


def test_a_sharp_surface_is_certain_and_a_vague_one_is_not():
    found = of(halves())
    assert found["liver"] > 0.95
    assert found["nodule"] < 0.2


@pytest.mark.parametrize(("looked_at", "considered"), [(16, 1 << 17), (16, 1500)])
def test_a_share_of_the_voxels_stands_for_all(looked_at, considered, monkeypatch):
    expected = of(halves())
    monkeypatch.setattr(confidence, "LOOKED_AT", looked_at)
    monkeypatch.setattr(confidence, "CONSIDERED", considered)
    assert of(halves()) == pytest.approx(expected, abs=0.02)  # the small label is not lost


def test_where_nothing_meets_nothing_is_known():
    logits = torch.zeros(3, 8, 8, 8)
    logits[1] = 5
    assert of(logits) == {}


@pytest.mark.parametrize("cut", [3, 29, 15])
def test_a_box_counts_by_its_surface_however_the_scan_is_cut(cut, monkeypatch):
    monkeypatch.setattr(confidence, "LOOKED_AT", 16)
    logits = halves()
    logits[:, :, 28:] *= 0.05  # vague at one end
    expected = of(logits)
    gathered = BoundaryConfidence(LABELS)
    for box in (logits[:, :, :cut], logits[:, :, cut:]):
        gathered.observe(box, box.argmax(0))
    assert gathered.result()["liver"] == pytest.approx(expected["liver"], abs=0.04)
