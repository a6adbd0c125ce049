"""Small scans on grids that a scanner can make, for the tests beside this file."""

import numpy as np
from scipy.spatial.transform import Rotation

from medseg.geometry import Geometry
from medseg.volume import Origin, Volume

SHAPE = (7, 6, 5)
TURN = Rotation.from_euler("xyz", [20, -15, 40], degrees=True).as_matrix()
GRIDS = {
    "axial LPS": np.diag([-0.8, -1.1, 2.5]),
    "axial, feet last": np.diag([-0.8, -1.1, -2.5]),
    "sagittal": np.array([[0, 0, 2.5], [-0.8, 0, 0], [0, -1.1, 0]]),
    "oblique": TURN @ np.diag([-0.8, -1.1, 2.5]),
    "oblique mirrored": TURN @ np.diag([0.8, -1.1, 2.5]),
}
TILTED = TURN @ np.array([[-0.8, 0, 0], [0, -1.1, 0.7], [0, 0, 2.5]])


def scan(axes, data=None, **origin):
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = axes, (12.3, -45.6, 7.8)
    if data is None:
        data = np.random.default_rng(0).integers(-1000, 2000, SHAPE).astype(np.int16)
    return Volume(data[None], Geometry(data.shape, affine), origin=Origin(**origin))
