"""Writes plans in nnU-Net's format, with its defaults; runs inside nnU-Net's own environment."""

from __future__ import annotations

PLANS = "nnUNetPlans"


def plans(
    dataset: str,
    configuration: str,
    *,
    patch: list[int],
    spacing: list[float],
    schemes: list[str],
    architecture: dict,
    intensities: dict,
    mask: list[bool],
    batch: int,
    transpose: list[int],
    median_spacing: list[float],
    median_shape: list[int],
) -> dict:
    """``plans.json`` with one configuration; spacing and patch after the transpose."""
    plain = {"is_seg": False, "order_z": 0, "force_separate_z": None}
    ways = ("data", "seg", "probabilities")
    return {
        "dataset_name": dataset,
        "plans_name": PLANS,
        "original_median_spacing_after_transp": median_spacing,
        "original_median_shape_after_transp": median_shape,
        "image_reader_writer": "SimpleITKIO",
        "transpose_forward": transpose,
        "transpose_backward": [transpose.index(axis) for axis in range(3)],
        "configurations": {
            configuration: {
                "data_identifier": f"{PLANS}_{configuration}",
                "preprocessor_name": "DefaultPreprocessor",
                "batch_size": batch,
                "patch_size": patch,
                "median_image_size_in_voxels": patch,
                "spacing": spacing,
                "normalization_schemes": schemes,
                "use_mask_for_norm": mask,
                **{f"resampling_fn_{way}": "resample_data_or_seg_to_shape" for way in ways},
                "resampling_fn_data_kwargs": {**plain, "order": 3},
                "resampling_fn_seg_kwargs": {**plain, "is_seg": True, "order": 1},
                "resampling_fn_probabilities_kwargs": {**plain, "order": 1},
                "batch_dice": False,
                "architecture": architecture,
            }
        },
        "experiment_planner_used": "ExperimentPlanner",
        "label_manager": "LabelManager",
        "foreground_intensity_properties_per_channel": intensities,
    }


def architecture(
    kind: str,
    features: list[int],
    strides: list[list[int]],
    kernels: list[list[int]],
    *,
    blocks: dict[str, list[int]],
    decoder: list[int],
) -> dict:
    """A network of ``dynamic_network_architectures`` as plans name it."""
    dims = len(strides[0])
    return {
        "network_class_name": f"dynamic_network_architectures.architectures.unet.{kind}",
        "arch_kwargs": {
            "n_stages": len(features),
            "features_per_stage": features,
            "conv_op": f"torch.nn.modules.conv.Conv{dims}d",
            "kernel_sizes": kernels,
            "strides": strides,
            **blocks,
            "n_conv_per_stage_decoder": decoder,
            "conv_bias": True,
            "norm_op": f"torch.nn.modules.instancenorm.InstanceNorm{dims}d",
            "norm_op_kwargs": {"eps": 1e-05, "affine": True},
            "dropout_op": None,
            "dropout_op_kwargs": None,
            "nonlin": "torch.nn.LeakyReLU",
            "nonlin_kwargs": {"inplace": True},
        },
        "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
    }
