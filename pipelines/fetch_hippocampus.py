"""Fetches the hippocampus scans (MSD Task04), checks them and lays them out for the card.

    python pipelines/fetch_hippocampus.py data

Leaves ``data/hippocampus/{images,labels}``. Needs ``pip install "medseg[recipes]"``.
Antonelli et al. 2022, doi:10.1038/s41467-022-30695-9; CC-BY-SA 4.0.
"""

from __future__ import annotations

import shutil
import sys
import tarfile
from pathlib import Path, PurePosixPath

import pooch

from medseg.errors import BadDownload

URL = "https://msd-for-monai.s3-us-west-2.amazonaws.com/Task04_Hippocampus.tar"
MD5 = "9d24dba78a72977dbd1d2e110310f31b"
#: Times that a broken download is tried again.
RETRIES = 4


def fetch(folder: Path, url: str = URL, md5: str = MD5) -> Path:
    """Download and unpack where not yet done; returns the root for the cohort card.

    Raises:
        BadDownload: no server answers, or the file is not the one that was published.
    """
    root = folder / "hippocampus"
    if (root / "labels").is_dir():
        return root
    archive = _download(folder, url, md5)
    unpacked = folder / "unpacked"
    shutil.rmtree(unpacked, ignore_errors=True)  # of an attempt that broke off
    with tarfile.open(archive) as tar:
        tar.extractall(unpacked, [member for member in tar if _is_wanted(member)], filter="data")
    for there, here in {"imagesTr": "images", "labelsTr": "labels"}.items():
        shutil.rmtree(root / here, ignore_errors=True)
        root.mkdir(parents=True, exist_ok=True)
        shutil.move(unpacked / "Task04_Hippocampus" / there, root / here)
    shutil.rmtree(unpacked)
    return root


def _download(folder: Path, url: str, md5: str) -> Path:
    """The archive, checked; what is there with the right checksum is not fetched again."""
    base, name = url.rsplit("/", 1)
    store = pooch.create(folder, f"{base}/", registry={name: f"md5:{md5}"}, retry_if_failed=RETRIES)
    try:
        return Path(store.fetch(name, progressbar=sys.stdout.isatty()))
    except (OSError, ValueError) as error:
        raise BadDownload(
            "the file did not come as it was published",
            path=url,
            found=error,
            remedy="Try again; if it stays so, fetch it by hand into the folder.",
        ) from error


def _is_wanted(member: tarfile.TarInfo) -> bool:
    """Whether a member is no companion (``._NAME``) that a Mac left."""
    return not PurePosixPath(member.name).name.startswith("._")


if __name__ == "__main__":
    print(fetch(Path(sys.argv[1] if len(sys.argv) > 1 else "data")))
