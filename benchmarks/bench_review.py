"""A review of many masks: time to the first case, time a case, memory of server and page.

    python benchmarks/bench_review.py --cases 500            # phantoms of 127 x 97 x 87 voxels
    python benchmarks/bench_review.py --cases 4 --large      # CT of 512 x 512 x 600

Starts the real server and a headless Chromium on masks beside scans, and goes through some cases
with the key j, waiting for the pixels of all three planes each time.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil
import yaml

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from medseg.geometry import Geometry
from medseg.phantoms import make_phantom
from medseg.volume import LabelMap, Volume
from medseg.writers import write_labels, write_volume
from tests.review.chromium import Server, open_browser, shown


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=500)
    parser.add_argument("--looked-at", type=int, default=20)
    parser.add_argument("--large", action="store_true", help="512 x 512 x 600 instead")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="medseg-bench-") as folder:
        masks = write_masks(Path(folder), options.cases, large=options.large)
        print(json.dumps(measure(masks, min(options.looked_at, options.cases - 1)), indent=2))


def write_masks(home: Path, cases: int, *, large: bool) -> Path:
    """Different patients are few; files are links to theirs, each with a name of its own."""
    originals = home / "originals"
    few = min(cases, 2 if large else 8)
    for number in range(few):
        phantom = make_phantom(number, spacing_mm=3.0)
        volume, truth = phantom.volume, phantom.truth
        if large:
            volume, truth = enlarged(volume, truth)
        write_volume(volume, originals / f"scan_{number}.nii.gz")
        write_labels(truth, originals / f"mask_{number}.nii.gz")
    for kind in ("images", "masks"):
        (home / kind).mkdir()
    for number in range(cases):
        for kind, stem in (("images", "scan"), ("masks", "mask")):
            source = originals / f"{stem}_{number % few}.nii.gz"
            os.link(source, home / kind / f"case_{number:04d}.nii.gz")
    card = truth.labels.to_card() if truth.labels else {}
    (home / "masks" / "labels.yaml").write_text(yaml.safe_dump(card), encoding="utf-8")
    return home / "masks"


def enlarged(volume: Volume, truth: LabelMap) -> tuple[Volume, LabelMap]:
    """The phantom on 512 x 512 x 600 voxels, by repeating voxels, with noise as scanners have."""
    shape = (512, 512, 600)
    index = np.ix_(
        *(np.arange(n) * old // n for n, old in zip(shape, truth.data.shape, strict=True))
    )
    affine = truth.geometry.affine.copy()
    affine[:3, :3] *= np.array(truth.data.shape) / shape
    grid = Geometry(shape, affine)
    noise = np.random.default_rng(0).normal(0, 12, shape)
    data = (volume.data[0][index] + noise).astype(np.int16)
    return Volume(data[None], grid), LabelMap(truth.data[index], grid, truth.labels)


def measure(masks: Path, looked_at: int) -> dict[str, object]:
    from selenium.webdriver.common.by import By

    began = time.monotonic()
    server = Server(masks)
    answering = time.monotonic() - began
    browser = open_browser(1280, 800)
    try:
        began = time.monotonic()
        browser.get(server.address)
        name = shown(browser)
        first = time.monotonic() - began
        milliseconds = []
        for _ in range(looked_at):
            time.sleep(1.0)  # a look at the case, while the next is fetched
            browser.find_element(By.TAG_NAME, "body").send_keys("j")
            while (now := shown(browser)) == name:
                time.sleep(0.02)
            name = now
            milliseconds.append(
                int(browser.execute_script("return document.body.dataset.milliseconds"))
            )
        heap = browser.execute_cdp_cmd("Runtime.getHeapUsage", {})["usedSize"]
        memory = psutil.Process(server.process.pid).memory_info().rss
        return {
            "cases": len(list(masks.glob("*.nii.gz"))),
            "seconds from command to address": round(answering, 2),
            "seconds from address to the first case": round(first, 2),
            "milliseconds from key to pixels, median": statistics.median(milliseconds),
            "milliseconds from key to pixels, longest": max(milliseconds),
            "MB of the server": round(memory / 1e6),
            "MB of the page's heap": round(heap / 1e6),
            "load of the machine": os.getloadavg()[0],
            "processor": platform.processor() or platform.machine(),
        }
    finally:
        browser.quit()
        server.kill()


if __name__ == "__main__":
    main()
