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

import rival_format

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
    window = spec["window"] or {"low": 0, "high": 1, "mean": 0, "sd": 1}
    facts = {
        "percentile_00_5": window["low"],
        "percentile_99_5": window["high"],
        "min": window["low"],
        "max": window["high"],
        "median": window["mean"],
        "mean": window["mean"],
        "std": window["sd"],
    }
    return rival_format.plans(
        DATASET,
        CONFIGURATION,
        patch=spec["patch"],
        spacing=spec["spacing_mm"],
        schemes=["CTNormalization" if spec["window"] else "ZScoreNormalization"],
        architecture=architecture(spec),
        intensities={"0": facts},
        mask=[False],
        batch=2,
        transpose=[0, 1, 2],
        median_spacing=spec["spacing_mm"],
        median_shape=spec["patch"],
    )


def architecture(spec: dict) -> dict:
    levels = len(spec["features"])
    return rival_format.architecture(
        "PlainConvUNet",
        spec["features"],
        [[1, 1, 1]] + [[2, 2, 2]] * (levels - 1),
        [[3, 3, 3]] * levels,
        blocks={"n_conv_per_stage": [2] * levels},
        decoder=[2] * (levels - 1),
    )


if __name__ == "__main__":
    if len(sys.argv) < 3:
        print(__doc__)
    elif sys.argv[1] == "make":
        make(Path(sys.argv[2]))
    else:
        logits(Path(sys.argv[2]), sys.argv[3])
