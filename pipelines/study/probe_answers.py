"""Answers the questions that probes of one trained network decide: sizes, classifier, odd maps."""

from __future__ import annotations

from typing import Any

from study.cells import BY_NAME, STARTED
from study.page import Table
from study.statistics import Findings
from study.tables import compared, missing, results, rows


def any_size(f: Findings) -> list[str | Table]:
    """Sizes that came out as themselves, and what cutting an end off changes."""
    probe = f.probe("any_size")
    if not probe:
        return [missing("the trained U-Net or FCN")]
    kept = tuple(
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
    table = Table(("network", "sizes kept", "classes changed, mean", "most"), kept)
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
    probe = f.probe("classifier")
    parts: list[str | Table] = [
        _map_against_patches(probe) if probe else missing("the trained classifier")
    ]
    if rows(f, STARTED):
        parts.append(results(f, STARTED))
        parts += compared(f, "fcn32s_classifier", "fcn32s_random", "the start from the classifier")
        parts += compared(f, "fcn8s_staged", "fcn8s", "the FCN-8s in the paper's three stages")
    return parts


def _map_against_patches(probe: dict[str, Any]) -> str:
    ratio = probe["crops_seconds"] / probe["map_seconds"]
    same = "equal to rounding"
    if probe["largest_difference"] > 1e-4:
        same = "not equal"
        if probe.get("tf32", True):
            same = (
                "with convolutions rounded to the GPU's TF32; in float32 they agree to 1e-5: "
                "`tests/networks/test_fcn.py`"
            )
    return (
        f"On its own patch size the convolutional form gives the classifier's answers to "
        f"{probe['largest_difference']:.1e} ({same}). "
        f"A map of {probe['places']} places took one pass of {1000 * probe['map_seconds']:.1f} "
        f"ms; the same patches one by one, in one batch, {1000 * probe['crops_seconds']:.1f} "
        f"ms: **{ratio:.1f} times** as long. In {100 * probe['same_class']:.0f} % of the "
        "places the class is the same; the others differ because a patch has zeros around it "
        "where the image goes on."
    )


def odd_maps(f: Findings) -> list[str | Table]:
    """What each way of odd sizes does at the border."""
    if f.cohort.dims != 2:
        return []
    probe = f.probe("odd_maps")
    if not probe:
        return [missing("the trained U-Net")]
    ways = probe["wrong_at_border"]
    by_size = tuple(
        (str(residue), *(f"{100 * values[residue]:.2f}" for values in ways.values()))
        for residue in range(16)
    )
    mean = {way: sum(values) / len(values) for way, values in ways.items()}
    best = min(mean, key=lambda way: mean[way])
    table = Table(
        ("size modulo 16", *ways),
        by_size,
        f"Wrong voxels in % among the {probe['border_voxels']} next to the cut, which runs through "
        f"the heart, of {probe['slices']} slices; one trained U-Net.",
    )
    said = ", ".join(f"{way} {100 * value:.2f} %" for way, value in mean.items())
    return [table, f"On average {said}: {best} is the least wrong."]
