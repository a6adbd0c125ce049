"""Small random models for the tests of inference, with well-spread logits."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from medseg.config import InferConfig, PostprocessRule, PrepareConfig
from medseg.labels import LabelTable
from medseg.volume import Origin, Volume

LABELS = LabelTable.from_card({"labels": {"liver": 1, "left kidney": 4, "right kidney": 9}})
REGIONS = LabelTable.from_card(
    {
        "labels": {"oedema": 2, "core": 1, "enhancing": 3},
        "regions": {"whole": [1, 2, 3], "inner": [1, 3], "enhancing": [3]},
    }
)


OWN_SPACING = PrepareConfig(spacing_mm=(1.3, 1.4, 1.5))
SMALL_WINDOWS = InferConfig(window=(12, 10, 14))


class TinyNet(nn.Module):
    """Two convolutions; the head is scaled so that logits have a standard deviation above 5."""

    def __init__(self, dims, channels_in, channels_out, seed):
        super().__init__()
        conv = nn.Conv3d if dims == 3 else nn.Conv2d
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.first = conv(channels_in, 6, 3, padding=1)
            self.head = conv(6, channels_out, 3, padding=1)
        self.scale = 60.0

    def forward(self, image):
        return self.scale * self.head(torch.tanh(3 * self.first(image)))


@dataclass(frozen=True, eq=False)
class TinyModel:
    """A model of one or more tiny networks."""

    dims: int = 3
    slice_axis: int | None = None
    labels: LabelTable = LABELS
    channels_in: int = 1
    folds: int = 1
    prepare: PrepareConfig = OWN_SPACING
    infer: InferConfig = SMALL_WINDOWS
    postprocess: tuple[PostprocessRule, ...] = ()

    def networks(self, device="cpu"):
        nets = [
            TinyNet(self.dims, self.channels_in, self.labels.channels, seed)
            for seed in range(self.folds)
        ]
        return [net.eval().to(device) for net in nets]


def scan(geometry, channels=1, seed=0, **origin):
    """A smooth random scan of 16-bit integers with structures a few voxels wide."""
    rng = np.random.default_rng(seed)
    coarse = rng.normal(size=(1, channels, *(max(2, n // 3) for n in geometry.shape)))
    fine = nn.functional.interpolate(
        torch.from_numpy(coarse), size=geometry.shape, mode="trilinear", align_corners=True
    )
    data = (fine[0].numpy() * 400).astype(np.int16)
    return Volume(data, geometry, channels=(), origin=Origin(**origin))
