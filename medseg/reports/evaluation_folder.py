"""What ``medseg evaluate`` leaves: tables, text and figures for a paper, and the page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from medseg.evaluation import (
    Scores,
    agreement,
    rank_errors,
    subgroups,
    summarise,
    write_scores,
    write_table,
)
from medseg.evaluation.tables import interval_notes, paper_table, to_latex, to_markdown
from medseg.evaluation.task import Task
from medseg.reports.confidences import confidences_of
from medseg.reports.evaluation import Statistics, write_evaluation_report
from medseg.reports.figures import write_figures
from medseg.reports.gallery import shown_cases
from medseg.reports.methods import methods_text
from medseg.writers.atomic import atomic_path

#: What an evaluation leaves; ``subgroups.csv`` and ``confidence.csv`` where there are any.
FILES = (
    "scores.csv",
    "cases.csv",
    "evaluation.yaml",
    "summary.csv",
    "agreement.csv",
    "subgroups.csv",
    "confidence.csv",
    "table.md",
    "table.tex",
    "methods.md",
    "report.html",
)


def write_evaluation(
    folder: Path, scores: Scores, tasks: Sequence[Task] = (), *, curves: Path | None = None
) -> pd.DataFrame:
    """Write scores, statistics, table, figures and methods for a paper, and ``report.html``.

    Args:
        folder: made when absent; files of the same names are replaced.
        scores: what was scored.
        tasks: the pairs behind the scores, for pictures and for how sure the networks were.
        curves: CSV of the training, or ``None``.

    Returns:
        The summary.
    """
    write_scores(scores, folder)
    summary = summarise(scores)
    confidence = confidences_of(tasks)
    ranking = rank_errors(scores, confidence)
    tables = Statistics(summary, subgroups(scores), agreement(scores), ranking, confidence)
    write_table(summary, folder / "summary.csv")
    write_table(tables.agreement, folder / "agreement.csv")
    if len(tables.subgroups):
        write_table(tables.subgroups, folder / "subgroups.csv")
    if len(tables.ranking):
        write_table(tables.ranking, folder / "confidence.csv")
    paper = paper_table(summary, scores.config.tolerance_mm)
    caption = (
        f"Mean [{scores.config.confidence:.0%} interval] over {len(scores.cases)} cases "
        f"of {scores.cases['patient'].nunique()} patients. {' '.join(interval_notes(summary))}"
    )
    for name, text in (
        ("table.md", to_markdown(paper, caption)),
        ("table.tex", to_latex(paper, caption)),
        ("methods.md", methods_text(scores, summary, ranked=len(ranking) > 0)),
    ):
        with atomic_path(folder / name) as temporary:
            temporary.write_text(text, encoding="utf-8")
    pictures = write_evaluation_report(
        folder / "report.html",
        scores,
        tables,
        shown=shown_cases(scores, tasks) if tasks else (),
        labels=tasks[0].cohort.labels if tasks else None,
        curves=curves,
    )
    write_figures(folder, pictures)
    return summary
