"""A log that cannot be written, or was closed, costs its lines and never the work."""

import os
import subprocess
import sys

import numpy as np
import pytest

from medseg.geometry import Geometry
from medseg.volume import Volume
from medseg.writers import write_volume

STREAMS = {
    "standard output closed": ">&-",
    "all streams closed": "<&- >&- 2>&-",
    "a log on a full disk": "> /dev/full",
    "both logs on a full disk": "> /dev/full 2> /dev/full",
    "a reader that went away": "2>&1 | :",
    "a reader of two lines": "--json | head -n 2 > /dev/null",
}


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no full disk to try")  # noqa: PTH110
@pytest.mark.parametrize(
    "streams",
    [
        pytest.param(
            streams,
            id=name,
            marks=[pytest.mark.slow]
            if name in ("a log on a full disk", "a reader that went away")
            else [],
        )
        for name, streams in STREAMS.items()
    ],
)
def test_the_work_is_done_whatever_becomes_of_its_log(streams, tmp_path):
    voxels = np.arange(60, dtype=np.int16).reshape(1, 3, 4, 5)
    write_volume(Volume(voxels, Geometry((3, 4, 5), np.eye(4))), tmp_path / "a.nii.gz")
    run = f"'{sys.executable}' -m medseg convert a.nii.gz --output out {streams}"
    command = f"set -o pipefail; {run}"
    environment = {**os.environ, "MEDSEG_CACHE": str(tmp_path / "cache")}
    ended = subprocess.run(["bash", "-c", command], cwd=tmp_path, env=environment, check=False)
    assert ended.returncode == 0
    assert "converted" in (tmp_path / "out/scans.csv").read_text()
    assert (tmp_path / "out/a.nii.gz").exists()


def test_a_terminal_that_was_closed_costs_its_lines_only(tmp_path):
    """The other end of a pseudo-terminal goes away: every write from then on is an error."""
    code = (
        "import os, sys, typer\nfrom medseg.cli.streams import settle_streams\n"
        "ours, theirs = os.openpty()\nos.dup2(theirs, 1)\nos.close(theirs)\n"
        "settle_streams()\nassert sys.stdout.isatty()\nos.close(ours)\n"
        "typer.echo('a line')\nsys.stdout.flush()\nopen('done', 'w').close()"
    )
    ended = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=False)
    assert ended.returncode == 0
    assert (tmp_path / "done").exists()
