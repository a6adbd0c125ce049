"""The scans that are wanted among those found, and the volume of those that hold several."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable
from dataclasses import dataclass, replace

from medseg.readers.entry import Status
from medseg.scans.found import FoundScan


@dataclass(frozen=True)
class Selection:
    """What is wanted; ``None`` wants all.

    Attributes:
        modality: ``CT``, ``MR`` …; scans of a format without a modality stay.
        description: a pattern such as ``*T1*`` on the series description, case ignored.
        min_slices: along the axis of slices.
        orientation: the plane of the slices: ``axial``, ``coronal`` or ``sagittal``.
        volume: which volume, from 0, of scans that hold several; ``"all"`` for each of them.
    """

    modality: str | None = None
    description: str | None = None
    min_slices: int | None = None
    orientation: str | None = None
    volume: int | str | None = None

    def apply(self, scan: FoundScan) -> Iterable[FoundScan]:
        """The scan, its volumes, or the scan as skipped."""
        for chosen in self._volumes(scan):
            reason = self._unwanted(chosen) if chosen.status == Status.USABLE else ""
            if reason:
                chosen = replace(chosen, status=Status.SKIPPED, reason=f"not selected: {reason}")
            yield chosen

    def _volumes(self, scan: FoundScan) -> list[FoundScan]:
        if self.volume is None or not scan.choosable or scan.status == Status.SKIPPED:
            return [scan]
        if self.volume == "all":
            return [scan.volume_number(number) for number in range(scan.volumes)]
        return [scan.volume_number(int(self.volume))]

    def _unwanted(self, scan: FoundScan) -> str:
        """Why a usable scan is not wanted, or empty."""
        if self.modality and scan.modality and scan.modality != self.modality.upper():
            return f"modality {scan.modality}, not {self.modality.upper()}"
        if self.description:
            text = scan.content.description()
            if text is not None and not fnmatch.fnmatch(
                text.casefold(), self.description.casefold()
            ):
                return "its description does not match the pattern"
        if scan.geometry is None:
            return ""
        if self.min_slices and scan.geometry.shape[2] < self.min_slices:
            return f"{scan.geometry.shape[2]} slices, fewer than {self.min_slices}"
        if self.orientation and plane_of(scan) != self.orientation.lower():
            return f"{plane_of(scan)} slices, not {self.orientation.lower()}"
        return ""


def plane_of(scan: FoundScan) -> str:
    """The plane of the slices: the world axis that the third array axis follows most."""
    if scan.geometry is None:
        return ""
    letter = scan.geometry.orientation[2]
    return {"R": "sagittal", "L": "sagittal", "A": "coronal", "P": "coronal"}.get(letter, "axial")
