"""Downloads a published file whole: over https, resumed, checked, unpacked safely."""

from __future__ import annotations

import hashlib
import http.client
import shutil
import tarfile
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
import zipfile
from pathlib import Path, PurePosixPath
from typing import IO, Any

from medseg.errors import BadDownload
from medseg.progress import Progress

#: Times that a broken connection is taken up again, and seconds before the first.
ATTEMPTS = 5
WAIT_S = 1.0
TIMEOUT_S = 60.0
_CHUNK = 1 << 18

#: Where plain http is allowed: this machine.
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


def download(
    url: str,
    path: str | Path,
    *,
    sha256: str = "",
    md5: str = "",
    progress: Progress | None = None,
    wait_s: float = WAIT_S,
) -> Path:
    """Fetch a file; go on where an earlier attempt stopped.

    What has come so far is kept as ``<path>.part``; `path` appears only when the checksum is
    right. A file that is already there with the right checksum is not fetched again.

    Args:
        url: https, or http on this machine.
        path: where the file goes.
        sha256: as published, in hexadecimal; one of both checksums must be given.
        md5: where the publisher gives no better.
        progress: called as (bytes done, bytes in all or ``None``).
        wait_s: before the first new attempt; doubles each time.

    Raises:
        BadDownload: another scheme, no checksum, a server that refuses, a connection that stays
            broken, no space, or bytes with another checksum.
    """
    target = Path(path)
    kind, expected = ("sha256", sha256) if sha256 else ("md5", md5)
    _check_url(url)
    if not expected:
        raise BadDownload(
            "no checksum to compare with", path=url, expected="the one that its publisher gives"
        )
    if target.is_file() and _digest(target, kind) == expected.lower():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f"{target.name}.part")
    resumed = part.exists()
    _fetch(url, part, progress, wait_s)
    if _digest(part, kind) != expected.lower() and resumed:
        part.unlink()  # the rest of an older file, perhaps: once more from the start
        _fetch(url, part, progress, wait_s)
    found = _digest(part, kind)
    if found != expected.lower():
        part.unlink()
        raise BadDownload(
            "the file is not the one that was published",
            path=url,
            found=f"{kind} {found}",
            expected=expected,
            remedy="Try again; if it stays so, the file has been replaced.",
        )
    part.replace(target)
    return target


def extract(archive: str | Path, folder: str | Path) -> Path:
    """Unpack a tar or zip so that nothing lands outside, and all or nothing appears.

    Links out of the folder, absolute names and devices are refused; so is writing over what is
    there. A Mac's ``._`` companions are left out.

    Raises:
        BadDownload: not an archive, damaged, an unsafe member, or something stands in the way.
    """
    source, target = Path(archive), Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target, prefix=".part-") as temporary:
        inside = Path(temporary)
        try:
            if zipfile.is_zipfile(source):
                _unzip(source, inside)
            else:
                _untar(source, inside)
        except (
            tarfile.TarError,
            zipfile.BadZipFile,
            EOFError,
            OSError,
            NotImplementedError,
            RuntimeError,
        ) as error:
            raise BadDownload(
                "the archive cannot be unpacked",
                path=source,
                found=error,
                expected="a whole tar or zip with safe names",
            ) from error
        entries = sorted(inside.iterdir())
        taken = [entry.name for entry in entries if (target / entry.name).exists()]
        if taken:
            raise BadDownload(
                "something of that name is already there",
                path=target / taken[0],
                remedy="Remove it, or choose another folder.",
            )
        for entry in entries:
            shutil.move(entry, target / entry.name)
    return target


def _check_url(url: str) -> None:
    parts = urllib.parse.urlsplit(url)
    if parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in _LOOPBACK):
        return
    raise BadDownload("only https is fetched", path=url, found=parts.scheme or "no scheme")


class _SafeRedirects(urllib.request.HTTPRedirectHandler):
    """Follows redirections, but never away from https."""

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        """The next request, whose address is checked like the first."""
        _check_url(newurl)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _fetch(url: str, part: Path, progress: Progress | None, wait_s: float) -> None:
    """Bring `part` to its full length, over as many connections as it takes."""
    for attempt in range(ATTEMPTS):
        try:
            if _take(url, part, progress):
                return
            problem: Exception | str = "the connection ended early"
        except urllib.error.HTTPError as error:
            if error.code < 500:
                raise BadDownload(
                    "the server refuses", path=url, found=f"{error.code} {error.reason}"
                ) from None
            problem = error
        except (OSError, http.client.HTTPException) as error:
            if isinstance(error, OSError) and error.errno == 28:
                raise BadDownload(
                    "no space left", path=part, remedy="Make space; what has come is kept."
                ) from None
            problem = error
        if attempt < ATTEMPTS - 1:
            time.sleep(wait_s * 2**attempt)
    raise BadDownload(
        "the download did not finish",
        path=url,
        found=problem,
        remedy="Run the same again: it goes on where it stopped.",
    )


def _take(url: str, part: Path, progress: Progress | None) -> bool:
    """One connection; whether the file is whole now, as far as the server tells its length."""
    have = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url)
    if have:
        request.add_header("Range", f"bytes={have}-")
    try:
        answer = _opener(url).open(request, timeout=TIMEOUT_S)
    except urllib.error.HTTPError as error:
        if error.code == 416 and have:  # nothing after what we have: whole, or of another file
            return True
        raise
    with answer:
        if answer.status != 206:
            have = 0
        length = answer.headers.get("Content-Length")
        total = have + int(length) if length else None
        done = have
        with part.open("ab" if have else "wb") as stream:
            while chunk := answer.read(_CHUNK):
                stream.write(chunk)
                done += len(chunk)
                if progress:
                    progress(done, total)
    return total is None or done >= total


def _opener(url: str) -> urllib.request.OpenerDirector:
    handlers: list[Any] = [_SafeRedirects]
    if urllib.parse.urlsplit(url).hostname in _LOOPBACK:
        handlers.append(urllib.request.ProxyHandler({}))
    return urllib.request.build_opener(*handlers)


def _digest(path: Path, kind: str) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, kind).hexdigest()


def _untar(source: Path, folder: Path) -> None:
    with tarfile.open(source) as archive:
        members = [m for m in archive.getmembers() if not _is_companion(m.name)]
        archive.extractall(folder, members=members, filter="data")


def _unzip(source: Path, folder: Path) -> None:
    with zipfile.ZipFile(source) as archive:
        for member in archive.infolist():
            name = PurePosixPath(member.filename.replace("\\", "/"))
            if name.is_absolute() or ".." in name.parts or ":" in member.filename:
                raise BadDownload(
                    "a member would land outside the folder",
                    path=source,
                    found=repr(member.filename),
                )
            if not _is_companion(member.filename):
                archive.extract(member, folder)


def _is_companion(name: str) -> bool:
    return PurePosixPath(name).name.startswith("._") or name.startswith("__MACOSX/")
