"""MONAI's usual chain segments one file, in a process of its own.

    python benchmarks/rivals/monai_chain.py MODEL SCAN FOLDER [--windows 1] [--invert]

The same network as ours, from our model folder: it runs faster than MONAI's own of the same
widths, to the rival's advantage. At native spacing: load, scale, sliding window, argmax, save.
With ``--invert`` the scan is resampled first and the logits are brought back by ``Invertd``.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch
from monai import transforms as mt
from monai.inferers import sliding_window_inference

from medseg.config import NormaliseWindow
from medseg.model import Model, load_model


def scaling(model: Model) -> dict[str, Any]:
    """Our window in MONAI's words."""
    (rule,) = model.prepare.normalise
    if not isinstance(rule, NormaliseWindow):
        raise SystemExit("only a window of intensities is written in MONAI's words here")
    mean = rule.mean if rule.mean is not None else (rule.low + rule.high) / 2
    sd = rule.sd if rule.sd is not None else (rule.high - rule.low) / 2
    low, high = (rule.low - mean) / sd, (rule.high - mean) / sd
    return {"a_min": rule.low, "a_max": rule.high, "b_min": low, "b_max": high, "clip": True}


def slide(model: Model, image: torch.Tensor, windows: int) -> torch.Tensor:
    """(C, X, Y, Z) to (K, X, Y, Z) logits over our windows, in 16 bits on a CUDA device."""
    device = image.device
    (network,) = model.networks(device)
    infer = model.infer
    with torch.inference_mode(), torch.autocast(device.type, enabled=device.type == "cuda"):
        logits = sliding_window_inference(
            image[None],
            infer.window,
            windows,
            network,
            infer.overlap,
            mode=infer.weighting,
            padding_mode="replicate",
        )
    return logits[0]


def saver(folder: Path) -> dict[str, Any]:
    return {
        "output_dir": folder,
        "output_postfix": "",
        "output_dtype": "uint8",
        "separate_folder": False,
        "resample": False,
        "print_log": False,
    }


def native(model: Model, scan: Path, folder: Path, windows: int, device: str) -> None:
    load = mt.Compose(
        [
            mt.LoadImage(image_only=True, ensure_channel_first=True),
            mt.ScaleIntensityRange(**scaling(model)),
        ]
    )
    logits = slide(model, load(str(scan)).to(device), windows)
    mt.SaveImage(**saver(folder))(mt.AsDiscrete(argmax=True)(logits))


def inverted(model: Model, scan: Path, folder: Path, windows: int, device: str) -> None:
    load = mt.Compose(
        [
            mt.LoadImaged("image", ensure_channel_first=True),
            mt.Spacingd("image", model.prepare.spacing_mm, mode="bilinear"),
            mt.ScaleIntensityRanged("image", **scaling(model)),
        ]
    )
    after = mt.Compose(
        [
            mt.Invertd("pred", load, orig_keys="image", nearest_interp=False, to_tensor=True),
            mt.AsDiscreted("pred", argmax=True),
            mt.SaveImaged("pred", **saver(folder)),
        ]
    )
    data = load({"image": str(scan)})
    data["pred"] = slide(model, data["image"].to(device), windows)
    after(data)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("scan", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--windows", type=int, default=1, help="at a time")
    parser.add_argument("--invert", action="store_true")
    parser.add_argument("--device", default="cpu")
    chosen = parser.parse_args()
    chosen.folder.mkdir(parents=True, exist_ok=True)
    chain = inverted if chosen.invert else native
    chain(load_model(chosen.model), chosen.scan, chosen.folder, chosen.windows, chosen.device)


if __name__ == "__main__":
    main()
