"""What a MONAI bundle's metadata says of a scan's channels and of the labels in its masks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from medseg.errors import BadModel, MedsegError
from medseg.labels import LabelTable
from medseg.model_import.bundle_files import METADATA


def channels_of(metadata: Mapping[str, Any], folder: Path) -> tuple[str, ...]:
    """Names of the image's channels; those that the metadata leaves out are numbered.

    Raises:
        BadModel: the metadata does not describe one image with named or counted channels.
    """
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


def labels_of(
    metadata: Mapping[str, Any], folder: Path, layers: Sequence[tuple[int, int]]
) -> LabelTable:
    """Labels by the channels of the prediction; the first one is background.

    Where regions are painted, every channel is one, and what it leaves to be seen is a label.

    Raises:
        BadModel: the metadata does not number the labels from 0 on.
    """
    named = _format(metadata, "outputs", folder).get("channel_def")
    try:
        names = {int(key): str(name) for key, name in named.items()}  # type: ignore[union-attr]
        if sorted(names) != list(range(len(names))) or len(names) < (1 if layers else 2):
            raise ValueError("channels are not 0, 1, 2 …")
        if layers:
            return _regions(names, layers)
        return LabelTable.from_card({"labels": {names[n]: n for n in range(1, len(names))}})
    except (AttributeError, TypeError, ValueError, MedsegError) as error:
        raise BadModel(
            "the labels cannot be used",
            path=folder / METADATA,
            found=f"{named!r} ({error})",
            expected='"channel_def": {"0": "background", "1": "spleen"} of the prediction',
        ) from None


def _regions(names: Mapping[int, str], layers: Sequence[tuple[int, int]]) -> LabelTable:
    """Regions in the order of painting; each holds what is painted over it."""
    if sorted(channel for channel, _ in layers) != sorted(names):
        raise ValueError("not every channel is painted once")
    values = [value for _, value in layers]
    labels = {}
    for position, (channel, value) in enumerate(layers):
        inner = [names[other] for other, _ in layers[position + 1 : position + 2]]
        labels[" outside ".join([names[channel], *inner])] = value
    regions = {names[channel]: values[position:] for position, (channel, _) in enumerate(layers)}
    return LabelTable.from_card({"labels": labels, "regions": regions})


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
