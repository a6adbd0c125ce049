"""What a browser orders, checked: a tool with its label, plane and pixels becomes a change."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from medseg.errors import BadConfig
from medseg.geometry import Geometry
from medseg.labels import LabelTable
from medseg.review import edits as tools
from medseg.review.edits import Change, Mask
from medseg.review.planes import plane_named, voxels


def change_of(
    order: Mapping[str, Any], mask: Mask, geometry: Geometry, labels: LabelTable
) -> Change:
    """The change that a tool makes.

    Args:
        order: ``tool`` (paint, fill, largest, island, swap) and what it needs: ``label``,
            ``plane``, ``position``, ``runs``, ``pixel``, ``other``.
        mask: (X, Y, Z), not changed.
        geometry: of the mask.
        labels: which values may be drawn.

    Raises:
        BadConfig: no such tool or pixel.
        BadLabels: no such label.
    """
    tool = str(order.get("tool"))
    if tool in ("paint", "fill", "island"):
        plane, position = plane_named(str(order.get("plane"))), _integer(order, "position")
    if tool == "paint":
        value = _integer(order, "label")
        if value:
            labels.name_of(value)
        return tools.paint(mask, geometry, plane, position, _runs(order), value)
    if tool == "fill":
        return tools.fill_between(mask, geometry, plane, position, _label(order, labels))
    if tool == "largest":
        return tools.keep_largest(mask, _label(order, labels))
    if tool == "island":
        pixel = np.array([_integer(order, "pixel")], np.int64)
        return tools.remove_island(mask, int(voxels(pixel, geometry, plane, position)[0]))
    if tool == "swap":
        return tools.exchange(mask, _label(order, labels), _label(order, labels, "other"))
    raise BadConfig(
        "no such tool", found=repr(tool)[:60], expected="paint, fill, largest, island or swap"
    )


def _label(order: Mapping[str, Any], labels: LabelTable, key: str = "label") -> int:
    value = _integer(order, key)
    labels.name_of(value)
    return value


def _integer(order: Mapping[str, Any], key: str) -> int:
    value = order.get(key)
    if isinstance(value, bool) or not isinstance(value, int) or not _fits(value):
        raise BadConfig(f"{key} is no whole number of 32 bits", found=repr(value)[:60])
    return value


def _runs(order: Mapping[str, Any]) -> list[int]:
    runs = order.get("runs")
    whole = isinstance(runs, list) and all(type(n) is int and _fits(n) for n in runs)
    if not isinstance(runs, list) or not whole or len(runs) % 2:
        raise BadConfig("runs are not pairs of whole numbers", found=repr(runs)[:60])
    return runs


def _fits(number: int) -> bool:
    return abs(number) < 1 << 31
