"""How a scan becomes the tensor that a network sees: options of grids and intensities."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from pydantic import Field, model_validator

from medseg.config.checking import Options
from medseg.geometry import Alignment, Frame

#: A working axis by its role: 0 and 1 lie in plane, 2 through plane.
WorkingAxis = Annotated[int, Field(ge=0, le=2)]

#: Millimetres or a factor: more than nothing.
Positive = Annotated[float, Field(gt=0)]


class NormaliseZScore(Options):
    """Subtract the mean and divide by the standard deviation of the scan's own voxels."""

    kind: Literal["zscore"] = "zscore"
    #: Only voxels that are not exactly 0 count: zeros stand for what was not scanned.
    nonzero: bool = False
    #: To where the lowest and the highest value go afterwards; ``None`` leaves them.
    target: tuple[float, float] | None = None

    @model_validator(mode="after")
    def _check_target(self) -> NormaliseZScore:
        _check_ascending(self.target)
        return self


class NormaliseWindow(Options):
    """Clip real-world values to a window, then shift and scale (CT: HU).

    ``mean`` and ``sd`` default to the window's centre and half width.
    """

    kind: Literal["window"] = "window"
    low: float
    high: float
    mean: float | None = None
    sd: float | None = Field(default=None, gt=0)

    @model_validator(mode="after")
    def _check_window(self) -> NormaliseWindow:
        if self.high <= self.low:
            raise ValueError(f"high ({self.high}) must be above low ({self.low})")
        return self


class NormalisePercentiles(Options):
    """Map the scan's own percentiles to 0 and 1, or another target, clipped."""

    kind: Literal["percentiles"] = "percentiles"
    low: float = Field(default=0.5, ge=0, le=100)
    high: float = Field(default=99.5, ge=0, le=100)
    target: tuple[float, float] = (0.0, 1.0)

    @model_validator(mode="after")
    def _check_percentiles(self) -> NormalisePercentiles:
        _check_ascending(self.target)
        if self.high <= self.low:
            raise ValueError(f"high ({self.high}) must be above low ({self.low})")
        return self


def _check_ascending(target: tuple[float, float] | None) -> None:
    if target is not None and target[1] <= target[0]:
        raise ValueError(f"target goes from low to high, not from {target[0]} to {target[1]}")


class NormaliseInside(Options):
    """Z-score over what is not exactly 0 in every channel, holes filled; the rest stays as it is.

    Meant for ``normalise_on: scan``: resampling blurs the border of what is 0.
    """

    kind: Literal["zscore_inside"] = "zscore_inside"


class NormaliseNothing(Options):
    """Leave real-world values as they are."""

    kind: Literal["none"] = "none"


#: Told apart by ``kind``, so that a mistake is judged by the rule that was meant.
Normalise = Annotated[
    NormaliseZScore | NormaliseWindow | NormalisePercentiles | NormaliseInside | NormaliseNothing,
    Field(discriminator="kind"),
]


class PrepareConfig(Options):
    """How a scan becomes a working tensor; travels in the model folder.

    Attributes:
        spacing_mm: working spacing in plane, in plane and through plane; ``None`` keeps the
            scan's.
        frame: RAS directions of the three working axes of a typical scan, to which others are
            turned; ``None`` turns each as near to R, A, S as its role allows.
        axes: working axes are these axes of the scan as it is stored, whatever their role, with
            none of them turned; ``None`` orders and turns them by their role.
        turned_to: axis codes such as ``RAS`` to which a scan is turned before ``axes`` count.
        crop: whether planes at the scan's faces that are exactly 0 in every channel are cut off;
            masks are 0 there.
        alignment: how the working grid sits on the scan's.
        normalise: one rule a channel, or one for all.
        normalise_on: whether the working grid's or the scan's own voxels are normalised.
        resampling: kernel for intensities. ``linear`` and ``cubic`` are widened where an axis
            shrinks; ``linear_narrow`` is never widened; ``spline`` interpolates by cubic B-splines,
            never widened, and keeps to the range of the values.
        slices_apart: where the coarsest spacing of the scan, or else of the working grid, is more
            than so many times the finest, that axis goes to the nearest slice, for intensities
            and logits; ``None`` interpolates every axis.
        bias_field: whether the slow shading of MR is taken out first, by N4; every channel of
            the scan is corrected.
    """

    spacing_mm: tuple[Positive | None, Positive | None, Positive | None] = (None, None, None)
    frame: Frame | None = None
    axes: tuple[WorkingAxis, WorkingAxis, WorkingAxis] | None = None
    turned_to: str | None = None
    crop: Literal["nothing", "zeros"] = "nothing"
    alignment: Alignment = Alignment.COVER
    normalise: tuple[Normalise, ...] = Field(default=(NormaliseZScore(),), min_length=1)
    normalise_on: Literal["working", "scan"] = "working"
    resampling: Literal["linear", "linear_narrow", "cubic", "spline"] = "linear"
    slices_apart: Positive | None = None
    bias_field: Literal["keep", "n4"] = "keep"

    @model_validator(mode="after")
    def _check_frame(self) -> PrepareConfig:
        products = np.array(self.frame or np.eye(3)) @ np.array(self.frame or np.eye(3)).T
        if np.abs(products - np.eye(3)).max() > 0.1:
            raise ValueError("frame needs three directions of length 1 at right angles")
        return self

    @model_validator(mode="after")
    def _check_axes(self) -> PrepareConfig:
        if self.axes is not None and sorted(self.axes) != [0, 1, 2]:
            raise ValueError(f"axes names 0, 1 and 2 once each, not {list(self.axes)}")
        if self.axes is not None and self.frame is not None:
            raise ValueError("give frame or axes, not both")
        if self.turned_to is not None:
            pairs = sorted(
                "LR" if code in "LR" else "AP" if code in "AP" else "IS" if code in "IS" else code
                for code in self.turned_to
            )
            if self.axes is None or pairs != ["AP", "IS", "LR"]:
                raise ValueError("turned_to is three axis codes such as RAS, and needs axes")
        return self
