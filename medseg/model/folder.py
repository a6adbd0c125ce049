"""Model folders, written, read and checked: a card (YAML) and weights (safetensors).

Loading a model runs no code from its folder. One weights file is one network; several are the
folds of an ensemble. Reading a card needs no torch, which is loaded with the first network: what
commands a batch stays small and starts soon.
"""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from medseg import __version__
from medseg.config import InferConfig, PostprocessRule, PrepareConfig, load_yaml, validate
from medseg.config.kinds import kind_of
from medseg.errors import BadModel, MedsegError
from medseg.files import is_file, open_file, read_bytes
from medseg.labels import LabelTable
from medseg.model.card import ModelCard
from medseg.writers.atomic import atomic_path

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

CARD = "model.yaml"
_WEIGHTS = "weights"

#: What a card says of labels, as in a cohort's.
_LABEL_KEYS = ("labels", "ignore", "regions", "mirror_pairs")


@dataclass(frozen=True, eq=False)
class Model:
    """A model folder, read and checked; the weights stay on disk until :meth:`networks`.

    Attributes:
        folder: where it lies.
        card: everything ``model.yaml`` says.
        labels: the card's label table.
    """

    folder: Path
    card: ModelCard
    labels: LabelTable

    @property
    def dims(self) -> int:
        """2 for slices, 3 for volumes."""
        return self.card.dims

    @property
    def slice_axis(self) -> int | None:
        """Working axis along which a 2D network slices."""
        return self.card.slice_axis

    @property
    def prepare(self) -> PrepareConfig:
        """How scans become working tensors."""
        return self.card.prepare

    @property
    def infer(self) -> InferConfig:
        """How windows are laid and joined."""
        return self.card.infer

    @property
    def postprocess(self) -> tuple[PostprocessRule, ...]:
        """Rules learnt or given at training."""
        return self.card.postprocess

    @property
    def volume_ranges_ml(self) -> dict[str, tuple[float, float]]:
        """Smallest and largest volume of each label in the training cohort, in ml."""
        return self.card.volume_ranges_ml

    @property
    def checksum(self) -> str:
        """One SHA-256 over the card and all weights: the identity of the model."""
        digest = hashlib.sha256(read_bytes(self.folder / CARD))
        for name in sorted(self.card.weights):
            digest.update(self.card.weights[name].encode())
        return digest.hexdigest()

    def networks(self, device: torch.device | str = "cpu") -> list[nn.Module]:
        """The networks in evaluation mode, one a weights file.

        Raises:
            BadModel: a weights file is missing, altered or does not fit the network.
        """
        return [self._network(name, sha256, device) for name, sha256 in self.card.weights.items()]

    def _network(self, name: str, sha256: str, device: torch.device | str) -> nn.Module:
        path = self.folder / _WEIGHTS / name
        content = _read(path)
        if hashlib.sha256(content).hexdigest() != sha256:
            raise BadModel(
                "the weights are not the ones the card was written for",
                path=path,
                found="another checksum",
                remedy="Copy the model folder again.",
            )
        import safetensors.torch

        network = self.blank_network()
        try:
            network.load_state_dict(safetensors.torch.load(content))
        except (RuntimeError, safetensors.SafetensorError) as error:
            raise BadModel(
                "the weights do not fit the network", path=path, found=str(error).splitlines()[0]
            ) from None
        return network.to(device).eval()

    def inner(self, folder: str) -> Model:
        """The model in a folder inside this one's, such as its locator.

        Raises:
            BadModel: there is none, or it cannot be used.
        """
        return read_model(self.folder / folder)

    def blank_network(self) -> nn.Module:
        """The network without its weights.

        Raises:
            BadModel: there is no such network, or it has no such options.
        """
        from medseg.networks import build_network

        try:
            return build_network(
                self.card.network.name,
                dims=self.dims,
                in_channels=len(self.card.channels),
                out_channels=self.labels.channels,
                options=self.card.network.options,
            )
        except MedsegError as error:
            raise BadModel(f"the card cannot be used: {error}", path=self.folder / CARD) from None


def load_model(folder: str | Path) -> Model:
    """Read a model folder (``model.yaml`` + ``weights/*.safetensors``) and try its network.

    Raises:
        BadModel: it is not a model folder, or its card cannot be used.
    """
    import torch

    model = read_model(folder)
    with torch.device("meta"):  # no numbers yet: only whether it can be built
        model.blank_network()
    return model


def read_model(folder: str | Path) -> Model:
    """Read a model folder without trying its network.

    Raises:
        BadModel: it is not a model folder, or its card cannot be used.
    """
    folder = Path(folder)
    if not is_file(folder / CARD):
        raise BadModel(
            "not a model folder",
            path=folder,
            found=kind_of(folder) or "no model.yaml",
            expected="the folder RUN/model that medseg train leaves",
        )
    try:
        card = validate(ModelCard, load_yaml(folder / CARD), path=str(folder / CARD))
        labels = LabelTable.from_card(_labels_part(card.model_dump()))
        _check_mirrors(card)
    except MedsegError as error:
        raise BadModel(f"the card cannot be used: {error}") from None
    if not card.weights:
        raise BadModel("the card names no weights", path=folder / CARD)
    for name in card.weights:
        if Path(name).name != name or not (folder / _WEIGHTS / name).is_file():
            raise BadModel(
                "a weights file is missing",
                path=folder / _WEIGHTS,
                expected=name,
                remedy="Copy the model folder again.",
            )
    return Model(folder, card, labels)


def _check_mirrors(card: ModelCard) -> None:
    """Refuse mirrors at test time along axes that training, by its config, did not mirror."""
    trained = card.provenance.config.get("augment", {}).get("mirror_axes")
    untrained = set(card.infer.mirror_axes) - set(
        card.infer.mirror_axes if trained is None else trained
    )
    if untrained:
        raise BadModel(
            "infer.mirror_axes holds axes that the network was not trained to see mirrored",
            found=sorted(untrained, key=str),
            expected=f"axes among {list(trained or ())}",
        )


def save_model(
    folder: Path, card: ModelCard, labels: LabelTable, weights: Mapping[str, Mapping[str, Tensor]]
) -> Model:
    """Write a model folder; the card comes last, so that a half-written one is not a model.

    Args:
        folder: created where missing.
        card: its ``labels`` and ``weights`` entries are filled here.
        labels: the label table.
        weights: file stem (``fold_0``, ``all``) to state dict.
    """
    import safetensors.torch

    (folder / _WEIGHTS).mkdir(parents=True, exist_ok=True)
    checksums = {}
    for stem, state in weights.items():
        tensors = {name: t.detach().cpu().contiguous() for name, t in state.items()}
        content = safetensors.torch.save(tensors)
        with atomic_path(folder / _WEIGHTS / f"{stem}.safetensors") as temporary:
            temporary.write_bytes(content)
        checksums[f"{stem}.safetensors"] = hashlib.sha256(content).hexdigest()
    blank = dict.fromkeys(_LABEL_KEYS)
    filled = {**card.model_dump(), **blank, **labels.to_card(), "weights": checksums}
    write_card(folder, validate(ModelCard, filled))
    return load_model(folder)


def write_card(folder: Path, card: ModelCard) -> None:
    """Write ``model.yaml``, atomically."""
    plain = card.model_dump(mode="json", exclude_none=True)
    with atomic_path(folder / CARD) as temporary:
        temporary.write_text(
            yaml.safe_dump(plain, sort_keys=False, allow_unicode=True, default_flow_style=None),
            encoding="utf-8",
        )


def versions() -> dict[str, str]:
    """Versions of what shapes the numbers."""
    packages: Sequence[str] = ("torch", "monai", "numpy", "lightning")
    return {
        "medseg": __version__,
        "python": platform.python_version(),
        **{name: version(name) for name in packages},
    }


def _labels_part(card: Mapping[str, Any]) -> dict[str, Any]:
    return {key: card.get(key) for key in _LABEL_KEYS}


def _read(path: Path) -> bytes:
    try:
        with open_file(path) as file:
            return file.read()
    except OSError as error:
        raise BadModel("a weights file cannot be read", path=path, found=error.strerror) from None
