"""Proves that damaged files never crash, hang, swell, or pass for a scan in the wrong place.

    python tests/fuzz/fuzz_readers.py --mutants 20000 --seeds SCANS

Every mutant is one damaged file among its intact neighbours. It is looked at and read in a worker
process with little memory and a time limit. What is accepted must lie where it lay before the
damage, or where another library puts the damaged file. The last lines are the counts.
"""

from __future__ import annotations

import argparse
import os
import random
import resource
import shutil
import tempfile
import time
import traceback
import warnings
from collections import Counter
from pathlib import Path

import numpy as np

from medseg.errors import MedsegError
from medseg.geometry import Geometry
from medseg.readers.sources import open_each
from medseg.scans import FoundScan, discover
from medseg.volume import Volume
from tests.fuzz import reference
from tests.fuzz.mutate import mutate
from tests.fuzz.seeds import Seed, make_seeds
from tests.fuzz.workers import BAD, SECONDS, Outcome, TooLong, run, start_clock, stop_clock

MEMORY_BYTES = 3 << 30


def examine(seed: Seed, number: int, folder: Path) -> Outcome:
    """Damage one file of a seed, read the folder, and judge."""
    chance = random.Random(number)
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(seed.folder, folder)
    victim = chance.choice(sorted(path for path in folder.rglob("*") if path.is_file()))
    mutation, content = mutate(victim.read_bytes(), chance)
    victim.write_bytes(content)
    start_clock()
    try:
        result, detail = _judge(seed, folder)
    except TooLong:
        result, detail = "hang", f"more than {SECONDS} s"
    except MemoryError:
        result, detail = "memory", traceback.format_exc(limit=-3)
    except Exception:  # noqa: BLE001 - any of them is what we look for
        result, detail = "crash", traceback.format_exc(limit=-4)
    finally:
        stop_clock()
    return Outcome(number, seed.name, mutation, result, f"{victim.name}: {detail}")


def _judge(seed: Seed, folder: Path) -> tuple[str, str]:
    found = discover(folder)
    usable = [scan for scan in found if scan.status == "usable"]
    accepted = []
    for scan in usable:
        try:
            accepted.append((scan, scan.read()))
        except MedsegError:
            continue
    stop_clock()
    if not accepted:
        return "refused", ""
    same = True
    for scan, volume in accepted:
        grid = volume.geometry
        if grid.shape == seed.shape and _near(grid.affine, seed.affine, grid.shape):
            continue
        same = False
        told = any("unreadable files" in warning for warning in scan.warnings)
        packed = seed.members and sum(one.files for one in found) >= seed.members
        if (told or packed) and _within(grid, seed):
            continue  # an end slice is lost, and the user is told or its own row tells
        other = _reference(scan, _paths(volume), folder)
        if other is None or other[0] != grid.shape or not _near(grid.affine, other[1], grid.shape):
            return "wrong", f"{grid.describe()} {grid.affine.tolist()}, reference {other}"
    return ("same" if same and len(accepted) == 1 else "changed"), ""


def _within(grid: Geometry, seed: Seed) -> bool:
    """Whether a grid is one or some consecutive slices of the intact one."""
    intact = Geometry(seed.shape, seed.affine)
    if grid.shape[:2] != intact.shape[:2]:
        return False
    corners = intact.to_index(grid.corners_mm())
    return bool(
        np.abs(corners - np.rint(corners)).max() < 0.05
        and corners.min() > -0.5
        and (corners.max(0) < np.array(intact.shape) - 0.5).all()
    )


def _paths(volume: Volume) -> tuple[str, ...]:
    """The DICOM files on disk that a volume came from."""
    sources = getattr(volume.origin.instances, "sources", ())
    return tuple(source.path for source in sources if not source.member)


def _reference(
    scan: FoundScan, instances: tuple[str, ...], folder: Path
) -> reference.Reading | None:
    if scan.content.sources[0].member:
        instances = _unpacked(scan, folder)
        path = Path(instances[0])
    else:
        path = folder / scan.source
    if scan.content.described:
        return reference.of_dicom(list(instances))
    if path.name.lower().endswith((".nii", ".nii.gz", ".hdr", ".img")):
        return reference.of_nifti(path)
    return reference.of_itk(path)


def _unpacked(scan: FoundScan, folder: Path) -> tuple[str, ...]:
    """The scan's members as files, for libraries that know no archives."""
    target = folder.with_name("unpacked")
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir()
    paths = []
    for number, (source, stream) in enumerate(open_each(scan.content.sources)):
        path = target / f"{number}{Path(source.member).name[-20:]}"
        path.write_bytes(stream.read())
        paths.append(str(path))
    return tuple(paths)


def _near(affine: np.ndarray, other: np.ndarray, shape: tuple[int, ...]) -> bool:
    """The same place to a fiftieth of a voxel and a twentieth of a millimetre, anywhere."""
    corners = np.array(np.meshgrid(*[(0, n - 1) for n in shape])).reshape(3, -1)
    apart = np.linalg.norm(
        (affine - other)[:3, :3] @ corners + (affine - other)[:3, 3:], axis=0
    ).max()
    scale = np.linalg.norm(affine[:3, :3], axis=0).max()
    return bool(apart <= max(0.05, 0.02 * scale, 1e-4 * np.abs(other).max()))


def begin() -> None:
    """A worker: quiet, with little memory."""
    warnings.simplefilter("ignore")
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--mutants", type=int, default=20000)
    parser.add_argument("--first", type=int, default=0, help="number of the first mutant")
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--seeds", type=Path, help="truth suite; synthetic seeds come anyway")
    parser.add_argument("--only", help="seeds whose name contains this")
    options = parser.parse_args()
    os.environ["MEDSEG_CACHE"] = "/dev/null/none"
    counts: dict[str, Counter[str]] = {}
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as scratch:
        seeds = [
            seed
            for seed in make_seeds(Path(scratch) / "seeds", options.seeds)
            if not options.only or options.only in seed.name
        ]
        numbers = list(range(options.first, options.first + options.mutants))
        case = Path(scratch) / "case"
        for outcome in run(lambda n: examine(seeds[n % len(seeds)], n, case), numbers, begin):
            counts.setdefault(outcome.seed, Counter())[outcome.result] += 1
            if outcome.result in BAD:
                print(
                    f"{outcome.result.upper()} mutant {outcome.number} of {outcome.seed} "
                    f"({outcome.mutation}): {outcome.detail}",
                    flush=True,
                )
            if time.monotonic() - started > 60 * options.minutes:
                break
    kinds = ("same", "changed", "refused", *BAD)
    print(f"{'seed':28}" + "".join(f"{kind:>9}" for kind in kinds))
    for name, count in sorted(counts.items()):
        print(f"{name:28}" + "".join(f"{count[kind]:9}" for kind in kinds))
    total = sum(counts.values(), Counter())
    print(f"{'all ' + str(total.total()):28}" + "".join(f"{total[kind]:9}" for kind in kinds))
    raise SystemExit(1 if any(total[kind] for kind in BAD) else 0)


if __name__ == "__main__":
    main()
