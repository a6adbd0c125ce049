"""Balanced losses know how frequent the classes are, and a new network begins there."""

import numpy as np
import pytest
import torch

from medseg.labels import LabelTable
from medseg.model.structures import Structure
from medseg.networks import build_network
from medseg.training.cache import CaseFacts
from medseg.training.frequencies import begin_at, class_shares

LABELS = LabelTable.from_card({"labels": {"a": 1, "b": 2, "nowhere": 3, "unknown": 4}})


def facts(volumes_ml, kept=(), content=((0, 10), (5, 25), (0, 10))):
    structures = {name: Structure(volume_ml=ml) for name, ml in volumes_ml.items()}
    return CaseFacts(
        case="c",
        shape=(40, 40, 40),
        content=content,
        spacing_mm=(1.0, 1.0, 2.0),
        native_spacing_mm=(1.0, 1.0, 1.0),
        native_shape=(40, 40, 80),
        directions=((1, 0, 0), (0, 1, 0), (0, 0, 1)),
        left_right=0,
        structures=structures,
        kept=dict(kept),
        intensity=((0, 1, 2),),
        pixels="",
        truth="",
        known=(True,) * 5,
    )


def test_shares_are_of_the_voxels_that_are_not_empty():
    cases = [
        facts({"a": 1.0, "b": 0.2, "nowhere": 0.0}, {"a": 0.5}),
        facts({"a": 0.5, "nowhere": 0.0}),
    ]
    shares = class_shares(cases, LABELS)  # content is 2,000 voxels of 2 mm3: 4 ml
    assert shares[1:4] == pytest.approx([0.125, 0.05, 1 / 4000])
    assert shares[4] == pytest.approx(0.05), "the middle one of those that are known"
    assert shares.sum() == pytest.approx(1)


def test_a_new_network_begins_with_the_offset():
    network = build_network("unet", dims=2, in_channels=1, out_channels=3, options={}).eval()
    image, offset = torch.rand(1, 1, 32, 32), torch.tensor([1.0, -0.5, -0.5])
    with torch.no_grad():
        before = network.forward_deep(image)
        assert begin_at(network, offset)
        for one, other in zip(before, network.forward_deep(image), strict=True):
            np.testing.assert_allclose(one + offset.view(1, -1, 1, 1), other, atol=1e-5)
    assert not begin_at(network, torch.zeros(4))
    assert not begin_at(torch.nn.Conv2d(1, 3, 1), offset)
