"""Which weights does a run start from?  The seed's, or another model's, which is remembered."""

from __future__ import annotations

import json
from typing import Any

from torch import nn

from medseg.errors import BadConfig, BadModel
from medseg.model import Model, Origin, load_model
from medseg.training.run import Run
from medseg.writers.atomic import atomic_path


def start_from(network: nn.Module, run: Run) -> None:
    """Copy every tensor that fits from ``run.init``; the head of other labels starts anew.

    Nothing happens where no such model is given.

    Raises:
        BadModel: it has another architecture.
    """
    if run.init is None:
        return
    model = load_model(run.init)
    state = model.networks()[0].state_dict()
    own = network.state_dict()
    fitting = {
        name: value
        for name, value in state.items()
        if name in own and own[name].shape == value.shape
    }
    if len(fitting) < len(own) / 2:
        raise BadModel(
            "the model to start from has another architecture",
            path=model.folder,
            found=f"{len(fitting)} fitting tensors of {len(own)}",
            expected="the same network and options",
        )
    network.load_state_dict({**own, **fitting})


def keep_origin(run: Run, *, begun: bool) -> None:
    """Remember in the run's folder which model it starts from, and what that one has seen.

    Args:
        run: with ``init`` or without.
        begun: whether the run has weights of its own to go on with.

    Raises:
        BadConfig: the run was begun from a model, and now from none or from another.
    """
    path = run.folder / "init.json"
    before = read_origin(run)
    if run.init is None:
        if before is not None and not begun:
            raise BadConfig(
                "the run was begun from another model's weights, and has none of its own yet",
                path=path,
                found="no --init",
                expected=f"--init with the model {before[0].name!r}",
                remedy="Give the same --init again, or start anew in another folder.",
            )
        return
    model = load_model(run.init)
    origin = _origin(model)
    if before is not None and before[0] != origin:
        raise BadConfig(
            "the run was begun from another model's weights",
            path=path,
            found=f"--init {run.init}",
            expected=f"the model {before[0].name!r} that it was begun from",
            remedy="Give the same --init again, or start anew in another folder.",
        )
    if run.world.first:
        seen = model.card.provenance.training_pixels
        with atomic_path(path) as temporary:
            content = {"origin": origin.model_dump(mode="json"), "training_pixels": seen}
            temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def read_origin(run: Run) -> tuple[Origin, tuple[str, ...]] | None:
    """The model that a run was begun from and the pixel hashes of its training scans."""
    path = run.folder / "init.json"
    if not path.is_file():
        return None
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return Origin(**content["origin"]), tuple(content["training_pixels"])


def _origin(model: Model) -> Origin:
    return Origin(name=model.card.name, weights=dict(model.card.weights))
