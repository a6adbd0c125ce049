"""Choose how intensities are prepared: normalised, resampled, and what is nothing but air."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from medseg.manifests import Cohort
from medseg.planning.choices import Choices, neat
from medseg.planning.fingerprint import CohortLooks

#: Below this a CT shows air, and no structure may come near it where windows of air are left out.
AIR_HU, DARKEST_TISSUE_HU = -900.0, -800.0

#: No structure lies on exact zeros where at most this share of its voxels is 0.
NONE_ON_ZEROS = 0.001

#: Faces of exact zeros are cut off where a typical scan keeps at most this share of its voxels.
WORTH_CUTTING = 0.8


def choose_intensities(choices: Choices, cohort: Cohort, looks: CohortLooks) -> None:
    """Normalisation by modality; resampling as the config has it by default."""
    normalise, why = normalisation(cohort, looks)
    choices.choose("prepare.crop", *crop(looks))
    choices.choose("prepare.normalise", normalise, why)
    choices.keep("prepare", "alignment")
    choices.keep("prepare", "resampling")


def crop(looks: CohortLooks) -> tuple[str, str]:
    """Whether planes of exact zeros at the faces of a scan are cut off.

    Skull-stripped brains fill half of their scans; a patch and a window should not show the rest.
    """
    shares = [math.prod(case.content) / math.prod(case.shape) for case in looks.cases]
    zeros = [case.zero_share >= 1 - share for case, share in zip(looks.cases, shares, strict=True)]
    share = float(np.median(shares))
    if share > WORTH_CUTTING or not np.mean(zeros) > 0.5:
        return "nothing", "no wide margins of exact zeros"
    return "zeros", f"margins of exact zeros: {share:.0%} of a typical scan is left"


def zeros(cohort: Cohort, looks: CohortLooks) -> tuple[str, str]:
    """What voxels of exact zeros are, where a cohort has so many that its margins are cut off.

    Few training patches show the corners that are left, and a network guesses there.
    """
    if crop(looks)[0] == "nothing":
        return "network", "the network decides about voxels of 0, too"
    values = [looks.foreground(index) for index in range(len(cohort.channels))]
    if any(not of.size or np.mean(of == 0) > NONE_ON_ZEROS for of in values):
        return "network", "structures lie on voxels of 0, too"
    return "background", "no structure lies on voxels of 0"


def normalisation(cohort: Cohort, looks: CohortLooks) -> tuple[list[dict[str, Any]], str]:
    """A window from the labelled voxels for CT; each scan's own mean and spread for the rest."""
    rules: list[dict[str, Any]] = []
    whys = []
    for index, channel in enumerate(cohort.channels):
        values = looks.foreground(index)
        if cohort.modality_of(channel) == "CT" and values.size:
            low, high = (neat(end) for end in np.percentile(values, [0.5, 99.5]))
            high = high if high > low else low + 1
            rules.append(
                {
                    "kind": "window",
                    "low": low,
                    "high": high,
                    "mean": neat(values.mean()),
                    "sd": neat(max(values.std(), (high - low) / 100)),
                }
            )
            whys.append(
                f"{channel}: HU mean the same in every scan, so one window for all: the 0.5 and"
                " 99.5 percentile inside the labels, then their mean and spread"
            )
        else:
            empty = float(np.median([case.zero_share for case in looks.cases])) > 0.25
            rules.append({"kind": "zscore", "nonzero": empty})
            whys.append(
                f"{channel}: values have no unit, so each scan's own mean and spread"
                + (", zeros around the body left out" if empty else "")
            )
    if len(rules) > 1 and all(rule == rules[0] for rule in rules):
        rules, whys = rules[:1], whys[:1]
    return rules, "; ".join(whys)


def empty_below(cohort: Cohort, looks: CohortLooks) -> tuple[float | None, str]:
    """The HU below which a window shows nothing but air, where no structure is as dark."""
    if any(cohort.modality_of(channel) != "CT" for channel in cohort.channels):
        return None, "windows are asked about whatever they show: values have no unit"
    values = np.concatenate([looks.foreground(n) for n in range(len(cohort.channels))])
    if values.size and np.percentile(values, 0.5) < DARKEST_TISSUE_HU:
        return None, "windows are asked about whatever they show: a structure is as dark as air"
    return AIR_HU, f"windows of nothing but air, all below {AIR_HU:g} HU, are background"
