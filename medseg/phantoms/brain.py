"""A head with a tumour: oedema around an enhancing core, off the midline."""

from __future__ import annotations

import numpy as np

from medseg.labels import LabelTable
from medseg.phantoms.anatomy import Anatomy, Part, Sculptor, apart, lying

LABELS = LabelTable.from_card(
    {
        "labels": {
            "oedema": {"value": 1, "colour": "#7fb069"},
            "core": {"value": 2, "colour": "#d1495b"},
        },
        "regions": {"whole": [1, 2], "core": [2]},
    }
)

#: A grid must cover this much of the world (R, A, S) to hold the whole head.
EXTENT_MM = (190.0, 230.0, 200.0)


def draw_brain(rng: np.random.Generator) -> Anatomy:
    """One patient with one tumour; the volumes of oedema and core are exact."""
    warp = lying(rng)
    size = rng.uniform(0.95, 1.05, 3)
    sculptor = Sculptor(rng, size=(size[0], size[1], size[2]))
    tumour = _tumour(sculptor)
    while not apart(tumour):
        tumour = _tumour(sculptor)
    return Anatomy((*_head(sculptor), *tumour, *_necrosis(tumour)), LABELS, warp, EXTENT_MM)


def _head(s: Sculptor) -> list[Part]:
    parts = [
        Part(s.shape((0, 0, 0), (80, 99, 92)), "skin"),
        Part(s.shape((0, 0, 0), (78, 97, 90)), "scalp"),
        Part(s.shape((0, 0, 0), (74, 93, 86)), "cortical bone"),
        Part(s.shape((0, 0, 0), (72, 91, 84)), "marrow"),
        Part(s.shape((0, 0, 0), (70, 89, 82)), "cortical bone"),
        Part(s.shape((0, 0, 0), (68, 87, 80)), "csf"),
        *_lobes(s, 0, "grey matter", 0.10),
        *_lobes(s, 6.5, "white matter", 0.30),
        Part(s.shape((0, 0, 44), (1.8, 88, 42)), "csf", within=("grey matter", "white matter")),
        Part(s.shape((0, 22, -74), (58, 62, 30)), "muscle", within=("csf",)),
        Part(s.shape((0, -50, -46), (46, 30, 22)), "csf"),
        Part(s.shape((0, -50, -46), (44, 28, 20), ripple=0.05), "grey matter"),
        Part(s.shape((0, -48, -46), (34, 20, 13), ripple=0.3), "white matter"),
        Part(s.shape((0, -18, -50), (13, 13, 40)), "white matter"),
    ]
    for side in (-1, 1):
        front, back = (8 * side, 20, 14), (15 * side, -28, 10)
        parts += [
            Part(s.shape((side * 18, 6, 4), (9, 20, 11), angles=(0, 0, 12 * side)), "grey matter"),
            Part(s.shape((side * 12, -14, 4), (9, 14, 9)), "grey matter"),
            Part(
                s.shape(
                    front,
                    (5, 24, 9),
                    angles=(0, 0, -8 * side),
                    vary=0.4,
                    bends=((0, 1, 0.5 * side),),
                ),
                "csf",
            ),
            Part(s.shape(back, (6, 26, 8), angles=(-10, 0, 14 * side), vary=0.4), "csf"),
            Part(s.shape((side * 31, 76, -38), (13, 13, 13)), "eye"),
        ]
    return parts


def _lobes(s: Sculptor, rim_mm: float, tissue: str, ripple: float) -> list[Part]:
    """The furrowed hemispheres and temporal lobes, `rim_mm` below their surface."""

    def lobe(centre: tuple[float, float, float], a: float, b: float, c: float) -> Part:
        radii = (a - rim_mm, b - rim_mm, c - rim_mm)
        return Part(s.shape(centre, radii, ripple=ripple * 50 / min(radii)), tissue)

    parts = [lobe((0, 0, 14), 66, 85, 64)]
    return parts + [lobe((side * 40, 10, -34), 23, 45, 26) for side in (-1, 1)]


def _tumour(s: Sculptor) -> list[Part]:
    side = float(s.rng.choice([-1, 1]))
    x, y, z = (float(v) for v in s.rng.uniform((24, -40, 4), (36, 40, 34)))
    a, b, c = (float(v) for v in s.rng.uniform((15, 18, 15), (20, 26, 21)))
    whole = s.shape((side * x, y, z), (a, b, c), vary=1, taper=0.3, bends=((0, 1, 0.15 * side),))
    share = s.rng.uniform(0.42, 0.58, 3) * whole.radii_mm
    shift = s.rng.uniform(-2.5, 2.5, 3) + whole.centre_mm
    core = s.shape((0, 0, 0), (1, 1, 1))
    core = type(core)(
        (float(shift[0]), float(shift[1]), float(shift[2])),
        (float(share[0]), float(share[1]), float(share[2])),
        whole.turn,
    )
    return [Part(whole, "oedema", "oedema"), Part(core, "tumour", "core", carved_from="oedema")]


def _necrosis(tumour: list[Part]) -> list[Part]:
    core = tumour[-1].shape
    a, b, c = (0.55 * radius for radius in core.radii_mm)
    inner = type(core)(core.centre_mm, (a, b, c), core.turn)
    return [Part(inner, "necrosis", within=("tumour",))]
