"""Turns a fully connected classifier into a convolutional one: its weights, read as kernels.

Long, Shelhamer and Darrell 2015 (doi:10.1109/CVPR.2015.7298965), section 3.1: a fully connected
layer over a map of 7×7 cells *is* a 7×7 convolution evaluated in one place. Kept as a convolution,
the classifier takes larger images and answers with a map of scores, one for each place.
"""

from __future__ import annotations

import math

from torch import Tensor, nn

from medseg.networks.blocks import ACTIVATIONS, LAYERS, PerAxis, per_axis
from medseg.networks.fcn import VGG, FCNOptions

#: Image voxels along an axis that share one cell of the last pooled map.
CELL = 32


class Classifier(nn.Module):
    """A VGG-style network for images of one size: convolutions, then three connected layers."""

    def __init__(
        self, dims: int, in_channels: int, classes: int, options: FCNOptions, *, size: PerAxis
    ) -> None:
        super().__init__()
        self.cells = tuple(math.ceil(n / CELL) for n in per_axis(size, dims))
        self.backbone = VGG(dims, in_channels, options)
        act, wide = ACTIVATIONS[options.activation], options.head_features
        flat = options.features[-1] * math.prod(self.cells)
        self.head = nn.Sequential(
            nn.Linear(flat, wide),
            act(),
            nn.Dropout(options.dropout),
            nn.Linear(wide, wide),
            act(),
            nn.Dropout(options.dropout),
        )
        self.score = nn.Linear(wide, classes)

    def forward(self, image: Tensor) -> Tensor:
        """(B, C, *size) to (B, classes) logits."""
        logits: Tensor = self.score(self.head(self.backbone(image)[-1].flatten(1)))
        return logits


class ConvolutionalClassifier(nn.Module):
    """The same layers as convolutions: a score for every place that the classifier fits in."""

    def __init__(self, backbone: VGG, head: nn.Sequential, score: nn.Module) -> None:
        super().__init__()
        self.backbone, self.head, self.score = backbone, head, score

    def forward(self, image: Tensor) -> Tensor:
        """(B, C, *spatial) to (B, classes, *places), places 32 voxels apart."""
        scores: Tensor = self.score(self.head(self.backbone(image)[-1]))
        return scores


def convolutionalise(classifier: Classifier) -> ConvolutionalClassifier:
    """The classifier with each connected layer as a convolution of the same weights.

    On the size it was trained for the one score equals the classifier's. An instance norm in the
    backbone takes its statistics from the image given, so on a larger image a place's score is
    that of its crop only with ``norm`` ``batch`` (evaluating) or ``none``.
    """
    dims = len(classifier.cells)
    kernels = [classifier.cells, (1,) * dims]
    layers: list[nn.Module] = []
    for layer in classifier.head:
        if isinstance(layer, nn.Linear):
            layers.append(_as_convolution(layer, kernels.pop(0)))
        elif isinstance(layer, nn.Dropout):
            layers.append(LAYERS[dims].dropout(layer.p))
        else:
            layers.append(layer)
    score = _as_convolution(classifier.score, (1,) * dims)
    return ConvolutionalClassifier(classifier.backbone, nn.Sequential(*layers), score)


def _as_convolution(layer: nn.Linear, kernel: tuple[int, ...]) -> nn.Module:
    channels = layer.in_features // math.prod(kernel)
    conv = LAYERS[len(kernel)].conv(channels, layer.out_features, kernel)
    weights = {"weight": layer.weight.detach().reshape(-1, channels, *kernel)}
    conv.load_state_dict({**weights, "bias": layer.bias.detach()})
    return conv
