"""medseg, nnU-Net and MONAI timed with the same weights, windows and forward passes.

    P=RIVALS/bin/python        # an environment of its own: pip install nnunetv2==2.8.1
    python benchmarks/bench_rival_inference.py train  --root DATA            # 8 minutes
    python benchmarks/bench_rival_inference.py cohort --root DATA --python $P
    python benchmarks/bench_rival_inference.py folder --root DATA --python $P --count 100
    python benchmarks/bench_rival_inference.py large  --python $P
    python benchmarks/bench_rival_inference.py large  --python $P --spacing 1.5
    python benchmarks/bench_rival_inference.py curve  --python $P --results FILE   # hours

DATA holds ``images/`` and ``labels/`` of Task04 of the Medical Segmentation Decathlon. ``cohort``
is its test split by the card, ``folder`` the same scans under many names, ``large`` a CT of
512 x 512 x 300 voxels with 25 classes, ``curve`` such CTs of several lengths with more and fewer
classes on a working grid of 1.5 mm (what is in its FILE already is not run again). One medseg
model is rewritten as nnU-Net's; their logits must agree before anything is timed. Each tool is
one command, file in to file out, run alone with the same number of threads; ``--only`` repeats
one. Where no model was trained, weights are random and well spread, the worst case for whatever
comes after the network. What cannot fit into memory is not run; its row says what classes x
native voxels alone would take.

nnU-Net pads a scan that is smaller than its window with zeros, medseg with the scan's border, and
three or more windows along an axis lie a few voxels apart. Where neither happens
(``--window 32 40 24 --overlap 0.25``), what is left between the masks is nnU-Net's half-precision
sums and a Gaussian whose centre is half a voxel off.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from itertools import product
from pathlib import Path
from typing import Any

from rivals.cases import Cases, large, many, test_split
from rivals.masks import agreement, dice, masks_in
from rivals.models import Twins, make_twins, options, prepare_ct, random_model, retold_model
from rivals.picture import draw
from rivals.tools import Ways, run_medseg, run_monai, run_nnunet
from rivals.watch import available_mb

from medseg.config import InferConfig, PrepareConfig
from medseg.model import Model, load_model

ROOT = Path(__file__).resolve().parents[1]
CARD = ROOT / "data_manifests" / "hippocampus.yaml"
#: What nnU-Net plans for these scans.
SMALL_WINDOW, SMALL_FEATURES = (40, 56, 40), (32, 64, 128, 256)
LARGE_WINDOW, LARGE_FEATURES = (96, 96, 96), (8, 16, 32, 64, 128)
#: HU below which a window of the CT holds nothing but air.
AIR = -900.0
#: Bytes of one native logit at the least where classes x native voxels are held: while MONAI's
#: ``Invertd`` resamples (``Spacing`` computes in float64), and while nnU-Net exports.
NATIVE_LOGIT_BYTES = {"monai": 8 + 4, "nnunet": 4}

Tool = Callable[[], dict[str, Any]]


def train(chosen: argparse.Namespace) -> None:
    """A U-Net in the shape that nnU-Net plans, trained as ours are."""
    network = json.dumps({"name": "unet", "options": options(SMALL_FEATURES)})
    call = [
        sys.executable,
        "-m",
        "medseg",
        "train",
        str(ROOT / "pipelines" / "hippocampus.yaml"),
        f"network={network}",
        f"training.minutes={chosen.minutes}",
        "training.validations=0",
        "--root",
        str(chosen.root),
        "--output",
        str(chosen.work / "run"),
    ]
    raise SystemExit(subprocess.run(call, check=False).returncode)


def cohort(chosen: argparse.Namespace) -> None:
    """Comparison A."""
    place = chosen.work / "cohort"
    compare_small(chosen, place, test_split(CARD, chosen.root, place, chosen.count or 40))


def folder(chosen: argparse.Namespace) -> None:
    """Comparison B."""
    place = chosen.work / "folder"
    scans = test_split(CARD, chosen.root, place / "split", 40)
    images = [chosen.root / "images" / f"{case}.nii.gz" for case in scans.truth]
    compare_small(chosen, place, many(images, chosen.root / "labels", place, chosen.count or 100))


def compare_small(chosen: argparse.Namespace, place: Path, cases: Cases) -> None:
    twins = small_twins(chosen)
    ways = ways_of(chosen, 1 - chosen.overlap)
    tools: dict[str, Tool] = {
        "medseg": lambda: run_medseg(twins, cases.words, place / "medseg", ways),
        "nnunet": lambda: run_nnunet(twins, cases.images, place / "nnunet", ways),
    }
    facts = {
        "cases": len(cases.truth),
        "window": chosen.window,
        "overlap": chosen.overlap,
        "mirrors": chosen.mirrors,
        "logits_apart": twins.checked,
    }
    labels = {one.name: one.value for one in load_model(twins.ours).labels.labels}
    compare(chosen, place, tools, facts, lambda found: dice(found, cases.truth, labels))


def small_twins(chosen: argparse.Namespace) -> Twins:
    """The trained model where there is one, with the windows asked for."""
    trained = chosen.model or chosen.work / "run" / "model"
    infer = InferConfig(
        window=tuple(chosen.window),
        overlap=chosen.overlap,
        mirror_axes=(0, 1, 2) if chosen.mirrors else (),
        batch=chosen.batch,
    )
    place = _fresh(chosen.work / "models" / "small")
    if (trained / "model.yaml").is_file():
        model = retold_model(place / "medseg", trained, infer)
    else:
        print("no trained model: random weights (see the sub-command train)")
        model = random_model(
            place / "medseg",
            features=chosen.features,
            classes=3,
            prepare=PrepareConfig(),
            infer=infer,
            modality="MR",
        )
    return twins_of(chosen, model, place / "nnunet")


def twins_of(chosen: argparse.Namespace, model: Model, folder: Path) -> Twins:
    """The model for nnU-Net too, where it is among the tools."""
    if chosen.only and "nnunet" not in chosen.only:
        return Twins(model.folder, folder, {})
    return make_twins(model, folder, chosen.python)


def big(chosen: argparse.Namespace) -> None:
    """Comparison C."""
    name = f"{chosen.spacing:g} mm" if chosen.spacing else "native"
    place = chosen.work / "large" / name.replace(" ", "_")
    cases = large(chosen.work / "large", tuple(chosen.shape))
    infer = InferConfig(
        window=tuple(chosen.window), overlap=chosen.overlap, batch=chosen.batch, skip_below=AIR
    )
    model = random_model(
        _fresh(place / "models") / "medseg",
        features=chosen.features,
        classes=chosen.classes,
        prepare=prepare_ct(chosen.spacing),
        infer=infer,
        modality="CT",
    )
    twins = twins_of(chosen, model, place / "models" / "nnunet")
    ways = ways_of(chosen, 1 - chosen.overlap)
    scan = Path(cases.words[0])
    words = [*cases.words, *(["--memory", chosen.memory] if chosen.memory else [])]
    every = [*words, "all_windows=true"]
    invert = ["--invert"] if chosen.spacing else []
    tools: dict[str, Tool] = {
        "medseg": lambda: run_medseg(twins, words, place / "medseg", ways),
        "medseg-all-windows": lambda: run_medseg(twins, every, place / "medseg-all-windows", ways),
        "monai": lambda: run_monai(twins, scan, place / "monai", ways, *invert),
        "nnunet": lambda: run_nnunet(twins, cases.images, place / "nnunet", ways),
    }
    if find_spec("openvino"):
        faster = [*words, "engine=openvino"]
        tools["medseg-openvino"] = lambda: run_medseg(
            twins, faster, place / "medseg-openvino", ways
        )
    if chosen.spacing:
        x, y, z = chosen.shape
        for tool, size in NATIVE_LOGIT_BYTES.items():
            least_mb = x * y * z * chosen.classes * size / 1e6
            if least_mb > ways.limit_mb:
                tools[tool] = partial(too_large, least_mb)
    facts = {
        "shape": chosen.shape,
        "classes": chosen.classes,
        "spacing": name,
        "window": chosen.window,
        "overlap": chosen.overlap,
        "logits_apart": twins.checked,
    }
    compare(chosen, place, tools, facts, lambda found: {})


def too_large(least_mb: float) -> dict[str, Any]:
    """Why a tool is not tried."""
    said = f"not run: classes x native voxels alone take {least_mb / 1000:.1f} GB"
    return {"failed": said, "computed_mb": round(least_mb)}


def curve(chosen: argparse.Namespace) -> None:
    """Comparison D."""
    known = _rows(chosen.results)
    wanted = chosen.only or ("medseg-all-windows", "monai", "nnunet")
    for extent, classes in product(chosen.extents, chosen.classes):
        cell = {"shape": [*chosen.shape[:2], extent], "classes": classes}
        had = [row["tool"] for row in known if "tool" in row and cell.items() <= row.items()]
        only = [name for name in wanted if name not in had]
        if only:
            big(argparse.Namespace(**{**vars(chosen), **cell, "only": only}))
    for row in _rows(chosen.results):
        if "predicted_mb" in row:
            off = row["high_mb"] / row["predicted_mb"] - 1
            print(
                f"{row['shape'][2]} mm, {row['classes']} classes: at most {row['high_mb']} MB, "
                f"{off:+.1%} against the prediction"
            )
    if chosen.picture:
        draw(_rows(chosen.results), chosen.picture)


def _rows(results: Path | None) -> list[dict[str, Any]]:
    """What the results file holds."""
    if results is None or not results.exists():
        return []
    return [json.loads(line) for line in results.read_text(encoding="utf-8").splitlines()]


def compare(
    chosen: argparse.Namespace,
    place: Path,
    tools: dict[str, Tool],
    facts: dict[str, Any],
    score: Callable[[dict[str, Path]], dict[str, float]],
) -> None:
    """Run each tool alone, then look at the masks that are there."""
    print(json.dumps(facts))
    rows: dict[str, dict[str, Any]] = {}
    for name, run in tools.items():
        if chosen.only and name not in chosen.only:
            continue
        _fresh(place / name)
        rows[name] = {"comparison": chosen.what, "tool": name, **facts, **run()}
        rows[name]["dice"] = score(masks_in(place / name))
        print(json.dumps(rows[name]), flush=True)
        keep(chosen.results, rows[name])
    ours = masks_in(place / "medseg")
    for name in rows:
        theirs = masks_in(place / name)
        if "medseg" in rows and name != "medseg" and ours and theirs:
            row = {
                "comparison": chosen.what,
                "masks": f"medseg against {name}",
                **facts,
                **agreement(ours, theirs),
            }
            print(json.dumps(row), flush=True)
            keep(chosen.results, row)
    show(rows)


def show(rows: dict[str, dict[str, Any]]) -> None:
    """The table."""
    print(
        "\n| tool | wall s | x medseg | CPU s | network s | windows | outside | outside, warm "
        "| start s | end s | peak MB | Dice |"
    )
    print("|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---|")
    base = rows.get("medseg", {}).get("seconds")
    for name, row in rows.items():
        if "failed" in row:
            print(f"| {name} | {row['failed']} |")
            continue
        ratio = f"{row['seconds'] / base:.2f}" if base else ""
        scores = ", ".join(f"{label} {value:.3f}" for label, value in row["dice"].items())
        cells = [
            name,
            row["seconds"],
            ratio,
            row["cpu_seconds"],
            row["network_seconds"],
            row["windows"],
            _percent(row.get("outside")),
            _percent(row.get("outside_warm")),
            row.get("before_seconds"),
            row.get("after_seconds"),
            row["own_mb"],
            scores,
        ]
        print("| " + " | ".join(map(str, cells)) + " |")


def keep(results: Path | None, row: dict[str, Any]) -> None:
    if results:
        with results.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")


def ways_of(chosen: argparse.Namespace, step: float) -> Ways:
    limit = chosen.limit_gb * 1000 if chosen.limit_gb else 0.95 * available_mb()
    return Ways(
        chosen.python,
        chosen.threads,
        tuple(chosen.workers),
        step,
        getattr(chosen, "mirrors", False),
        limit,
        chosen.device,
    )


def _percent(share: float | None) -> str:
    return "" if share is None else f"{share:.1%}"


def _fresh(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.set_defaults(run=lambda _: parser.print_help())
    commands = parser.add_subparsers(dest="what")
    runs = {"train": train, "cohort": cohort, "folder": folder, "large": big, "curve": curve}
    for name, run in runs.items():
        command = commands.add_parser(name, help=run.__doc__)
        command.set_defaults(run=run)
        command.add_argument(
            "--work", type=Path, default=Path(tempfile.gettempdir()) / "medseg_rivals"
        )
        if name not in ("large", "curve"):
            command.add_argument("--root", type=Path, required=True)
        if name == "train":
            command.add_argument("--minutes", type=float, default=8)
            continue
        _add_common(command)
        if name in ("large", "curve"):
            command.set_defaults(window=LARGE_WINDOW, overlap=0.25, features=LARGE_FEATURES)
            command.add_argument("--shape", type=int, nargs=3, default=(512, 512, 300))
            several = "+" if name == "curve" else None
            command.add_argument(
                "--classes", type=int, nargs=several, default=(5, 25, 105) if several else 25
            )
            command.add_argument(
                "--spacing",
                type=float,
                help="resample to it, in mm",
                default=1.5 if several else None,
            )
            command.add_argument(
                "--memory", help="medseg's limit", default="4GiB" if several else ""
            )
            if several:
                command.add_argument(
                    "--extents",
                    type=int,
                    nargs="+",
                    default=(250, 500, 1000),
                    help="slices of 1 mm",
                )
                command.add_argument("--picture", type=Path, help="draw what is in --results")
        else:
            command.add_argument("--count", type=int, help="of cases")
            command.add_argument("--model", type=Path, help="a trained one of this shape")
            command.add_argument("--mirrors", action="store_true")
    return parser.parse_args()


def _add_common(command: argparse.ArgumentParser) -> None:
    command.add_argument("--python", type=Path, required=True, help="of nnU-Net's environment")
    command.add_argument("--only", nargs="+", help="of the tools")
    command.add_argument("--results", type=Path, help="append JSON lines")
    command.add_argument("--threads", type=int, default=2)
    command.add_argument(
        "--workers",
        type=int,
        nargs=2,
        default=(1, 1),
        metavar=("READ", "WRITE"),
        help="nnU-Net's processes; 0 0 does all in one",
    )
    command.add_argument("--batch", type=int, default=2, help="medseg's windows at a time")
    command.add_argument("--window", type=int, nargs=3, default=SMALL_WINDOW)
    command.add_argument("--overlap", type=float, default=0.5)
    command.add_argument(
        "--features", type=int, nargs="+", default=SMALL_FEATURES, help="of a random model"
    )
    command.add_argument("--device", default="cpu", help="cpu or cuda, of every tool")
    command.add_argument("--limit-gb", type=float, help="end a tool that holds more")


def main() -> None:
    chosen = parse()
    if hasattr(chosen, "work"):
        chosen.work = chosen.work.resolve()
        chosen.work.mkdir(parents=True, exist_ok=True)
    if hasattr(chosen, "root"):
        chosen.root = chosen.root.resolve()
    chosen.run(chosen)


if __name__ == "__main__":
    main()
