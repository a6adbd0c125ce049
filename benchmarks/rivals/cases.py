"""Files on which the tools are compared: a test split, a folder of many, a large CT."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml
from bench_inference import make_scan

from medseg.geometry import Geometry
from medseg.scans import read
from medseg.volume import Volume
from medseg.writers.nifti import write_volume


@dataclass(frozen=True)
class Cases:
    """The same scans, laid out for each tool.

    Attributes:
        words: what ``medseg segment`` is told after the model.
        images: a folder as nnU-Net wants it: ``<case>_0000.nii.gz``.
        truth: mask by case.
    """

    words: list[str]
    images: Path
    truth: dict[str, Path]


def test_split(card: Path, root: Path, place: Path, count: int) -> Cases:
    """The first `count` rows of the test split, in a card of their own."""
    told = yaml.safe_load(card.read_text(encoding="utf-8"))
    with (card.parent / told["table"]).open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == "test"][:count]
    place.mkdir(parents=True, exist_ok=True)
    own = place / "card.yaml"
    own.write_text(yaml.safe_dump({**told, "table": "card.csv"}), encoding="utf-8")
    with (place / "card.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    images = _fresh(place / "images")
    for row in rows:
        (images / f"{row['case']}_0000.nii.gz").symlink_to((root / row["image"]).resolve())
    return Cases(
        [str(own), "--split", "test", "--root", str(root)],
        images,
        {row["case"]: root / row["label"] for row in rows},
    )


def many(images: Sequence[Path], labels: Path, place: Path, count: int) -> Cases:
    """`count` small scans in one folder: the given ones under new names, again and again."""
    folder = _fresh(place / "images")
    truth = {}
    for number in range(count):
        image = images[number % len(images)]
        case = f"{number:05}_{image.name.removesuffix('.nii.gz')}"
        shutil.copyfile(image, folder / f"{case}_0000.nii.gz")
        truth[case] = labels / image.name
    return Cases([str(folder)], folder, truth)


def large(place: Path, shape: tuple[int, int, int]) -> Cases:
    """A CT of 0.8 x 0.8 x 1 mm, tiled from a real one; smaller shapes are its middle."""
    name = "ct_" + "x".join(map(str, shape))
    images = place / name
    scan = images / f"{name}_0000.nii.gz"
    if not scan.exists():
        images.mkdir(parents=True, exist_ok=True)
        whole = place / f"ct_{shape[2]}.nii.gz"
        if not whole.exists():
            make_scan(whole, shape[2])
        volume = read(whole)
        box = tuple(
            slice((n - m) // 2, (n - m) // 2 + m)
            for n, m in zip(volume.geometry.shape, shape, strict=True)
        )
        affine = volume.geometry.affine.copy()
        affine[:3, 3] = volume.geometry.to_world([part.start for part in box])
        cut = np.asfortranarray(volume.data[(slice(None), *box)])
        write_volume(Volume(cut, Geometry(shape, affine)), scan)
    return Cases([str(scan)], images, {})


def _fresh(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder
