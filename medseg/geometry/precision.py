"""How precisely a header states lengths, and comparisons that do not look closer than that.

A NIfTI header holds float32 (relative step 6e-8); the norm of an oblique column comes out as
1.00000002 mm where 1 mm was meant. DICOM's direction cosines often have six decimals (1e-6).
Whatever is nearer to a threshold than `HEADER_PRECISION` counts as on it, so that turning the
patient, the order of the axes or their direction changes no figure.
"""

from __future__ import annotations

#: Relative precision of lengths and areas that come from a header.
HEADER_PRECISION = 1e-5

#: Relative precision of ratios of voxel counts, which no header has a part in.
COUNT_PRECISION = 1e-12


def reach_mm(limit_mm: float, voxel_mm: float) -> float:
    """The largest distance that a header cannot tell from one within the limit.

    Args:
        limit_mm: a threshold on distances, such as the tolerance of the NSD.
        voxel_mm: the shortest step of the grid, which gives slack to a limit of 0.

    >>> 1.00000002 <= reach_mm(1.0, voxel_mm=1.0)
    True
    >>> 1.001 <= reach_mm(1.0, voxel_mm=1.0)
    False
    """
    return limit_mm + HEADER_PRECISION * max(limit_mm, voxel_mm)
