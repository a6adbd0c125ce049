"""Does a download come whole, go on after a break, and never unpack outside its folder?"""

import hashlib
import io
import tarfile
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from medseg.errors import BadDownload
from medseg.manifests.fetch import download, extract

CONTENT = bytes(range(256)) * 4000  # 1 MB
SHA256 = hashlib.sha256(CONTENT).hexdigest()
MD5 = hashlib.md5(CONTENT, usedforsecurity=False).hexdigest()


class Handler(BaseHTTPRequestHandler):
    """Serves CONTENT in the ways of good and bad servers."""

    def do_GET(self):
        self.server.asked.append((self.path, self.headers.get("Range")))
        name = self.path.strip("/")
        if name == "missing":
            return self.send_error(404)
        if name == "away":
            self.send_response(302)
            self.send_header("Location", "http://example.org/file")
            return self.end_headers()
        if name == "busy" and len(self.server.asked) < 3:
            return self.send_error(503)
        return self.answer(name)

    def answer(self, name):
        start = 0
        wanted = self.headers.get("Range")
        if wanted and name != "no-ranges":
            start = int(wanted.removeprefix("bytes=").rstrip("-"))
            if start >= len(CONTENT):
                return self.send_error(416)
        body = CONTENT[start:]
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        half = name == "breaks" and len(self.server.asked) < 3
        self.wfile.write(body[: len(body) // 2] if half else body)
        return None

    def log_message(self, *args):
        pass


@pytest.fixture
def server():
    served = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    served.asked = []
    served.url = f"http://127.0.0.1:{served.server_port}"
    thread = threading.Thread(target=served.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield served
    served.shutdown()
    served.server_close()


@pytest.mark.parametrize("sums", [{"sha256": SHA256}, {"md5": MD5}], ids=["sha256", "md5"])
def test_a_file_comes_whole(server, tmp_path, sums):
    seen = []
    path = download(
        f"{server.url}/file",
        tmp_path / "deep/file.tar",
        **sums,
        progress=lambda *now: seen.append(now),
    )
    assert path.read_bytes() == CONTENT and seen[-1] == (len(CONTENT), len(CONTENT))
    assert [entry.name for entry in path.parent.iterdir()] == ["file.tar"]


def test_what_is_there_is_not_fetched_again(server, tmp_path):
    (tmp_path / "file").write_bytes(CONTENT)
    download(f"{server.url}/file", tmp_path / "file", sha256=SHA256)
    assert server.asked == []


@pytest.mark.parametrize("name", ["breaks", "busy"])
def test_a_broken_connection_is_taken_up_again(server, tmp_path, name):
    path = download(f"{server.url}/{name}", tmp_path / "file", sha256=SHA256, wait_s=0)
    assert path.read_bytes() == CONTENT and len(server.asked) == 3
    if name == "breaks":
        assert [wanted for _, wanted in server.asked] == [None, "bytes=512000-", "bytes=768000-"]


def test_an_earlier_part_is_gone_on_with(server, tmp_path):
    (tmp_path / "file.part").write_bytes(CONTENT[:1000])
    path = download(f"{server.url}/file", tmp_path / "file", sha256=SHA256)
    assert path.read_bytes() == CONTENT and server.asked == [("/file", "bytes=1000-")]


@pytest.mark.parametrize(
    "part", [b"of another file", CONTENT, CONTENT + b"too long"], ids=["other", "whole", "too long"]
)
def test_a_part_that_does_not_fit_is_fetched_anew(server, tmp_path, part):
    (tmp_path / "file.part").write_bytes(part)
    path = download(f"{server.url}/file", tmp_path / "file", sha256=SHA256, wait_s=0)
    assert path.read_bytes() == CONTENT


def test_a_server_without_ranges_is_no_trouble(server, tmp_path):
    (tmp_path / "file.part").write_bytes(CONTENT[:1000])
    assert (
        download(f"{server.url}/no-ranges", tmp_path / "file", sha256=SHA256).read_bytes()
        == CONTENT
    )


def test_other_bytes_than_published_are_refused(server, tmp_path):
    with pytest.raises(BadDownload, match="not the one that was published; found sha256"):
        download(f"{server.url}/file", tmp_path / "file", sha256="0" * 64)
    assert list(tmp_path.iterdir()) == []


def test_an_older_file_stays_when_the_download_fails(server, tmp_path):
    (tmp_path / "file").write_bytes(b"older")
    with pytest.raises(BadDownload, match=r"the server refuses; found 404"):
        download(f"{server.url}/missing", tmp_path / "file", sha256=SHA256, wait_s=0)
    assert (tmp_path / "file").read_bytes() == b"older"


def test_only_https_leaves_this_machine(server, tmp_path):
    for url in ("http://example.org/file", "ftp://example.org/file", "file:///etc/hosts"):
        with pytest.raises(BadDownload, match="only https is fetched"):
            download(url, tmp_path / "file", sha256=SHA256)
    with pytest.raises(BadDownload, match=r"http://example.org/file: only https is fetched"):
        download(f"{server.url}/away", tmp_path / "file", sha256=SHA256)
    with pytest.raises(BadDownload, match="no checksum to compare with"):
        download(f"{server.url}/file", tmp_path / "file")


def test_nobody_there_is_told_with_the_way_on(tmp_path):
    with pytest.raises(BadDownload, match=r"did not finish.*goes on where it stopped"):
        download("http://127.0.0.1:9/file", tmp_path / "file", sha256=SHA256, wait_s=0)


def tar(path, members, *, mode="w:gz"):
    with tarfile.open(path, mode) as archive:
        for name, content in members.items():
            if isinstance(content, tarfile.TarInfo):
                archive.addfile(content)
                continue
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def zipped(path, members):
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


GOOD = {"task/images/a.txt": b"a", "task/images/._a.txt": b"junk", "._task": b"junk"}


@pytest.mark.parametrize("make", [tar, zipped])
def test_an_archive_is_unpacked(tmp_path, make):
    extract(make(tmp_path / "archive", GOOD), tmp_path / "here")
    files = [
        p.relative_to(tmp_path / "here").as_posix()
        for p in (tmp_path / "here").rglob("*")
        if p.is_file()
    ]
    assert files == ["task/images/a.txt"]


def link(name, to, kind):
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, to
    return member


UNSAFE = {
    "upwards": {"../evil": b"x"},
    "upwards inside": {"task/../../evil": b"x"},
    "absolute link": {"l": link("l", "/etc", tarfile.SYMTYPE)},
    "link outside": {"l": link("l", "../../x", tarfile.SYMTYPE)},
    "hard link outside": {"l": link("l", "../../x", tarfile.LNKTYPE)},
    "device": {"d": link("d", "", tarfile.CHRTYPE)},
}


@pytest.mark.parametrize("members", UNSAFE.values(), ids=UNSAFE)
def test_an_unsafe_tar_is_refused_and_leaves_nothing(tmp_path, members):
    archive = tar(tmp_path / "a.tar", {"first": b"fine", **members})
    with pytest.raises(BadDownload, match="cannot be unpacked"):
        extract(archive, tmp_path / "here")
    assert list((tmp_path / "here").iterdir()) == [] and not (tmp_path / "evil").exists()


@pytest.mark.parametrize("name", ["../evil", "/evil", "a/../../evil", "..\\evil", "C:\\evil"])
def test_an_unsafe_zip_is_refused_and_leaves_nothing(tmp_path, name):
    archive = zipped(tmp_path / "a.zip", {"first": b"fine", name: b"x"})
    with pytest.raises(BadDownload, match="would land outside"):
        extract(archive, tmp_path / "here")
    assert list((tmp_path / "here").iterdir()) == []


def test_an_absolute_name_in_a_tar_lands_inside(tmp_path):
    extract(tar(tmp_path / "a.tar", {"/evil": b"x"}), tmp_path / "here")
    assert (tmp_path / "here/evil").read_bytes() == b"x"


def test_damaged_archives_are_refused(tmp_path):
    whole = tar(tmp_path / "a.tar", {"x": CONTENT}).read_bytes()
    for content in (b"no archive at all", whole[: len(whole) // 2], b""):
        (tmp_path / "bad").write_bytes(content)
        with pytest.raises(BadDownload, match="cannot be unpacked"):
            extract(tmp_path / "bad", tmp_path / "here")
    assert list((tmp_path / "here").iterdir()) == []


def test_nothing_is_written_over(tmp_path):
    archive = tar(tmp_path / "a.tar", {"task/a": b"new", "task/b": b"new"})
    (tmp_path / "here/task").mkdir(parents=True)
    (tmp_path / "here/task/a").write_bytes(b"mine")
    with pytest.raises(BadDownload, match="already there"):
        extract(archive, tmp_path / "here")
    assert (tmp_path / "here/task/a").read_bytes() == b"mine"
    assert not (tmp_path / "here/task/b").exists()
