"""The road from a file to the working tensor as MONAI transforms: for training and pipelines."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import Compose, Transform
from numpy.typing import NDArray

from medseg.config import Normalise, PrepareConfig
from medseg.errors import MedsegError
from medseg.geometry import Box, Geometry, part_of
from medseg.scans import Frames
from medseg.transforms.crop import box_of_content
from medseg.transforms.load import (
    INTENSITY,
    LOOK,
    PIXELS,
    WARNINGS,
    LoadScan,
    geometry_of,
    meta_of,
)
from medseg.transforms.normalise import normalise
from medseg.transforms.prepare import (
    Prepared,
    Way,
    grid_for,
    kernels,
    nearest_axis,
    widens,
    without_bias_field,
)
from medseg.transforms.resample import resample
from medseg.volume import Volume

#: Key of a MetaTensor's ``meta`` under which the voxels that were kept travel: (3, 2) integers.
KEPT = "medseg_kept"


class Measured(Transform):
    """A :class:`Volume` as a (C, X, Y, Z) MetaTensor of measured values; others as they are."""

    def __call__(self, scan: MetaTensor | Volume) -> MetaTensor:
        """The scan in real-world values."""
        if not isinstance(scan, Volume):
            return scan
        return MetaTensor(torch.from_numpy(scan.measured()), meta=meta_of(scan))


class CropZeros(Transform):
    """Keep the box of voxels that are not 0 in every channel."""

    def __call__(self, image: MetaTensor) -> MetaTensor:
        """(C, X, Y, Z) to (C, X', Y', Z'), a view with the affine of what is left."""
        box = box_of_content(image.as_tensor().cpu().numpy())
        affine = part_of(geometry_of(image), box).affine
        box_ends = np.array([[side.start, side.stop] for side in box])
        meta = {**image.meta, "affine": np.array(affine), KEPT: box_ends}
        return MetaTensor(image.as_tensor()[(slice(None), *box)], meta=meta)


class ToWorkingGrid(Transform):
    """Resample a scan onto its working grid: one resampling, anti-aliased.

    A :class:`Volume` is taken as it is stored, a block at a time; a (C, X, Y, Z) MetaTensor holds
    measured values already.
    """

    def __init__(self, config: PrepareConfig) -> None:
        self.config = config

    def __call__(self, scan: MetaTensor | Volume) -> MetaTensor:
        """The scan on its working grid."""
        if isinstance(scan, Volume):
            native, meta, measure = scan.geometry, meta_of(scan), scan.measuring()
            array: torch.Tensor | NDArray[Any] = scan.data
        else:
            native, meta, measure = geometry_of(scan), scan.meta, None
            array = scan.as_tensor()
        target = grid_for(native, self.config)
        data = resample(
            array,
            native,
            target,
            kernel=kernels(native, self.config),
            antialias=widens(self.config),
            measure=measure,
        )
        return MetaTensor(data, meta={**meta, "affine": np.array(target.affine)})


class CorrectBiasField(Transform):
    """Divide each channel by its bias field, as N4 finds it."""

    def __call__(self, scan: MetaTensor) -> MetaTensor:
        """(C, X, Y, Z) values on a grid, corrected; see :func:`without_bias_field`."""
        image, remarks = without_bias_field(scan.as_tensor().float(), geometry_of(scan))
        meta = {**scan.meta, WARNINGS: [*scan.meta.get(WARNINGS, []), *remarks]}
        return MetaTensor(image, meta=meta)


class NormaliseChannels(Transform):
    """Apply one rule to each channel of a (C, X, Y, Z) MetaTensor, or one rule to all."""

    def __init__(self, rules: Sequence[Normalise]) -> None:
        self.rules = tuple(rules)

    def __call__(self, image: MetaTensor) -> MetaTensor:
        """Normalise a copy; see :func:`medseg.transforms.normalise.normalise`."""
        return MetaTensor(normalise(image.as_tensor(), self.rules), meta=image.meta)


def prepare_steps(config: PrepareConfig) -> Compose:
    """The deterministic road from a scan in memory to the working tensor."""
    correct = [] if config.bias_field == "keep" else [CorrectBiasField()]
    crop = [] if config.crop == "nothing" else [Measured(), CropZeros()]
    intensities = [*correct, NormaliseChannels(config.normalise)]
    if config.normalise_on == "scan":
        return Compose([Measured(), *crop, *intensities, ToWorkingGrid(config)])
    return Compose([*crop, ToWorkingGrid(config), *intensities])


def load_steps(
    config: PrepareConfig, frames: Frames = Frames.CHECK, channels: Sequence[str] = ()
) -> Compose:
    """The same road from file names on: MONAI's ``LoadImage`` with medseg's reader first."""
    steps = [_loader(frames, tuple(channels)), *prepare_steps(config).transforms]
    return Compose(steps, map_items=False)  # it would take a list of channels for a list of scans


def prepare_files(
    paths: Sequence[str | Path],
    config: PrepareConfig,
    *,
    frames: Frames = Frames.CHECK,
    channels: Sequence[str] = (),
) -> Prepared:
    """Read and prepare one scan.

    Args:
        paths: of its file, or of its channels.
        config: the working grid and the rules.
        frames: what brings the channels into one space.
        channels: their names in messages.
    """
    names = [str(path) for path in paths]
    image = _run(load_steps(config, frames, channels), names if len(names) > 1 else names[0])
    native = Geometry(
        tuple(int(n) for n in image.meta["spatial_shape"]),  # type: ignore[arg-type]
        image.meta["original_affine"],
    )
    return Prepared(
        image.as_tensor().contiguous(),
        geometry_of(image),
        native,
        tuple(image.meta[WARNINGS]),
        image.meta.get(PIXELS, ""),
        tuple((low, middle, high) for low, middle, high in image.meta.get(INTENSITY, ())),
        image.meta.get(LOOK, "").encode("latin-1"),
        _kept(image),
        nearest_axis(native, config, Way.HOME),
    )


def _kept(image: MetaTensor) -> Box | None:
    if KEPT not in image.meta:
        return None
    x, y, z = (slice(int(start), int(stop)) for start, stop in image.meta[KEPT])
    return x, y, z


@cache
def _loader(frames: Frames, channels: tuple[str, ...]) -> LoadScan:
    return LoadScan(frames, channels)


def _run(steps: Compose, first: Any) -> MetaTensor:
    """Run the steps; a refusal comes out as itself, not wrapped by MONAI's Compose."""
    try:
        image: MetaTensor = steps(first)
    except RuntimeError as error:
        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, MedsegError):
            cause = cause.__cause__
        if cause is None:
            raise
        raise cause from None
    return image
