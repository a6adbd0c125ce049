"""Small MONAI bundles, and what MONAI itself predicts with them by their own configuration."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.bundle import ConfigParser
from numpy.typing import NDArray

NETWORK = {
    "_target_": "UNet",
    "spatial_dims": 3,
    "in_channels": 1,
    "out_channels": 3,
    "channels": [4, 8, 8],
    "strides": [2, 2],
    "num_res_units": 1,
    "norm": "batch",
}

WINDOW = {
    "_target_": "ScaleIntensityRanged",
    "keys": "image",
    "a_min": 0,
    "a_max": 600,
    "b_min": 0,
    "b_max": 1,
    "clip": True,
}

BEFORE: list[dict[str, Any]] = [
    {"_target_": "LoadImaged", "keys": "@image_key"},
    {"_target_": "EnsureChannelFirstd", "keys": "@image_key"},
    {"_target_": "Orientationd", "keys": "@image_key", "axcodes": "RAS"},
    {
        "_target_": "Spacingd",
        "keys": "@image_key",
        "pixdim": "$[1.5, 1.5, 2.0]",
        "mode": "bilinear",
    },
    {**WINDOW, "keys": "@image_key"},
    {"_target_": "EnsureTyped", "keys": "@image_key"},
]

AFTER: list[dict[str, Any]] = [
    {"_target_": "Activationsd", "keys": "pred", "softmax": True},
    {
        "_target_": "Invertd",
        "keys": "pred",
        "transform": "@preprocessing",
        "orig_keys": "@image_key",
        "nearest_interp": False,
        "to_tensor": True,
    },
    {"_target_": "AsDiscreted", "keys": "pred", "argmax": True},
]

SAVE = {"_target_": "SaveImaged", "keys": "pred", "output_dir": "$@bundle_root + '/eval'"}


def configuration() -> dict[str, Any]:
    """What a bundle for CT commonly says."""
    return copy.deepcopy(
        {
            "imports": ["$import glob"],
            "bundle_root": ".",
            "image_key": "image",
            "device": "$torch.device('cuda:0' if torch.cuda.is_available() else 'cpu')",
            "datalist": "$list(sorted(glob.glob(@bundle_root + '/*.nii.gz')))",
            "network_def": NETWORK,
            "network": "$@network_def.to(@device)",
            "preprocessing": {"_target_": "Compose", "transforms": BEFORE},
            "inferer": {
                "_target_": "SlidingWindowInferer",
                "roi_size": [16, 16, 16],
                "sw_batch_size": 4,
                "overlap": 0.5,
                "mode": "gaussian",
            },
            "postprocessing": {"_target_": "Compose", "transforms": [*AFTER, SAVE]},
        }
    )


def metadata(channels: int = 1) -> dict[str, Any]:
    named = {str(n): f"contrast {n}" for n in range(channels)}
    return {
        "name": "Two organs",
        "version": "0.1.0",
        "monai_version": "1.4.0",
        "network_data_format": {
            "inputs": {"image": {"modality": "CT", "num_channels": channels, "channel_def": named}},
            "outputs": {"pred": {"channel_def": {"0": "background", "1": "liver", "2": "spleen"}}},
        },
    }


def make_bundle(
    folder: Path, config: dict[str, Any] | None = None, *, channels: int = 1, yaml: bool = False
) -> Path:
    """Write a bundle with weights whose answers vary from voxel to voxel."""
    config = config or configuration()
    for part in ("configs", "models"):
        (folder / part).mkdir(parents=True)
    (folder / "configs" / "metadata.json").write_text(json.dumps(metadata(channels)))
    text = json.dumps(config)  # JSON is YAML, too
    (folder / "configs" / f"inference.{'yaml' if yaml else 'json'}").write_text(text)
    torch.manual_seed(3)
    network = parser(config, folder).get_parsed_content("network_def")
    if isinstance(network, torch.nn.Module):
        sharpen(network)
        torch.save(network.state_dict(), folder / "models" / "model.pt")
    return folder


def sharpen(network: torch.nn.Module) -> None:
    """Scale the last convolution, so that probabilities are far from even."""
    last = [m for m in network.modules() if isinstance(m, torch.nn.modules.conv._ConvNd)][-1]
    with torch.no_grad():
        last.weight *= 8


def parser(config: dict[str, Any], folder: Path) -> ConfigParser:
    made = ConfigParser({**copy.deepcopy(config), "bundle_root": str(folder)})
    made["imports"] = ["$import torch"]
    return made


def predict(folder: Path, config: dict[str, Any], scan: Path | list[Path]) -> NDArray[np.int64]:
    """(X, Y, Z) mask on the scan's own grid, by MONAI alone."""
    config = copy.deepcopy(config)
    config["postprocessing"]["transforms"] = [
        each for each in config["postprocessing"]["transforms"] if each["_target_"] != "SaveImaged"
    ]
    made = parser(config, folder)
    network = made.get_parsed_content("network_def").eval()
    network.load_state_dict(torch.load(folder / "models" / "model.pt", weights_only=True))
    before = made.get_parsed_content("preprocessing")
    before.map_items = False
    names = [str(path) for path in scan] if isinstance(scan, list) else str(scan)
    data = before({"image": names})
    with torch.no_grad():
        pred = made.get_parsed_content("inferer")(data["image"][None], network)[0]
    data["pred"] = pred
    done = made.get_parsed_content("postprocessing")(data)["pred"]
    return np.asarray(done.numpy()[0]).round().astype(np.int64)
