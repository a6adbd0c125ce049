"""A case's files become a Volume and its truth, on one grid, under the cohort's names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.errors import BadCohort, BadLabels, GridMismatch
from medseg.files import is_there
from medseg.geometry import Geometry
from medseg.manifests.cohort import Case, Cohort
from medseg.scans import Align, Frames, read_channels
from medseg.scans.arguments import require_place
from medseg.scans.masks import read_mask
from medseg.volume import LabelMap, Volume


def read_case(
    cohort: Cohort,
    case: Case,
    *,
    align: Align | None = None,
    channels: Sequence[str] = (),
    frames: Frames | None = None,
) -> Volume:
    """The case's channels, stacked on the grid of the first.

    Args:
        cohort: has the channels.
        case: which one.
        align: resamples a channel on another grid; without it such a channel is refused.
        channels: which, in this order; all in the cohort's order when not given.
        frames: what brings the channels into one space; as the card says when not given.

    Raises:
        BadCohort: a file is missing.
        BadScan: a file cannot be read as a volume.
        GridMismatch: the channels do not lie in one space, or on several grids.
    """
    names = tuple(channels) or cohort.channels
    paths = [case.images[name] for name in names]
    for path in paths:
        require(cohort, path)
    one_file = len(cohort.channels) > 1 and len(set(case.sources)) == 1
    volumes = [cohort.channels.index(name) if one_file else None for name in names]
    return read_channels(paths, names, volumes=volumes, align=align, frames=frames or cohort.frames)


def read_grid(cohort: Cohort, case: Case) -> Geometry:
    """The grid of the case's first channel, on which its masks lie; every channel is read.

    Raises:
        As :func:`read_case` does with a way to align the channels.
    """
    return read_unaligned(cohort, case).geometry


def read_unaligned(cohort: Cohort, case: Case) -> Volume:
    """The case's channels as they are stored; a channel on another grid than the first is empty.

    For whoever wants grids, warnings or the voxels of single channels, and no resampling.

    Raises:
        As :func:`read_case` does with a way to align the channels.
    """
    return read_case(cohort, case, align=_placeholder)


def _placeholder(scan: Volume, first: Volume) -> Volume:
    """Nothing, on that grid: where nobody looks at the voxels."""
    grid = first.geometry
    data = np.broadcast_to(np.zeros(1, scan.data.dtype), (scan.data.shape[0], *grid.shape))
    return Volume(data, grid, scan.slope, scan.intercept, origin=scan.origin)


def read_truth(cohort: Cohort, case: Case, *, grid: Geometry | None = None) -> LabelMap:
    """The case's mask, remapped and named.

    Args:
        cohort: has remap and labels.
        case: one with a label.
        grid: of the case's image; the image is read for it when not given.

    Raises:
        BadCohort: the case has no mask, or the file is missing.
        GridMismatch: mask and image lie on two grids.
        BadLabels: the mask holds a value that the card does not name, or a label that the table
            says it was not drawn for.
    """
    if case.label is None:
        raise BadCohort(f"case {case.case!r} has no label", path=cohort.path)
    require(cohort, case.label)
    image = read_grid(cohort, case) if grid is None else grid
    mask = read_mask(case.label, labels=cohort.labels, grid=image)
    if not mask.geometry.fits(image):
        raise GridMismatch(
            "the label lies on another grid than its image",
            path=case.label,
            found=mask.geometry.describe_beside(image),
            expected=image.describe(),
            remedy="Resample the label onto the image, or export it again.",
        )
    return named_truth(cohort, case, mask)


def named_truth(cohort: Cohort, case: Case, mask: LabelMap) -> LabelMap:
    """A mask as its file holds it, remapped and named.

    Raises:
        BadLabels: it holds a value that the card does not name, or a label that the table says
            it was not drawn for.
    """
    if cohort.remap:  # the card says what the values mean, whatever the file calls them
        mask = replace(mask, data=remapped(mask.data, cohort.remap), labels=None)
    truth = mask.named(cohort.labels)
    others = [label for label in cohort.labels.labels if not case.annotates(label.name)]
    surplus = [label.name for label in others if (truth.data == label.value).any()]
    if surplus:
        raise BadLabels(
            "the mask holds labels that the table says it was not drawn for",
            path=case.label,
            found=", ".join(surplus),
            expected=", ".join(case.labelled),
            remedy="Name them in the column `labelled`, or leave its cell empty.",
        )
    return truth


def remapped(values: NDArray[Any], remap: Mapping[int, int]) -> NDArray[Any]:
    """The same integers with some replaced; all at once, so that values can change places."""
    if not remap:
        return values
    wide = np.result_type(values.dtype, np.min_scalar_type(max(remap.values())))
    result = values.astype(wide)
    for old, new in remap.items():
        result[values == old] = new
    return result


def require(cohort: Cohort, path: Path) -> None:
    """Refuse a path that is not there, or that nothing can be read from but a pipe.

    Raises:
        BadCohort: neither the path nor the part before ``#`` exists, or it cannot be looked at.
        BadScan: it is a pipe, a socket or a device, which would be waited for for ever.
    """
    if reason := why_absent(file_of(path)):
        raise BadCohort(
            reason,
            path=path,
            expected=f"a file of the cohort {cohort.name}",
            remedy="Check the table, or give --root, the folder where its paths start.",
        )
    require_place(file_of(path))


def file_of(path: Path) -> Path:
    """The file or folder of ``folder#SeriesInstanceUID``."""
    if "#" not in path.name or is_there(path):
        return path
    return path.with_name(path.name.rpartition("#")[0])


def why_absent(path: Path) -> str:
    """Why nothing can be had of a path, in a few words; empty where it leads to something.

    >>> why_absent(Path("/no/such/scan.nii.gz"))
    'no such file'
    """
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return "no such file"
    except (OSError, ValueError) as error:  # no permission, a name that is too long, a loop
        return f"cannot be read: {getattr(error, 'strerror', None) or error}"
    return ""
