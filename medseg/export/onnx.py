"""ONNX: a graph that ONNX Runtime, OpenVINO, TensorRT and others run."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

ENDING = ".onnx"
PACKAGES = ("onnx", "onnxruntime", "onnxscript")

#: The operators of this version are what every runtime of the last years knows.
OPSET = 18

INPUT, OUTPUT = "windows", "logits"


def write(network: nn.Module, windows: torch.Tensor, path: Path) -> None:
    """Write a network; the number of windows in a batch stays free, their size is fixed.

    Args:
        network: in evaluation mode.
        windows: (B, C, *spatial) float32 example, more than one window.
        path: the file.
    """
    program = torch.onnx.export(
        network,
        (windows,),
        dynamo=True,
        verbose=False,
        opset_version=OPSET,
        input_names=[INPUT],
        output_names=[OUTPUT],
        dynamic_shapes=({0: torch.export.Dim("batch", min=1)},),
    )
    if program is None:
        raise TypeError("torch.onnx.export gave no program")
    program.save(str(path), external_data=False)


def run(path: Path, windows: torch.Tensor) -> torch.Tensor:
    """(B, K, *spatial) logits of an exported network by ONNX Runtime on the CPU."""
    import onnxruntime

    session = onnxruntime.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])
    (logits,) = session.run([OUTPUT], {INPUT: windows.numpy()})
    return torch.from_numpy(logits)
