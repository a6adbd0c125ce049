"""Read what nnU-Net says of a trained model: plans.json, dataset.json, and which configuration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medseg.config import load_json
from medseg.errors import BadModel

#: Readers that hand arrays over as they are stored, and the one that turns them first.
_READERS = {"SimpleITKIO": None, "NibabelIO": None, "NibabelIOWithReorient": "RAS"}


@dataclass(frozen=True)
class Plan:
    """One configuration of nnU-Net's plans.

    Attributes:
        path: of the plans.
        dataset: its name.
        configuration: ``2d``, ``3d_fullres``, ``3d_lowres`` …
        values: everything the plans say of it, inherited values included.
        transpose: array axis of nnU-Net (slices first) behind each axis of the network.
        intensities: of the training cohort's foreground, a mapping a channel.
        turned_to: axis codes to which scans are turned when read; ``None`` as stored.
    """

    path: Path
    dataset: str
    configuration: str
    values: Mapping[str, Any]
    transpose: tuple[int, int, int]
    intensities: tuple[Mapping[str, float], ...]
    turned_to: str | None

    @property
    def dims(self) -> int:
        """2 for slices, 3 for volumes."""
        return len(self.value("patch_size"))

    def value(self, key: str) -> Any:
        """What the plans say of a key.

        Raises:
            BadModel: nothing.
        """
        if key not in self.values:
            raise self.refused(f"the plan lacks {key!r}", found=sorted(self.values))
        return self.values[key]

    def refused(self, problem: str, *, found: object = None, expected: object = None) -> BadModel:
        """A refusal that names the plans and the configuration."""
        return BadModel(
            f"configuration {self.configuration}: {problem}",
            path=self.path,
            found=found,
            expected=expected,
        )


def read_plan(path: Path, configuration: str) -> Plan:
    """One configuration of a plans file, of any version 2 of nnU-Net.

    Raises:
        BadModel: there is none of that name, or it needs what is not known here.
    """
    content = load_json(path, refusal=BadModel)
    try:
        reader, forward = str(content["image_reader_writer"]), content["transpose_forward"]
        kinds = content.get("foreground_intensity_properties_per_channel") or content.get(
            "foreground_intensity_properties_by_modality", {}
        )
        x, y, z = (int(axis) for axis in forward)
        intensities = tuple(kinds[key] for key in sorted(kinds, key=int))
        values = _resolved(content["configurations"], configuration, path)
    except (KeyError, TypeError, ValueError) as error:
        raise BadModel("not nnU-Net's plans of version 2", path=path, found=repr(error)) from None
    if reader not in _READERS:
        raise BadModel(
            "scans were read by a reader that is not known here",
            path=path,
            found=reader,
            expected=", ".join(_READERS),
        )
    plan = Plan(
        path,
        str(content.get("dataset_name", "")),
        configuration,
        values,
        (x, y, z),
        intensities,
        _READERS[reader],
    )
    _check(plan)
    return plan


def _resolved(
    configurations: Mapping[str, Any], name: str, path: Path, below: tuple[str, ...] = ()
) -> dict[str, Any]:
    """A configuration with the values of those that it inherits from."""
    if name not in configurations or name in below:
        raise BadModel(
            "the plans have no such configuration",
            path=path,
            found=name,
            expected=", ".join(configurations),
        )
    own = dict(configurations[name])
    parent = own.pop("inherits_from", None)
    if parent is None:
        return own
    return {**_resolved(configurations, parent, path, (*below, name)), **own}


def _check(plan: Plan) -> None:
    if plan.values.get("previous_stage"):
        raise plan.refused(
            "the second stage of a cascade also sees the masks of the first, which is not "
            "supported",
            found=f"previous_stage {plan.values['previous_stage']}",
            expected="3d_lowres, 3d_fullres or 2d",
        )
    preprocessor = plan.values.get("preprocessor_name", "DefaultPreprocessor")
    if preprocessor != "DefaultPreprocessor":
        raise plan.refused(
            "scans are prepared by code that is not known here",
            found=preprocessor,
            expected="DefaultPreprocessor",
        )
