"""A MONAI bundle becomes a model of medseg: metadata, configuration and state dict, read as data.

The network is one of MONAI's own, asked as MONAI asks it; nothing of the bundle is run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import torch
from torch import Tensor

from medseg.config import Choice
from medseg.errors import BadConfig, BadModel, MedsegError
from medseg.labels import LabelTable
from medseg.manifests.importing import modality_of
from medseg.model import ModelCard, Provenance, versions
from medseg.model_import.bundle_config import Configuration
from medseg.model_import.bundle_files import (
    METADATA,
    bundle_folder,
    read_configuration,
    read_metadata,
    weights_path,
)
from medseg.model_import.bundle_metadata import channels_of, labels_of
from medseg.model_import.bundle_preparing import preparing
from medseg.model_import.bundle_rules import deciding, inferring, painted_layers, slicing
from medseg.model_import.bundle_steps import Step, step_of, steps_of
from medseg.model_import.checkpoint import read_checkpoint
from medseg.model_import.foreign import Foreign, ImportOptions
from medseg.networks import build_network
from medseg.networks.monai_nets import SAID_ELSEWHERE, MonaiClass, is_plain

#: What a state dict may be wrapped in.
_WRAPPERS = ("state_dict", "model", "network", "net")

#: Spellings that MONAI takes for a class.
_SPELLINGS = {
    "Unet": "UNet",
    "BasicUnet": "BasicUNet",
    "Basicunet": "BasicUNet",
    "DynUnet": "DynUNet",
    "Dynunet": "DynUNet",
    "AttentionUNet": "AttentionUnet",
}

#: Arguments by their older names.
_RENAMED = {"dimensions": "spatial_dims"}

#: Arguments of older versions without a meaning for what a trained network answers.
_DROPPED = {"SwinUNETR": ("img_size", "use_checkpoint")}

#: Before every weight's name in a model folder, where the network is a part of ours.
_PART = "network."


def foreign(path: Path, options: ImportOptions) -> Foreign:
    """Read a bundle.

    Args:
        path: a folder or zip with configs/metadata.json, configs/inference.json (or .yaml) and
            models/model.pt.
        options: what to take; a bundle has no folds.

    Raises:
        BadConfig: options that are nnU-Net's.
        BadModel: it is no bundle, or something in it is not known here.
    """
    if options.folds or options.any_trainer or options.checkpoint != "final":
        raise BadConfig("folds, checkpoint and any_trainer are for nnunet, not for bundle")
    with bundle_folder(path) as folder:
        try:
            return _read(folder, path, options)
        except (ValueError, TypeError, OverflowError) as error:  # text for a number, or too large
            raise BadModel(
                "a value of the configuration cannot be used",
                path=folder / "configs",
                found=" ".join(str(error).split())[:200],
            ) from None


def _read(folder: Path, path: Path, options: ImportOptions) -> Foreign:
    metadata, configuration = read_metadata(folder), read_configuration(folder)
    channels, layers = channels_of(metadata, folder), painted_layers(configuration)
    labels = labels_of(metadata, folder, layers)
    inferer = step_of(configuration, configuration.values.get("inferer"), "inferer")
    slice_axis = slicing(inferer)
    dims = 3 if slice_axis is None else 2
    network = _network(configuration, len(channels), labels.channels, dims, layers)
    before = steps_of(configuration, "preprocessing")
    prepare = preparing(before, len(channels), options.orientation)
    spaced = any(mm is not None for mm in prepare.spacing_mm)
    decision = deciding(configuration, labels, spaced=spaced)
    origin = {key: str(metadata.get(key, "")) for key in ("name", "version", "monai_version")}
    card = ModelCard(
        name=options.name or origin["name"] or path.stem,
        modality=modality_of(channels),
        channels=channels,
        labels={},
        dims=dims,
        slice_axis=slice_axis,
        network=network,
        prepare=prepare,
        infer=inferring(inferer, decision.restore),
        postprocess=decision.rules,
        provenance=Provenance(
            cohort=str(metadata.get("data_source", "")),
            config={"monai_bundle": origin},
            versions=versions(),
        ),
    )
    weights = _weights(weights_path(folder, configuration), card, labels)
    return Foreign(card, labels, {"all": weights}, _remarks(prepare.turned_to))


def _network(
    configuration: Configuration,
    inputs: int,
    outputs: int,
    dims: int,
    layers: Sequence[tuple[int, int]],
) -> Choice:
    """MONAI's network with plain arguments.

    Args:
        configuration: of the bundle.
        inputs: channels of a scan.
        outputs: channels of logits.
        dims: of the windows.
        layers: channel and value of each region, as painted.

    Raises:
        BadModel: another class, an argument that is no plain value, or numbers of channels that
            the metadata contradicts.
    """
    section = "network_def" if "network_def" in configuration.values else "network"
    step = step_of(configuration, configuration.values.get(section), section)
    name = _SPELLINGS.get(step.name, step.name)
    if name not in get_args(MonaiClass):
        raise step.refused(
            f"the network {step.name} is not known here",
            expected=f"one of MONAI's {', '.join(get_args(MonaiClass))}",
        )
    arguments = _plain_arguments(step, configuration)
    expected = {"spatial_dims": dims, "in_channels": inputs, "out_channels": outputs}
    for key, number in expected.items():
        if arguments.get(key, number) != number:
            raise step.refused(
                f"{step.name}.{key} does not fit",
                found=arguments[key],
                expected=f"{number}, as {METADATA} says"
                if key != "spatial_dims"
                else f"{dims}, as the inferer's",
            )
    own_arguments = {key: value for key, value in arguments.items() if key not in SAID_ELSEWHERE}
    options: dict[str, Any] = {"network": name, "arguments": own_arguments}
    if layers:
        options["outputs"] = [channel for channel, _ in layers]
    return Choice(name="monai", options=options)


def _plain_arguments(step: Step, configuration: Configuration) -> dict[str, Any]:
    """The network's arguments by the names that they have today.

    Raises:
        BadModel: the network is switched off, or an argument is no plain value.
    """
    arguments = {
        _RENAMED.get(key, key): configuration.plain(value, f"{step.name}.{key}")
        for key, value in step.arguments.items()
        if not key.startswith("_")
    }
    for key in _DROPPED.get(_SPELLINGS.get(step.name, step.name), ()):
        arguments.pop(key, None)
    known = ("_target_", "_disabled_")
    special = sorted(k for k in step.arguments if k.startswith("_") and k not in known)
    if step.is_disabled:
        raise step.refused(f"the network {step.name} is switched off")
    strange = [key for key, value in arguments.items() if not is_plain(value)]
    if special or strange:
        raise step.refused(
            f"{step.name} has arguments that are not known here", found=", ".join(special + strange)
        )
    return arguments


def _weights(path: Path, card: ModelCard, labels: LabelTable) -> dict[str, Tensor]:
    """The state dict under our names, each tensor with memory of its own.

    Raises:
        BadModel: it is none, or does not fit the network.
    """
    content = read_checkpoint(path)
    for name in _WRAPPERS:
        if isinstance(content.get(name), Mapping):
            content = content[name]
            break
    strange = [key for key, value in content.items() if not isinstance(value, Tensor)]
    if strange or not content:
        raise BadModel(
            "not a state dict",
            path=path,
            found=", ".join(map(str, strange[:4])) or "nothing",
            expected=f"tensors, perhaps in {' or '.join(_WRAPPERS)}",
        )
    weights = {
        f"{_PART}{str(key).removeprefix('module.')}": t.clone() for key, t in content.items()
    }
    try:
        with torch.device("meta"):
            blank = build_network(
                card.network.name,
                dims=card.dims,
                in_channels=len(card.channels),
                out_channels=labels.channels,
                options=card.network.options,
            ).state_dict()
    except MedsegError as error:
        raise BadModel(error.problem, path=path, found=error.found, remedy=error.remedy) from None
    _check_fit(blank, weights, path)
    return weights


def _check_fit(blank: Mapping[str, Tensor], weights: Mapping[str, Tensor], path: Path) -> None:
    for names, problem in (
        (blank.keys() - weights.keys(), "lacks weights of the network"),
        (weights.keys() - blank.keys(), "holds weights without a place in the network"),
    ):
        if names:
            shown = ", ".join(name.removeprefix(_PART) for name in sorted(names)[:3])
            raise BadModel(f"the state dict {problem}", path=path, found=shown)
    for name, tensor in weights.items():
        if tensor.shape != blank[name].shape:
            raise BadModel(
                "a weight is of another size",
                path=path,
                found=f"{name.removeprefix(_PART)} {tuple(tensor.shape)}",
                expected=tuple(blank[name].shape),
            )


def _remarks(turned_to: str | None) -> tuple[str, ...]:
    if turned_to is not None:
        return ()
    return (
        "scans are taken as they are stored, as the bundle takes them; where all its training "
        "scans had one orientation, --orientation makes others alike",
    )
