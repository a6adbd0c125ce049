"""The comparison page: paired differences between methods, with intervals and tests."""

from __future__ import annotations

from collections.abc import Mapping
from math import isnan
from pathlib import Path
from typing import Any

import pandas as pd

from medseg import __version__
from medseg.evaluation import Comparison, write_table
from medseg.evaluation.comparing import favoured, power_line
from medseg.evaluation.intervals import FEW_PATIENTS
from medseg.evaluation.paired_tests import EXACT_PATIENTS
from medseg.evaluation.tables import p_text, to_latex, to_markdown
from medseg.metrics import METRICS
from medseg.reports import charts
from medseg.reports.evaluation_tables import Cell, Table, number
from medseg.reports.figures import chart, write_figures
from medseg.reports.page import Picture, write_page
from medseg.writers.atomic import atomic_path

#: What a comparison leaves.
FILES = ("comparison.csv", "table.md", "table.tex", "report.html")


def write_comparison(folder: Path, comparison: Comparison) -> None:
    """Write ``comparison.csv``, ``table.md``, ``table.tex``, ``figures`` and ``report.html``."""
    write_table(comparison.table, folder / "comparison.csv")
    printed = _printed(comparison)
    caption = (
        f"Paired differences (second − first) over {len(comparison.cases)} cases, "
        f"{comparison.config.confidence:.0%} intervals, p values after Holm. "
        f"{power_line(comparison)}"
    )
    frame = pd.DataFrame(
        [[cell.text for cell in row] for row in printed.rows], columns=list(printed.columns)
    )
    for name, text in (
        ("table.md", to_markdown(frame, caption)),
        ("table.tex", to_latex(frame, caption)),
    ):
        with atomic_path(folder / name) as temporary:
            temporary.write_text(text, encoding="utf-8")
    pictures = _charts(comparison)
    write_figures(folder, pictures)
    write_page(
        folder / "report.html",
        "comparison.html",
        {
            "title": "Comparison of " + " and ".join(comparison.methods),
            "version": __version__,
            "lead": f"{len(comparison.cases)} cases that all methods were scored on.",
            "warnings": warning_lines(comparison),
            "table": printed,
            "note": _note(comparison),
            "charts": pictures,
            "rules": _rules(comparison),
        },
    )


def warning_lines(comparison: Comparison) -> list[str]:
    """What a reader must hear first: cases left out, and too few patients for any test."""
    hopeless = [power_line(comparison)] if comparison.hopeless else []
    return hopeless + left_out_lines(comparison)


def verdict(row: Mapping[str, Any], comparison: Comparison) -> str:
    """The favoured method, ``too few patients``, or a dash."""
    name = favoured(row, comparison.level)
    within_reach = float(row["p_smallest"]) * comparison.family <= comparison.level
    return name or ("–" if within_reach else "too few patients")


def left_out_lines(comparison: Comparison) -> list[str]:
    """One line for each method with cases or labels that others lack."""
    labels = [
        f"Labels of {name} that others lack are not compared, nor means over labels: "
        f"{', '.join(names[:10])}{' …' if len(names) > 10 else ''}"
        for name, names in comparison.labels_left_out.items()
        if names
    ]
    return labels + [
        f"{len(cases)} cases of {name} are not in every evaluation and left out: "
        f"{', '.join(cases[:10])}{' …' if len(cases) > 10 else ''}"
        for name, cases in comparison.left_out.items()
        if cases
    ]


def _printed(comparison: Comparison) -> Table:
    columns = (
        "second − first",
        "label",
        "metric",
        "n",
        "first",
        "second",
        "difference",
        "p (Holm)",
        "p (Wilcoxon)",
        "d_z",
        "rank-biserial",
        "favours",
    )
    rows = []
    for row in comparison.table.to_dict("records"):
        metric = str(row["metric"])
        difference = number(float(row["difference"]), metric)
        low, high = (number(float(row[end]), metric).text for end in ("ci_low", "ci_high"))
        cells = [Cell(f"{row['second']} − {row['first']}")]
        cells += [Cell(str(row[name])) for name in ("label", "metric")]
        cells.append(Cell(str(row["n"]), str(row["n"])))
        cells += [number(float(row[name]), metric) for name in ("mean_first", "mean_second")]
        interval = "‡" if isnan(float(row["ci_low"])) else f" [{low}, {high}]"
        cells.append(Cell(difference.text + interval, difference.value))
        cells += [
            Cell(p_text(float(row[name])), repr(float(row[name])))
            for name in ("p_holm", "p_wilcoxon")
        ]
        cells += [number(float(row[name]), "") for name in ("cohen_dz", "rank_biserial")]
        cells.append(Cell(verdict({str(k): v for k, v in row.items()}, comparison)))
        rows.append(tuple(cells))
    return Table(columns, tuple(rows), (0, 1, 2, 11))


def _charts(comparison: Comparison) -> list[Picture]:
    pictures = []
    for metric in comparison.table["metric"].unique():
        rows = comparison.table[comparison.table["metric"] == metric]
        title = METRICS[str(metric)].title
        figure = charts.differences(rows, f"{title}: second − first")
        pictures.append(
            chart(
                figure,
                name=f"difference_{metric}",
                alt=f"Differences of {title}",
                caption=(
                    f"{title}: mean paired difference with its {comparison.config.confidence:.0%} "
                    "interval; the dashed line is no difference."
                ),
            )
        )
    return pictures


def _note(comparison: Comparison) -> str:
    return (
        f"Difference: second − first, mean [{comparison.config.confidence:.0%} interval] over "
        f"the pairs in which both are defined; ‡ fewer than {FEW_PATIENTS} patients, or equal "
        "differences: no interval. "
        "Favours: the method that is better at "
        f"p (Holm) ≤ {comparison.level:.2g}. {power_line(comparison)}"
    )


def _rules(comparison: Comparison) -> list[str]:
    return [
        "Patients are the units. Intervals: bootstrap over patients of the paired differences, "
        f"from {FEW_PATIENTS} patients on. p (Holm): sign-flip test of patients' summed "
        f"differences, two-sided, every choice of signs counted up to {EXACT_PATIENTS} patients; "
        f"the {comparison.family} different tests of this page are corrected together by Holm's "
        "method (the mean of a single label is the same test and counts once). p (Wilcoxon): "
        "signed ranks of patients' mean differences, uncorrected, for readers who expect it.",
        "d_z: mean over standard deviation of patients' mean differences. Rank-biserial: from −1 "
        "(second always lower) to 1 (second always higher).",
        "Where a distance is undefined for one method (nothing predicted), the pair is left out "
        "of that row; comparison.csv counts them. Overlap metrics count such cases as 0.",
    ]
