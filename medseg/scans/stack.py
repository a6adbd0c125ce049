"""Stacks scans of one patient as channels of one volume: in one space, or refused."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from enum import StrEnum

import numpy as np

from medseg.errors import GridMismatch
from medseg.volume import NAMED_SPACES, Origin, Volume

#: Brings a scan onto the grid of another; `medseg.transforms.channels` has one for each `Frames`.
Align = Callable[[Volume, Volume], Volume]

_REMEDY = (
    "If you know that both lie in one space, say `frames: trust` in the cohort's card, or "
    "`medseg segment` --trust-frames; to have them registered, `frames: register` or --register."
)


class Frames(StrEnum):
    """What brings the channels of a case into one space."""

    #: Headers must say that they lie in one.
    CHECK = "check"
    #: The user knows that they do.
    TRUST = "trust"
    #: Each is registered to the first.
    REGISTER = "register"


def stack(
    scans: Sequence[Volume],
    names: Sequence[str],
    *,
    align: Align | None = None,
    frames: Frames = Frames.CHECK,
) -> Volume:
    """The scans as channels on the first one's grid, with the first one's header fields.

    A scan on another grid is resampled where both share their frame of reference: for DICOM by
    its UID, for NIfTI where both forms name one space (scanner, Talairach, MNI152). Values stay
    as stored where all scans share their scaling, else they become float32 values.

    Args:
        scans: one a channel, at least one.
        names: of the channels.
        align: how to resample; without it a scan on another grid is refused.
        frames: what brings the scans into one space.

    Raises:
        GridMismatch: a scan lies in another space, in an unknown one on another grid, or nowhere
            near the first.
    """
    first = scans[0]
    placed = [first]
    for name, scan in zip(names[1:], scans[1:], strict=True):
        if frames is Frames.CHECK:
            _refuse_other_space(scan, name, first, names[0])
        if frames is Frames.REGISTER and align is not None:
            placed.append(_aligned(scan, name, first, align))
        else:
            placed.append(_on_grid(scan, name, first, names[0], align))
    warnings = [
        f"channel {name!r}: {warning}"
        for name, scan in zip(names[1:], placed[1:], strict=True)
        for warning in scan.origin.warnings
        if warning not in first.origin.warnings
    ]
    origin = replace(
        first.origin,
        warnings=(*first.origin.warnings, *dict.fromkeys(warnings)),
        moves=tuple(move for scan in placed for move in scan.origin.moves),
    )
    return _joined(placed, tuple(names), origin)


def _refuse_other_space(scan: Volume, name: str, first: Volume, first_name: str) -> None:
    ours, theirs = scan.origin.frame, first.origin.frame
    uids = {ours, theirs} - NAMED_SPACES - {""}
    if len(uids) == 2:
        raise GridMismatch(
            f"channel {name!r} has another frame of reference than {first_name!r}: nothing says "
            "where one lies in the other",
            path=scan.origin.path,
            remedy=_REMEDY,
        )
    if scan.geometry.same_grid(first.geometry) or (ours and ours == theirs):
        return
    raise GridMismatch(
        f"channel {name!r} lies on another grid than {first_name!r}, and the headers do not say "
        "that both lie in one space",
        path=scan.origin.path,
        found=scan.geometry.describe_beside(first.geometry),
        expected=f"{first.geometry.describe()}, or one frame of reference",
        remedy=_REMEDY,
    )


def _on_grid(
    scan: Volume, name: str, first: Volume, first_name: str, align: Align | None
) -> Volume:
    if scan.geometry.same_grid(first.geometry):
        return scan
    if align is None:
        raise GridMismatch(
            f"channel {name!r} lies on another grid than {first_name!r}",
            path=scan.origin.path,
            found=scan.geometry.describe_beside(first.geometry),
            expected=first.geometry.describe(),
        )
    return _aligned(scan, name, first, align).with_warning(
        f"{scan.geometry.describe()}, resampled onto the grid of {first_name!r} "
        f"({first.geometry.describe()})"
    )


def _aligned(scan: Volume, name: str, first: Volume, align: Align) -> Volume:
    try:
        return align(replace(scan, channels=(name,)), first)
    except GridMismatch as error:
        raise error.about(scan.origin.path, part=f"channel {name!r}") from None


def _joined(scans: Sequence[Volume], names: tuple[str, ...], origin: Origin) -> Volume:
    first = scans[0]
    if len(scans) == 1:
        return replace(first, channels=names, origin=origin)
    paddings = {scan.origin.padding_value for scan in scans}
    scalings = {(scan.slope, scan.intercept, scan.data.dtype) for scan in scans}
    if len(paddings) > 1:  # one number cannot say what lies outside of each
        data = np.concatenate([scan.measured() for scan in scans])
        return Volume(
            data, first.geometry, channels=names, origin=replace(origin, padding_value=None)
        )
    if len(scalings) > 1:
        data = np.concatenate([scan.values() for scan in scans])
        return Volume(data, first.geometry, channels=names, origin=origin)
    data = np.concatenate([scan.data for scan in scans])
    return Volume(data, first.geometry, first.slope, first.intercept, names, origin)
