"""N4 correction of the slow shading that coils leave in MR images."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

#: The field varies over centimetres: it is fitted on voxels of about this size.
_FIT_MM = 4.0

#: Iterations at each of the resolutions, which double.
_ITERATIONS = (50, 50, 30, 20)

#: Fewer voxels on an axis hold no spline.
_LEAST_VOXELS = 4


def correct_channels(
    image: NDArray[np.float32], spacing_mm: Sequence[float]
) -> tuple[NDArray[np.float32], tuple[str, ...]]:
    """Divide each channel by its bias field, as N4 finds it (doi:10.1109/TMI.2010.2046908).

    The field is fitted on a coarse copy, within what Otsu's threshold takes for tissue, and is
    evaluated on the full grid. Its mean over the tissue is 1, so that values keep their level.
    A channel in which nothing stands out, or with fewer than four voxels along an axis after
    coarsening, stays as it is, with a remark.

    Args:
        image: (C, X, Y, Z) values on a grid; negative ones are left as they are.
        spacing_mm: of the grid, along its axes.

    Returns:
        (C, X, Y, Z) corrected values, and remarks.
    """
    result, remarks = [], []
    for number, channel in enumerate(image):
        field = bias_field(channel, np.asarray(spacing_mm, dtype=np.float64))
        if field is None:
            remarks.append(f"channel {number}: no bias field could be fitted")
            result.append(channel)
        else:
            result.append(np.where(channel > 0, channel / field, channel))
    return np.stack(result).astype(np.float32, copy=False), tuple(remarks)


def bias_field(
    values: NDArray[np.float32], spacing_mm: NDArray[np.float64]
) -> NDArray[np.float32] | None:
    """(X, Y, Z) factors, mean 1 over the tissue; ``None`` where none can be fitted.

    Args:
        values: (X, Y, Z) of one channel.
        spacing_mm: voxel spacing along its axes.
    """
    shrink = [
        int(max(1, min(round(_FIT_MM / mm), size // _LEAST_VOXELS)))
        for mm, size in zip(spacing_mm, values.shape, strict=True)
    ]
    if min(values.shape) < _LEAST_VOXELS or values.max() <= 0 or np.ptp(values) == 0:
        return None
    import SimpleITK as sitk  # 0.3 s that a scan without N4 need not wait for

    image = sitk.GetImageFromArray(np.ascontiguousarray(values.transpose(2, 1, 0)))
    image.SetSpacing([float(mm) for mm in spacing_mm])
    coarse = sitk.Cast(sitk.BinShrink(image, shrink), sitk.sitkFloat32)
    tissue = sitk.OtsuThreshold(coarse, 0, 1, 128)
    method = sitk.N4BiasFieldCorrectionImageFilter()
    method.SetNumberOfThreads(1)
    method.SetMaximumNumberOfIterations(_ITERATIONS)
    try:
        method.Execute(sitk.Clamp(coarse, lowerBound=1e-3), tissue)
    except RuntimeError:  # ITK: an empty mask, or a spline that nothing determines
        return None
    log_field = sitk.GetArrayFromImage(method.GetLogBiasFieldAsImage(image)).transpose(2, 1, 0)
    there = sitk.GetArrayFromImage(tissue).astype(bool)
    level = sitk.GetArrayFromImage(method.GetLogBiasFieldAsImage(coarse))[there].mean()
    return np.asarray(np.exp(log_field - level), dtype=np.float32)
