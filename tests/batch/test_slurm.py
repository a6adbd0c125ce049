"""Does the Slurm recipe run as it stands, against a queue that starts jobs on this machine?"""

import csv
import os
import subprocess
import sys

import pytest

from medseg.config import Choice, InferConfig, PrepareConfig
from medseg.model import ModelCard, save_model
from medseg.networks import build_network
from medseg.writers import write_volume
from tests.batch import stub

pytest.importorskip("dask_jobqueue", reason="the extra `cluster` is not installed")
pytest.importorskip("cryptography", reason="the extra `cluster` is not installed")

SBATCH = """#!/bin/bash
setsid bash "${@: -1}" > /dev/null 2>&1 &
echo "Submitted batch job $!"
"""
SCANCEL = """#!/bin/bash
for job in "$@"; do kill -- -"$job" 2> /dev/null; done
exit 0
"""


@pytest.fixture
def queue(tmp_path):
    """A folder with the two Slurm commands that the recipe's library calls."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name, text in {"sbatch": SBATCH, "scancel": SCANCEL}.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    return folder


@pytest.mark.slow
def test_the_recipe_segments_an_archive_over_tls(tmp_path, queue, repository):
    options = {"features": [4, 8]}
    network = build_network("unet", dims=3, in_channels=1, out_channels=2, options=options)
    card = ModelCard(
        name="ball", modality="MR", channels=("T1",), labels={"ball": 1}, dims=3,
        network=Choice(name="unet", options=options), prepare=PrepareConfig(),
        infer=InferConfig(window=(8, 8, 8)),
    )  # fmt: skip
    save_model(tmp_path / "model", card, stub.LABELS, {"all": network.state_dict()})
    scans = tmp_path / "scans"
    scans.mkdir()
    for number in range(4):
        write_volume(stub.scan(number), scans / f"case{number}.nii.gz")
    (scans / "bad.nii.gz").write_text("no scan")
    out = tmp_path / "masks"
    call = [sys.executable, "pipelines/segment_on_slurm.py", str(tmp_path / "model"), str(scans),
            "--output", str(out), "--jobs", "1", "--memory", "2GB"]  # fmt: skip
    ended = subprocess.run(
        call, cwd=repository, capture_output=True, text=True, timeout=300,
        env=os.environ | {"PATH": f"{queue}:{os.environ['PATH']}", "PYTHONPATH": str(repository)},
    )  # fmt: skip
    assert ended.returncode == 1, ended.stderr  # one bad scan
    with (out / "cases.csv").open(newline="") as file:
        found = {row["case"]: row["status"] for row in csv.DictReader(file)}
    assert found == {**{f"case{n}": "done" for n in range(4)}, "bad": "refused"}
    assert not list(out.glob(".part-*"))
