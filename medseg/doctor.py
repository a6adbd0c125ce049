"""What this machine offers, what is missing, and how to get it."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import platform
import shutil
import sys
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from medseg.memory import available_bytes, usable_cores


class State(StrEnum):
    """How a finding stands."""

    OK = "ok"
    ADVICE = "advice"
    MISSING = "missing"


@dataclass(frozen=True)
class Finding:
    """One line of the doctor's.

    Attributes:
        topic: what was looked at.
        state: fine, could be better, or missing.
        found: what is there.
        remedy: what to do, empty where nothing is to be done.
    """

    topic: str
    state: State
    found: str
    remedy: str = ""


#: Modules that a part of medseg needs: module, what for, how to get it; needed or optional.
REQUIRED = (
    ("torch", "training and segmenting"),
    ("monai", "transforms, networks, bundles"),
    ("lightning", "training"),
    ("nibabel", "NIfTI"),
    ("SimpleITK", "registration, N4, MINC"),
    ("pydicom", "DICOM"),
    ("highdicom", "DICOM SEG"),
    ("skimage", "contours of pictures and structure sets"),
    ("safetensors", "model files"),
    ("isal", "fast gzip"),
    ("pandas", "tables"),
    ("matplotlib", "pictures"),
    ("jinja2", "reports"),
)
OPTIONAL = (
    ("openjpeg", "JPEG 2000 in DICOM", "pip install pylibjpeg-openjpeg"),
    ("libjpeg", "JPEG in DICOM", "pip install pylibjpeg-libjpeg"),
    ("jpeg_ls", "JPEG-LS in DICOM", "pip install pyjpegls"),
    ("distributed", "segment --cluster", "pip install 'medseg[cluster]'"),
    ("onnx", "export --to onnx", "pip install 'medseg[onnx]'"),
    ("openvino", "segment engine=openvino, faster on CPUs", "pip install 'medseg[openvino]'"),
    ("starlette", "medseg review", "pip install 'medseg[review]'"),
    ("tensorboard", "curves in TensorBoard", "pip install 'medseg[tensorboard]'"),
    ("mlflow", "training.logger=mlflow", "pip install 'medseg[mlflow]'"),
    ("wandb", "training.logger=wandb", "pip install 'medseg[wandb]'"),
)


def examine() -> list[Finding]:
    """Look at Python, packages, processor, memory, GPUs and the disk of this folder."""
    machine = [_processor(), _compiler(), _memory(), *_gpus(), _allocator(), _disk()]
    return [_python(), *_packages(), *machine]


def _python() -> Finding:
    version = platform.python_version()
    if (3, 11) <= sys.version_info[:2] < (3, 14):
        return Finding("Python", State.OK, version)
    return Finding("Python", State.ADVICE, version, "medseg is tested with Python 3.11 to 3.13.")


def _packages() -> list[Finding]:
    missing = (State.MISSING, "not installed", "pip install medseg")
    lacking = (State.ADVICE, "not installed (optional)")
    return [
        *(_package(module, purpose, missing) for module, purpose in REQUIRED),
        *(_package(module, purpose, (*lacking, remedy)) for module, purpose, remedy in OPTIONAL),
    ]


def _package(module: str, purpose: str, otherwise: tuple[State, str, str]) -> Finding:
    topic = f"{module} ({purpose})"
    if importlib.util.find_spec(module) is None:
        return Finding(topic, *otherwise)
    return Finding(topic, State.OK, _version(module))


def _version(module: str) -> str:
    names = importlib.metadata.packages_distributions().get(module, [module])
    try:
        return importlib.metadata.version(names[0])
    except importlib.metadata.PackageNotFoundError:
        return "installed"


def _processor() -> Finding:
    flags = _cpu_flags()
    fast = [
        name
        for name, flag in (
            ("AVX2", "avx2"),
            ("AVX-512", "avx512f"),
            ("AVX-512 bfloat16", "avx512_bf16"),
            ("AMX bfloat16", "amx_bf16"),
        )
        if flag in flags
    ]
    description = f"{usable_cores()} usable cores" + (f", {', '.join(fast)}" if fast else "")
    return Finding("processor", State.OK, description)


def _cpu_flags() -> set[str]:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return set()
    return set(next((line for line in lines if line.startswith("flags")), "").split())


def _compiler() -> Finding:
    compiler = next((name for name in ("g++", "c++", "clang++", "cl") if shutil.which(name)), None)
    if compiler is not None:
        return Finding("C++ compiler (segment engine=compiled)", State.OK, compiler)
    return Finding(
        "C++ compiler (segment engine=compiled)",
        State.ADVICE,
        "none (optional)",
        "Install g++ or clang to compile networks for this processor.",
    )


def _memory() -> Finding:
    free = available_bytes()
    state = State.OK if free > 4e9 else State.ADVICE
    remedy = "" if state is State.OK else "Close other programs, or give segment a --memory budget."
    return Finding("memory", state, f"{free / 1e9:.1f} GB available", remedy)


def _gpus() -> list[Finding]:
    if importlib.util.find_spec("torch") is None:
        return []
    import torch

    if not torch.cuda.is_available():
        built = torch.version.cuda
        remedy = (
            "Segmenting works on the CPU; for a GPU install a CUDA build of torch (pytorch.org)."
            if built is None
            else "torch has CUDA, but no GPU answers: check the driver (nvidia-smi)."
        )
        return [Finding("GPU", State.ADVICE, "none: networks run on the CPU", remedy)]
    findings = []
    for index in range(torch.cuda.device_count()):
        card = torch.cuda.get_device_properties(index)
        description = f"{card.name}, {card.total_memory / 1e9:.0f} GB"
        findings.append(Finding(f"GPU cuda:{index}", State.OK, description))
    return findings


def _allocator() -> Finding:
    if platform.libc_ver()[0] != "glibc":
        return Finding("memory allocator", State.OK, platform.libc_ver()[0] or "not glibc")
    return Finding(
        "memory allocator",
        State.OK,
        "glibc; train, segment and demo restart once with tuned MALLOC_* variables "
        "(MEDSEG_NO_REEXEC=1 switches that off)",
    )


def _disk() -> Finding:
    free = shutil.disk_usage(".").free
    state = State.OK if free > 5e9 else State.ADVICE
    remedy = "" if state is State.OK else "Choose an --output on a larger disk."
    return Finding("disk here", state, f"{free / 1e9:.0f} GB free", remedy)
