"""Where voxels lie in the world, which role each axis plays, and how grids map onto each other."""

from medseg.geometry.grid import (
    LPS_SIGNS,
    LPS_TO_RAS,
    MASK_GRID_VOXELS,
    ORTHOGONAL_COSINE,
    SAME_GRID_VOXELS,
    Box,
    Geometry,
    part_of,
)
from medseg.geometry.maps import AxisMap, GridMap, grid_map, nearest_voxel
from medseg.geometry.roles import (
    RAS,
    Frame,
    degrees_apart,
    distinct_frames,
    role_order,
    rounded,
    through_plane,
)
from medseg.geometry.working import (
    SAME_SPACING,
    Alignment,
    canonical_grid,
    left_right_axis,
    respaced,
    role_grid,
    stored_grid,
    working_grid,
)

__all__ = [
    "LPS_SIGNS",
    "LPS_TO_RAS",
    "MASK_GRID_VOXELS",
    "ORTHOGONAL_COSINE",
    "RAS",
    "SAME_GRID_VOXELS",
    "SAME_SPACING",
    "Alignment",
    "AxisMap",
    "Box",
    "Frame",
    "Geometry",
    "GridMap",
    "canonical_grid",
    "degrees_apart",
    "distinct_frames",
    "grid_map",
    "left_right_axis",
    "nearest_voxel",
    "part_of",
    "respaced",
    "role_grid",
    "role_order",
    "rounded",
    "stored_grid",
    "through_plane",
    "working_grid",
]
