"""Writes the page and the report of a study from its finished runs, and says what is missing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from study.cells import CELLS, REFERENCE
from study.cohorts import StudyCohort
from study.page import Section, Table, write_page, write_report
from study.pictures import pictures
from study.questions import answered
from study.results import Folder
from study.scoring import SCORED
from study.statistics import Findings
from study.training import CLIP, LEARNING_RATE, WARM_UP, WEIGHT_DECAY

TITLE = "FCN and U-Net: what the literature says, measured"

#: Where what differs from the papers is written; the page quotes none of it twice.
DEPARTURES = (
    "- FCN: convolutions keep the size and pooling keeps part cells (the paper pads by 100 and "
    "crops); a norm follows each convolution; widths are free and far smaller than VGG's; no "
    "weights from ImageNet; the coarsest scores start at random (the paper's at zero; the skips' "
    "scores do start at zero, as there); dropout drops whole channels, not single values; "
    "enlarging works class by class in every step (the paper's 2-fold steps may mix classes).\n"
    "- U-Net: convolutions keep the size; a norm and leaky ReLU; no dropout at the bottom. "
    "`unet_original` is the paper's own: valid convolutions, no norm, the border mirrored.\n"
    "- All of them: AdamW with one schedule, where the papers have momentum and one rate each."
)


def write_study(
    output: Path,
    cohorts: Sequence[StudyCohort],
    folder: Folder,
    *,
    seeds: int,
    page: Path | None,
    remark: str = "",
) -> None:
    """Write ``report.html`` beside the results, and the page of the site where one is named."""
    findings = [Findings(folder, cohort, seeds) for cohort in cohorts]
    findings = [each for each in findings if each.cells]
    shown = pictures(findings)
    scanned = [each for each in findings if each.cohort.name != "phantoms"]
    findings = scanned or findings  # painted hearts beside scans are there to be looked at
    sections = [*opening(findings, remark), *answered(findings, shown), *closing(findings)]
    write_report(output / "report.html", TITLE, sections)
    if page is not None:
        write_page(page, TITLE, sections, "pictures/architectures")


def opening(findings: Sequence[Findings], remark: str) -> list[Section]:
    """What was run on what."""
    lead = (
        "Every network sees the same batches of the same scans for the same number of steps, and "
        "is scored on whole test cases: Dice, HD95 and NSD, each the mean over the structures, "
        "averaged over the seeds; intervals draw patients, not scans, and every network is "
        "compared with the U-Net case by case, all tests of a cohort corrected together (Holm). "
        "Where the numbers do not bear a claim out, the text says so; the sentences are made from "
        "the numbers by the script."
    )
    command = (
        "```sh\npython pipelines/architectures.py --heart ACDC --hippocampus TASK04 --output STUDY "
        "--page docs/architectures.md\n```"
    )
    rows = tuple(_about(each) for each in findings)
    table = Table(
        ("cohort", "train", "test cases (patients)", "steps", "seeds", "measured on", "NSD within"),
        rows,
    )
    notes = "\n".join(f"- {each.cohort.name}: {each.cohort.about}." for each in findings)
    how = (
        f"AdamW (rate {LEARNING_RATE:g}, decay {WEIGHT_DECAY:g}), {100 * WARM_UP:.0f} % warm-up "
        f"then cosine, gradient norm at most {CLIP:g}, Dice + cross-entropy, medseg's default "
        "augmentation. Scores are on the study's grid, so they stand beside each other and not "
        "beside published ones: these are small networks, "
        "trained for minutes. Nothing is cleaned afterwards: a far island counts in full in HD95. "
        "Intervals of few patients allow for failures that nobody has seen. Pictures are of "
        "painted hearts."
    )
    said = [remark] if remark else []
    return [Section("", (lead, command, table, notes, how, *said, *_limits(findings)))]


def _about(f: Findings) -> tuple[str, ...]:
    facts = f.facts(f.cells[0])
    test = f.cohort.test
    patients = len({case.patient for case in test})
    most = max(len(f.finished(cell)) for cell in f.cells)
    fewest = min(len(f.finished(cell)) for cell in f.cells)
    seeds = str(most) if most == fewest else f"{fewest} to {most}"
    return (
        f.cohort.name,
        str(len(f.cohort.train)),
        f"{len(test)} ({patients})",
        str(facts["steps"]),
        seeds,
        str(facts["device"]),
        f"{f.cohort.tolerance_mm:g} mm",
    )


def _limits(findings: Sequence[Findings]) -> list[str]:
    """What this run does not hold."""
    parts = []
    names = {each.cohort.name for each in findings}
    if not names & {"heart", "hippocampus"}:
        parts.append(
            "**Painted hearts only.** No scan was at hand in this run: the figures say how the "
            "networks differ on painted shapes, not on anatomy, and decide nothing."
        )
    for each in findings:
        counts = {
            cell.name: len(each.finished(cell.name))
            for cell in CELLS
            if each.cohort.dims in cell.dims
        }
        parts += _lacking(each, counts)
    return parts


def _lacking(f: Findings, counts: dict[str, int]) -> list[str]:
    """Which cells are missing or have fewer seeds than were asked for."""
    parts = []
    absent = [name for name, count in counts.items() if count == 0]
    few = [f"{name} {count}" for name, count in counts.items() if 0 < count < f.seeds]
    if absent:
        parts.append(f"Not run on {f.cohort.name}: {', '.join(absent)}.")
    if few:
        known = (
            f"The largest spread between two seeds of one network was {f.noise:.3f} Dice; smaller "
            "differences are called such that another seed could undo."
            if f.noise == f.noise
            else "How far two seeds lie apart is not known, so no difference is called one of "
            "networks."
        )
        parts.append(
            f"**Fewer than {f.seeds} seeds on {f.cohort.name}** ({', '.join(few)}). Intervals and "
            f"tests are over patients and do not hold what seeds do. {known}"
        )
    return parts


def closing(findings: Sequence[Findings]) -> list[Section]:
    """Departures from the papers, and every network in one table."""
    rest: list[str | Table] = [DEPARTURES]
    everything: list[str | Table] = []
    for each in findings:
        everything.append(
            Table(
                ("network", "Dice", "HD95, mm", "NSD", "Dice against U-Net"),
                tuple(
                    (
                        cell.title,
                        *(str(each.outcome(cell.name, metric)) for metric in SCORED),
                        each.versus(cell.name) if cell.name != REFERENCE else "",
                    )
                    for cell in CELLS
                    if cell.name in each.cells
                ),
                f"**{each.cohort.name}**",
            )
        )
    return [Section("Every network", tuple(everything)), Section("Departures", tuple(rest))]
