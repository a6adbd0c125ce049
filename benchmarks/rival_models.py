"""Train small nnU-Net models of every kind that ``medseg import-model`` takes, and run them.

    RIVAL/bin/python benchmarks/rival_models.py train DATA --work FOLDER [--only 2d]
    RIVAL/bin/python benchmarks/rival_models.py predict MODEL IMAGES MASKS

Runs in nnU-Net's own environment (see ``rival_training.py``) and needs nothing of medseg. DATA
holds ``images`` and ``labels``: hippocampus crops at 1 mm. The plans are written here so that
every rule is met: spacings other than the scans', a plan with slices, turned axes, the three
normalisations, folds, two channels, regions with an ignored value. Networks are small and trained
for a minute each: their masks need not be good, only not empty. ``bench_import.py`` compares.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import time
from pathlib import Path

import rival_format
from rival_format import PLANS

CASES = 15

#: What each model is: configuration, spacing and patch after the transpose, strides, and the rest.
MODELS = {
    "2d": {
        "configuration": "2d",
        "spacing": [0.9, 1.1],
        "patch": [56, 40],
        "strides": [[1, 1], [2, 2], [2, 2]],
        "schemes": ["ZScoreNormalization"],
        "mask": [False],
    },
    "full": {
        "configuration": "3d_fullres",
        "spacing": [1.2, 0.9, 1.1],
        "patch": [24, 32, 32],
        "strides": [[1, 1, 1], [2, 2, 2], [2, 2, 2]],
        "transpose": [2, 0, 1],
        "schemes": ["CTNormalization"],
        "mask": [False],
        "folds": [0, 1],
        "channels": ["CT"],
    },
    "residual": {
        "configuration": "3d_fullres",
        "spacing": [3.4, 1.0, 1.0],
        "patch": [8, 40, 32],
        "strides": [[1, 1, 1], [1, 2, 2], [2, 2, 2]],
        "residual": True,
        "schemes": ["ZScoreNormalization"],
        "mask": [False],
    },
    "regions": {
        "configuration": "3d_fullres",
        "spacing": [1.0, 1.0, 1.0],
        "patch": [24, 32, 32],
        "strides": [[1, 1, 1], [2, 2, 2], [2, 2, 2]],
        "regions": True,
        "schemes": ["ZScoreNormalization", "RescaleTo01Normalization"],
        "mask": [True, False],
        "channels": ["T1", "smooth"],
        "trainer": "nnUNetTrainerNoMirroring",
    },
    "low": {
        "configuration": "3d_lowres",
        "spacing": [1.7, 1.7, 1.7],
        "patch": [24, 32, 24],
        "strides": [[1, 1, 1], [2, 2, 2], [2, 2, 2]],
        "schemes": ["RescaleTo01Normalization"],
        "mask": [False],
    },
}


def main() -> None:
    """Train, or predict."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    verbs = parser.add_subparsers(dest="verb", required=True)
    training = verbs.add_parser("train")
    training.add_argument("data", type=Path)
    training.add_argument("--work", type=Path, required=True)
    training.add_argument("--only", choices=MODELS)
    training.add_argument("--iterations", type=int, default=80)
    predicting = verbs.add_parser("predict")
    predicting.add_argument("model", type=Path)
    predicting.add_argument("images", type=Path)
    predicting.add_argument("masks", type=Path)
    arguments = parser.parse_args()
    os.environ.setdefault("nnUNet_n_proc_DA", "0")
    if arguments.verb == "predict":
        predict(arguments.model, arguments.images, arguments.masks)
        return
    for name in ("raw", "preprocessed", "results"):
        os.environ[f"nnUNet_{name}"] = str(arguments.work / name)
    for number, name in enumerate(MODELS, start=301):
        if arguments.only in (None, name):
            start = time.monotonic()
            train(name, number, arguments)
            print(f"{name}: {time.monotonic() - start:.0f} s", flush=True)


def predict(model: Path, images: Path, masks: Path) -> None:
    """What ``nnUNetv2_predict`` does for a folder, with every fold and its own defaults."""
    for name in ("raw", "preprocessed", "results"):
        os.environ.setdefault(f"nnUNet_{name}", str(masks.parent))
    import torch
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    predictor = nnUNetPredictor(device=torch.device("cpu"), allow_tqdm=False)
    folds = sorted(path.name.removeprefix("fold_") for path in model.glob("fold_*"))
    predictor.initialize_from_trained_model_folder(str(model), use_folds=tuple(folds))
    masks.mkdir(parents=True, exist_ok=True)
    predictor.predict_from_files(
        str(images), str(masks), num_processes_preprocessing=1, num_processes_segmentation_export=1
    )


def train(name: str, number: int, arguments: argparse.Namespace) -> None:
    """Lay out, preprocess and train one model."""
    model = MODELS[name]
    dataset = f"Dataset{number}_{name}"
    lay_out(arguments.work / "raw" / dataset, model, arguments.data)
    from nnunetv2.experiment_planning.plan_and_preprocess_api import (
        extract_fingerprints,
        preprocess,
    )

    extract_fingerprints([number], num_processes=1)
    place = arguments.work / "preprocessed" / dataset
    fingerprint = json.loads((place / "dataset_fingerprint.json").read_text())
    intensities = fingerprint["foreground_intensity_properties_per_channel"]
    (place / f"{PLANS}.json").write_text(json.dumps(plans(dataset, model, intensities), indent=1))
    card = arguments.work / "raw" / dataset / "dataset.json"
    shutil.copyfile(card, place / "dataset.json")
    preprocess([number], PLANS, (model["configuration"],), (1,))
    for fold in model.get("folds", ["all"]):
        trainer_of(place, model, fold, arguments.iterations).run_training()


def lay_out(folder: Path, model: dict, data: Path) -> None:
    """The raw data set under nnU-Net's names."""
    import numpy as np
    import SimpleITK

    shutil.rmtree(folder, ignore_errors=True)
    for part in ("imagesTr", "labelsTr"):
        (folder / part).mkdir(parents=True)
    channels = model.get("channels", ["T1"])
    cases = sorted(path.name for path in (data / "images").glob("*.nii.gz"))[:CASES]
    for case in cases:
        stem = case.removesuffix(".nii.gz")
        image = SimpleITK.ReadImage(str(data / "images" / case), SimpleITK.sitkFloat32)
        write_channels(image, len(channels), folder / "imagesTr" / stem)
        truth = SimpleITK.ReadImage(str(data / "labels" / case))
        if model.get("regions"):
            values = SimpleITK.GetArrayFromImage(truth)
            values[:3] = np.where(values[:3] > 0, 3, values[:3])
            ignored = SimpleITK.GetImageFromArray(values)
            ignored.CopyInformation(truth)
            truth = ignored
        SimpleITK.WriteImage(truth, str(folder / "labelsTr" / case))
    labels = {"background": 0, "anterior": 1, "posterior": 2}
    if model.get("regions"):
        labels = {"background": 0, "whole": [1, 2], "posterior": 2, "ignore": 3}
    content = {
        "channel_names": {str(n): channel for n, channel in enumerate(channels)},
        "labels": labels,
        "numTraining": len(cases),
        "file_ending": ".nii.gz",
        **({"regions_class_order": [1, 2]} if model.get("regions") else {}),
    }
    (folder / "dataset.json").write_text(json.dumps(content, indent=1))


def write_channels(image, count: int, stem: Path) -> None:
    """The scan, and as a second channel the scan made smooth."""
    import SimpleITK

    SimpleITK.WriteImage(image, f"{stem}_0000.nii.gz")
    if count > 1:
        smooth = SimpleITK.DiscreteGaussian(image, 2.0)
        SimpleITK.WriteImage(smooth, f"{stem}_0001.nii.gz")


def plans(dataset: str, model: dict, intensities: dict) -> dict:
    """The plans of one model."""
    return rival_format.plans(
        dataset,
        model["configuration"],
        patch=model["patch"],
        spacing=model["spacing"],
        schemes=model["schemes"],
        architecture=architecture(model),
        intensities=intensities,
        mask=model["mask"],
        batch=8 if len(model["patch"]) == 2 else 2,
        transpose=model.get("transpose", [0, 1, 2]),
        median_spacing=[1.0, 1.0, 1.0],
        median_shape=[36, 50, 35],
    )


def architecture(model: dict) -> dict:
    """A small network of the plan's kind."""
    strides, dims = model["strides"], len(model["patch"])
    kernels = [[1, 3, 3] if step[0] == 1 and step != [1] * dims else [3] * dims for step in strides]
    if model.get("residual"):
        kind, blocks, decoder = "ResidualEncoderUNet", {"n_blocks_per_stage": [1, 2, 2]}, [1, 1]
    else:
        kind, blocks, decoder = "PlainConvUNet", {"n_conv_per_stage": [2, 2, 2]}, [2, 2]
    return rival_format.architecture(
        kind, [8, 16, 32], strides, kernels, blocks=blocks, decoder=decoder
    )


def trainer_of(place: Path, model: dict, fold: int | str, iterations: int):
    """nnU-Net's trainer with a short schedule and Adam, which needs fewer steps than SGD."""
    import torch
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
    from nnunetv2.training.nnUNetTrainer.variants.data_augmentation import (
        nnUNetTrainerNoMirroring as no_mirroring,
    )

    kinds = {"nnUNetTrainerNoMirroring": no_mirroring.nnUNetTrainerNoMirroring}
    content = json.loads((place / f"{PLANS}.json").read_text()) | {"continue_training": False}
    dataset = json.loads((place / "dataset.json").read_text())
    kind = kinds.get(model.get("trainer"), nnUNetTrainer)
    trainer = kind(content, model["configuration"], fold, dataset, device=torch.device("cpu"))
    trainer.num_iterations_per_epoch = 20
    trainer.num_epochs = max(1, iterations // 20)
    trainer.num_val_iterations_per_epoch = 1

    def configure_optimizers():
        optimizer = torch.optim.AdamW(trainer.network.parameters(), lr=3e-3)
        return optimizer, torch.optim.lr_scheduler.ConstantLR(optimizer, factor=1.0)

    def get_training_transforms(patch, rotation, scales, mirror_axes, *others, **chosen):
        from batchgeneratorsv2.transforms.spatial.mirroring import MirrorTransform
        from batchgeneratorsv2.transforms.utils.compose import ComposeTransforms

        wanted = ("is_cascaded", "foreground_labels", "regions", "ignore_label")
        plain = nnUNetTrainer.get_validation_transforms(
            scales, **{key: chosen[key] for key in wanted}
        )
        mirrors = [MirrorTransform(allowed_axes=mirror_axes)] if mirror_axes else []
        return ComposeTransforms([*mirrors, *plain.transforms])

    configured = trainer.configure_rotation_dummyDA_mirroring_and_inital_patch_size

    def configure_patch():
        rotation, flat, _, mirror_axes = configured()
        return rotation, flat, trainer.configuration_manager.patch_size, mirror_axes

    trainer.configure_optimizers = configure_optimizers
    trainer.configure_rotation_dummyDA_mirroring_and_inital_patch_size = configure_patch
    trainer.get_training_transforms = get_training_transforms  # mirrors alone: a minute is short
    return trainer


if __name__ == "__main__":
    main()
