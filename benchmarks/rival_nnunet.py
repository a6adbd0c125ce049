"""Gives nnU-Net a model of ours; runs inside nnU-Net's own environment.

    RIVALS/bin/python benchmarks/rival_nnunet.py make FOLDER
    RIVALS/bin/python benchmarks/rival_nnunet.py logits FOLDER float64

FOLDER holds ``spec.json``, ``weights.npz`` under nnU-Net's names and ``window.npy`` (X, Y, Z), as
``rivals/models.py`` writes them. ``make`` leaves ``FOLDER/results``, for ``nnUNet_results``;
``logits`` leaves ``FOLDER/logits_<type>.npy`` (K, X, Y, Z). Needs nothing of medseg.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
    os.environ.setdefault(name, "")  # it complains where they are missing

DATASET, CONFIGURATION = "Dataset100_Rival", "3d_fullres"
MODEL = f"{DATASET}/nnUNetTrainer__nnUNetPlans__{CONFIGURATION}"


def make(folder: Path) -> None:
    """A folder as nnU-Net's training leaves it."""
    import torch

    spec = json.loads((folder / "spec.json").read_text())
    place = folder / "results" / MODEL
    (place / "fold_0").mkdir(parents=True, exist_ok=True)
    (place / "plans.json").write_text(json.dumps(plans(spec), indent=1))
    (place / "dataset.json").write_text(json.dumps(dataset(spec), indent=1))
    checkpoint = {
        "network_weights": filled(spec, folder / "weights.npz").state_dict(),
        "trainer_name": "nnUNetTrainer",
        "init_args": {"configuration": CONFIGURATION},
        "inference_allowed_mirroring_axes": tuple(spec["mirror_axes"]),
    }
    torch.save(checkpoint, place / "fold_0" / "checkpoint_final.pth")


def filled(spec: dict, weights: Path):
    """nnU-Net's network of these plans with our weights; every one of them finds its place."""
    import numpy as np
    import torch
    from nnunetv2.utilities.get_network_from_plans import get_network_from_plans

    shape = architecture(spec)
    network = get_network_from_plans(
        shape["network_class_name"],
        shape["arch_kwargs"],
        shape["_kw_requires_import"],
        1,
        len(spec["labels"]) + 1,
        deep_supervision=False,
    )
    values = dict(np.load(weights))
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            value = values.pop(name, None)
            if value is None and not (name.endswith("bias") or "seg_layers" in name):
                raise SystemExit(f"no weights for {name}")
            parameter.copy_(torch.zeros(()) if value is None else torch.from_numpy(value))
    if values:
        raise SystemExit(f"no place for {sorted(values)}")
    return network


def logits(folder: Path, kind: str) -> None:
    """What nnU-Net's network, read from its folder as nnU-Net does, says of the window."""
    import numpy as np
    import torch
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    predictor = nnUNetPredictor(device=torch.device("cpu"))
    predictor.initialize_from_trained_model_folder(str(folder / "results" / MODEL), (0,))
    network = predictor.network.eval().to(getattr(torch, kind))
    window = torch.from_numpy(np.load(folder / "window.npy").transpose(2, 1, 0).copy())
    with torch.inference_mode():
        answer = network(window[None, None].to(getattr(torch, kind)))[0]
    np.save(folder / f"logits_{kind}.npy", answer.permute(0, 3, 2, 1).double().numpy())


def dataset(spec: dict) -> dict:
    return {
        "channel_names": {"0": "CT" if spec["window"] else "MR"},
        "labels": {"background": 0, **spec["labels"]},
        "numTraining": 1,
        "file_ending": ".nii.gz",
    }


def plans(spec: dict) -> dict:
    """Plans in nnU-Net's format; resampling as its planner sets it."""
    plain = {"is_seg": False, "order_z": 0, "force_separate_z": None}
    window = spec["window"] or {"low": 0, "high": 1, "mean": 0, "sd": 1}
    configuration = {
        "data_identifier": "nnUNetPlans_3d_fullres",
        "preprocessor_name": "DefaultPreprocessor",
        "batch_size": 2,
        "patch_size": spec["patch"],
        "median_image_size_in_voxels": spec["patch"],
        "spacing": spec["spacing_mm"],
        "normalization_schemes": ["CTNormalization" if spec["window"] else "ZScoreNormalization"],
        "use_mask_for_norm": [False],
        "resampling_fn_data": "resample_data_or_seg_to_shape",
        "resampling_fn_seg": "resample_data_or_seg_to_shape",
        "resampling_fn_probabilities": "resample_data_or_seg_to_shape",
        "resampling_fn_data_kwargs": {**plain, "order": 3},
        "resampling_fn_seg_kwargs": {**plain, "is_seg": True, "order": 1},
        "resampling_fn_probabilities_kwargs": {**plain, "order": 1},
        "batch_dice": False,
        "architecture": architecture(spec),
    }
    return {
        "dataset_name": DATASET,
        "plans_name": "nnUNetPlans",
        "original_median_spacing_after_transp": spec["spacing_mm"],
        "original_median_shape_after_transp": spec["patch"],
        "image_reader_writer": "SimpleITKIO",
        "transpose_forward": [0, 1, 2],
        "transpose_backward": [0, 1, 2],
        "configurations": {CONFIGURATION: configuration},
        "experiment_planner_used": "ExperimentPlanner",
        "label_manager": "LabelManager",
        "foreground_intensity_properties_per_channel": {
            "0": {
                "percentile_00_5": window["low"],
                "percentile_99_5": window["high"],
                "min": window["low"],
                "max": window["high"],
                "median": window["mean"],
                "mean": window["mean"],
                "std": window["sd"],
            }
        },
    }


def architecture(spec: dict) -> dict:
    levels = len(spec["features"])
    return {
        "network_class_name": "dynamic_network_architectures.architectures.unet.PlainConvUNet",
        "arch_kwargs": {
            "n_stages": levels,
            "features_per_stage": spec["features"],
            "conv_op": "torch.nn.modules.conv.Conv3d",
            "kernel_sizes": [[3, 3, 3]] * levels,
            "strides": [[1, 1, 1]] + [[2, 2, 2]] * (levels - 1),
            "n_conv_per_stage": [2] * levels,
            "n_conv_per_stage_decoder": [2] * (levels - 1),
            "conv_bias": True,
            "norm_op": "torch.nn.modules.instancenorm.InstanceNorm3d",
            "norm_op_kwargs": {"eps": 1e-05, "affine": True},
            "dropout_op": None,
            "dropout_op_kwargs": None,
            "nonlin": "torch.nn.LeakyReLU",
            "nonlin_kwargs": {"inplace": True},
        },
        "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
    }


if __name__ == "__main__":
    if len(sys.argv) < 3:
        print(__doc__)
    elif sys.argv[1] == "make":
        make(Path(sys.argv[2]))
    else:
        logits(Path(sys.argv[2]), sys.argv[3])
