"""A MONAI bundle becomes a model of medseg: metadata, configuration and state dict, read as data.

The network is one of MONAI's own, asked as MONAI asks it; nothing of the bundle is run.
"""

from __future__ import annotations

from collections.abc import Mapping
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
from medseg.model_import.bundle_preparing import preparing
from medseg.model_import.bundle_rules import deciding, inferring
from medseg.model_import.bundle_steps import step_of, steps_of
from medseg.model_import.checkpoint import read_checkpoint
from medseg.model_import.foreign import Foreign, ImportOptions
from medseg.networks import build_network
from medseg.networks.monai_nets import SAID_ELSEWHERE, MonaiClass, is_plain

#: What a state dict may be wrapped in.
_WRAPPERS = ("state_dict", "model", "network", "net")

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
        except (
            ValueError,
            TypeError,
            OverflowError,
        ) as error:  # a number out of range, text for a number
            raise BadModel(
                "a value of the configuration cannot be used",
                path=folder / "configs",
                found=" ".join(str(error).split())[:200],
            ) from None


def _read(folder: Path, path: Path, options: ImportOptions) -> Foreign:
    metadata, configuration = read_metadata(folder), read_configuration(folder)
    channels, labels = _channels(metadata, folder), _labels(metadata, folder)
    network = _network(configuration, len(channels), labels.channels)
    before = steps_of(configuration, "preprocessing")
    prepare = preparing(before, len(channels), options.orientation)
    spaced = any(mm is not None for mm in prepare.spacing_mm)
    decision = deciding(configuration, labels, spaced=spaced)
    inferer = step_of(configuration, configuration.values.get("inferer"), "inferer")
    origin = {key: str(metadata.get(key, "")) for key in ("name", "version", "monai_version")}
    card = ModelCard(
        name=options.name or origin["name"] or path.stem,
        modality=modality_of(channels),
        channels=channels,
        labels={},
        dims=3,
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
    weights = _weights(weights_path(folder), card, labels)
    return Foreign(card, labels, {"all": weights}, _remarks(prepare.turned_to))


def _network(configuration: Configuration, inputs: int, outputs: int) -> Choice:
    """MONAI's network with plain arguments.

    Raises:
        BadModel: another class, an argument that is no plain value, or numbers of channels that
            the metadata contradicts.
    """
    section = "network_def" if "network_def" in configuration.values else "network"
    step = step_of(configuration, configuration.values.get(section), section)
    if step.name not in get_args(MonaiClass):
        raise step.refused(
            f"the network {step.name} is not known here",
            expected=f"one of MONAI's {', '.join(get_args(MonaiClass))}",
        )
    arguments = {
        key: configuration.plain(value, f"{step.name}.{key}")
        for key, value in step.arguments.items()
        if not key.startswith("_")
    }
    special = sorted(key for key in step.arguments if key.startswith("_") and key != "_target_")
    strange = [key for key, value in arguments.items() if not is_plain(value)]
    if special or strange:
        raise step.refused(
            f"{step.name} has arguments that are not known here", found=", ".join(special + strange)
        )
    expected = {"spatial_dims": 3, "in_channels": inputs, "out_channels": outputs}
    for key, number in expected.items():
        if arguments.get(key, number) != number:
            raise step.refused(
                f"{step.name}.{key} does not fit",
                found=arguments[key],
                expected=f"{number}, as {METADATA} says" if key != "spatial_dims" else "3",
            )
    own_arguments = {key: value for key, value in arguments.items() if key not in SAID_ELSEWHERE}
    return Choice(name="monai", options={"network": step.name, "arguments": own_arguments})


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
        raise BadModel(error.problem, path=path, found=error.found) from None
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


def _channels(metadata: Mapping[str, Any], folder: Path) -> tuple[str, ...]:
    """Names of the image's channels; those that the metadata leaves out are numbered."""
    image = _format(metadata, "inputs", folder)
    named = image.get("channel_def") or {}
    count = image.get("num_channels", len(named) or 1)
    if not isinstance(named, Mapping) or not isinstance(count, int) or count < 1:
        raise BadModel(
            "the channels are not as expected",
            path=folder / METADATA,
            found=f"{count!r}, {named!r}",
            expected='"num_channels": 1',
        )
    names = tuple(str(named.get(str(n), f"channel {n}")) for n in range(count))
    modality = str(image.get("modality", "")).upper()
    if count == 1 and modality in ("CT", "MR", "MRI"):
        return ("CT" if modality == "CT" else "MR",)
    return names if len(set(names)) == count else tuple(f"channel {n}" for n in range(count))


def _labels(metadata: Mapping[str, Any], folder: Path) -> LabelTable:
    """Labels by the channels of the prediction; the first one is background."""
    named = _format(metadata, "outputs", folder).get("channel_def")
    try:
        names = {int(key): str(name) for key, name in named.items()}  # type: ignore[union-attr]
        if sorted(names) != list(range(len(names))) or len(names) < 2:
            raise ValueError("channels are not 0, 1, 2 …")
        return LabelTable.from_card({"labels": {names[n]: n for n in range(1, len(names))}})
    except (AttributeError, TypeError, ValueError, MedsegError) as error:
        raise BadModel(
            "the labels cannot be used",
            path=folder / METADATA,
            found=f"{named!r} ({error})",
            expected='"channel_def": {"0": "background", "1": "spleen"} of the prediction',
        ) from None


def _format(metadata: Mapping[str, Any], way: str, folder: Path) -> Mapping[str, Any]:
    """What ``network_data_format`` says of the one image that goes in or out."""
    try:
        parts = metadata["network_data_format"][way]
        (name,) = parts
        if isinstance(parts[name], Mapping):
            return dict(parts[name])
    except (KeyError, TypeError, ValueError):
        pass
    raise BadModel(
        f"network_data_format.{way} does not describe one image",
        path=folder / METADATA,
        expected="one entry with channel_def",
    )


def _remarks(turned_to: str | None) -> tuple[str, ...]:
    if turned_to is not None:
        return ()
    return (
        "scans are taken as they are stored, as the bundle takes them; where all its training "
        "scans had one orientation, --orientation makes others alike",
    )
