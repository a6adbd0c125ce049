"""What nnU-Net's own planner makes of described scans; runs in an environment that has nnunetv2.

Reads a JSON list from standard input, each entry with ``spacing``, ``shape``, ``channels``,
``classes``, ``cases`` and ``gigabytes``; writes a list of ``patch``, ``batch`` and ``spacing``.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import numpy as np
import torch
from dynamic_network_architectures.architectures.unet import PlainConvUNet
from nnunetv2.experiment_planning.experiment_planners.default_experiment_planner import (
    ExperimentPlanner,
)

#: What nnU-Net's planner sets on its way through a dataset, without a dataset.
DEFAULTS = {
    "anisotropy_threshold": 3,
    "UNet_base_num_features": 32,
    "UNet_reference_val_3d": 560000000,
    "UNet_reference_val_2d": 85000000,
    "UNet_reference_val_corresp_GB": 8,
    "UNet_reference_val_corresp_bs_2d": 12,
    "UNet_reference_val_corresp_bs_3d": 2,
    "UNet_featuremap_min_edge_length": 4,
    "UNet_blocks_per_stage_encoder": (2,) * 14,
    "UNet_blocks_per_stage_decoder": (2,) * 13,
    "UNet_min_batch_size": 2,
    "UNet_max_features_2d": 512,
    "UNet_max_features_3d": 320,
    "max_dataset_covered": 0.05,
    "preprocessor_name": "DefaultPreprocessor",
    "overwrite_target_spacing": None,
    "suppress_transpose": False,
}


def main() -> None:
    """Plan each entry."""
    answers = [plan(**entry) for entry in json.load(sys.stdin)]
    print("PLANS " + json.dumps(answers))


def plan(
    spacing: list[float],
    shape: list[int],
    channels: int,
    classes: int,
    cases: int,
    gigabytes: float,
) -> dict[str, Any]:
    """nnU-Net's ``3d_fullres``, or its 2D plan where scans are flat; axes as nnU-Net orders them.

    The first axis is the one of the largest spacing, as its planner transposes scans.
    """
    planner = ExperimentPlanner.__new__(ExperimentPlanner)
    for name, value in DEFAULTS.items():
        setattr(planner, name, value)
    planner.UNet_class = PlainConvUNet
    planner.UNet_vram_target_GB = gigabytes
    planner.dataset_json = {
        "channel_names": {str(n): "CT" for n in range(channels)},
        "labels": {str(n): n for n in range(classes)},
        "file_ending": ".nii.gz",
    }
    planner.dataset_fingerprint = {
        "spacings": [spacing] * cases,
        "shapes_after_crop": [shape] * cases,
        "median_relative_size_after_cropping": 1,
        "foreground_intensity_properties_per_channel": {},
    }
    target = planner.determine_fullres_target_spacing()
    coarsest = int(np.argmax(target))
    order = [coarsest, *(n for n in range(3) if n != coarsest)]
    mm = np.array(target)[order]
    size = np.array(shape, float)[order] * np.array(spacing)[order] / mm
    flat = min(shape) == 1
    if flat:
        mm, size = mm[1:], size[1:]
    voxels = float(np.prod(size)) * cases
    with torch.device("meta"):  # its estimate asks for shapes alone
        made = planner.get_plans_for_configuration(mm, np.round(size), "x", voxels, {})
    return {
        "patch": [int(n) for n in made["patch_size"]],
        "batch": int(made["batch_size"]),
        "spacing": [float(n) for n in mm],
    }


if __name__ == "__main__":
    main()
