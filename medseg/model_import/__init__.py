"""Another tool's trained model becomes a model folder of medseg, and no code of it is run.

An importer is a module with ``foreign(path, options)``, which reads what the other tool left and
gives a :class:`Foreign`.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from medseg.errors import BadConfig
from medseg.model import Model, save_model
from medseg.model_import.foreign import Foreign, ImportOptions

__all__ = ["IMPORTERS", "Foreign", "ImportOptions", "Imported", "import_model"]

#: Tool -> module; imported when used.
IMPORTERS: dict[str, str] = {
    "nnunet": "medseg.model_import.nnunet",
    "bundle": "medseg.model_import.bundle",
}


@dataclass(frozen=True, eq=False)
class Imported:
    """A model folder that was made, and what its user should know."""

    model: Model
    remarks: tuple[str, ...]


def import_model(
    tool: str, path: Path, output: Path, options: ImportOptions | None = None
) -> Imported:
    """Write a model folder that segments as another tool's model does.

    Args:
        tool: a name from `IMPORTERS`.
        path: what that tool's training left.
        output: the model folder; created where missing.
        options: what to take of it.

    Raises:
        BadConfig: no such tool.
        BadModel: something in the model is not known here; it says what.
    """
    if tool not in IMPORTERS:
        raise BadConfig(
            "no such tool to import from", found=repr(tool), expected=" or ".join(IMPORTERS)
        )
    foreign: Foreign = import_module(IMPORTERS[tool]).foreign(path, options or ImportOptions())
    model = save_model(output, foreign.card, foreign.labels, foreign.weights)
    return Imported(model, foreign.remarks)
