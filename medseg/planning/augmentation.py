"""Choose how training patches are varied, mirrors only where they are safe, and the loss."""

from __future__ import annotations

from typing import Any

import numpy as np

from medseg.config import AugmentConfig
from medseg.manifests import Cohort
from medseg.planning.affordable import MANY_LABELS, PLENTY_STEPS
from medseg.planning.choices import Choices
from medseg.planning.cost import Machine
from medseg.planning.fingerprint import CohortLooks
from medseg.planning.spacing import ANISOTROPIC

#: Shorter trainings have no time to learn what mirrored anatomy looks like.
MIRROR_MINUTES = 60.0

#: In trainings of fewer steps scans vary gently. In 400 steps, held-out scans gained a Dice of
#: 0.012 [0.007, 0.017] on hearts (12 patients), 0.006 [0.001, 0.010] on hippocampi (32 patients)
#: and 0.075 on brains with 144 labels (3 patients); longer trainings were not compared.
GENTLE_STEPS = PLENTY_STEPS

#: What gentle means: small moves and few of them, and half as often or less of the rest.
GENTLE: dict[str, Any] = {
    "rotate_degrees": 8.0,
    "scale": [0.92, 1.1],
    "spatial": 0.3,
    "brightness": 0.15,
    "contrast": 0.15,
    "gamma": 0.15,
    "noise": 0.1,
    "blur": 0.05,
    "low_resolution": 0.05,
    "bias": 0.1,
}

#: The cross-entropy of many labels is balanced by this power of their rarity, the second in long
#: trainings. On brains with 144 labels, 3 mm, 130 steps, the mean Dice of three held-out scans was
#: 0.022 without, 0.081 with a half and 0.125 with 1.
BALANCE, MILD_BALANCE = 1.0, 0.5


def choose_augmentation(
    choices: Choices, cohort: Cohort, looks: CohortLooks, machine: Machine, steps: int
) -> None:
    """Defaults, gentler in few steps and with thick slices; the mirrors that `mirrors` allows."""
    plain = AugmentConfig().model_dump(mode="json") | (GENTLE if steps < GENTLE_STEPS else {})
    axes, why = mirrors(cohort, looks, machine.minutes)
    for name, value in plain.items():
        choices.choose(f"augment.{name}", axes if name == "mirror_axes" else value)
    if steps < GENTLE_STEPS:
        choices.choose("augment.spatial", GENTLE["spatial"], "gentle: few steps learn little of it")
    spacing = [mm for mm in choices.values["prepare"]["spacing_mm"] if mm is not None]
    if max(spacing) > ANISOTROPIC * min(spacing):
        choices.choose(
            "augment.rotate_degrees",
            8.0,
            "small: a turn out of the plane of thick slices invents what lies between them",
        )
        choices.choose("augment.elastic_voxels", 0.5)
    choices.choose("augment.mirror_axes", axes, why)


def choose_loss(choices: Choices, labels: int, steps: int) -> None:
    """Dice and cross-entropy; with so many labels and so few steps one that hears the rare ones."""
    choices.choose("loss.name", "dice_ce", "overlap for small structures, every voxel for the rest")
    if labels >= MANY_LABELS:
        choices.choose(
            "loss.options.balance",
            BALANCE if steps < PLENTY_STEPS else MILD_BALANCE,
            "voxels of rare labels weigh more: among many labels they are else learnt last",
        )


def mirrors(cohort: Cohort, looks: CohortLooks, minutes: float) -> tuple[list[int | str], str]:
    """Left-right mirrors where that is safe and there is time for them.

    The axis is named by its number where left to right is the same axis of every scan, else by
    ``left-right``.
    """
    pairing = cohort.labels.mirror_pairing()
    if pairing is None:
        return [], f"none: {cohort.labels.mirror_obstacle}; left stays left"
    if minutes < MIRROR_MINUTES:
        return [], "none: a short training has no time to learn mirrored anatomy"
    swapped = "pairs of labels swap sides with it" if pairing else "no label has a side"
    sideways = {int(np.argmax(np.abs(np.array(case.directions)[:, 0]))) for case in looks.cases}
    axes: list[int | str] = ["left-right"] if len(sideways) > 1 else [*sideways]
    return axes, f"left-right alone: {swapped}; bodies lie neither upside down nor on their front"
