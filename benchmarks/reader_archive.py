"""Makes a large archive of a few real series: copies under new UIDs, files untouched else.

python benchmarks/reader_archive.py SCANS FOLDER [--files 5000]
"""

from __future__ import annotations

import argparse
import hashlib
import shutil
from pathlib import Path

import pydicom

SERIES = (
    "series/mr_siemens_oblique_t1",
    "series/mr_philips_asl_classic",
    "series/mr_hippocrop_dev",
    "series/ct_philips_tilt_pos16",
    "series/ct_3slice",
)


def make_archive(scans: Path, folder: Path, files: int) -> int:
    """Write copies of the series until there are so many files; returns how many."""
    if folder.exists():
        shutil.rmtree(folder)
    sources = [
        [pydicom.dcmread(path) for path in sorted((scans / name).iterdir())] for name in SERIES
    ]
    written = copy = 0
    while written < files:
        for number, datasets in enumerate(sources):
            target = folder / f"subject{copy:04d}" / f"series{number}"
            target.mkdir(parents=True)
            for position, dataset in enumerate(datasets):
                for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"):
                    setattr(dataset, keyword, _new_uid(str(dataset.get(keyword)), copy))
                dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
                # dcm2niix tells series apart by these too
                dataset.SeriesNumber = 100 * copy + number + 1
                dataset.save_as(target / f"{position:04d}.dcm")
                written += 1
        copy += 1
    return written


def _new_uid(uid: str, copy: int) -> str:
    digest = hashlib.blake2b(f"{uid} {copy}".encode(), digest_size=12).digest()
    return f"2.25.{int.from_bytes(digest, 'big')}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scans", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--files", type=int, default=5000)
    options = parser.parse_args()
    print(make_archive(options.scans, options.folder, options.files), "files in", options.folder)


if __name__ == "__main__":
    main()
