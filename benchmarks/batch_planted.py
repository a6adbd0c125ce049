"""Counts how many planted bad scans of a batch are flagged, and how many good ones with them.

    python benchmarks/batch_planted.py MODEL IMAGES [--keep DIR]

Takes the NIfTI scans of IMAGES (MR crops of one structure) as they are, and plants among them
scans of another modality, cropped fields of view, blank scans and doubled voxel spacings.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from medseg.batch.ledger import look
from medseg.geometry import Geometry
from medseg.scans import read
from medseg.volume import Volume
from medseg.writers import write_volume


def blank(scan: Volume) -> Volume:
    """Air only."""
    return replace(scan, data=np.zeros_like(scan.data))


def doubled(scan: Volume) -> Volume:
    """The header says twice the voxel size."""
    affine = scan.geometry.affine.copy()
    affine[:3, :3] *= 2
    return _moved(scan, scan.data, Geometry(scan.geometry.shape, affine))


def cropped(scan: Volume) -> Volume:
    """The field of view ends in the middle of the structure."""
    data = scan.data[:, :, : scan.data.shape[2] // 2]
    return _moved(scan, data, Geometry(data.shape[1:], scan.geometry.affine))


def like_ct(scan: Volume) -> Volume:
    """Another modality: HU, bright bone and black air where MR has neither."""
    values = scan.values()
    shades = (values - values.mean()) / (values.std() + 1e-6)
    data = np.where(shades < -0.5, -1000, np.where(shades > 1.5, -50, 40 - 20 * shades))
    noise = np.random.default_rng(0).normal(0, 12, data.shape)
    return replace(scan, data=(data + noise).astype(np.int16), slope=1.0, intercept=0.0)


def _moved(scan: Volume, data: np.ndarray, geometry: Geometry) -> Volume:
    return replace(scan, data=data, geometry=geometry, origin=replace(scan.origin, forms=None))


PLANTS: dict[str, Callable[[Volume], Volume]] = {
    "blank": blank,
    "doubled": doubled,
    "cropped": cropped,
    "like_ct": like_ct,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("images", type=Path)
    parser.add_argument("--each", type=int, default=5, help="plants of each kind")
    parser.add_argument("--good", type=int, default=100)
    parser.add_argument("--keep", type=Path, help="leave the batch here")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        scans, output = Path(place) / "scans", chosen.keep or Path(place) / "masks"
        plant(sorted(chosen.images.glob("*.nii.gz")), scans, chosen.good, chosen.each)
        call = [
            sys.executable,
            "-m",
            "medseg",
            "segment",
            str(chosen.model),
            str(scans),
            "--output",
            str(output),
            "--quiet",
        ]
        subprocess.run(call, check=False)
        tell(output)


def plant(images: list[Path], scans: Path, good: int, each: int) -> None:
    """Write good scans and, of others, the plants."""
    scans.mkdir()
    for image in images[:good]:
        (scans / f"good_{image.name}").write_bytes(image.read_bytes())
    for number, (kind, spoil) in enumerate(PLANTS.items()):
        for image in images[good + number * each : good + (number + 1) * each]:
            write_volume(spoil(read(image)), scans / f"{kind}_{image.name}")


def tell(output: Path) -> None:
    ledger = look(output)
    cases: Counter[str] = Counter()
    flagged: Counter[str] = Counter()
    kinds: dict[str, Counter[str]] = {}
    for entry in ledger.entries():
        group = next((kind for kind in PLANTS if entry.case.startswith(kind)), "good")
        cases[group] += 1
        caught = bool(entry.flags) or entry.state != "done"
        flagged[group] += caught
        names = {flag.kind for flag in entry.flags} or ({entry.state.value} if caught else set())
        kinds.setdefault(group, Counter()).update(names)
    ledger.close()
    for group, count in cases.items():
        told = ", ".join(f"{kind} {n}" for kind, n in kinds[group].most_common())
        print(f"{group:8} {flagged[group]:3} of {count:3} flagged   {told}")


if __name__ == "__main__":
    main()
