"""Speed of Dice + HD95 + NSD beside MONAI and surface-distance: the same pairs, one run.

``python -m benchmarks.bench_metrics [--large 3] [--surface-distance PYTHON]``

Every tool runs in a process of its own, one thread, three times over the small pairs (the best
counts) and once over the large ones; files are read before the clock starts. Small: 40 hippocampus
truths against warped copies (phantoms of the same size where that data is absent). Large:
512 x 512 x 300 with 40 labels, grown from a segmented CT (or from boxes), against warped copies.
MONAI gets one-hot tensors for the small pairs and one label at a time for the large ones.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

SMALL, LARGE = 40, (512, 512, 300)
TOOLS = ("medseg", "surface-distance", "monai")


def warp(random, mask, voxels):
    """The mask with every voxel looked up a little aside, smoothly."""
    from scipy import ndimage

    places = []
    for axis, size in enumerate(mask.shape):
        coarse = random.normal(size=(5, 5, 5)) * voxels
        shift = ndimage.zoom(coarse, [n / 5 for n in mask.shape], order=1)
        index = np.arange(size).reshape([-1 if a == axis else 1 for a in range(3)])
        places.append(np.clip(np.rint(index + shift), 0, size - 1).astype(np.intp))
    return np.asfortranarray(mask[tuple(places)])


def small_pairs(random, data):
    """40 pairs of two labels, at 1 mm."""
    files = sorted((data / "hippocampus/labels").glob("*.nii.gz"))[:SMALL] if data else []
    for number in range(SMALL):
        if files:
            import nibabel as nib

            truth = np.asfortranarray(np.asarray(nib.load(files[number]).dataobj), dtype=np.uint8)
        else:
            truth = np.zeros((36, 50, 36), np.uint8, order="F")
            truth[8:24, 8:24, 10:22], truth[8:22, 24:42, 12:26] = 1, 2
        yield truth, warp(random, truth, 1.0)


def large_pairs(random, data, count):
    """Pairs of 40 labels at 0.8 x 0.8 x 1.5 mm."""
    source = data / "ct/example_ct_sm_seg.nii.gz" if data else None
    if source is not None and source.is_file():
        import nibabel as nib

        coarse = np.asarray(nib.load(source).dataobj).astype(np.uint8)
    else:
        coarse = np.zeros((64, 64, 40), np.uint8)
        for label in range(1, 41):
            low = [int(random.integers(2, n - 16)) for n in coarse.shape]
            coarse[tuple(slice(a, a + int(random.integers(4, 14))) for a in low)] = label
    sizes = np.bincount(coarse.ravel())
    table = np.zeros(len(sizes), np.uint8)
    for new, old in enumerate([v for v in np.argsort(-sizes) if v and sizes[v]][:40], start=1):
        table[old] = new
    grown = table[coarse][
        np.ix_(*[np.arange(n) * m // n for n, m in zip(LARGE, coarse.shape, strict=True)])
    ]
    truth = np.asfortranarray(grown)
    for _ in range(count):
        yield truth, warp(random, truth, 2.0)


def medseg_scores(truth, prediction, labels, spacing):
    """Rows of Dice, HD95 and NSD by medseg."""
    from medseg.metrics import METRICS, Structure, pairs

    structures = [Structure(str(v), (v,)) for v in range(1, labels + 1)]
    return [
        [METRICS[name].value(pair) for name in ("dice", "hd95", "nsd")]
        for _, pair in pairs(truth, prediction, structures, np.diag(spacing))
    ]


def surface_distance_scores(truth, prediction, labels, spacing):
    """The same by surface-distance."""
    import surface_distance as sd

    np.NaN, np.Inf = np.nan, np.inf  # noqa: NPY201 - the package was written for NumPy 1
    rows = []
    for value in range(1, labels + 1):
        one, other = truth == value, prediction == value
        found = sd.compute_surface_distances(one, other, spacing)
        rows.append(
            [
                sd.compute_dice_coefficient(one, other),
                sd.compute_robust_hausdorff(found, 95),
                sd.compute_surface_dice_at_tolerance(found, 1.0),
            ]
        )
    return rows


def monai_scores(truth, prediction, labels, spacing):
    """The same by MONAI; NSD with its area-weighted (subvoxel) definition, HD95 over voxels."""
    import torch
    from monai.metrics import compute_dice, compute_hausdorff_distance, compute_surface_dice

    groups = (
        [list(range(1, labels + 1))] if truth.size < 1e6 else [[v] for v in range(1, labels + 1)]
    )
    rows = []
    for group in groups:
        one, other = (
            torch.from_numpy(np.stack([mask == v for v in group])[None])
            for mask in (truth, prediction)
        )
        dice = compute_dice(other, one, include_background=True)[0]
        hd95 = compute_hausdorff_distance(
            other, one, include_background=True, percentile=95, spacing=list(spacing)
        )[0]
        nsd = compute_surface_dice(
            other,
            one,
            [1.0] * len(group),
            include_background=True,
            spacing=list(spacing),
            use_subvoxels=True,
        )[0]
        rows += torch.stack([dice, hd95, nsd], dim=1).tolist()
    return rows


SCORERS = {
    "medseg": medseg_scores,
    "monai": monai_scores,
    "surface-distance": surface_distance_scores,
}


def worker(tool, folder, labels, spacing, repeats):
    """Score every pair of a folder; print seconds, peak memory and means as JSON."""
    files = sorted(Path(folder).glob("*.npz"))
    loaded = []
    for file in files:
        with np.load(file) as arrays:
            loaded.append((arrays["truth"], arrays["prediction"]))
    score = SCORERS[tool]
    score(*(np.asfortranarray(m[:40, :40, :30]) for m in loaded[0]), labels, spacing)  # imports
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        rows = []
        for number, (truth, prediction) in enumerate(loaded, 1):
            rows.append(score(truth, prediction, labels, spacing))
            if truth.size > 1e6:
                told = f"{tool}: {number} of {len(loaded)}, {time.perf_counter() - start:.0f} s"
                print(told, file=sys.stderr, flush=True)
        seconds.append(time.perf_counter() - start)
    flat = np.array(rows, dtype=float).reshape(-1, 3)
    status = Path("/proc/self/status").read_text()  # getrusage would tell the parent's peak
    peak = int(status.split("VmHWM:")[1].split()[0]) / 1024
    print(
        json.dumps(
            {
                "seconds": min(seconds),
                "peak_mb": peak,
                "means": np.nanmean(np.where(np.isfinite(flat), flat, np.nan), 0).tolist(),
            }
        )
    )


def run(tool, python, folder, labels, spacing, repeats):
    """One tool in a process of its own; ``None`` where it is not installed."""
    code = (
        f"from benchmarks.bench_metrics import worker; "
        f"worker({tool!r}, {str(folder)!r}, {labels}, {spacing}, {repeats})"
    )
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    done = subprocess.run(
        [python, "-c", code],
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
        cwd=Path(__file__).parents[1],
        check=False,
    )
    if done.returncode:
        print(f"  {tool}: did not run")
        return None
    return json.loads(done.stdout.splitlines()[-1])


def compare(title, folder, labels, spacing, repeats, pythons):
    """Run all tools on a folder of pairs and print a table."""
    print(
        f"{title}\n  {'tool':18}{'seconds':>10}{'times medseg':>14}{'peak MB':>10}   "
        f"mean Dice, HD95, NSD",
        flush=True,
    )
    ours = None
    for tool in pythons:
        told = run(tool, pythons[tool], folder, labels, spacing, repeats)
        if told is None:
            continue
        ours = ours or told["seconds"]
        means = ", ".join(f"{value:.6f}" for value in told["means"])
        print(
            f"  {tool:18}{told['seconds']:>10.3f}{told['seconds'] / ours:>14.1f}"
            f"{told['peak_mb']:>10.0f}   {means}",
            flush=True,
        )


def main() -> None:
    """Make the pairs, run the tools."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--large", type=int, default=3, help="how many large pairs")
    parser.add_argument(
        "--surface-distance",
        default=sys.executable,
        metavar="PYTHON",
        help="a Python that has surface-distance",
    )
    parser.add_argument("--tools", nargs="+", default=TOOLS, choices=TOOLS)
    options = parser.parse_args()
    from tests.conftest import shared_data_folder

    data = shared_data_folder()
    data = data if data.is_dir() else None
    pythons = dict.fromkeys(options.tools, sys.executable)
    if "surface-distance" in pythons:
        pythons["surface-distance"] = options.surface_distance
    random = np.random.default_rng(11)
    with tempfile.TemporaryDirectory() as place:
        small, large = Path(place, "small"), Path(place, "large")
        for folder, pairs in (
            (small, small_pairs(random, data)),
            (large, large_pairs(random, data, options.large)),
        ):
            folder.mkdir()
            for number, (truth, prediction) in enumerate(pairs):
                np.savez(folder / f"{number:02d}.npz", truth=truth, prediction=prediction)
        compare(f"{SMALL} small pairs, 2 labels", small, 2, (1.0, 1.0, 1.0), 3, pythons)
        if options.large:
            compare(
                f"{options.large} pairs of {LARGE}, 40 labels",
                large,
                40,
                (0.8, 0.8, 1.5),
                1,
                pythons,
            )


if __name__ == "__main__":
    main()
