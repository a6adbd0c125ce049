"""``medseg plan``: a cohort in, a config with reasons out."""

from __future__ import annotations

import os
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from medseg.cli.arguments import size_bytes, train_config
from medseg.cli.console import Console, open_console
from medseg.cli.device import pick_device
from medseg.cli.exits import DONE, SOME_FAILED
from medseg.cli.options import Device, Json, Overwrite, Quiet, Root
from medseg.cli.outputs import guard_file

if TYPE_CHECKING:
    from collections.abc import Callable

    from medseg.manifests import Cohort
    from medseg.planning import CohortLooks, Machine, Plan
    from medseg.planning.cost import Precision

#: Real steps that a plan for a GPU is tried with at most.
_TRIALS = 3

_DIMS: dict[int | None, Literal[2, 3] | None] = {None: None, 2: 2, 3: 3}


def plan(
    card: Annotated[Path, typer.Argument(help="The cohort's card.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="File to write.")] = Path(
        "plan.yaml"
    ),
    *,
    minutes: Annotated[
        float | None, typer.Option(min=0.5, help="Minutes of training; by default the preset's.")
    ] = None,
    memory: Annotated[
        str | None,
        typer.Option(metavar="SIZE", help="Memory limit, e.g. 4GB; by default half of the memory."),
    ] = None,
    dims: Annotated[
        int | None, typer.Option(min=2, max=3, help="2 for slices, 3 for volumes.")
    ] = None,
    preset: Annotated[
        str, typer.Option(help="fast, residual, fcn8s, standard or accurate.")
    ] = "fast",
    against: Annotated[
        Path | None, typer.Option(help="Another plan: print the settings that differ.")
    ] = None,
    root: Root = None,
    overwrite: Overwrite = False,
    device: Device = "auto",
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Look at a cohort's train rows and write a config that suits them, with reasons.

    \b
    Examples:
        medseg plan data_manifests/hippocampus.yaml --root DATA --minutes 10 --output plan.yaml
        medseg plan cohort.yaml --memory 8GB --minutes 60 --dims 2
    """
    from medseg.errors import BadConfig
    from medseg.manifests import load_cohort
    from medseg.manifests.card import inputs_of
    from medseg.planning import PRESETS, make_plan, plan_differences, write_plan

    if preset not in PRESETS:
        raise BadConfig("no such preset", found=repr(preset), expected=", ".join(PRESETS))
    other = None if against is None else train_config(against, [])
    cohort = load_cohort(card, root=root)
    _ = cohort.labels.channel_values  # regions that no mask can show are refused before any work
    machine = _machine(device, minutes or PRESETS[preset].minutes, size_bytes(memory))
    with (
        guard_file(output, "plan", inputs=inputs_of(card, root=root), overwrite=overwrite),
        open_console(quiet=quiet, json=json) as console,
    ):
        looks = _look(cohort, output, console)
        named = _from(output, card)
        planned = partial(make_plan, cohort, looks, card=named, preset=preset, dims=_DIMS[dims])
        chosen = _tried(planned(machine), planned, machine, cohort)
        write_plan(chosen, output)
        _say_what_was_chosen(chosen, output, machine, console)
        for line in () if other is None else plan_differences(chosen.config, other):
            console.say(line)
    raise typer.Exit(SOME_FAILED if looks.left_out else DONE)


def _look(cohort: Cohort, output: Path, console: Console) -> CohortLooks:
    """The train rows; scans that cannot be read, that differ or that are there twice are named."""
    from medseg.manifests import survey_scans
    from medseg.manifests.remarks import remarks_by_text, some_names
    from medseg.planning import look_at

    kept = output.with_name(f".{output.stem}.looks.json")
    looks = look_at(cohort, kept=kept, progress=console.progress("looking"))
    for case, reason in looks.left_out.items():
        console.warn(f"case {case} was not looked at: {reason}")
    if absent := [name for name in cohort.labels.names if name not in looks.typical_ml()]:
        console.warn(f"in no train mask, so it cannot be learnt: {some_names(absent)}")
    survey = survey_scans(cohort, progress=console.progress("comparing"))
    for remarks in (looks.warnings, survey.warnings):
        for line, cases in remarks_by_text(remarks).items():
            console.warn(line, cases=cases)
    for duplicate in survey.duplicates:
        console.warn(f"{duplicate.case.case}: {duplicate}", case=duplicate.case.case)
    return looks


def _say_what_was_chosen(plan: Plan, output: Path, machine: Machine, console: Console) -> None:
    """One line with patch, steps, minutes and memory; then the settings with their reasons."""
    from medseg.planning import plan_screen

    console.say(
        f"{output}: patch {'×'.join(map(str, plan.config.patch))}, about {plan.steps} steps"
        f" in {machine.minutes:g} min, {plan.memory_bytes / 1e9:.1f} GB",
        plan=str(output),
        steps=plan.steps,
        memory_bytes=int(plan.memory_bytes),
    )
    for line in plan_screen(plan):
        console.say(line)


def _from(output: Path, card: Path) -> str:
    """The card as seen from the folder of the plan."""
    return Path(os.path.relpath(card.resolve(), output.resolve().parent)).as_posix()


def _machine(device: str, minutes: float, memory_bytes: int | None) -> Machine:
    """What there is to train on; of a GPU that is elsewhere the memory must be given."""
    import torch

    from medseg.inference.forward import cpu_multiplies_bfloat16
    from medseg.planning import MACS_A_CORE, MACS_A_GPU, Machine

    if device.startswith("cuda") and memory_bytes is not None and not torch.cuda.is_available():
        name = f"a GPU of {memory_bytes / 1e9:.0f} GB"
        return Machine(minutes, memory_bytes, MACS_A_GPU, name, "cuda")
    chosen = pick_device(device)
    if chosen.type == "cuda":
        free, _ = torch.cuda.mem_get_info(chosen)
        name = torch.cuda.get_device_name(chosen)
        return Machine(minutes, memory_bytes or free, MACS_A_GPU, name, "cuda")
    there = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    cores = torch.get_num_threads()
    name = f"{cores} CPU core{'s' if cores > 1 else ''}"
    precision: Precision = "bfloat16" if cpu_multiplies_bfloat16() else "float32"
    allowed = memory_bytes or there / 2
    return Machine(minutes, allowed, MACS_A_CORE[precision] * cores, name, precision=precision)


def _tried(plan: Plan, again: Callable[[Machine], Plan], machine: Machine, cohort: Cohort) -> Plan:
    """The plan, made smaller where one real step of it takes more memory than the GPU has."""
    import torch

    from medseg.training.trial import corrected, memory_of_a_step

    if machine.kind != "cuda" or not torch.cuda.is_available():
        return plan
    room = machine.memory_bytes
    for _ in range(_TRIALS):
        measured = memory_of_a_step(plan.config, cohort, torch.device("cuda"))
        if measured <= room:
            return replace(plan, memory_bytes=measured)
        machine = corrected(machine, plan.memory_bytes, measured)
        plan = again(machine)
    return plan
