"""The weights a run starts from: the seed's, or another model's, which is remembered."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from medseg.config import TrainConfig, load_json, validate
from medseg.errors import BadConfig, BadModel, BadOutput
from medseg.manifests import Cohort
from medseg.manifests.looks import read_looks, write_looks
from medseg.model import Origin, load_model
from medseg.training.run import DAMAGED, Run
from medseg.training.setup import network_of
from medseg.writers.atomic import atomic_path


def check_start(init: Path, config: TrainConfig, cohort: Cohort) -> None:
    """Refuse a model that a run cannot start from, before any case is prepared.

    Args:
        init: the model folder.
        config: of the run.
        cohort: of the run.

    Raises:
        BadModel: it cannot be used, or has another architecture.
    """
    model = load_model(init)
    with torch.device("meta"):  # shapes alone
        own, state = network_of(config, cohort), model.blank_network()
    _fitting(own.state_dict(), state.state_dict(), model.folder)


def start_from(network: nn.Module, run: Run) -> None:
    """Copy every tensor that fits from ``run.init``; a head of other labels stays random.

    Nothing happens where no such model is given.

    Raises:
        BadModel: it has another architecture.
    """
    if run.init is None:
        return
    model = load_model(run.init)
    state = model.networks()[0].state_dict()
    own = network.state_dict()
    network.load_state_dict({**own, **_fitting(own, state, model.folder)})


def _fitting(
    own: Mapping[str, Tensor], state: Mapping[str, Tensor], folder: Path
) -> dict[str, Tensor]:
    """The tensors of a model in `folder` that a network can take over.

    Raises:
        BadModel: fewer than half of the network's fit.
    """
    fitting = {
        name: value
        for name, value in state.items()
        if name in own and own[name].shape == value.shape
    }
    if len(fitting) < len(own) / 2:
        raise BadModel(
            "the model to start from has another architecture",
            path=folder,
            found=f"{len(fitting)} fitting tensors of {len(own)}",
            expected="the same network and options",
        )
    return fitting


def keep_origin(run: Run, *, begun: bool, needed: bool) -> None:
    """Remember in the run's folder which model it starts from, and which scans that one has seen.

    Args:
        run: with ``init`` or without.
        begun: whether weights have come about without such a model.
        needed: whether weights are still to be started.

    Raises:
        BadConfig: the run was begun from a model, and now from none or from another; or the
            other way round.
    """
    before = read_origin(run)
    if run.init is None:
        if before is not None and needed:
            raise _other_origin(run, "no --init", f"--init with the model {before[0].name!r}")
        return
    model = load_model(run.init)
    origin = Origin(name=model.card.name, weights=dict(model.card.weights))
    if before is None and begun:
        raise _other_origin(run, f"--init {run.init}", "no --init, as when it was begun")
    if before is not None and before[0] != origin:
        raise _other_origin(run, f"--init {run.init}", f"the model {before[0].name!r}")
    if run.world.first:
        seen = model.card.provenance.training_pixels
        with atomic_path(_place(run)) as temporary:
            content = {"origin": origin.model_dump(mode="json"), "training_pixels": seen}
            temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        write_looks(run.folder, read_looks([model.folder]))


def _other_origin(run: Run, found: str, expected: str) -> BadConfig:
    return BadConfig(
        "the run was begun from other weights",
        path=run.folder,
        found=found,
        expected=expected,
        remedy="Give the same --init as then, or start a new run in another folder.",
    )


def read_origin(run: Run) -> tuple[Origin, tuple[str, ...]] | None:
    """The model that a run was begun from and the pixel hashes of its training scans."""
    path = _place(run)
    if not path.is_file():
        return None
    content = load_json(path, refusal=BadOutput, remedy=DAMAGED)
    pixels = content.get("training_pixels", ())
    if not isinstance(pixels, list) or not all(isinstance(one, str) for one in pixels):
        raise BadOutput("the hashes of scans cannot be read", path=path, remedy=DAMAGED)
    return validate(Origin, content.get("origin") or {}, path=str(path)), tuple(pixels)


def _place(run: Run) -> Path:
    return run.folder / "init.json"
