"""Gives medseg and nnU-Net the same network: one medseg model, its weights renamed.

medseg sees (X, Y, Z), nnU-Net (Z, Y, X): kernels are turned round. nnU-Net joins what came up
before what came across, medseg the other way round: the two halves of that kernel change places.
nnU-Net's convolutions have biases, which the norm after them takes away again: zeros.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from medseg.config import Choice, InferConfig, NormaliseWindow, NormaliseZScore, PrepareConfig
from medseg.geometry import Alignment
from medseg.labels import Label, LabelTable
from medseg.model import Model, ModelCard, load_model, save_model
from medseg.networks import build_network

_RIVAL = Path(__file__).resolve().parents[1] / "rival_nnunet.py"

#: The two networks do the same sums in another order; in float64 nothing else is between them.
AGREE = 1e-4


@dataclass(frozen=True)
class Twins:
    """One network in two folders.

    Attributes:
        ours: medseg model folder.
        theirs: what ``nnUNet_results`` points to.
        checked: largest difference of their logits on a random window, by number type.
    """

    ours: Path
    theirs: Path
    checked: dict[str, float]


def options(features: Sequence[int]) -> dict[str, object]:
    """Our U-Net in the shape of PlainConvUNet."""
    return {"features": list(features), "shrink": "strided_conv"}


def random_model(
    folder: Path,
    *,
    features: Sequence[int],
    classes: int,
    prepare: PrepareConfig,
    infer: InferConfig,
    modality: str,
) -> Model:
    """A model with seeded random weights whose logits are well spread (SD about 5)."""
    labels = LabelTable(tuple(Label(f"label {n}", n, "#808080") for n in range(1, classes)))
    torch.manual_seed(1)
    network = build_network(
        "unet", dims=3, in_channels=1, out_channels=classes, options=options(features)
    ).eval()
    with torch.inference_mode():
        logits = network(torch.randn(1, 1, *(min(n, 48) for n in infer.window)))
        network.get_parameter("heads.0.weight").mul_(5 / float(logits.std()))
    card = ModelCard(
        name="rival",
        modality=modality,
        channels=("image",),
        labels={},
        dims=3,
        network=Choice(name="unet", options=options(features)),
        prepare=prepare,
        infer=infer,
    )
    return save_model(folder, card, labels, {"all": network.state_dict()})


def retold_model(folder: Path, trained: Path, infer: InferConfig) -> Model:
    """A trained model with other windows and no post-processing.

    Raises:
        SystemExit: its network is not shaped like PlainConvUNet.
    """
    model = load_model(trained)
    told = model.card.network
    if told.name != "unet" or told.options != options(told.options.get("features", ())):
        raise SystemExit(f"{trained}: expected the options {options((32, 64))}, found {told}")
    card = model.card.model_copy(update={"infer": infer, "postprocess": ()})
    (network,) = model.networks()
    return save_model(folder, card, model.labels, {"all": network.state_dict()})


def make_twins(model: Model, folder: Path, python: Path) -> Twins:
    """Write nnU-Net's folder of a medseg model, and compare the logits of the two.

    Raises:
        SystemExit: the logits differ.
    """
    (network,) = model.networks()
    folder.mkdir(parents=True, exist_ok=True)
    np.savez(folder / "weights.npz", **renamed(network.state_dict()))
    (folder / "spec.json").write_text(json.dumps(_spec(model), indent=1))
    window = np.random.default_rng(1).normal(size=[min(n, 32) for n in model.infer.window])
    np.save(folder / "window.npy", window)
    _call(python, "make", folder)
    checked = {}
    for kind in ("float64", "float32"):
        _call(python, "logits", folder, kind)
        theirs = np.load(folder / f"logits_{kind}.npy")
        checked[kind] = float(np.abs(theirs - _logits(network, window, kind)).max())
    if checked["float64"] > AGREE:
        raise SystemExit(f"the two networks differ by {checked['float64']} of a logit")
    return Twins(model.folder, folder / "results", checked)


def renamed(state: Mapping[str, Tensor]) -> dict[str, NDArray[np.float32]]:
    """Medseg's state dict under nnU-Net's names, kernels (Z, Y, X)."""
    levels = 1 + max(int(name.split(".")[1]) for name in state if name.startswith("contract."))
    answer = {}
    for name, tensor in state.items():
        value = tensor.detach().float().cpu()
        if value.ndim == 5:
            value = value.permute(0, 1, 4, 3, 2)
        if name.startswith("merge.") and name.endswith(".0.0.weight"):
            across, up = value.chunk(2, dim=1)
            value = torch.cat([up, across], dim=1)
        answer[_their_name(name, levels)] = np.ascontiguousarray(value.numpy())
    return answer


def _their_name(name: str, levels: int) -> str:
    part, *rest = name.split(".")
    if part == "heads":
        return f"decoder.seg_layers.{levels - 2}.{rest[-1]}"
    if part == "rise":
        return f"decoder.transpconvs.{rest[0]}.{rest[-1]}"
    level, block, layer, kind = rest
    inside = f"convs.{block}.{('conv', 'norm')[int(layer)]}.{kind}"
    stage = f"encoder.stages.{level}.0" if part == "contract" else f"decoder.stages.{level}"
    return f"{stage}.{inside}"


def _spec(model: Model) -> dict[str, object]:
    """What nnU-Net's plans and dataset files need to know."""
    (rule,) = model.prepare.normalise
    if isinstance(rule, NormaliseWindow):
        window = {"low": rule.low, "high": rule.high, "mean": rule.mean, "sd": rule.sd}
    elif isinstance(rule, NormaliseZScore):
        window = None
    else:
        raise SystemExit(f"nnU-Net has no normalisation like {rule.kind}")
    return {
        "features": list(model.card.network.options["features"]),
        "labels": {label.name: label.value for label in model.labels.labels},
        "patch": list(model.infer.window)[::-1],
        "spacing_mm": [mm or 1.0 for mm in model.prepare.spacing_mm][::-1],
        "resampled": any(model.prepare.spacing_mm),
        "window": window,
        "mirror_axes": [2 - axis for axis in model.infer.mirror_axes] or [0, 1, 2],
    }


def _logits(network: nn.Module, window: NDArray[np.float64], kind: str) -> NDArray[np.float64]:
    """(K, X, Y, Z) logits of one window."""
    with torch.inference_mode():
        typed = network.to(getattr(torch, kind))
        answer = typed(torch.from_numpy(window)[None, None].to(getattr(torch, kind)))[0]
    return np.asarray(answer.double().numpy())


def _call(python: Path, *arguments: object) -> None:
    call = [str(python), str(_RIVAL), *map(str, arguments)]
    done = subprocess.run(call, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(call)}\n{done.stderr[-2000:]}")


def prepare_ct(spacing_mm: float | None) -> PrepareConfig:
    """Of the large CT: clipped and scaled; on nnU-Net's working grid where resampled."""
    rule = NormaliseWindow(low=-1000, high=1000, mean=0, sd=500)
    if spacing_mm is None:
        return PrepareConfig(normalise=(rule,))
    return PrepareConfig(
        spacing_mm=(spacing_mm,) * 3,
        alignment=Alignment.EDGES,
        normalise=(rule,),
        resampling="cubic",
    )
