"""Memory that ten bombs take, and the limit that stops each.

    python benchmarks/bench_bombs.py

Each bomb is small on disk and claims or unpacks to gigabytes. A process of its own runs
``medseg convert`` on it; the table says its peak memory, time, exit code, and the reason that
``scans.csv`` gives. `plain scan` is what an honest small scan takes.
"""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import lzma
import os
import struct
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import nibabel
import numpy as np
from pydicom.uid import DeflatedExplicitVRLittleEndian

from tests.readers.dicom_files import dataset_of, save

GB = 1 << 30
MEDSEG = [sys.executable, "-c", "from medseg.cli import main; main()"]


def zeros(size: int) -> Iterator[bytes]:
    for _ in range(size >> 20):
        yield bytes(1 << 20)


def plain_scan(folder: Path) -> None:
    nibabel.Nifti1Image(np.ones((8, 8, 8), np.int16), np.eye(4)).to_filename(folder / "s.nii.gz")


def tar_header(name: str, size: int, kind: bytes = tarfile.REGTYPE) -> bytes:
    entry = tarfile.TarInfo(name)
    entry.size, entry.type = size, kind
    return entry.tobuf(tarfile.GNU_FORMAT)


def tar_bz2(folder: Path, head: bytes, size: int) -> None:
    packer = bz2.BZ2Compressor()
    with (folder / "s.tar.bz2").open("wb") as file:
        file.write(packer.compress(head))
        for block in zeros(size):
            file.write(packer.compress(block))
        file.write(packer.flush())


def tar_of_a_large_member(folder: Path) -> None:
    tar_bz2(folder, tar_header("scan.nii", 6 * GB), 2 * GB)


def tar_of_a_long_name(folder: Path) -> None:
    tar_bz2(folder, tar_header("././@LongLink", 2 * GB, tarfile.GNUTYPE_LONGNAME), 2 * GB)


def tar_of_a_pax_header(folder: Path) -> None:
    tar_bz2(folder, tar_header("pax", 2 * GB, tarfile.XHDTYPE), 2 * GB)


def tar_of_an_unknown_type(folder: Path) -> None:
    tar_bz2(folder, tar_header("odd", 2 * GB, b"Q"), 2 * GB)


def tar_with_zeros_behind(folder: Path) -> None:
    tar_bz2(folder, b"", 2 * GB)


def xz_of_a_giant_dictionary(folder: Path) -> None:
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 0, "dict_size": 1536 << 20}]
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as packed:
        packed.addfile(tarfile.TarInfo("empty"))
    # a small file whose header asks for the giant dictionary: made small, then claimed
    small = lzma.compress(
        content.getvalue(), check=lzma.CHECK_NONE, filters=[{**filters[0], "dict_size": 1 << 20}]
    )
    head = bytearray(small)
    place = 12 + 4  # stream header, then block header: size, flags, filter id, properties' size
    head[place] = 37  # 1.5 GiB in the format's own code
    size = (head[12] + 1) * 4
    struct.pack_into("<I", head, 12 + size - 4, zlib.crc32(bytes(head[12 : 12 + size - 4])))
    (folder / "s.tar.xz").write_bytes(bytes(head))


def zip_of(folder: Path, method: int, size: int) -> None:
    with (
        zipfile.ZipFile(folder / "s.zip", "w", method) as packed,
        packed.open("scan.nii", "w", force_zip64=True) as member,
    ):
        for block in zeros(size):
            member.write(block)


def zip_of_bzip2(folder: Path) -> None:
    zip_of(folder, zipfile.ZIP_BZIP2, 2 * GB)


def zip_of_deflate(folder: Path) -> None:
    zip_of(folder, zipfile.ZIP_DEFLATED, 3 * GB)


def private_elements(folder: Path) -> None:
    for k in range(4):
        path = save(dataset_of(k), folder / f"{k}.dcm")
        content = path.read_bytes()
        place = content.rindex(b"\xe0\x7f\x10\x00")
        private = struct.pack("<HH2sHI", 0x0029, 0x1010, b"OB", 0, 600 << 20)
        with path.open("wb") as file:
            file.write(content[:place] + private)
            for block in zeros(600 << 20):
                file.write(block)
            file.write(content[place:])


def deflated_dicom(folder: Path) -> None:
    for k in range(2):
        dataset = dataset_of(k)
        dataset.Rows = dataset.Columns = 40000
        dataset.PixelData = b"M" * 8
        content = save(dataset, folder / f"{k}.dcm").read_bytes()
        old, new = b"1.2.840.10008.1.2.1\0", str(DeflatedExplicitVRLittleEndian).encode()
        start = content.index(b"\x08\0\x08\0CS", 140)
        head = bytearray(content[:start].replace(old, new))
        struct.pack_into("<H", head, head.index(new) - 2, len(new))
        group = head.index(b"\2\0\0\0UL\4\0") + 8
        length = struct.unpack_from("<I", head, group)[0] + len(new) - len(old)
        struct.pack_into("<I", head, group, length)
        body = content[start : content.rindex(b"\xe0\x7f\x10\x00") + 8]
        packer = zlib.compressobj(9, zlib.DEFLATED, -15)
        with (folder / f"{k}.dcm").open("wb") as file:
            file.write(bytes(head) + packer.compress(body + struct.pack("<I", 3200000000)))
            for block in zeros(3 * GB):
                file.write(packer.compress(block))
            file.write(packer.flush())


def nifti_gz(folder: Path) -> None:
    header = nibabel.Nifti1Header()
    header.set_data_shape((2000, 2000, 1000))
    header.set_data_dtype(np.int16)
    header.set_sform(np.eye(4), 1)
    header["vox_offset"], header["magic"] = 352, b"n+1"
    with gzip.open(folder / "s.nii.gz", "wb", 9) as file:
        file.write(header.binaryblock + bytes(4))
        for block in zeros(2 * GB):
            file.write(block)


BOMBS: dict[str, Callable[[Path], None]] = {
    "plain scan": plain_scan,
    "tar.bz2, member of 6 GB": tar_of_a_large_member,
    "tar.bz2, name of 2 GB": tar_of_a_long_name,
    "tar.bz2, pax header of 2 GB": tar_of_a_pax_header,
    "tar.bz2, unknown type of 2 GB": tar_of_an_unknown_type,
    "tar.bz2, 2 GB of zeros": tar_with_zeros_behind,
    "tar.xz, dictionary of 1.5 GB": xz_of_a_giant_dictionary,
    "zip, bzip2 member of 2 GB": zip_of_bzip2,
    "zip, deflate member of 3 GB": zip_of_deflate,
    "4 DICOM, private 600 MB each": private_elements,
    "deflated DICOM, 3 GB": deflated_dicom,
    ".nii.gz that claims 8 GB": nifti_gz,
}


def measure(folder: Path, output: Path) -> tuple[float, float, int, str]:
    """Peak memory in MiB over all processes, seconds, exit code and reason."""
    started = time.perf_counter()
    command = [*MEDSEG, "convert", str(folder), "--output", str(output), "--quiet"]
    environment = {**os.environ, "MEDSEG_CACHE": str(output.parent / "cache")}
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    complaint = process.stderr.read() if process.stderr else ""
    _, status, usage = os.wait4(process.pid, 0)
    reasons = [complaint.strip()[-100:]]
    if (output / "scans.csv").is_file():
        with (output / "scans.csv").open(encoding="utf-8") as lines:
            reasons = [row["reason"] or row["status"] for row in csv.DictReader(lines)]
    seconds = time.perf_counter() - started
    return usage.ru_maxrss / 1024, seconds, os.waitstatus_to_exitcode(status), reasons[0]


def main() -> None:
    print("| bomb | on disk | peak MiB | s | exit | reason |\n|---|---|---|---|---|---|")
    for name, make in BOMBS.items():
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch) / "in"
            folder.mkdir()
            make(folder)
            size = sum(path.stat().st_size for path in folder.iterdir())
            peak, seconds, code, reason = measure(folder, Path(scratch) / "out")
            print(
                f"| {name} | {size / 1e3:,.0f} kB | {peak:.0f} | {seconds:.1f} | {code} "
                f"| {reason} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
