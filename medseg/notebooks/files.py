"""A scan or a mask in memory becomes a file, its format chosen by the name's ending."""

from __future__ import annotations

from pathlib import Path

from medseg.errors import BadOutput
from medseg.volume import Gridded, LabelMap, Volume
from medseg.writers import WRITERS, ending, write_labels, write_volume


def save(gridded: Gridded, path: Path, format: str | None, *, overwrite: bool) -> Path:  # noqa: A002
    """Write a file; see :meth:`medseg.volume.Gridded.save`."""
    if path.exists() and not overwrite:
        raise BadOutput(
            "a file is there already", path=path, remedy="Give overwrite=True to replace it."
        )
    if isinstance(gridded, Volume):
        if format not in (None, "nifti") or not path.name.lower().endswith((".nii", ".nii.gz")):
            raise BadOutput(
                "scans are written as NIfTI only",
                path=path,
                expected="a name that ends in .nii.gz or .nii",
                remedy='For others: SimpleITK.WriteImage(scan.to("simpleitk"), path).',
            )
        write_volume(gridded, path)
    elif isinstance(gridded, LabelMap):
        write_labels(gridded, path, format=format or _format_of(path))
    return path


def _format_of(path: Path) -> str:
    """The format whose files end so; the longest ending wins, the first format among equals."""
    name = path.name.lower()
    if name.endswith(".nii"):
        return "nifti"
    fitting = [form for form in WRITERS if name.endswith(ending(form))]
    if not fitting:
        raise BadOutput(
            "the name's ending is of no format of masks",
            path=path,
            found=path.suffix or "no ending",
            expected=", ".join(dict.fromkeys(map(ending, WRITERS))),
        )
    return max(fitting, key=lambda form: len(ending(form)))
