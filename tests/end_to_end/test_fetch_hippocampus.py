"""The hippocampus scans are fetched by checksum and laid out as the card wants them."""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import tarfile
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType

import pytest

from medseg.errors import BadDownload


@pytest.fixture
def script(repository: Path) -> ModuleType:
    path = repository / "pipelines/fetch_hippocampus.py"
    spec = importlib.util.spec_from_file_location("fetch_hippocampus", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """An archive laid out like the published one."""
    source = tmp_path / "Task04_Hippocampus"
    for folder in ("imagesTr", "labelsTr"):
        (source / folder).mkdir(parents=True)
        (source / folder / "hippocampus_001.nii.gz").write_bytes(folder.encode())
        (source / folder / "._hippocampus_001.nii.gz").write_bytes(b"what a Mac leaves")
    path = tmp_path / "server" / "Task04.tar"
    path.parent.mkdir()
    with tarfile.open(path, "w") as tar:
        tar.add(source, "Task04_Hippocampus")
    return path


@pytest.fixture
def address(archive: Path) -> Iterator[str]:
    handler = functools.partial(SimpleHTTPRequestHandler, directory=str(archive.parent))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/{archive.name}"
        server.shutdown()


def test_scans_lie_where_the_card_looks_for_them(
    script: ModuleType, archive: Path, address: str, tmp_path: Path
) -> None:
    md5 = hashlib.md5(archive.read_bytes(), usedforsecurity=False).hexdigest()
    for _ in range(2):  # the second call finds everything there
        root = script.fetch(tmp_path / "data", address, md5)
    assert (root / "images/hippocampus_001.nii.gz").read_bytes() == b"imagesTr"
    assert (root / "labels/hippocampus_001.nii.gz").read_bytes() == b"labelsTr"
    assert sorted(path.name for path in root.rglob("*.nii.gz")) == ["hippocampus_001.nii.gz"] * 2


def test_another_checksum_leaves_nothing_behind(
    script: ModuleType, address: str, tmp_path: Path
) -> None:
    script.RETRIES = 0
    with pytest.raises(BadDownload, match="did not come as it was published"):
        script.fetch(tmp_path / "data", address, "0" * 32)
    assert not list((tmp_path / "data").rglob("*"))


def test_a_server_that_refuses_is_named(script: ModuleType, address: str, tmp_path: Path) -> None:
    script.RETRIES = 0
    with pytest.raises(BadDownload, match="404"):
        script.fetch(tmp_path / "data", f"{address}.gone", "0" * 32)


def test_an_archive_that_reaches_outside_leaves_nothing_there(
    script: ModuleType, archive: Path, address: str, tmp_path: Path
) -> None:
    with tarfile.open(archive, "a") as tar:
        tar.add(__file__, "../../outside")
    md5 = hashlib.md5(archive.read_bytes(), usedforsecurity=False).hexdigest()
    with pytest.raises(tarfile.OutsideDestinationError):
        script.fetch(tmp_path / "data", address, md5)
    assert not (tmp_path / "outside").exists()
