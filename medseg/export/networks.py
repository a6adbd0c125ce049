"""Each network of a model as a file of another format, compared with the network itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from medseg.errors import BadModel
from medseg.model import Model
from medseg.writers.atomic import atomic_path

#: Logits of the exported network may differ by this share of the spread of the network's own:
#: other libraries add up in another order.
TOLERANCE = 1e-4

#: Windows that the two are compared on; another number than one shows that the batch is free.
_COMPARED = 2


def write_networks(model: Model, exporter: Any, folder: Path) -> list[Path]:
    """One file a network, named like its weights.

    Raises:
        BadModel: a network cannot be exported, or answers otherwise than it does itself.
    """
    window = window_of(model)
    generator = torch.Generator().manual_seed(0)
    channels = len(model.card.channels)
    windows = torch.randn(_COMPARED, channels, *window, generator=generator)
    paths = []
    for weights, network in zip(model.card.weights, model.networks(), strict=True):
        path = folder / f"{Path(weights).stem}{exporter.ENDING}"
        with atomic_path(path) as temporary, torch.inference_mode(mode=False), torch.no_grad():
            try:
                exporter.write(network, windows, temporary)
                answer = exporter.run(temporary, windows)
            except (RuntimeError, TypeError, ValueError, NotImplementedError) as error:
                raise _refused(model, error, path) from error
            _compare(network, windows, answer, path)
        paths.append(path)
    return paths


def window_of(model: Model) -> tuple[int, ...]:
    """Voxels of a window along the axes that the network sees.

    Raises:
        BadModel: the card names no window.
    """
    window = tuple(model.infer.window)
    if model.dims == 2 and len(window) == 3 and model.slice_axis is not None:
        window = tuple(n for axis, n in enumerate(window) if axis != model.slice_axis)
    if len(window) != model.dims:
        raise BadModel(
            "the card names no window to export for",
            path=model.folder,
            found=list(model.infer.window),
            expected=f"infer.window with {model.dims} sizes",
        )
    return window


def _refused(model: Model, error: Exception, path: Path) -> BadModel:
    """The refusal of a network that another tool has no words for."""
    lines = str(error).strip().splitlines()
    return BadModel(
        f"the network {model.card.network.name} cannot be exported as {path.suffix}",
        path=path,
        found=lines[0][:200] if lines else type(error).__name__,
        remedy="Try another format of --to.",
    )


def _compare(network: nn.Module, windows: torch.Tensor, answer: torch.Tensor, path: Path) -> None:
    expected = network(windows)
    if answer.shape == expected.shape:
        difference = float((answer - expected).abs().max())
        if difference <= TOLERANCE * max(1.0, float(expected.std())):
            return
        answer_text = f"logits that differ by up to {difference:.2g}"
    else:
        answer_text = f"logits of shape {tuple(answer.shape)}"
    raise BadModel(
        "the exported network gives other logits than the original",
        path=path,
        found=answer_text,
        expected=f"{tuple(expected.shape)}, equal within {TOLERANCE:g} of their spread",
        remedy="Please report it with the model's card.",
    )
