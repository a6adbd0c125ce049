"""The engines that run a network: torch as it is, compiled for this machine, or OpenVINO."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import torch
from torch import nn

from medseg.errors import BadConfig
from medseg.extras import require_packages
from medseg.memory import is_out_of_memory

#: What ``engine=openvino`` needs besides torch.
_NEEDED = ("openvino", "onnx", "onnxscript")


class Engine(StrEnum):
    """What runs the networks."""

    TORCH = "torch"
    #: ``torch.compile``: minutes at the first window, for a faster network afterwards.
    COMPILED = "compiled"
    #: On CPUs, in float32: the network converted once for each size of a batch of windows.
    OPENVINO = "openvino"


class Compiled(nn.Module):
    """A network through ``torch.compile``; from its first failure on, the network as it is.

    Attributes:
        network: as it is.
        fault: why it is not compiled, once that has failed; empty before.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.fault = ""
        self._compiled = torch.compile(network, dynamic=False)

    def forward(self, windows: torch.Tensor) -> torch.Tensor:
        """(B, C, *spatial) to (B, K, *spatial) logits."""
        if not self.fault:
            try:
                answer: torch.Tensor = self._compiled(windows)
                return answer
            except Exception as error:
                if is_out_of_memory(error):
                    raise
                self.fault = (str(error) or type(error).__name__).splitlines()[0][:200]
        plain: torch.Tensor = self.network(windows)
        return plain


class Converted(nn.Module):
    """A network run by OpenVINO on the CPU."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self._by_shape: dict[tuple[int, ...], Any] = {}

    def forward(self, windows: torch.Tensor) -> torch.Tensor:
        """(B, C, *spatial) to (B, K, *spatial) logits."""
        shape = tuple(windows.shape)
        if shape not in self._by_shape:
            self._by_shape[shape] = _converted(self.network, windows)
        return torch.from_numpy(self._by_shape[shape](windows.contiguous().numpy())[0])


def _converted(network: nn.Module, windows: torch.Tensor) -> Any:
    """The network for windows of this shape, by way of ONNX."""
    import openvino

    with torch.inference_mode(mode=False):
        example = torch.zeros(windows.shape, dtype=windows.dtype)
        program = torch.onnx.export(network, (example,), dynamo=True, verbose=False)
    if program is None:
        raise TypeError("torch.onnx.export gave no program")
    core = openvino.Core()
    model = core.read_model(model=program.model_proto.SerializeToString(), weights=b"")
    settings = {
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        "INFERENCE_PRECISION_HINT": "f32",
        "PERFORMANCE_HINT": "LATENCY",
    }
    return core.compile_model(model, "CPU", settings)


def engaged(network: nn.Module, engine: Engine) -> nn.Module:
    """The network, run by an engine."""
    if engine is Engine.OPENVINO:
        return Converted(network)
    return Compiled(network) if engine is Engine.COMPILED else network


def require_engine(engine: Engine, device: torch.device, dtype: torch.dtype) -> None:
    """Refuse an engine that cannot run here.

    Raises:
        BadConfig: OpenVINO is not installed, or something else than a CPU in float32 is asked.
    """
    if engine is not Engine.OPENVINO:
        return
    require_packages("the engine openvino", _NEEDED, "openvino", "leave out engine=openvino")
    if device.type != "cpu" or dtype != torch.float32:
        raise BadConfig(
            "the engine openvino runs on CPUs in float32",
            found=f"{device}, {dtype}".replace("torch.", ""),
            expected="cpu, float32",
            remedy="Add --device cpu, or leave out engine=openvino.",
        )


def faults(networks: list[nn.Module]) -> list[str]:
    """A warning where networks were to be compiled and are not."""
    found = {network.fault for network in networks if isinstance(network, Compiled)}
    return [f"torch.compile failed, the network runs as it is: {fault}" for fault in found if fault]
