"""The share of voxels that 16-bit sums of logits decide otherwise.

    python benchmarks/bench_sums.py

Smooth logits of a given spread, disturbed a little from window to window as a network's are, are
stitched with Gaussian weights and half overlap, in each number type; argmax is compared with
float64. Where float64 itself sees a tie within 1e-3 of a logit, any answer is right.
"""

from __future__ import annotations

import argparse

import torch

from medseg.inference.mirroring import Mirror
from medseg.inference.stitch import Stitcher
from medseg.inference.windows import WindowPlan, importance, plan_windows

TYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


def field(plan: WindowPlan, logits: torch.Tensor, noise: float, dtype: torch.dtype) -> torch.Tensor:
    """(K, X, Y, Z) normalised sums in float64."""
    result = torch.zeros(logits.shape, dtype=torch.float64)

    def sink(box: torch.Tensor, corner: tuple[int, int, int]) -> None:
        place = tuple(slice(c, c + n) for c, n in zip(corner, box.shape[1:], strict=True))
        result[(slice(None), *place)] = box.double()

    weight = importance(plan.window, "gaussian")
    stitcher = Stitcher(plan, len(logits), weight, 1, sink, dtype=dtype)
    generator = torch.Generator().manual_seed(2)
    for number, corner in enumerate(plan.corners):
        window = plan.cut(logits, corner)
        window = window + noise * torch.randn(window.shape, generator=generator)
        stitcher.reserve(corner)
        stitcher.weigh(corner)
        stitcher.add(corner, window, Mirror())
        stitcher.finish(number + 1)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--classes", type=int, default=12)
    chosen = parser.parse_args()
    plan = plan_windows((chosen.size,) * 3, (32,) * 3, 0.5)
    for spread in (3.0, 8.0):
        coarse = torch.randn(
            1, chosen.classes, *(chosen.size // 8,) * 3, generator=torch.Generator().manual_seed(1)
        )
        smooth = torch.nn.functional.interpolate(coarse, size=plan.size, mode="trilinear")[0]
        logits = spread * smooth / smooth.std()
        exact = field(plan, logits, 0.1, torch.float64)
        ranked = exact.topk(2, dim=0).values
        margin = ranked[0] - ranked[1]
        for name, dtype in TYPES.items():
            wrong = field(plan, logits, 0.1, dtype).argmax(0) != exact.argmax(0)
            beyond = wrong & (margin > 1e-3)
            print(
                f"SD {spread:.0f}, {name}: {wrong.double().mean():.2e} of voxels are decided "
                f"otherwise, {beyond.double().mean():.2e} beyond a tie of 1e-3; "
                f"largest margin {margin[wrong].max() if wrong.any() else 0.0:.4f}"
            )


if __name__ == "__main__":
    main()
