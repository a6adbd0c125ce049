"""A model folder becomes files that other tools run: the networks, and a card for what is around.

An exporter is a module with ``ENDING``, ``PACKAGES`` and ``write(network, example, path)``.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

from medseg.errors import BadConfig
from medseg.extras import require_packages
from medseg.model import Model

__all__ = ["EXPORTERS", "FORMATS", "export_model"]

#: Formats of networks -> module; imported when used.
EXPORTERS: dict[str, str] = {
    "onnx": "medseg.export.onnx",
    "torchscript": "medseg.export.torchscript",
}

#: What ``--to`` takes: a bundle is more than its networks.
FORMATS = ("bundle", *EXPORTERS)


def export_model(model: Model, to: str, folder: Path) -> list[Path]:
    """Write a model for other tools.

    ``onnx`` and ``torchscript``: every network, and ``export.yaml`` beside them. Each file maps
    one batch of windows to logits; it is run once by the other tool and compared with the network
    before it takes its name. ``bundle``: the whole way from scan to mask as a MONAI bundle, which
    is written without being run.

    Args:
        model: to be exported.
        to: a name from `FORMATS`.
        folder: created where missing; files in it are replaced, so ask first.

    Returns:
        The files; of networks the card last.

    Raises:
        BadConfig: an unknown format, or a package that it needs is not installed.
        BadModel: the exported network does not answer as the network does.
    """
    from medseg.export.card import write_export_card
    from medseg.export.networks import write_networks

    if to == "bundle":
        from medseg.export.bundle import write_bundle

        return write_bundle(model, folder)
    module = _module(to)
    paths = write_networks(model, module, folder)
    return [*paths, write_export_card(model, to, paths, folder)]


def _module(to: str) -> Any:
    if to not in EXPORTERS:
        raise BadConfig("--to has no such choice", found=repr(to), expected=" or ".join(FORMATS))
    module = import_module(EXPORTERS[to])
    require_packages(f"exporting to {to}", module.PACKAGES, to)
    return module
