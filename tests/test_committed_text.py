"""What we commit is free of the places where it happened to be written."""

import re
import shutil
import subprocess

import pytest

# Somebody's home, and the usual places of build machines. A URL may have such a part in its path,
# so what stands before the first slash must not belong to a longer path or name.
# (Two o's are spelt o{2}: this file is committed as well.)
MACHINE_PATH = re.compile(
    rb"(?<![\w./:>~*-])/(?:home|Users|work|opt|mnt|srv)/\w|(?<![\w./:>~*-])/ro{2}t\b|\b[A-Z]:\\Users\\"
)


@pytest.fixture(scope="module")
def tracked(repository):
    """The files that git holds or is about to hold, by path."""
    if shutil.which("git") is None or not (repository / ".git").exists():
        pytest.skip("not a git checkout: nothing here is about to be committed")
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=repository, capture_output=True, check=True
    ).stdout.decode()
    paths = [repository / name for name in listed.split("\0") if name]
    return [path for path in paths if path.is_file()]


def test_no_committed_file_names_a_path_of_one_machine(tracked):
    assert tracked
    found = [
        f"{path.name}:{number}: {line.strip()[:100].decode(errors='replace')}"
        for path in tracked
        for number, line in enumerate(path.read_bytes().splitlines(), start=1)
        if MACHINE_PATH.search(line)
    ]
    assert not found, "\n".join(found)


@pytest.mark.parametrize("folder", ["home/anna/scans", "work/x", "root", "root/.cache", "Users/a"])
def test_a_machine_path_is_seen(folder):
    assert MACHINE_PATH.search(f'root: "/{folder}"'.encode())


@pytest.mark.parametrize(
    "text",
    ["https://example.org/home/page", "../work/scan.nii", "file/root", "a/home/b", "/data/x"],
)
def test_other_slashes_are_left_alone(text):
    assert not MACHINE_PATH.search(text.encode())
