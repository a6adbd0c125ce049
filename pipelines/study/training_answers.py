"""Answers the questions that trained networks decide side by side: resolution to price."""

from __future__ import annotations

from medseg.evaluation.comparing import power_line
from study.cells import BY_NAME, PRICED, REFERENCE, RESOLVED, SKIPPED, UPSAMPLED
from study.page import Table
from study.statistics import UNDECIDED, Findings, difference
from study.tables import missing, results, rows


def resolution(f: Findings) -> list[str | Table]:
    """Fields of view, ceilings and what training reached."""
    cells = [cell for cell in RESOLVED if cell in f.cells]
    if not cells:
        return [missing("any of these networks")]
    parts: list[str | Table] = [_fields(f, cells)]
    ceiling = f.probe("ceiling")
    if ceiling:
        labels = f.cohort.labels
        parts.append(
            Table(
                ("stride, enlarging", *labels),
                tuple((s, *(f"{v[label]:.3f}" for label in labels)) for s, v in ceiling.items()),
                "The ceiling that a stride alone sets: Dice of the truth after each cell "
                "has kept the shares of its classes only; cells are copied, or enlarged linearly.",
            )
        )
    parts += _order_of_fcns(f)
    depth = [cell for cell in cells if cell.startswith("unet_depth") or cell == REFERENCE]
    if len(depth) > 1:
        best = max(depth, key=lambda cell: f.outcome(cell, "dice").mean)
        parts.append(f"Of the U-Nets by depth, {BY_NAME[best].title} has the highest mean Dice.")
    return parts


def _fields(f: Findings, cells: list[str]) -> Table:
    mm = f.cohort.cases[0].spacing_mm[0]
    fields = []
    for cell in cells:
        facts = f.facts(cell)
        fields.append(
            (
                BY_NAME[cell].title,
                f"{facts['field'][0] * mm:.0f}",
                f"{facts['effective_field'][0] * mm:.0f}",
                *(str(f.outcome(cell, metric)) for metric in ("dice", "hd95", "nsd")),
                f.versus(cell),
            )
        )
    return Table(
        ("network", "sees, mm", "effectively, mm", "Dice", "HD95, mm", "NSD", "Dice against U-Net"),
        tuple(fields),
        "Receptive field along the first axis: in theory, and the middle part that holds 95 % of "
        "the squared gradient after training. (An instance norm sees the whole image, so that the "
        "effective field can be the larger.)",
    )


def _order_of_fcns(f: Findings) -> list[str]:
    fcn = [cell for cell in ("fcn32s", "fcn16s", "fcn8s") if cell in f.cells]
    if len(fcn) < 3:
        return []
    means = [f.outcome(cell, "dice").mean for cell in fcn]
    if means == sorted(means):
        return [f"Finer FCN scores help in order: {' < '.join(f'{m:.3f}' for m in means)}."]
    each = (f"{BY_NAME[c].title} {m:.3f}" for c, m in zip(fcn, means, strict=True))
    return [f"**The order 32s < 16s < 8s does not hold here**: {', '.join(each)}."]


def upsampling(f: Findings) -> list[str | Table]:
    """The kinds of enlarging, and whether the default is to be another."""
    cells = [cell for cell in UPSAMPLED if cell in f.cells]
    if len(cells) < 2:
        return [missing("two kinds of upsampling")]
    kinds = []
    for cell in cells:
        facts = f.facts(cell)
        kinds.append(
            (
                UPSAMPLED[cell],
                str(f.outcome(cell, "dice")),
                str(f.outcome(cell, "nsd")),
                f"{facts['checkerboard']:.1f}",
                f"{facts['step_ms']:.1f}",
                f"{facts['activation_bytes'] / 2**20:.0f}",
                f.versus(cell),
            )
        )
    scores = ("Dice", "NSD", "checkerboard index")
    costs = ("ms a step", "activations, MiB")
    table = Table(
        ("upsampling", *scores, *costs, "Dice against transposed"),
        tuple(kinds),
        "The index is of the trained logits at stride 2: 1 is no pattern.",
    )
    return [table, _about_the_default(f, cells)]


def _about_the_default(f: Findings, cells: list[str]) -> str:
    def named(of: list[str]) -> str:
        return ", ".join(UPSAMPLED[cell] for cell in of)

    better = [cell for cell in cells if f.verdict(cell) == "better"]
    worse = [cell for cell in cells if f.verdict(cell) == "worse"]
    undecided = [cell for cell in cells if f.verdict(cell) == UNDECIDED]
    ahead = [cell for cell in undecided if float((f.against(cell) or {})["difference"]) > 0]
    text = (
        f"**Better than the default by paired test: {named(better)}.**"
        if better
        else "No other kind is better than the default `transposed` by paired test after "
        "correction, so nothing in this table speaks for another default."
    )
    if ahead:
        text += f" Ahead over patients, but not yet over seeds: {named(ahead)}."
    if worse:
        text += f" Worse: {named(worse)}."
    pattern = max(cells, key=lambda cell: float(f.facts(cell)["checkerboard"]))
    return (
        f"{text} The strongest pattern in trained logits is that of {UPSAMPLED[pattern]} "
        f"({f.facts(pattern)['checkerboard']:.1f})."
    )


def skips(f: Findings) -> list[str | Table]:
    """With, added, without."""
    if not rows(f, SKIPPED):
        return [missing("any of these networks")]
    parts: list[str | Table] = [results(f, SKIPPED)]
    row = f.against("unet_none", "nsd")
    if row is not None:
        word = f.verdict("unet_none", "nsd")
        parts.append(
            f"Without skips the boundary (NSD) changes by {difference(row)}: {word}. "
            + (
                "The skips carry the boundary, as the paper says."
                if word == "worse"
                else "**That skips carry the boundary is not shown here.**"
            )
        )
    if f.against("unet_sum") is not None:
        parts.append(f"Skips added instead of joined: {f.verdict('unet_sum')} (Dice).")
    return parts


def price(f: Findings) -> list[str | Table]:
    """The one table."""
    cells = [cell for cell in PRICED if cell in f.cells]
    if not cells:
        return [missing("any of these networks")]
    parts: list[str | Table] = [_prices(f, cells), *_unet_against_fcn(f)]
    if f.comparison is not None:
        parts.append(power_line(f.comparison))
    return parts


def _prices(f: Findings, cells: list[str]) -> Table:
    prices = []
    for cell in cells:
        facts = f.facts(cell)
        prices.append(
            {
                "network": BY_NAME[cell].title,
                "parameters, M": f"{facts['parameters'] / 1e6:.2f}",
                "multiply-adds a patch, G": f"{facts['multiply_adds'] / 1e9:.2f}",
                "activations a patch, MiB": f"{facts['activation_bytes'] / 2**20:.0f}",
                "peak of training, MiB": (
                    f"{facts['peak_bytes'] / 2**20:.0f}" if facts["peak_bytes"] else "–"
                ),
                "s a case": f"{facts['case_seconds']:.3f}",
                "ms a step": f"{facts['step_ms']:.1f}",
                "Dice": str(f.outcome(cell, "dice")),
                "against U-Net": f.versus(cell),
            }
        )
    return Table(tuple(prices[0]), tuple(tuple(row.values()) for row in prices))


def _unet_against_fcn(f: Findings) -> list[str]:
    fcn = [cell for cell in ("fcn8s", "fcn16s", "fcn32s") if cell in f.cells]
    if not fcn or REFERENCE not in f.cells:
        return []
    best = max(fcn, key=lambda cell: f.outcome(cell, "dice").mean)
    row, word = f.against(best), f.verdict(best)
    if row is None:
        return []
    claim = (
        "The U-Net is better than the best FCN"
        if word == "worse"
        else "**That the U-Net is better than the best FCN is not shown here**"
    )
    return [f"{claim} ({BY_NAME[best].title}: {f.versus(best)} in Dice; {word})."]
