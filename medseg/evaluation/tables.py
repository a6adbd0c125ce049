"""The paper's table: mean and interval of each label, for print."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isnan
from typing import Any

import pandas as pd

from medseg.evaluation.intervals import FEW_PATIENTS, LEAST_PATIENTS, MANY_PATIENTS
from medseg.evaluation.scores import MEAN
from medseg.metrics import METRICS, Better

#: The columns of a paper's table, where they were measured.
PAPER_METRICS = ("dice", "nsd", "hd95", "assd", "volume_error_ml")

#: Marks of an interval of few patients, and of a mean that has none.
FEW, NO_INTERVAL = "†", "‡"

_METHODS = {
    "bounded": f"Bounded intervals (fewer than {MANY_PATIENTS} patients; random weights of "
    "patients and of one more at the worst and the best possible value) allow for failures that "
    "so few patients need not have shown.",
    "studentised": "Studentised bootstrap over patients, clipped to the metric's range.",
    "bca": "BCa bootstrap over patients, clipped to the metric's range.",
}

_ARROWS = {Better.HIGHER: "↑", Better.LOWER: "↓", Better.ZERO: "→ 0", Better.NEITHER: ""}
_LATEX_ARROWS = {"↑": r"$\uparrow$", "↓": r"$\downarrow$", "→ 0": r"$\rightarrow 0$"}
_LATEX_SPECIAL = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
}
_LATEX_LETTERS = {"–": "--", "−": "$-$", "\n": " ", FEW: r"\dag{}", NO_INTERVAL: r"\ddag{}"}
_MARKDOWN_SPECIAL = str.maketrans({c: f"\\{c}" for c in r"\`*_{}[]<>|#"} | {"\n": " "})


def figure(value: float, metric: str) -> str:
    """A value as print shows it: mm with two decimals, others with three; a dash if undefined."""
    if isnan(value):
        return "–"
    unit = METRICS[metric].unit if metric in METRICS else ""
    decimals = 2 if unit in ("mm", "lesions") else 1 if abs(value) >= 100 else 3
    return f"{value:.{decimals}f}".replace("-", "−")


def p_text(value: float) -> str:
    """``0.032``, ``< 0.001``, a dash where there was no test."""
    if isnan(value):
        return "–"
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def with_interval(row: Mapping[str, Any] | pd.Series[Any], metric: str) -> str:
    """``0.874 [0.861, 0.885]``, with a mark where patients are few.

    >>> with_interval({"mean": 0.9, "ci_low": 0.6, "ci_high": 1.0, "patients": 6}, "dice")
    '0.900 [0.600, 1.000]†'
    """
    mean, patients = float(row["mean"]), int(row["patients"])
    low, high = float(row["ci_low"]), float(row["ci_high"])
    text = figure(mean, metric)
    if isnan(mean):
        return text
    if isnan(low) or isnan(high):
        return text + NO_INTERVAL
    mark = FEW if patients < FEW_PATIENTS else ""
    return f"{text} [{figure(low, metric)}, {figure(high, metric)}]{mark}"


def interval_notes(summary: pd.DataFrame) -> list[str]:
    """How the intervals of a summary were made, and what the marks in its tables mean."""
    rows = summary[summary["mean"].notna()]
    notes = [text for method, text in _METHODS.items() if (rows["interval"] == method).any()]
    absent = rows["ci_low"].isna()
    if (~absent & (rows["patients"] < FEW_PATIENTS)).any():
        notes.append(f"{FEW} Fewer than {FEW_PATIENTS} patients: read with care.")
    if absent.any():
        notes.append(
            f"{NO_INTERVAL} Too few patients for an interval: fewer than {LEAST_PATIENTS}, or "
            f"than {FEW_PATIENTS} where figures have no worst value; or nearly all are equal."
        )
    return notes


def heading(metric: str, tolerance_mm: float) -> str:
    """``HD95 [mm] ↓``: name, unit or tolerance, and which figures are good ones."""
    known = METRICS[metric]
    short = known.title.rpartition("(")[2].rstrip(")") if "(" in known.title else known.title
    unit = known.unit_at(tolerance_mm)
    unit = f" at {unit}" if known.unit == "tolerance" else f" [{unit}]" if unit else ""
    return f"{short}{unit} {_ARROWS[known.better]}".strip()


def paper_table(summary: pd.DataFrame, tolerance_mm: float) -> pd.DataFrame:
    """One row a label (the mean over labels last), one column a metric, cells as printed."""
    present = [metric for metric in PAPER_METRICS if (summary["metric"] == metric).any()]
    labels = [label for label in summary["label"].unique() if label != MEAN]
    rows = []
    for label in [*labels, *([MEAN] if len(labels) > 1 else [])]:
        of_label = summary[summary["label"] == label].set_index("metric")
        cells = {"label": "mean over labels" if label == MEAN else label}
        if present:
            cells["n"] = str(of_label.loc[present[0], "n"])
        for metric in present:
            cells[heading(metric, tolerance_mm)] = with_interval(of_label.loc[metric], metric)
        rows.append(cells)
    return pd.DataFrame(rows)


def to_markdown(table: pd.DataFrame, caption: str) -> str:
    """A pipe table; hostile names are escaped."""

    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(str(c).translate(_MARKDOWN_SPECIAL) for c in cells) + " |"

    rule = "|" + "|".join(["---"] + ["---:"] * (len(table.columns) - 1)) + "|"
    rows = [line(list(row)) for row in table.itertuples(index=False)]
    return "\n".join([line(list(table.columns)), rule, *rows, "", caption, ""])


def to_latex(table: pd.DataFrame, caption: str) -> str:
    r"""A ``tabular`` for booktabs; hostile names are escaped."""

    def line(cells: Sequence[str]) -> str:
        return "  " + " & ".join(latex_text(str(cell)) for cell in cells) + r" \\"

    return "\n".join(
        [
            r"% needs \usepackage{booktabs}",
            r"\begin{table}",
            r"  \centering",
            rf"  \caption{{{latex_text(caption)}}}",
            rf"  \begin{{tabular}}{{l{'r' * (len(table.columns) - 1)}}}",
            r"  \toprule",
            line(list(table.columns)),
            r"  \midrule",
            *(line(list(row)) for row in table.itertuples(index=False)),
            r"  \bottomrule",
            r"  \end{tabular}",
            r"\end{table}",
            "",
        ]
    )


def latex_text(text: str) -> str:
    """Text that LaTeX sets as it stands."""
    for arrow, command in _LATEX_ARROWS.items():
        if arrow in text:
            return command.join(latex_text(part) for part in text.split(arrow))
    escaped = "".join(_LATEX_SPECIAL.get(letter, letter) for letter in text)
    for letter, command in _LATEX_LETTERS.items():
        escaped = escaped.replace(letter, command)
    return escaped
