"""The intact scans that fuzzing starts from: small ones of every format and encoding."""

from __future__ import annotations

import shutil
import tarfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

from medseg.geometry import Geometry
from medseg.scans import discover
from medseg.volume import Volume
from medseg.writers import write_volume
from tests.readers.dicom_files import dataset_of, enhanced_of, pixels_of, save, write_series

#: Real scans worth damaging: name -> path in the truth suite, files to keep.
_REAL = {
    "real CT tilted": ("series/ct_philips_tilt_pos16", 4),
    "real MR Siemens oblique": ("series/mr_siemens_oblique_t1", 5),
    "real MR Philips": ("series/mr_philips_asl_classic", 5),
    "real MR small": ("series/mr_hippocrop_dev", 8),
    "real enhanced CT": ("series/ct_24x38x3_enhanced", 1),
    "real enhanced MR": ("series/mr_hyperfine_enhanced", 1),
    "real JPEG 2000": ("series/mr_j2k_4sl", 4),
    "real JPEG lossless": ("series/mr_jpegll_4sl", 4),
    "real JPEG-LS": ("series/mr_jpegls_4sl", 4),
    "real RLE": ("series/mr_rle_4sl", 4),
    "real NIfTI": ("nifti/plain.nii.gz", 1),
    "real NIfTI-2": ("nifti/nifti2.nii.gz", 1),
    "real NIfTI big endian": ("nifti/big_endian.nii", 1),
    "real NRRD": ("nifti/vol.nrrd", 1),
    "real MHA": ("nifti/vol.mha", 1),
    "real tar": ("hard/tar_gz_archive", 1),
}


@dataclass(frozen=True, eq=False)
class Seed:
    """An intact scan in a folder of its own, and where it lies; ``members`` if in an archive."""

    name: str
    folder: Path
    shape: tuple[int, int, int]
    affine: np.ndarray
    members: int = 0


def make_seeds(folder: Path, suite: Path | None = None) -> list[Seed]:
    """Synthetic seeds, and real ones where there is a truth suite."""
    folders = _synthetic(folder)
    for name, (path, count) in _REAL.items() if suite is not None else ():
        folders[name] = _copied(suite / path, folder / name, count)
    return [_seed(name, place) for name, place in folders.items()]


def _seed(name: str, folder: Path) -> Seed:
    (scan,) = [scan for scan in discover(folder) if scan.status == "usable"]
    grid = scan.read().geometry
    packed = next(folder.iterdir()).suffix in (".zip", ".tar", ".gz") and scan.content.described
    return Seed(name, folder, grid.shape, grid.affine, scan.files if packed else 0)


def _copied(source: Path, target: Path, count: int) -> Path:
    target.mkdir(parents=True)
    files = [source] if source.is_file() else sorted(source.iterdir())
    if count > 1:
        files.sort(
            key=lambda path: float(
                pydicom.dcmread(path, stop_before_pixels=True).ImagePositionPatient[2]
            )
        )
    for path in files[:count] if source.is_dir() else files:
        shutil.copyfile(path, target / path.name)
    return target


def _synthetic(folder: Path) -> dict[str, Path]:
    made = {"classic": write_series(folder / "classic", 5)}
    for name, syntax in (
        ("implicit", ImplicitVRLittleEndian),
        ("deflated", DeflatedExplicitVRLittleEndian),
        ("RLE", RLELossless),
        ("JPEG-LS", JPEGLSLossless),
        ("JPEG 2000", JPEG2000Lossless),
    ):
        made[name] = _encoded(folder / name, syntax)
    made["enhanced"] = folder / "enhanced"
    save(enhanced_of([{"k": k, "slope": k + 1} for k in (2, 0, 3, 1)]), made["enhanced"] / "e.dcm")
    made["zip"] = folder / "zip"
    made["zip"].mkdir()
    with zipfile.ZipFile(made["zip"] / "s.zip", "w", zipfile.ZIP_DEFLATED) as packed:
        for path in sorted(made["classic"].iterdir()):
            packed.write(path, path.name)
    made["NIfTI"] = folder / "NIfTI"
    grid = Geometry(
        (7, 6, 5),
        np.array([[-0.9, 0.1, 0.0, 8], [0.1, 0.9, 0.2, -4], [0, -0.3, 2.0, 3], [0, 0, 0, 1.0]]),
    )
    data = np.arange(210, dtype=np.int16).reshape(1, 7, 6, 5)
    write_volume(Volume(data, grid), made["NIfTI"] / "n.nii.gz")
    for name, source in (("zip of NIfTI", "NIfTI"), ("tar of NIfTI", "NIfTI"), ("tar", "classic")):
        made[name] = _boxed(folder / name, made[source], zipped=name.startswith("zip"))
    return made


def _boxed(folder: Path, source: Path, *, zipped: bool) -> Path:
    """The files of a folder in one archive."""
    folder.mkdir()
    if zipped:
        with zipfile.ZipFile(folder / "s.zip", "w", zipfile.ZIP_DEFLATED) as box:
            for path in sorted(source.iterdir()):
                box.write(path, path.name)
    else:
        with tarfile.open(folder / "s.tar", "w", format=tarfile.GNU_FORMAT) as box:
            for path in sorted(source.iterdir()):
                box.add(path, path.name)
    return folder


def _encoded(folder: Path, syntax: pydicom.uid.UID) -> Path:
    folder.mkdir(parents=True)
    for k in range(4):
        dataset = dataset_of(k, pixels=np.kron(pixels_of(k), np.ones((8, 8))).astype(np.int16))
        if syntax.is_encapsulated:
            dataset.compress(syntax, generate_instance_uid=False)
        dataset.file_meta.TransferSyntaxUID = syntax
        pydicom.dcmwrite(folder / f"{k}.dcm", dataset, enforce_file_format=True)
    return folder
