"""Segments one archive on many nodes of a Slurm cluster: one Dask worker a job, over TLS.

    python pipelines/segment_on_slurm.py MODEL SCAN… --output DIR --jobs 8 --gpu
    python pipelines/segment_on_slurm.py MODEL SCAN… --output DIR --partition cpu --memory 16GB

Needs ``pip install "medseg[cluster]"`` on every node, and MODEL, SCAN and DIR on a file system
that all of them see. Start it where it may run for days (a login node under tmux, or a small job
of its own); started again after whatever happened, it goes on where it was. For workers that
you start yourself, use ``medseg segment … --cluster tls://HOST:8786`` and Dask's own settings
for certificates (``DASK_DISTRIBUTED__COMM__TLS__CA_FILE`` and its companions).
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from dask_jobqueue import SLURMCluster

from medseg.batch import Listener, State
from medseg.batch.batch import open_batch
from medseg.batch.gather import gather
from medseg.batch.models import load_models
from medseg.batch.settings import Settings
from medseg.cli.arguments import split_words
from medseg.reports.batch import write_batch_report
from medseg.scans.channels import Channels, parse_patterns

#: One reads, one is in the network, one writes.
THREADS = 3


def main(
    arguments: Annotated[list[Path], typer.Argument(metavar="MODEL… SCAN…")],
    output: Annotated[Path, typer.Option(help="Folder for the masks, seen by every node.")],
    jobs: Annotated[int, typer.Option(help="Slurm jobs, one worker each.")] = 4,
    gpu: Annotated[bool, typer.Option("--gpu", help="Ask for a GPU for each job.")] = False,
    partition: Annotated[str | None, typer.Option(help="Slurm partition.")] = None,
    memory: Annotated[str, typer.Option(help="Memory of a job.")] = "24GB",
    walltime: Annotated[str, typer.Option(help="Of a job; Dask replaces ended ones.")] = "08:00:00",
    channel: Annotated[list[str], typer.Option(help="As for `medseg segment`.")] = [],  # noqa: B006
) -> None:
    """Segment on Slurm; the masks, tables and report are those of `medseg segment`."""
    models, scans, settings_given = split_words(arguments)
    if settings_given:
        raise typer.BadParameter(f"settings are not taken here: {' '.join(settings_given)}")
    output.mkdir(parents=True, exist_ok=True)
    with SLURMCluster(
        queue=partition,
        cores=THREADS,
        processes=1,
        memory=memory,
        walltime=walltime,
        job_extra_directives=["--gres=gpu:1"] if gpu else [],
        protocol="tls://",
        security=True,
        scheduler_options={"dashboard_address": "127.0.0.1:0"},  # Dask's default is every address
        worker_extra_args=["--no-dashboard"],
        shared_temp_directory=str(output.absolute()),
        log_directory=str(output / "slurm"),
    ) as cluster:
        cluster.adapt(minimum_jobs=jobs, maximum_jobs=jobs)
        places = tuple(model.absolute() for model in models)
        settings = Settings(places, output.absolute(), executor="cluster", cluster=cluster)
        names = load_models(places)[0].card.channels
        channels = Channels(names, parse_patterns(channel, names))
        with open_batch(gather(scans, channels=channels), settings) as batch:
            batch.run(Listener(progress=tell, notice=print))
            write_batch_report(output, batch.entries(), batch.labels)
            counts = batch.ledger.count()
    print(", ".join(f"{count} {state}" for state, count in counts.items() if count))
    raise typer.Exit(1 if counts[State.REFUSED] + counts[State.FAILED] else 0)


def tell(done: int, total: int | None = None, **facts: object) -> None:
    """One line now and then."""
    if done == total or done % 20 == 0:
        print(f"{done} of {total}, {facts.get('cases_per_minute')} a minute")


if __name__ == "__main__":
    typer.run(main)
