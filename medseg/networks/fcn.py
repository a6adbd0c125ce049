"""FCN-32s, 16s and 8s: score every 32nd voxel, then upsample, which is why they are coarse.

Long, Shelhamer and Darrell 2015 (doi:10.1109/CVPR.2015.7298965). A VGG-style classifier shrinks
the image 32-fold; a 1×1 convolution scores each coarse voxel. FCN-32s enlarges that 32-fold in
one step: a border cannot be finer than the cells. FCN-16s adds scores of the 16-fold level first,
FCN-8s those of the 8-fold level too. Departures from the paper:

- convolutions keep the size and pooling keeps part cells, so an input of any size comes out as
  large; the paper pads by 100 and crops;
- the widths are free, a norm follows each convolution, and it works in 3D;
- enlarging is learned channel by channel (the paper mixes classes in form, but starts from, and in
  its last step stays at, channel by channel), by any kind of ``UPSAMPLING``;
- the coarsest scores start at random, the paper's at zero (those of the skips start at zero here
  as there);
- dropout drops whole channels of the two layers that were fully connected, not single values;
- no weights of a classifier trained on photographs: it starts at random, or from a classifier of
  one's own patches (``classifier.py``, ``start_from_coarser``).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self

from pydantic import Field, model_validator
from torch import Tensor, nn

from medseg.config import Options
from medseg.errors import BadConfig
from medseg.networks.blocks import (
    LAYERS,
    Activation,
    BlockStyle,
    ConvBlock,
    make_conv,
    shrink_by_max,
)
from medseg.networks.norms import Norm
from medseg.networks.upsampling import Rise, Upsampling, cut_like, make_rise


class FCNOptions(Options):
    """What can be chosen of an FCN.

    Attributes:
        features: channels of the five stages; VGG-16 has (64, 128, 256, 512, 512).
        convs_per_stage: VGG-16 has (2, 2, 3, 3, 3).
        head_features: channels of the two layers that were fully connected; VGG-16 has 4096.
        head_kernel: kernel of the first of them; 7 in VGG-16, for 224×224 images.
        dropout: in those two layers, while training.
        upsampling: ``transposed_even`` is the paper's.
    """

    features: tuple[int, int, int, int, int] = (16, 32, 64, 128, 128)
    convs_per_stage: tuple[int, int, int, int, int] = (2, 2, 3, 3, 3)
    head_features: int = Field(default=256, ge=1)
    head_kernel: int = Field(default=3, ge=1)
    dropout: float = Field(default=0.5, ge=0, lt=1)
    norm: Norm = "instance"
    groups: int = Field(default=8, ge=1)
    activation: Activation = "relu"
    upsampling: Upsampling = "transposed_even"

    @model_validator(mode="after")
    def _check(self) -> Self:
        if min(*self.features, *self.convs_per_stage) < 1:
            raise ValueError("features and convs_per_stage start at 1")
        if self.head_kernel % 2 == 0:
            raise ValueError("head_kernel is odd: an even kernel shifts the image")
        return self


class VGG(nn.Module):
    """Five stages of convolutions, each ending in a pooling by 2 (doi:10.48550/arXiv.1409.1556)."""

    def __init__(self, dims: int, in_channels: int, options: FCNOptions) -> None:
        super().__init__()
        style = BlockStyle(dims, options.norm, options.groups, options.activation)
        self.stages = nn.ModuleList()
        channels = in_channels
        for width, count in zip(options.features, options.convs_per_stage, strict=True):
            blocks: list[nn.Module] = []
            for _ in range(count):
                blocks.append(ConvBlock(style, (channels, width), 3))
                channels = width
            self.stages.append(nn.Sequential(*blocks, shrink_by_max(dims, 2)))

    def forward(self, image: Tensor) -> list[Tensor]:
        """(B, C, *spatial) to the five pooled maps, finest (2-fold) first."""
        pooled = []
        for stage in self.stages:
            image = stage(image)
            pooled.append(image)
        return pooled


class FCN(nn.Module):
    """A classifier slid over the image, its scores enlarged to the image.

    Args:
        finest: the finest pooled level that is scored: 5 for FCN-32s, 4 for 16s, 3 for 8s.
    """

    def __init__(
        self, dims: int, in_channels: int, out_channels: int, options: FCNOptions, *, finest: int
    ) -> None:
        super().__init__()
        self.backbone = VGG(dims, in_channels, options)
        self.head = classifier_head(dims, options)
        self.score = make_conv(dims, (options.head_features, out_channels), 1)
        classes = (out_channels, out_channels)
        self.score_skip, self.rise = nn.ModuleDict(), nn.ModuleDict()
        for level in range(4, finest - 1, -1):
            width = options.features[level - 1]
            self.score_skip[str(level)] = make_conv(dims, (width, out_channels), 1)
            self.rise[str(level)] = make_rise(
                options.upsampling, dims, classes, 2, groups=out_channels
            )
        self.last = make_rise(options.upsampling, dims, classes, 2**finest, groups=out_channels)
        self._start()

    def _start(self) -> None:
        """Skips score zero, so that a finer network starts as the coarser one it came from."""
        for score in self.score_skip.values():
            nn.init.zeros_(score.get_parameter("weight"))
        for step in self.modules():
            if isinstance(step, Rise):
                step.start_as_interpolation()

    def forward(self, image: Tensor) -> Tensor:
        """(B, C, *spatial) intensities to (B, K, *spatial) logits."""
        pooled = self.backbone(image)
        scores: Tensor = self.score(self.head(pooled[-1]))
        for level, score in self.score_skip.items():
            skip = score(pooled[int(level) - 1])
            scores = skip + cut_like(self.rise[level](scores), skip)
        return cut_like(self.last(scores), image)

    def forward_deep(self, image: Tensor) -> list[Tensor]:
        """The logits as a list of one: an FCN has no outputs at coarser levels."""
        return [self(image)]

    def deepest_path(self) -> list[nn.Module]:
        """The longest way from image to logits, in order (for the receptive field)."""
        return [*self.backbone.stages, self.head, self.score, *self.rise.values(), self.last]

    def start_from_coarser(self, weights: Mapping[str, Tensor]) -> None:
        """Take over a trained coarser network of the same options (32s into 16s, 16s into 8s).

        A classifier made fully convolutional (``classifier.convolutionalise``) fits as well. New
        skips keep their zeros and new steps interpolate, so the first outputs are nearly the
        coarser network's. The coarser network's last step, of another factor, is left behind.

        Raises:
            BadConfig: the weights are of other options.
        """
        own = self.state_dict()
        taken = {name: value for name, value in weights.items() if not name.startswith("last.")}
        required = {name for name in own if name.startswith(("backbone.", "head.", "score."))}
        shapes = {name: tuple(value.shape) for name, value in own.items()}
        unlike = [n for n, value in taken.items() if shapes.get(n) != tuple(value.shape)]
        if wrong := sorted({*unlike, *(required - taken.keys())}):
            raise BadConfig(
                "these weights are of another network",
                found=f"{wrong[0]} missing or of another shape",
                remedy="Give the coarser FCN the same options.",
            )
        self.load_state_dict({**own, **taken})


def classifier_head(dims: int, options: FCNOptions) -> nn.Sequential:
    """VGG's two fully connected layers as convolutions: a k×k(×k) one, then a 1×1."""
    style = BlockStyle(dims, "none", activation=options.activation)
    dropout = LAYERS[dims].dropout
    wide = options.head_features
    return nn.Sequential(
        *style.convolution((options.features[-1], wide), options.head_kernel),
        style.act(),
        dropout(options.dropout),
        *style.convolution((wide, wide), 1),
        style.act(),
        dropout(options.dropout),
    )
