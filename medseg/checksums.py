"""SHA-256 of a file, and of a folder of DICOM files."""

from __future__ import annotations

import hashlib
from pathlib import Path

from medseg.files import open_file


def sha256_of(path: Path) -> str:
    """SHA-256 as 64 hexadecimal digits.

    That of a folder is the SHA-256 over the sorted checksums of all files below it, one a line:
    it does not depend on their names, which archives like to change.

    Raises:
        OSError: a file cannot be read.
    """
    if path.is_dir():
        sums = sorted(sha256_of(file) for file in path.rglob("*") if file.is_file())
        return hashlib.sha256("".join(f"{line}\n" for line in sums).encode()).hexdigest()
    with open_file(path) as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
