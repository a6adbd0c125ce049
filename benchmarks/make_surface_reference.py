"""Prints what DeepMind's surface-distance says of our test pairs: the table of the tests.

Run where ``surface-distance`` is installed:
``python -m benchmarks.make_surface_reference > tests/metrics/surface_distance_0_1.csv``
"""

from __future__ import annotations

import csv
import sys

import surface_distance

from tests.metrics.shapes import made_pairs


def main() -> None:
    """One row a pair: HD, HD95, ASSD and NSD at 1 mm by the other tool's functions."""
    out = csv.writer(sys.stdout, lineterminator="\n")
    out.writerow(["pair", "hd", "hd95", "assd", "nsd"])
    for name, truth, prediction, spacing in made_pairs():
        distances = surface_distance.compute_surface_distances(truth, prediction, spacing)
        there, back = (
            (distances["distances_gt_to_pred"], distances["surfel_areas_gt"]),
            (distances["distances_pred_to_gt"], distances["surfel_areas_pred"]),
        )
        area = there[1].sum() + back[1].sum()
        out.writerow(
            [
                name,
                *(
                    f"{value:.10g}"
                    for value in (
                        surface_distance.compute_robust_hausdorff(distances, 100),
                        surface_distance.compute_robust_hausdorff(distances, 95),
                        (there[0] @ there[1] + back[0] @ back[1]) / area,
                        surface_distance.compute_surface_dice_at_tolerance(distances, 1.0),
                    )
                ),
            ]
        )


if __name__ == "__main__":
    main()
