"""The saved model: a card (YAML) and weights (safetensors), all that segmenting needs.

Loading a model runs no code from its folder. One weights file is one network; several are the
folds of an ensemble.
"""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import safetensors.torch
import torch
import yaml
from pydantic import Field
from torch import Tensor, nn

from medseg import __version__
from medseg.config import (
    Choice,
    InferConfig,
    LearntRule,
    Options,
    PostprocessRule,
    PrepareConfig,
    load_yaml,
    validate,
)
from medseg.errors import BadModel, MedsegError
from medseg.labels import LabelTable
from medseg.networks import build_network
from medseg.writers.atomic import atomic_path

CARD = "model.yaml"
_WEIGHTS = "weights"

#: What a card says of labels, as in a cohort's.
_LABEL_KEYS = ("labels", "ignore", "regions", "mirror_pairs")


class Fingerprint(Options):
    """What the training scans looked like, to notice an input that is unlike them.

    Attributes:
        spacing_mm: smallest and largest spacing along R, A, S.
        intensity: 0.5, 50 and 99.5 percentile of real-world values, a row a channel.
        shape: smallest and largest number of voxels along R, A, S.
    """

    spacing_mm: tuple[tuple[float, float], ...] = ()
    intensity: tuple[tuple[float, float, float], ...] = ()
    shape: tuple[tuple[int, int], ...] = ()


class Validation(Options):
    """How good the weights were on whole scans of the fold that was held out.

    Attributes:
        kept: whether the weights of the last step are the model, or the best validated ones.
        cases: scans that were scored each time.
        last: step and mean Dice of the last validation.
        best: step and mean Dice of the best.
    """

    kept: Literal["last", "best"] = "last"
    cases: int
    last: tuple[int, float]
    best: tuple[int, float]


class Pace(Options):
    """How quickly the run went.

    Attributes:
        seconds_a_step: mean over the run, with waiting.
        data_wait: share of it in which no step ran because its patches were not there.
        processes: that trained together.
        parts: a batch went through in so many parts at the end; more than one where memory
            ran out.
    """

    seconds_a_step: float
    data_wait: float
    processes: int = 1
    parts: int = 1


class Provenance(Options):
    """How the model came about.

    Attributes:
        cohort: name of the training cohort.
        cohort_sha256: of its table.
        training_pixels: pixel hash of every training scan (see ``medseg.volume.pixel_hash``).
        training_patients: number of patients among them; who they are is not kept.
        seed, steps, seconds, config: of the run.
        versions: of Python and the packages that shape the numbers.
        non_finite_steps: steps skipped because a gradient was not finite.
        pace: how quickly it went.
        validation: of the weights, where a fold was held out.
        learnt_rules: what was added to the post-processing; ``None`` where nobody asked.
    """

    cohort: str = ""
    cohort_sha256: str = ""
    training_pixels: tuple[str, ...] = ()
    training_patients: int = 0
    seed: int = 0
    steps: int = 0
    seconds: float = 0.0
    non_finite_steps: int = 0
    pace: Pace | None = None
    validation: Validation | None = None
    learnt_rules: tuple[LearntRule, ...] | None = None
    config: dict[str, Any] = Field(default_factory=dict)
    versions: dict[str, str] = Field(default_factory=dict)


class NetworkFacts(Options):
    """What the network sees and costs, for one window of the size it was trained on.

    Attributes:
        parameters: learned numbers.
        multiply_adds: of one forward pass of a window.
        activation_bytes: kept for the backward pass, float32.
        receptive_field: voxels along each axis of a window that can change one output voxel.
    """

    parameters: int
    multiply_adds: int
    activation_bytes: int
    receptive_field: tuple[int, ...]


class ModelCard(Options):
    """The content of ``model.yaml``; ``labels`` and its companions as in a cohort card."""

    format: Literal["medseg-model-1"] = "medseg-model-1"
    name: str = ""
    modality: str = ""
    channels: tuple[str, ...]
    labels: dict[str, Any]
    ignore: int | None = None
    regions: dict[str, tuple[int, ...]] | None = None
    mirror_pairs: tuple[tuple[str, str], ...] | None = None
    dims: Literal[2, 3]
    slice_axis: Literal[0, 1, 2] | None = None
    network: Choice
    network_facts: NetworkFacts | None = None
    prepare: PrepareConfig
    infer: InferConfig
    postprocess: tuple[PostprocessRule, ...] = ()
    volume_ranges_ml: dict[str, tuple[float, float]] = Field(default_factory=dict)
    fingerprint: Fingerprint = Fingerprint()
    provenance: Provenance = Provenance()
    weights: dict[str, str] = Field(default_factory=dict)


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
        digest = hashlib.sha256((self.folder / CARD).read_bytes())
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
        return load_model(self.folder / folder)

    def blank_network(self) -> nn.Module:
        """The network without its weights."""
        return build_network(
            self.card.network.name,
            dims=self.dims,
            in_channels=len(self.card.channels),
            out_channels=self.labels.channels,
            options=self.card.network.options,
        )


def load_model(folder: str | Path) -> Model:
    """Read a model folder (``model.yaml`` + ``weights/*.safetensors``).

    Raises:
        BadModel: it is not a model folder, or its card cannot be used.
    """
    folder = Path(folder)
    if not (folder / CARD).is_file():
        raise BadModel(
            "not a model folder",
            path=folder,
            found="no model.yaml",
            expected="the folder RUN/model that medseg train leaves",
        )
    try:
        card = validate(ModelCard, load_yaml(folder / CARD), path=str(folder / CARD))
        labels = LabelTable.from_card(_labels_part(card.model_dump()))
        _check_mirrors(card)
        model = Model(folder, card, labels)
        with torch.device("meta"):  # no numbers yet: only whether it can be built
            model.blank_network()
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
    return model


def _check_mirrors(card: ModelCard) -> None:
    """Refuse mirrors at test time along axes that training, by its config, did not mirror."""
    trained = card.provenance.config.get("augment", {}).get("mirror_axes")
    untrained = set(card.infer.mirror_axes) - set(
        card.infer.mirror_axes if trained is None else trained
    )
    if untrained:
        raise BadModel(
            "infer.mirror_axes holds axes that the network was not trained to see mirrored",
            found=sorted(untrained),
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
        return path.read_bytes()
    except OSError as error:
        raise BadModel("a weights file cannot be read", path=path, found=error.strerror) from None
