"""Answers the seven questions from the numbers: each claim, its table, and whether it holds."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from medseg.evaluation.comparing import power_line
from study.cells import BY_NAME, REFERENCE
from study.page import Figure, Section, Table
from study.statistics import UNDECIDED, Findings, difference

#: The ways of enlarging, by cell.
UPSAMPLED = {
    REFERENCE: "transposed, k = s",
    "unet_uneven": "transposed, k = s + 1 (uneven overlap)",
    "unet_even": "transposed, k = 2s (even overlap)",
    "unet_nearest": "nearest + convolution",
    "unet_linear": "linear + convolution",
    "unet_subpixel": "sub-pixel",
}
SKIPPED = (REFERENCE, "unet_sum", "unet_none", "fcn8s", "fcn16s", "fcn32s", "unet_original")
RESOLVED = (
    "fcn32s",
    "fcn16s",
    "fcn8s",
    "unet_depth2",
    "unet_depth3",
    "unet_depth4",
    REFERENCE,
)
STARTED = ("fcn32s_random", "fcn32s_classifier", "fcn16s", "fcn16s_staged", "fcn8s", "fcn8s_staged")
PRICED = (REFERENCE, "residual_unet", "unet_original", "fcn8s", "fcn16s", "fcn32s")

Pictures = dict[str, Sequence[Figure]]


def answered(findings: Sequence[Findings], pictures: Pictures) -> list[Section]:
    """One section a question, over all cohorts."""
    answers: dict[str, Callable[[Findings], list[str | Table]]] = {
        "1. End to end: any size in, the same size out": any_size,
        "2. Fully connected against fully convolutional": classifier,
        "3. Receptive field against resolution": resolution,
        "4. Upsampling": upsampling,
        "5. What the skips carry": skips,
        "6. Odd feature maps": odd_maps,
        "7. Is the U-Net better, by how much, at what price?": price,
    }
    sections = []
    for title, answer in answers.items():
        parts: list[str | Table | Figure] = []
        for each in findings:
            here = answer(each)
            parts += [f"**{each.cohort.name}**", *here] if here else []
        sections.append(Section(title, (*parts, *pictures.get(title[0], ()))))
    return sections


def any_size(f: Findings) -> list[str | Table]:
    """Sizes that came out as themselves, and what cutting an end off changes."""
    probe = f.probe("any_size")
    if not probe:
        return [_missing("the trained U-Net or FCN")]
    rows = tuple(
        (
            BY_NAME[name].title,
            f"{r['kept']} of {r['sizes']}",
            f"{100 * r['changed_mean']:.2f} %",
            f"{100 * r['changed_most']:.2f} %",
        )
        for name, r in probe.items()
    )
    whole = all(r["kept"] == r["sizes"] for r in probe.values())
    text = (
        "One weight set takes every size and gives it back: no crop, no resize."
        if whole
        else "**The claim does not hold**: some sizes came out as others."
    )
    table = Table(("network", "sizes kept", "classes changed, mean", "most"), rows)
    note = (
        "Changed classes: of the near half of a test image when 1 to 16 voxels are cut off its far "
        "end. Without a norm they are none beyond the receptive field (`tests/networks/"
        "test_sizes.py` proves it to rounding); an instance norm takes its statistics from the "
        "whole image, so a trained network is equal only nearly."
    )
    return [text, table, note]


def classifier(f: Findings) -> list[str | Table]:
    """Equal answers, the price of a map, and what the start is worth."""
    if f.cohort.dims != 2:
        return []
    probe, parts = f.probe("classifier"), list[str | Table]()
    if probe:
        ratio = probe["crops_seconds"] / probe["map_seconds"]
        same = "equal to rounding"
        if probe["largest_difference"] > 1e-4:
            same = (
                "not equal"
                if not probe.get("tf32", True)
                else (
                    "with convolutions rounded to the GPU's TF32; in float32 they agree to 1e-5: "
                    "`tests/networks/test_fcn.py`"
                )
            )
        parts.append(
            f"On its own patch size the convolutional form gives the classifier's answers to "
            f"{probe['largest_difference']:.1e} ({same}). "
            f"A map of {probe['places']} places took one pass of {1000 * probe['map_seconds']:.1f} "
            f"ms; the same patches one by one, in one batch, {1000 * probe['crops_seconds']:.1f} "
            f"ms: **{ratio:.1f} times** as long. In {100 * probe['same_class']:.0f} % of the "
            "places the class is the same; the others differ because a patch has zeros around it "
            "where the image goes on."
        )
    else:
        parts.append(_missing("the trained classifier"))
    rows = _rows(f, STARTED)
    if rows:
        parts.append(_table(f, STARTED))
        parts += _compared(f, "fcn32s_classifier", "fcn32s_random", "the start from the classifier")
        parts += _compared(f, "fcn8s_staged", "fcn8s", "the FCN-8s in the paper's three stages")
    return parts


def resolution(f: Findings) -> list[str | Table]:
    """Fields of view, ceilings and what training reached."""
    cells = [cell for cell in RESOLVED if cell in f.cells]
    if not cells:
        return [_missing("any of these networks")]
    mm = f.cohort.cases[0].spacing_mm[0]
    rows = []
    for cell in cells:
        facts = f.facts(cell)
        rows.append(
            (
                BY_NAME[cell].title,
                f"{facts['field'][0] * mm:.0f}",
                f"{facts['effective_field'][0] * mm:.0f}",
                str(f.outcome(cell, "dice")),
                str(f.outcome(cell, "hd95")),
                str(f.outcome(cell, "nsd")),
                f.versus(cell),
            )
        )
    table = Table(
        ("network", "sees, mm", "effectively, mm", "Dice", "HD95, mm", "NSD", "Dice against U-Net"),
        tuple(rows),
        "Receptive field along the first axis: in theory, and the middle part that holds 95 % of "
        "the squared gradient after training. (An instance norm sees the whole image, so that the "
        "effective field can be the larger.)",
    )
    parts: list[str | Table] = [table]
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
    fcn = [cell for cell in ("fcn32s", "fcn16s", "fcn8s") if cell in f.cells]
    means = [f.outcome(cell, "dice").mean for cell in fcn]
    if len(fcn) == 3:
        holds = means == sorted(means)
        order = " < ".join(f"{m:.3f}" for m in means)
        parts.append(
            f"Finer FCN scores help in order: {order}."
            if holds
            else "**The order 32s < 16s < 8s does not hold here**: "
            + ", ".join(f"{BY_NAME[c].title} {m:.3f}" for c, m in zip(fcn, means, strict=True))
            + "."
        )
    depth = [cell for cell in cells if cell.startswith("unet_depth") or cell == REFERENCE]
    if len(depth) > 1:
        best = max(depth, key=lambda cell: f.outcome(cell, "dice").mean)
        parts.append(f"Of the U-Nets by depth, {BY_NAME[best].title} has the highest mean Dice.")
    return parts


def upsampling(f: Findings) -> list[str | Table]:
    """The kinds of enlarging, and whether the default is to be another."""
    cells = [cell for cell in UPSAMPLED if cell in f.cells]
    if len(cells) < 2:
        return [_missing("two kinds of upsampling")]
    rows = []
    for cell in cells:
        facts = f.facts(cell)
        rows.append(
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
    table = Table(
        (
            "upsampling",
            "Dice",
            "NSD",
            "checkerboard index",
            "ms a step",
            "activations, MiB",
            "Dice against transposed",
        ),
        tuple(rows),
        "The index is of the trained logits at stride 2: 1 is no pattern.",
    )
    better = [cell for cell in cells if f.verdict(cell) == "better"]
    worse = [cell for cell in cells if f.verdict(cell) == "worse"]
    if better:
        names = ", ".join(UPSAMPLED[cell] for cell in better)
        text = f"**Better than the default by paired test: {names}.**"
    else:
        text = (
            "No other kind is better than the default `transposed` by paired test after "
            "correction, so nothing in this table speaks for another default."
        )
    ahead = [
        cell
        for cell in cells
        if f.verdict(cell) == UNDECIDED and float((f.against(cell) or {})["difference"]) > 0
    ]
    if ahead:
        names = ", ".join(UPSAMPLED[cell] for cell in ahead)
        text += f" Ahead over patients, but not yet over seeds: {names}."
    if worse:
        text += f" Worse: {', '.join(UPSAMPLED[cell] for cell in worse)}."
    pattern = max(cells, key=lambda cell: float(f.facts(cell)["checkerboard"]))
    text += (
        f" The strongest pattern in trained logits is that of {UPSAMPLED[pattern]} "
        f"({f.facts(pattern)['checkerboard']:.1f})."
    )
    return [table, text]


def skips(f: Findings) -> list[str | Table]:
    """With, added, without."""
    if not _rows(f, SKIPPED):
        return [_missing("any of these networks")]
    parts: list[str | Table] = [_table(f, SKIPPED)]
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


def odd_maps(f: Findings) -> list[str | Table]:
    """What each way of odd sizes does at the border."""
    if f.cohort.dims != 2:
        return []
    probe = f.probe("odd_maps")
    if not probe:
        return [_missing("the trained U-Net")]
    ways = probe["wrong_at_border"]
    rows = tuple(
        (str(residue), *(f"{100 * values[residue]:.2f}" for values in ways.values()))
        for residue in range(16)
    )
    mean = {way: sum(values) / len(values) for way, values in ways.items()}
    best = min(mean, key=lambda way: mean[way])
    table = Table(
        ("size modulo 16", *ways),
        rows,
        f"Wrong voxels in % among the {probe['border_voxels']} next to the cut, which runs through "
        f"the heart, of {probe['slices']} slices; one trained U-Net.",
    )
    said = ", ".join(f"{way} {100 * value:.2f} %" for way, value in mean.items())
    return [table, f"On average {said}: {best} is the least wrong."]


def price(f: Findings) -> list[str | Table]:
    """The one table."""
    cells = [cell for cell in PRICED if cell in f.cells]
    if not cells:
        return [_missing("any of these networks")]
    rows = []
    for cell in cells:
        facts = f.facts(cell)
        peak = f"{facts['peak_bytes'] / 2**20:.0f}" if facts["peak_bytes"] else "–"
        rows.append(
            (
                BY_NAME[cell].title,
                f"{facts['parameters'] / 1e6:.2f}",
                f"{facts['multiply_adds'] / 1e9:.2f}",
                f"{facts['activation_bytes'] / 2**20:.0f}",
                peak,
                f"{facts['case_seconds']:.3f}",
                f"{facts['step_ms']:.1f}",
                str(f.outcome(cell, "dice")),
                f.versus(cell),
            )
        )
    table = Table(
        (
            "network",
            "parameters, M",
            "multiply-adds a patch, G",
            "activations a patch, MiB",
            "peak of training, MiB",
            "s a case",
            "ms a step",
            "Dice",
            "against U-Net",
        ),
        tuple(rows),
    )
    parts: list[str | Table] = [table]
    fcn = [cell for cell in ("fcn8s", "fcn16s", "fcn32s") if cell in f.cells]
    if fcn and REFERENCE in f.cells:
        best = max(fcn, key=lambda cell: f.outcome(cell, "dice").mean)
        row, word = f.against(best), f.verdict(best)
        if row is not None:
            claim = (
                "The U-Net is better than the best FCN"
                if word == "worse"
                else "**That the U-Net is better than the best FCN is not shown here**"
            )
            parts.append(f"{claim} ({BY_NAME[best].title}: {f.versus(best)} in Dice; {word}).")
    if f.comparison is not None:
        parts.append(power_line(f.comparison))
    return parts


def _rows(f: Findings, cells: Sequence[str]) -> tuple[tuple[str, ...], ...]:
    return tuple(
        (
            BY_NAME[cell].title,
            str(f.outcome(cell, "dice")),
            str(f.outcome(cell, "hd95")),
            str(f.outcome(cell, "nsd")),
            _spread(f, cell),
            f.versus(cell),
        )
        for cell in cells
        if cell in f.cells
    )


def _spread(f: Findings, cell: str) -> str:
    count = len(f.finished(cell))
    return f"{f.seed_spread(cell):.3f} ({count})" if count > 1 else "1 seed"


def _table(f: Findings, cells: Sequence[str]) -> Table:
    notes = [f"{BY_NAME[c].title}: {BY_NAME[c].note}" for c in cells if BY_NAME[c].note]
    return Table(
        ("network", "Dice", "HD95, mm", "NSD", "spread between seeds", "Dice against U-Net"),
        _rows(f, cells),
        "; ".join(notes) + "." if notes else "",
    )


def _compared(f: Findings, one: str, other: str, what: str) -> list[str | Table]:
    """Two cells beside each other, in words."""
    row = f.between(one, other)
    if row is None:
        return []
    higher, p = float(row["difference"]) > 0, float(row["p_holm"])
    word = "no difference is shown" if not p <= 0.05 else "helps" if higher else "**hurts**"
    if p <= 0.05 and f.is_few(one, other) and not abs(float(row["difference"])) > f.noise:
        word = UNDECIDED
    chance = "p < 0.001" if p < 0.001 else f"p {p:.3f}"
    return [f"At equal steps of the FCN, {what}: Dice {difference(row)}, {chance}: {word}."]


def _missing(what: str) -> str:
    return f"Not measured in this run: it needs {what}."
