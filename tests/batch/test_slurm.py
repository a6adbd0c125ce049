"""A real Slurm of one node segments an archive: by a job array of shards, by the Dask recipe."""

import csv
import os
import subprocess
import sys

import pytest

from medseg.batch.status import stand
from medseg.writers import write_volume
from tests.batch import slurm_node, stub

SHARDS = 3
SCRIPT = """#!/bin/bash
#SBATCH --array=1-{shards}
#SBATCH --output={log}/%a.txt
export OMP_NUM_THREADS=1 MEDSEG_CACHE={log}/cache-$SLURM_ARRAY_TASK_ID
cd {repository}
srun {python} -c 'from medseg.cli import main; main()' segment {model} {scans} \\
    --output {out} --device cpu --shard "$SLURM_ARRAY_TASK_ID/{shards}"
"""


@pytest.fixture
def cluster(tmp_path_factory):
    """The environment of a running Slurm."""
    if reason := slurm_node.missing():
        pytest.skip(reason)
    with slurm_node.slurm(tmp_path_factory.mktemp("slurm") / "node") as environment:
        yield environment


@pytest.fixture
def archive(tmp_path):
    """Model and scans, one of them broken."""
    model = stub.small_model(tmp_path / "model")
    scans = tmp_path / "scans"
    scans.mkdir()
    for number in range(6):
        write_volume(stub.scan(number), scans / f"liver{number}.nii.gz")
    (scans / "bad.nii.gz").write_text("no scan")
    return model, scans


EXPECTED = {**{f"liver{n}": "done" for n in range(6)}, "bad": "refused"}


def statuses(out):
    with (out / "cases.csv").open(newline="") as file:
        return {row["case"]: row["status"] for row in csv.DictReader(file)}


@pytest.mark.slow
def test_a_job_array_of_shards_segments_an_archive(tmp_path, cluster, archive, repository):
    model, scans = archive
    log, out = tmp_path / "log", tmp_path / "masks"
    log.mkdir()
    script = tmp_path / "array.sh"
    script.write_text(
        SCRIPT.format(
            shards=SHARDS,
            log=log,
            repository=repository,
            python=sys.executable,
            model=model,
            scans=scans,
            out=out,
        )
    )
    subprocess.run(["sbatch", str(script)], env=cluster, check=True, capture_output=True)
    slurm_node.wait_for_jobs(cluster, 500)
    told = "\n".join(path.read_text() for path in log.glob("*.txt"))
    assert statuses(out) == EXPECTED, told
    assert stand(out).unfinished == []
    assert len(list(out.glob("*.nii.gz"))) == 6


@pytest.mark.slow
def test_the_recipe_segments_an_archive_over_tls(tmp_path, cluster, archive, repository):
    pytest.importorskip("dask_jobqueue", reason="the extra `cluster` is not installed")
    pytest.importorskip("cryptography", reason="the extra `cluster` is not installed")
    model, scans = archive
    out = tmp_path / "masks"
    paths = os.pathsep.join(filter(None, [str(repository), cluster.get("PYTHONPATH", "")]))
    call = [
        sys.executable,
        "pipelines/segment_on_slurm.py",
        str(model),
        str(scans),
        "--output",
        str(out),
        "--jobs",
        "1",
        "--memory",
        "2GB",
    ]
    ended = subprocess.run(
        call,
        cwd=repository,
        capture_output=True,
        text=True,
        timeout=500,
        env=cluster | {"PYTHONPATH": paths, "MEDSEG_CACHE": str(tmp_path / "cache")},
    )
    assert ended.returncode == 1, ended.stderr  # one bad scan
    assert statuses(out) == EXPECTED
    assert not list(out.glob(".part-*"))
