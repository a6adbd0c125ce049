"""The NiiVue that the ``ipyniivue`` package brings (BSD-2-Clause), served as it is installed."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path


def niivue_script() -> Path | None:
    """The script, or ``None`` where the package is not installed; it is not imported."""
    spec = find_spec("ipyniivue")
    if spec is None or not spec.origin:
        return None
    path = Path(spec.origin).parent / "static" / "widget.js"
    return path if path.is_file() else None
