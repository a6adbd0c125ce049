"""Fetches the hippocampus scans (MSD Task04), checks them and lays them out for the card.

    python pipelines/fetch_hippocampus.py data

Leaves ``data/hippocampus/{images,labels}``. An attempt that broke off goes on where it stopped.
Antonelli et al. 2022, doi:10.1038/s41467-022-30695-9; CC-BY-SA 4.0.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from medseg.cli.console import open_console
from medseg.manifests.fetch import download, extract

URL = "https://msd-for-monai.s3-us-west-2.amazonaws.com/Task04_Hippocampus.tar"
MD5 = "9d24dba78a72977dbd1d2e110310f31b"


def fetch(folder: Path, url: str = URL, md5: str = MD5) -> Path:
    """Download and unpack where not yet done; returns the root for the cohort card."""
    root = folder / "hippocampus"
    if (root / "labels").is_dir():
        return root
    with open_console(quiet=False, json=False) as console:
        archive = download(
            url, folder / "Task04_Hippocampus.tar", md5=md5, progress=console.progress("fetching")
        )
    unpacked = folder / "unpacked"
    shutil.rmtree(unpacked, ignore_errors=True)  # of an attempt that broke off
    extract(archive, unpacked)
    for there, here in {"imagesTr": "images", "labelsTr": "labels"}.items():
        shutil.rmtree(root / here, ignore_errors=True)
        root.mkdir(parents=True, exist_ok=True)
        shutil.move(unpacked / "Task04_Hippocampus" / there, root / here)
    shutil.rmtree(unpacked)
    return root


if __name__ == "__main__":
    print(fetch(Path(sys.argv[1] if len(sys.argv) > 1 else "data")))
