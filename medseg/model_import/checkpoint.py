"""Read a torch checkpoint as data: tensors, plain values and numpy numbers, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError  # noqa: TID251 - the refusal alone
from typing import Any

import numpy as np
import torch

from medseg.errors import BadModel

#: Numbers that training logs leave in checkpoints. Their constructors only hold bytes.
_NUMBERS = ("float64", "float32", "float16", "int64", "int32", "int16", "int8", "uint8", "bool")


def read_checkpoint(path: Path) -> Mapping[str, Any]:
    """The dictionary in a checkpoint; what is not weights or a number is refused, not run.

    Tensors stay on disk until they are used.

    Raises:
        BadModel: it is no checkpoint, or it asks for anything else.
    """
    try:
        with torch.serialization.safe_globals(_allowed()):
            content = torch.load(  # noqa: TID251 - weights_only runs nothing beyond the list
                path, map_location="cpu", weights_only=True, mmap=True
            )
    except UnpicklingError:
        raise BadModel(
            "the checkpoint asks to run code when it is read, so it is not read",
            path=path,
            found=", ".join(_forbidden_names(path)) or "an unknown instruction",
            expected="weights, numbers and plain values",
        ) from None
    except (RuntimeError, OSError, EOFError, ValueError) as error:
        raise BadModel(
            "the checkpoint cannot be read", path=path, found=str(error).splitlines()[0]
        ) from None
    if not isinstance(content, Mapping):
        raise BadModel(
            "the checkpoint holds no dictionary", path=path, found=type(content).__name__
        )
    return content


def _allowed() -> list[Any]:
    scalar = np.float64(0).__reduce__()[0]
    array = np.zeros(0).__reduce__()[0]
    kinds = {type(np.dtype(name)) for name in _NUMBERS}
    both = ("numpy._core.multiarray", "numpy.core.multiarray")  # numpy 2 and before
    return [
        np.ndarray,
        np.dtype,
        *kinds,
        *((scalar, f"{module}.scalar") for module in both),
        *((array, f"{module}._reconstruct") for module in both),
    ]


def _forbidden_names(path: Path) -> list[str]:
    """Names of what a checkpoint wants to call beyond what is allowed."""
    known = {"numpy.dtype", "numpy.ndarray"}
    try:
        names = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    except (RuntimeError, UnpicklingError, OSError):
        return []
    return sorted(
        name
        for name in names
        if name not in known
        and not name.startswith(
            ("numpy.core.multiarray.", "numpy._core.multiarray.", "numpy.dtypes.")
        )
    )
