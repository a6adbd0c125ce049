"""Optional packages: refused in words where they are not installed."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec

from medseg.errors import BadConfig


def require_packages(purpose: str, packages: Sequence[str], extra: str, instead: str = "") -> None:
    """Refuse what packages are missing for, before any work.

    Args:
        purpose: what needs them, as the sentence begins.
        packages: names to import.
        extra: of medseg, that installs them.
        instead: what else to do.

    Raises:
        BadConfig: one of them is not installed.
    """
    missing = [package for package in packages if find_spec(package) is None]
    if missing:
        raise BadConfig(
            f"{purpose} needs packages that are not installed",
            found=f"no {', '.join(missing)}",
            remedy=f"Install them: pip install 'medseg[{extra}]'{instead and f', or {instead}'}.",
        )
