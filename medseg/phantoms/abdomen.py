"""The upper abdomen: liver, spleen, kidneys and aorta, and what lies around them.

Sizes and places are those of an adult in mm, rounded; the left-right axis x grows to the
patient's right, y forwards, z upwards.
"""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np

from medseg.labels import LabelTable
from medseg.phantoms.anatomy import Anatomy, Part, Sculptor, apart, lying
from medseg.phantoms.shapes import Form, Shape

LABELS = LabelTable.from_card(
    {
        "labels": {
            "liver": {"value": 1, "colour": "#b5523b", "code": ["SCT", "10200004", "Liver"]},
            "spleen": {"value": 2, "colour": "#9b6bb3", "code": ["SCT", "78961009", "Spleen"]},
            "left kidney": {
                "value": 3,
                "colour": "#d9a441",
                "code": ["SCT", "18639004", "Left kidney"],
            },
            "right kidney": {
                "value": 4,
                "colour": "#e0c36b",
                "code": ["SCT", "9846003", "Right kidney"],
            },
            "aorta": {"value": 5, "colour": "#d6336c", "code": ["SCT", "15825003", "Aorta"]},
        }
    }
)

#: A grid must cover this much of the world (R, A, S) to hold every patient's organs whole.
EXTENT_MM = (380.0, 290.0, 260.0)


def draw_abdomen(rng: np.random.Generator) -> Anatomy:
    """One patient; drawn again until no organ overlaps another."""
    warp = lying(rng)
    while True:
        size = rng.uniform(0.94, 1.06, 3)
        sculptor = Sculptor(rng, size=(size[0], size[1], size[2]))
        organs = _organs(sculptor)
        if apart(organs):
            break
    parts = [*_trunk(sculptor), *_bowel(sculptor), *organs, *_details(sculptor, organs)]
    return Anatomy(tuple(parts), LABELS, warp, EXTENT_MM)


def _organs(s: Sculptor) -> list[Part]:
    return [
        Part(
            s.shape(
                (54, 14, 38),
                (74, 48, 56),
                angles=(0, 12, -22),
                vary=0.8,
                taper=0.5,
                bends=((1, 0, 0.15),),
            ),
            "liver",
            "liver",
        ),
        Part(
            s.shape(
                (-92, -28, 42),
                (21, 36, 46),
                angles=(-12, 0, 28),
                vary=1,
                bends=((0, 1, 0.35), (0, 2, 0.2)),
            ),
            "spleen",
            "spleen",
        ),
        Part(
            s.shape(
                (-55, -40, -18), (26, 24, 52), angles=(8, 12, 0), vary=1, bends=((0, 2, 0.28),)
            ),
            "kidney cortex",
            "left kidney",
        ),
        Part(
            s.shape(
                (55, -40, -30), (26, 24, 52), angles=(8, -12, 0), vary=1, bends=((0, 2, -0.28),)
            ),
            "kidney cortex",
            "right kidney",
        ),
        Part(
            s.shape(
                (-8, -27, 0),
                (12, 12, 98),
                form=Form.CYLINDER,
                vary=0.3,
                bends=((1, 2, 0.4), (0, 2, -0.3)),
            ),
            "blood",
            "aorta",
        ),
    ]


def _trunk(s: Sculptor) -> list[Part]:
    tall = 500

    def column(x: float, y: float, rx: float, ry: float, tissue: str) -> Part:
        return Part(s.shape((x, y, 0), (rx, ry, tall), form=Form.CYLINDER), tissue)

    fat = float(s.rng.uniform(0.88, 0.93))
    wall, cavity = fat - 0.055, fat - 0.14
    parts = [
        column(0, 0, 166, 116, "skin"),
        column(0, 0, 164, 114, "fat"),
        column(0, -1, 166 * fat, 114 * fat, "muscle"),
        column(0, -1, 166 * wall, 114 * wall, "fat"),
        column(0, -1, 164 * wall, 112 * wall, "muscle"),
        column(0, 2, 166 * cavity, 112 * cavity, "visceral fat"),
        column(-36, -82, 30, 20, "muscle"),
        column(36, -82, 30, 20, "muscle"),
        column(-34, -52, 19, 21, "muscle"),
        column(34, -52, 19, 21, "muscle"),
    ]
    for side in (-1, 1):
        parts.append(Part(s.shape((side * 62, -4, 148), (62, 84, 78), vary=0.3), "lung"))
    parts.append(Part(s.shape((-20, 30, 150), (55, 48, 45), vary=0.5), "heart"))
    return [*parts, *_spine(s, tall), *_ribs(s, wall)]


def _spine(s: Sculptor, tall: float) -> list[Part]:
    parts = []
    phase = float(s.rng.uniform(-17, 17))
    parts.append(Part(s.shape((0, -62, 0), (21, 15, tall), form=Form.CYLINDER), "disc"))
    for level in range(-6, 7):
        z = level * 34 + phase
        parts += [
            Part(s.shape((0, -62, z), (23, 17, 13.5), form=Form.CYLINDER), "cortical bone"),
            Part(s.shape((0, -62, z), (21, 15, 12), form=Form.CYLINDER), "marrow"),
            Part(s.shape((0, -104, z - 8), (3.5, 17, 10)), "cortical bone"),
            Part(s.shape((-30, -84, z), (20, 4.5, 6), angles=(0, 0, 12)), "cortical bone"),
            Part(s.shape((30, -84, z), (20, 4.5, 6), angles=(0, 0, -12)), "cortical bone"),
            Part(s.shape((0, -86, z), (15, 12, 11), form=Form.CYLINDER), "cortical bone"),
        ]
    parts.append(Part(s.shape((0, -85, 0), (9.5, 8, tall), form=Form.CYLINDER), "nerve"))
    return parts


def _ribs(s: Sculptor, wall: float) -> list[Part]:
    """Hoops that slope down to the front, so that a slice cuts several; none below the arch."""
    parts = []
    for level in range(6):
        z = 30 + level * 28
        for tube, tissue in ((5.5, "cortical bone"), (3.5, "marrow")):
            hoop = s.shape(
                (0, -8, z), (160 * wall, 108 * wall, tube), angles=(-24, 0, 0), form=Form.RING
            )
            parts.append(Part(hoop, tissue, within=("muscle", "fat", "cortical bone")))
    return parts


def _bowel(s: Sculptor) -> list[Part]:
    """Loops that fill the front and the lower half, some with gas on top of fluid."""
    parts = []
    for _ in range(42):
        x, y, z = s.rng.uniform((-105, -8, -125), (105, 62, 5))
        if (x / 125) ** 2 + (y / 78) ** 2 > 0.8:
            continue
        radii = s.rng.uniform(10, 19, 3)
        angles = s.rng.uniform(-60, 60, 3)
        here, tilt = (float(x), float(y), float(z)), tuple(float(a) for a in angles)
        content = "gas" if s.rng.random() < 0.18 else "bowel content"
        for scale, tissue in ((1.0, "bowel wall"), (0.78, content)):
            a, b, c = (float(r) * scale for r in radii)
            parts.append(
                Part(
                    s.shape(here, (a, b, 1.5 * c), angles=(tilt[0], tilt[1], tilt[2])),
                    tissue,
                    within=("visceral fat", "bowel wall", "bowel content"),
                )
            )
    stomach = s.shape((-52, 34, 42), (40, 33, 44), angles=(0, 0, 25), vary=1)
    bubble = s.shape((-52, 88, 42), (60, 44, 60), vary=0.6)
    return [
        *parts,
        Part(stomach, "bowel wall"),
        Part(_scaled(stomach, 0.9), "stomach content"),
        Part(bubble, "gas", within=("stomach content",)),
        Part(
            s.shape((5, 2, 8), (52, 9, 12), angles=(0, -8, -12), vary=1, bends=((1, 0, -1.0),)),
            "pancreas",
            within=("visceral fat",),
        ),
        Part(s.shape((20, -30, 0), (13, 9, 500), form=Form.CYLINDER, vary=0.3), "vena cava"),
        Part(s.shape((-4, -8, -60), (5, 5, 70), form=Form.CYLINDER, vary=0.3), "blood"),
    ]


def _details(s: Sculptor, organs: list[Part]) -> list[Part]:
    """What is seen inside the organs; it changes the picture, not the truth."""
    parts = []
    for organ in organs:
        if organ.tissue == "kidney cortex":
            parts.append(
                Part(_scaled(organ.shape, 0.68), "kidney medulla", within=("kidney cortex",))
            )
            parts.append(
                Part(_scaled(organ.shape, 0.33), "kidney sinus", within=("kidney medulla",))
            )
    vessels = itertools.product((20, 45, 70), (-10, 25))
    for (x, y), lean in zip(vessels, s.rng.uniform(-50, 50, (6, 3)), strict=True):
        angles = (float(lean[0]) + 20, 60 + float(lean[1]) / 2, float(lean[2]))
        parts.append(
            Part(
                s.shape(
                    (x, y, 45),
                    (4.5, 4.5, 45),
                    angles=angles,
                    form=Form.CYLINDER,
                    vary=1,
                    bends=((0, 2, 1.5),),
                ),
                "liver vein",
                within=("liver",),
            )
        )
    gallbladder = s.shape((48, 40, -2), (13, 16, 24), vary=1)
    return [
        *parts,
        Part(gallbladder, "bile", within=("visceral fat", "bowel wall", "bowel content", "gas")),
    ]


def _scaled(shape: Shape, factor: float) -> Shape:
    a, b, c = shape.radii_mm
    return replace(shape, radii_mm=(a * factor, b * factor, c * factor))
