"""Steps a second of nnU-Net's own trainer on random patches. Runs where nnU-Net is installed.

    python benchmarks/rivals/nnunet_step.py --patch 128 128 128 --batch 2 --features 32 64 128 …

Its network, loss, optimiser, scaler and ``train_step``, compiled unless ``nnUNet_compile=0``;
patches wait on the device already, so that nothing but the step is timed. Prints a line of JSON.
Needs nothing of medseg.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))


def main() -> None:
    """Build the trainer, warm up, time."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--patch", type=int, nargs=3, default=(128, 128, 128))
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--features", type=int, nargs="+", default=(32, 64, 128, 256, 320, 320))
    parser.add_argument("--classes", type=int, default=4)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--warm-up", type=int, default=8)
    parser.add_argument("--device", default="cuda")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
            os.environ[name] = place
        print(json.dumps(timed(chosen)), flush=True)


def timed(chosen: argparse.Namespace) -> dict[str, object]:
    """Median and total time of the steps after the warm-up, and the device's memory."""
    import torch

    trainer = build(chosen)
    batch = random_batch(trainer, chosen)
    torch.set_num_threads(min(8, os.cpu_count() or 1))
    for _ in range(chosen.warm_up):
        trainer.train_step(batch)
    wait(chosen.device)
    times = []
    began = time.perf_counter()
    for _ in range(chosen.steps):
        step = time.perf_counter()
        trainer.train_step(batch)  # fetches the loss, so it waits for the device
        times.append(time.perf_counter() - step)
    wait(chosen.device)
    seconds = (time.perf_counter() - began) / chosen.steps
    on_device = chosen.device.startswith("cuda")
    memory = torch.cuda.max_memory_allocated() / 1e9 if on_device else None
    return {
        "steps_a_second": round(1 / seconds, 3),
        "median_ms": round(1000 * statistics.median(times), 2),
        "device_gb": memory and round(memory, 2),
    }


def build(chosen: argparse.Namespace):
    """The trainer as ``nnUNetv2_train`` makes it, without a dataset on disk."""
    import torch
    from nnunetv2.training.nnUNetTrainer import nnUNetTrainer as module
    from rival_nnunet import CONFIGURATION, dataset, plans

    spec = {
        "features": list(chosen.features),
        "labels": {f"label {n}": n for n in range(1, chosen.classes)},
        "patch": list(chosen.patch),
        "spacing_mm": [1.0, 1.0, 1.0],
        "window": None,
        "mirror_axes": [0, 1, 2],
    }
    planned = plans(spec)
    planned["configurations"][CONFIGURATION]["batch_size"] = chosen.batch
    module.infer_dataset_class = lambda folder: None
    trainer = module.nnUNetTrainer(
        {**planned, "continue_training": False},
        CONFIGURATION,
        0,
        dataset(spec),
        torch.device(chosen.device),
    )
    trainer.initialize()
    trainer.network.train()
    if chosen.device.startswith("cuda"):
        torch.backends.cudnn.benchmark = True  # as its entry point sets it
    return trainer


def random_batch(trainer, chosen: argparse.Namespace) -> dict[str, object]:
    """Noise, and truth at every resolution that its deep supervision looks at."""
    import torch

    generator = torch.Generator().manual_seed(1)
    data = torch.randn(chosen.batch, 1, *chosen.patch, generator=generator)
    coarse = torch.randint(
        chosen.classes, (chosen.batch, 1, *(n // 8 for n in chosen.patch)), generator=generator
    )
    truth = torch.nn.functional.interpolate(coarse.float(), size=tuple(chosen.patch))
    scales = trainer._get_deep_supervision_scales() or [(1, 1, 1)]
    target = [
        torch.nn.functional.interpolate(truth, scale_factor=tuple(scale)).to(chosen.device)
        for scale in scales
    ]
    return {"data": data.to(chosen.device), "target": target}


def wait(device: str) -> None:
    """Until the device has done all it was told."""
    import torch

    if device.startswith("cuda"):
        torch.cuda.synchronize()


if __name__ == "__main__":
    main()
