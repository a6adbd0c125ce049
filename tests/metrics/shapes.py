"""Pairs of masks that metrics are tried on, made of whole numbers so that they never change."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

SPACINGS = ((1.0, 1.0, 1.0), (0.7, 0.7, 3.0), (2.0, 0.5, 1.1), (1.0, 5.0, 1.0))


def ball(shape, centre, radius):
    """Voxels whose centre is within the radius; all integers."""
    squares = [((np.arange(n) - c) ** 2) for n, c in zip(shape, centre, strict=True)]
    return (squares[0][:, None, None] + squares[1][:, None] + squares[2]) <= radius**2


def box(shape, low, high):
    mask = np.zeros(shape, dtype=bool)
    mask[tuple(slice(a, b) for a, b in zip(low, high, strict=True))] = True
    return mask


def blob(random, shape):
    """A union of balls with a few voxels flipped: holes, islands, single voxels, thin walls."""
    mask = np.zeros(shape, dtype=bool)
    for _ in range(random.integers(1, 4)):
        centre = [int(random.integers(0, n)) for n in shape]
        mask |= ball(shape, centre, int(random.integers(1, 6)))
    for _ in range(random.integers(0, 12)):
        spot = tuple(int(random.integers(0, n)) for n in shape)
        mask[spot] = ~mask[spot]
    if not mask.any():
        mask[shape[0] // 2, shape[1] // 2, shape[2] // 2] = True
    return mask


def made_pairs(count=120) -> Iterator[tuple[str, np.ndarray, np.ndarray, tuple[float, ...]]]:
    """Named (truth, prediction, spacing); none is empty."""
    size = (14, 12, 10)
    one = box(size, (5, 5, 5), (6, 6, 6))
    other = box(size, (8, 2, 7), (9, 3, 8))
    edge = box(size, (0, 0, 0), (6, 12, 3))
    for spacing in SPACINGS:
        told = "x".join(f"{mm:g}" for mm in spacing)
        yield f"one voxel each {told}", one, other, spacing
        yield f"one voxel against a ball {told}", one, ball(size, (6, 6, 5), 4), spacing
        yield f"touching the edge {told}", edge, box(size, (0, 0, 0), (7, 11, 4)), spacing
        yield f"everything {told}", np.ones(size, bool), box(size, (1, 1, 1), (13, 11, 9)), spacing
        yield (
            f"far apart {told}",
            box(size, (0, 0, 0), (2, 2, 2)),
            box(size, (12, 10, 8), (14, 12, 10)),
            spacing,
        )
    random = np.random.default_rng(20240607)
    for number in range(count):
        shape = tuple(int(n) for n in random.integers(5, 17, size=3))
        truth = blob(random, shape)
        near = number % 3 > 0
        prediction = (
            np.roll(truth, int(random.integers(-2, 3)), int(random.integers(0, 3)))
            if (near)
            else blob(random, shape)
        )
        for _ in range(random.integers(0, 8) if near else 0):
            spot = tuple(int(random.integers(0, n)) for n in shape)
            prediction[spot] = ~prediction[spot]
        if prediction.any():
            yield f"blob {number}", truth, prediction, SPACINGS[number % len(SPACINGS)]
