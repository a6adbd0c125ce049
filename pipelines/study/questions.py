"""Lists the seven questions of the study, each with what answers it from the numbers."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from study import probe_answers, training_answers
from study.page import Figure, Section, Table
from study.statistics import Findings

Pictures = dict[str, Sequence[Figure]]


def answered(findings: Sequence[Findings], pictures: Pictures) -> list[Section]:
    """One section a question, over all cohorts."""
    answers: dict[str, Callable[[Findings], list[str | Table]]] = {
        "1. End to end: any size in, the same size out": probe_answers.any_size,
        "2. Fully connected against fully convolutional": probe_answers.classifier,
        "3. Receptive field against resolution": training_answers.resolution,
        "4. Upsampling": training_answers.upsampling,
        "5. What the skips carry": training_answers.skips,
        "6. Odd feature maps": probe_answers.odd_maps,
        "7. Is the U-Net better, by how much, at what price?": training_answers.price,
    }
    sections = []
    for title, answer in answers.items():
        parts: list[str | Table | Figure] = []
        for each in findings:
            here = answer(each)
            parts += [f"**{each.cohort.name}**", *here] if here else []
        sections.append(Section(title, (*parts, *pictures.get(title[0], ()))))
    return sections
