"""Draws a network as its paper does, as SVG: levels, channels and sizes for a given input."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape

from torch import nn

from medseg.networks.fcn import FCN
from medseg.networks.outline import FeatureMap, outline

#: Colours of the arrows: each operation has its own, named in the legend as well.
COLOURS = {
    "convolution": "#1f6fb2",
    "pooling": "#b2182b",
    "upsampling": "#1b7837",
    "copy": "#777777",
    "score": "#00868b",
}

_STEP, _DROP, _WIDE, _TALL = 62, 124, 14, 78


@dataclass(frozen=True)
class Box:
    """A feature map on the page."""

    x: float
    y: float
    width: float
    height: float
    channels: int
    size: tuple[int, ...]
    level: int

    @property
    def middle(self) -> float:
        """Of its height."""
        return self.y + self.height / 2


@dataclass
class Page:
    """What has been drawn so far."""

    title: str
    parts: list[str] = field(default_factory=list)
    right: float = 0.0
    bottom: float = 0.0

    def box(self, box: Box, *, pale: bool = False) -> None:
        """A map, its channels above and its size below."""
        fill = "#ffffff" if pale else "#d7e6f4"
        self.parts.append(
            f'<rect x="{box.x:.1f}" y="{box.y:.1f}" width="{box.width:.1f}" '
            f'height="{box.height:.1f}" fill="{fill}" stroke="#33475b"/>'
        )
        self.text(box.x + box.width / 2, box.y - 5, str(box.channels))
        self.text(box.x + box.width / 2, box.y + box.height + 13, _size(box.size), small=True)

    def text(
        self, x: float, y: float, words: str, *, small: bool = False, anchor: str = "middle"
    ) -> None:
        """A line of text."""
        points = 9 if small else 11
        self.parts.append(
            f'<text x="{x:.1f}" y="{y:.1f}" font-size="{points}" text-anchor="{anchor}">'
            f"{escape(words)}</text>"
        )
        self.right, self.bottom = max(self.right, x + 40), max(self.bottom, y + 6)

    def arrow(self, points: Sequence[tuple[float, float]], kind: str) -> None:
        """An arrow along a broken line."""
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        self.parts.append(
            f'<polyline points="{line}" fill="none" stroke="{COLOURS[kind]}" stroke-width="2" '
            f'marker-end="url(#{kind})"/>'
        )

    def svg(self, kinds: Sequence[tuple[str, str]]) -> bytes:
        """The whole picture with its legend."""
        y = self.bottom + 26
        for place, (kind, words) in enumerate(kinds):
            x = 20 + 165 * (place % 4)
            row = y + 20 * (place // 4)
            self.arrow([(x, row - 4), (x + 26, row - 4)], kind)
            self.text(x + 34, row, words, anchor="start")
            self.right = max(self.right, x + 160)
        width, height = self.right + 20, self.bottom + 14
        heads = "".join(_head(kind, colour) for kind, colour in COLOURS.items())
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" '
            f'width="{width:.0f}" height="{height:.0f}" font-family="sans-serif" role="img" '
            f'aria-label="{escape(self.title)}"><title>{escape(self.title)}</title>'
            f'<defs>{heads}</defs><rect width="100%" height="100%" fill="#ffffff"/>'
            f"{''.join(self.parts)}</svg>\n"
        ).encode()


def draw_network(network: nn.Module, shape: Sequence[int], *, title: str) -> bytes:
    """The network as SVG.

    Args:
        network: of ``NETWORKS``.
        shape: of the input, (B, C, *spatial).
        title: above the picture.
    """
    maps = outline(network, shape)
    page = Page(title)
    page.text(20, 22, title, anchor="start")
    if maps[0].came_from != tuple(shape[2:]):
        page.text(
            20,
            36,
            f"the border of {_size(tuple(shape[2:]))} is mirrored around it first",
            small=True,
            anchor="start",
        )
    if isinstance(network, FCN):
        return _draw_fcn(page, maps, tuple(shape))
    return _draw_u(page, maps, shape[1], joins=getattr(network, "skips", "concat"))


def _draw_u(page: Page, maps: Sequence[FeatureMap], channels: int, *, joins: str) -> bytes:
    """Down the left side, along the bottom, up the right side."""
    tallest = max(maps[0].came_from)
    level, x = 0, 40.0
    before = _placed(x, 0, channels, maps[0].came_from, tallest)
    page.box(before)
    across: dict[int, Box] = {0: before}
    for each in maps:
        kind = (
            "score" if each.operation == "convolution" and max(each.kernel) == 1 else each.operation
        )
        down = each.operation == "pooling" or (
            each.operation == "convolution"
            and each.size != each.came_from
            and 2 * max(each.size) <= max(each.came_from) + 2
        )
        if each.operation == "upsampling":
            level -= 1
            skip = across[level]
            x += _STEP
            if joins == "concat":
                copied = _placed(x, level, skip.channels, each.size, tallest)
                page.box(copied, pale=True)
                page.arrow(
                    [(skip.x + skip.width, copied.middle), (copied.x - 3, copied.middle)], "copy"
                )
                x += copied.width + 20
            box = _placed(x, level, each.channels, each.size, tallest)
            _rise(page, before, box)
            if joins == "sum":
                page.arrow([(skip.x + skip.width, box.middle), (box.x - 3, box.middle)], "copy")
        elif down:
            level += 1
            box = _placed(before.x, level, each.channels, each.size, tallest)
            page.arrow(
                [(before.x + 7, before.y + before.height + 17), (before.x + 7, box.y - 17)],
                "pooling",
            )
            x = box.x
        else:
            x += _STEP
            box = _placed(x, level, each.channels, each.size, tallest)
            page.arrow([(before.x + before.width, before.middle), (box.x - 3, box.middle)], kind)
        page.box(box)
        across[level] = box if each.operation != "upsampling" else across[level]
        before = box
    legend = [
        ("convolution", "convolution"),
        ("pooling", "down by 2"),
        ("upsampling", "up by 2"),
        ("score", "1×1 convolution"),
    ]
    if joins != "none":
        word = "copied beside" if joins == "concat" else "added"
        legend.append(("copy", f"{word} (cropped where larger)" if joins == "concat" else word))
    return page.svg(legend)


def _rise(page: Page, before: Box, box: Box) -> None:
    """The arrow from the level below."""
    turn = box.y + box.height + 28
    page.arrow(
        [
            (before.x + before.width / 2, before.y - 18),
            (before.x + before.width / 2, turn),
            (box.x + box.width / 2, turn),
            (box.x + box.width / 2, box.y + box.height + 17),
        ],
        "upsampling",
    )


def _draw_fcn(page: Page, maps: Sequence[FeatureMap], shape: tuple[int, ...]) -> bytes:
    """The classifier in a row; below it the scores, each line finer than the one above."""
    size = shape[2:]
    boxes: dict[str, Box] = {}
    x, before = 40.0, _row(40.0, 60.0, shape[1], size, max(size))
    page.box(before)
    page.text(before.x + 4, 36, "image")
    for each in (m for m in maps if m.part.startswith(("backbone", "head"))):
        x += 54
        box = _row(x, 60.0, each.channels, each.size, max(size))
        page.box(box)
        page.arrow([(before.x + before.width, 100), (box.x - 3, 100)], each.operation)
        if each.operation == "pooling":
            name = f"pool{1 + sum(key.startswith('pool') for key in boxes)}"
            boxes[name] = box
            page.text(box.x + 7, 36, name)
        before = box
    y = 200.0
    score = next(m for m in maps if m.part == "score")
    skipped = current = _row(before.x, y, score.channels, score.size, max(size))
    page.arrow([(before.x + 7, 164), (before.x + 7, y - 17)], "score")
    page.box(current)
    for each in maps:
        if not each.part.startswith(("score_skip", "rise", "last")):
            continue
        if each.part.startswith("score_skip"):
            source = boxes[f"pool{each.part.rpartition('.')[2]}"]
            skipped = _row(source.x, y + 110, each.channels, each.size, max(size))
            page.arrow([(source.x + 7, 164), (source.x + 7, skipped.y - 17)], "score")
            page.box(skipped)
            page.text(skipped.x + 30, skipped.middle, "+")
            continue
        y += 110
        column = current.x if each.part == "last" else skipped.x + 46
        box = _row(column, y, each.channels, each.size, max(size))
        start = (current.x + 7, current.y + current.height + 17)
        ends = [(current.x + 7, y - 17)]
        if box.x + box.width < current.x:
            ends = [(current.x + 7, y + 40), (box.x + box.width + 3, y + 40)]
        page.arrow([start, *ends], "upsampling")
        page.box(box)
        page.text(box.x + 40, y + 18, f"{each.kernel[0]}× up")
        current = box
    return page.svg(
        [
            ("convolution", "convolution"),
            ("pooling", "pooling by 2"),
            ("score", "1×1 scores"),
            ("upsampling", "enlarged, learned"),
        ]
    )


def _placed(x: float, level: int, channels: int, size: tuple[int, ...], tallest: int) -> Box:
    """A box of the U: the deeper, the shorter; the more channels, the wider."""
    height = max(22.0, _TALL * max(size) / tallest)
    return Box(x, 60 + _DROP * level, _width(channels), height, channels, size, level)


def _row(x: float, y: float, channels: int, size: tuple[int, ...], tallest: int) -> Box:
    height = max(16.0, _TALL * (max(size) / tallest) ** 0.5)
    return Box(x, y + (_TALL - height) / 2, _width(channels), height, channels, size, 0)


def _width(channels: int) -> float:
    return min(34.0, _WIDE * max(0.5, math.sqrt(math.sqrt(channels / 64))))


def _size(size: tuple[int, ...]) -> str:
    """``572²`` for a square, ``96³`` for a cube, else the numbers."""
    if len(set(size)) == 1:
        return f"{size[0]}{'²' if len(size) == 2 else '³'}"
    return "×".join(map(str, size))


def _head(kind: str, colour: str) -> str:
    return (
        f'<marker id="{kind}" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="5" '
        f'markerHeight="5" orient="auto"><path d="M0 0L8 4L0 8z" fill="{colour}"/></marker>'
    )
