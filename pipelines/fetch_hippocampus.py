"""Where do the hippocampus scans come from?  Task04 of the Medical Segmentation Decathlon, 27 MB.

    python pipelines/fetch_hippocampus.py --output data
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from medseg.cli.console import foreseen_errors_told, open_console
from medseg.manifests.fetch import Progress, download, extract

URL = "https://msd-for-monai.s3-us-west-2.amazonaws.com/Task04_Hippocampus.tar"
MD5 = "9d24dba78a72977dbd1d2e110310f31b"

#: The decathlon's folders -> those that data_manifests/hippocampus.csv speaks of.
FOLDERS = {"imagesTr": "images", "labelsTr": "labels"}


def fetch(
    folder: Path, *, url: str = URL, md5: str = MD5, progress: Progress | None = None
) -> Path:
    """Fetch and unpack into ``folder/hippocampus`` unless it is there; the card's root."""
    root = folder / "hippocampus"
    if all((root / name).is_dir() for name in FOLDERS.values()):
        return root
    archive = download(url, folder / "Task04_Hippocampus.tar", md5=md5, progress=progress)
    task = folder / "Task04_Hippocampus"
    if not task.exists():
        extract(archive, folder)
    root.mkdir(exist_ok=True)
    for theirs, ours in FOLDERS.items():
        if not (root / ours).exists():
            (task / theirs).rename(root / ours)
    return root


def main(output: Annotated[Path, typer.Option(help="Folder to fetch into.")] = Path("data")) -> None:
    """Fetch Task04; running it again goes on where it stopped."""
    with foreseen_errors_told(), open_console(quiet=False, json=False) as console:
        root = fetch(output, progress=console.progress("fetching bytes"))
        console.say(f"the scans lie in {root}")


if __name__ == "__main__":
    typer.run(main)
