"""Other people's converters read a list of scans; runs inside their own environment.

    RIVALS/bin/python benchmarks/rival_readers.py TOOL < jobs.json > results.json

TOOL is dcm2niix, simpleitk or dicom2nifti; a job is {"case", "input", "output"}. Needs nothing of
medseg.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

_SECONDS = 120


def dcm2niix(source: Path, output: Path) -> str:
    """As a user would call it: scaled values, one file a volume."""
    folder = source if source.is_dir() else source.parent
    tool = Path(sys.executable).parent / "dcm2niix"
    done = subprocess.run(
        [tool, "-p", "n", "-z", "y", "-f", "%j_%s", "-o", output, folder],
        capture_output=True,
        text=True,
        errors="replace",
        timeout=_SECONDS,
        check=False,
    )
    return (
        done.stdout
        + done.stderr
        + ("" if done.returncode == 0 else f" exit code {done.returncode}")
    )


def simpleitk(source: Path, output: Path) -> str:
    """One series of each folder after the other, as its examples do; other files as they are."""
    import SimpleITK

    if source.is_file():
        SimpleITK.WriteImage(SimpleITK.ReadImage(str(source)), str(output / "0.nii.gz"))
        return ""
    number = 0
    for folder in [source, *(path for path in sorted(source.rglob("*")) if path.is_dir())]:
        for series in SimpleITK.ImageSeriesReader.GetGDCMSeriesIDs(str(folder)):
            reader = SimpleITK.ImageSeriesReader()
            reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder), series))
            SimpleITK.WriteImage(reader.Execute(), str(output / f"{number}.nii.gz"))
            number += 1
    return "" if number else "no series found"


def dicom2nifti(source: Path, output: Path) -> str:
    """Every series under the folder."""
    from dicom2nifti import convert_directory

    convert_directory(str(source), str(output), compression=True, reorient=False)
    return ""


TOOLS = {"dcm2niix": dcm2niix, "simpleitk": simpleitk, "dicom2nifti": dicom2nifti}


def main() -> None:
    results = {}
    for job in json.load(sys.stdin):
        output = Path(job["output"])
        output.mkdir(parents=True)
        try:
            said = TOOLS[sys.argv[1]](Path(job["input"]), output)
        except Exception as error:  # noqa: BLE001 - whatever it raises is its refusal
            said = f"{type(error).__name__}: {error}"
        results[job["case"]] = said[-2000:]
    json.dump(results, sys.stdout)


if __name__ == "__main__":
    main()
