"""Our U-Net beside others' of the same widths: parameters, time, memory.

    python benchmarks/bench_networks.py [--rounds 5] [--small]

Rivals: MONAI's BasicUNet and DynUNet, and PlainConvUNet of dynamic-network-architectures where it
is installed (``pip install --no-deps dynamic-network-architectures`` in an environment beside
this one; it asks for more than it needs here). Every round runs forward + backward of each in
turn, each figure is the best of its rounds, and ratios are ours over theirs: below 1 is quicker or
smaller. Peak memory is that of a process of its own per network, over what it held before.

Where the machine has no bfloat16 instructions, torch's fallback is dozens of times slower than
float32; the ratio then says little, and ``--small`` keeps it bearable.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from monai.networks.nets import BasicUNet, DynUNet
from torch import Tensor, nn

from medseg.networks import build_network
from medseg.networks.blocks import LAYERS

WIDTHS = (16, 32, 64, 128, 256)
SHAPES = {2: (8, 1, 192, 192), 3: (2, 1, 48, 64, 48)}
SMALL_SHAPES = {2: (2, 1, 64, 64), 3: (1, 1, 32, 32, 32)}
#: As the project's own training sets it: big blocks stay with the process.
ALLOCATOR = {
    "MALLOC_MMAP_THRESHOLD_": "4294967296",
    "MALLOC_TRIM_THRESHOLD_": "34359738368",
    "MALLOC_TOP_PAD_": "268435456",
}
#: Which of ours is shaped like which rival: pooling, or strided convolutions.
TWINS = {
    "BasicUNet": "medseg, pooling",
    "DynUNet": "medseg, strided",
    "PlainConvUNet": "medseg, strided",
}


def builders(dims: int) -> dict[str, Callable[[], nn.Module]]:
    """Every network of the comparison, by name."""
    found: dict[str, Callable[[], nn.Module]] = {
        "medseg, pooling": lambda: ours(dims, "max_pool"),
        "medseg, strided": lambda: ours(dims, "strided_conv"),
        "BasicUNet": lambda: BasicUNet(dims, 1, 3, features=(*WIDTHS, WIDTHS[0])),
        "DynUNet": lambda: dyn_unet(dims),
    }
    if importlib.util.find_spec("dynamic_network_architectures"):
        found["PlainConvUNet"] = lambda: plain_conv_unet(dims)
    return found


def ours(dims: int, shrink: str) -> nn.Module:
    options = {"features": WIDTHS, "shrink": shrink}
    return build_network("unet", dims=dims, in_channels=1, out_channels=3, options=options)


def dyn_unet(dims: int) -> nn.Module:
    strides = [1, 2, 2, 2, 2]
    return DynUNet(
        dims,
        1,
        3,
        [3] * 5,
        strides,
        strides[1:],
        filters=WIDTHS,
        norm_name=("INSTANCE", {"affine": True}),
    )


def plain_conv_unet(dims: int) -> nn.Module:
    from dynamic_network_architectures.architectures.unet import PlainConvUNet

    conv, norm = (nn.Conv2d, nn.InstanceNorm2d) if dims == 2 else (nn.Conv3d, nn.InstanceNorm3d)
    return PlainConvUNet(
        1,
        5,
        WIDTHS,
        conv,
        3,
        (1, 2, 2, 2, 2),
        2,
        3,
        2,
        conv_bias=True,
        norm_op=norm,
        norm_op_kwargs={"affine": True, "eps": 1e-5},
        nonlin=nn.LeakyReLU,
        nonlin_kwargs={"inplace": True},
    )


def image_for(name: str, dims: int, shape: tuple[int, ...]) -> Tensor:
    image = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    return image.to(memory_format=LAYERS[dims].memory_format) if "medseg" in name else image


def step(network: nn.Module, image: Tensor, precision: str, clock: Callable[[], float]) -> float:
    """Seconds of one forward and backward pass."""
    network.zero_grad()
    begin = clock()
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision == "bfloat16"):
        logits = network(image)
    logits.float().square().mean().backward()
    return clock() - begin


def seconds(
    dims: int, shape: tuple[int, ...], precision: str, rounds: int, clock: Callable[[], float]
) -> dict[str, float]:
    """The best of all rounds for each network, the networks taking turns."""
    networks = {name: build() for name, build in builders(dims).items()}
    times: dict[str, list[float]] = {name: [] for name in networks}
    for _ in range(rounds + 1):
        for name, network in networks.items():
            times[name].append(step(network, image_for(name, dims, shape), precision, clock))
    return {name: min(values[1:]) for name, values in times.items()}


def peak_mib(name: str, dims: int, shape: tuple[int, ...], precision: str) -> float:
    """What one step adds to a fresh process's peak."""
    question = json.dumps([name, dims, shape, precision])
    plain = {key: value for key, value in os.environ.items() if key not in ALLOCATOR}
    answer = subprocess.run(
        [sys.executable, __file__, "--peak", question],
        env=plain,
        capture_output=True,
        text=True,
        check=True,
    )
    return float(answer.stdout)


def answer_peak(question: str) -> None:
    """In a process of its own: print how far two steps lifted the peak."""
    name, dims, shape, precision = json.loads(question)
    torch.manual_seed(0)
    network, image = builders(dims)[name](), image_for(name, dims, tuple(shape))
    Path("/proc/self/clear_refs").write_text("5")  # Linux: the peak starts again from here
    before = kib("VmRSS")
    for _ in range(2):
        step(network, image, precision, time.perf_counter)
    print((kib("VmHWM") - before) / 1024)


def kib(key: str) -> int:
    """A figure of this process's memory."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(key))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--dims", type=int, nargs="+", default=[2, 3])
    parser.add_argument("--precision", nargs="+", default=["float32", "bfloat16"])
    parser.add_argument("--small", action="store_true")
    parser.add_argument(
        "--cpu-time", action="store_true", help="for a busy machine, with OMP_NUM_THREADS=1"
    )
    parser.add_argument("--peak", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.peak:
        answer_peak(chosen.peak)
        return
    if not ALLOCATOR.items() <= os.environ.items():
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **ALLOCATOR})
    native = torch.ops.mkldnn._is_mkldnn_bf16_supported()
    print(f"{torch.get_num_threads()} threads, bfloat16 {'native' if native else 'by fallback'}")
    print("| dims | precision | network | parameters | s | ours / this | MiB | ours / this |")
    print("|---|---|---|---:|---:|---:|---:|---:|")
    for dims in chosen.dims:
        shape = (SMALL_SHAPES if chosen.small else SHAPES)[dims]
        for precision in chosen.precision:
            clock = time.process_time if chosen.cpu_time else time.perf_counter
            took = seconds(dims, shape, precision, chosen.rounds, clock)
            report(dims, shape, precision, took)


def report(dims: int, shape: tuple[int, ...], precision: str, took: dict[str, float]) -> None:
    """A row a network."""
    peaks = {name: peak_mib(name, dims, shape, precision) for name in took}
    for name, build in builders(dims).items():
        parameters = sum(parameter.numel() for parameter in build().parameters())
        twin = TWINS.get(name, name)
        print(
            f"| {dims} | {precision} | {name} | {parameters:,} | {took[name]:.3f} "
            f"| {took[twin] / took[name]:.2f} | {peaks[name]:.0f} "
            f"| {peaks[twin] / peaks[name]:.2f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
