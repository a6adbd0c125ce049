"""Where the frames of an enhanced multi-frame file lie (PS3.3, C.7.6.16)."""

from __future__ import annotations

from medseg.readers.dicom.elements import Element, Elements, items
from medseg.readers.dicom.frames import GEOMETRY_TAGS, Frame, Marks, frame_of, mark
from medseg.readers.dicom.mapping import MAPPING, PARAMETRIC_MAP, mapped
from medseg.readers.dicom.values import NotANumber, numbers, text

_SHARED, _PER_FRAME, _DIMENSIONS = 0x52009229, 0x52009230, 0x00209222
TAGS = (_SHARED, _PER_FRAME, _DIMENSIONS, MAPPING)

_CONTENT, _POINTER, _VALUES, _STACK = 0x00209111, 0x00209165, 0x00209157, 0x00209056
#: Dimensions along which a volume extends; what remains counts volumes.
_WITHIN_VOLUME = frozenset((0x00209056, 0x00209057, 0x00200032, 0x00200013, 0x00209311, 0x00209301))

#: Functional groups that place a frame and scale its values.
_PLACING = (0x00289110, 0x00209113, 0x00209116, 0x00289145)
#: Functional groups whose elements may distinguish volumes: group, element, name, VR.
_TELLING = (
    (0x00189226, 0x00089007, "image type", b"CS"),
    (0x00189226, 0x00089208, "component", b"CS"),
    (0x00189329, 0x00089007, "image type", b"CS"),
    (0x00189751, 0x00089007, "image type", b"CS"),
    (0x00189114, 0x00189082, "echo time", b"FD"),
    (0x00189117, 0x00189087, "b-value", b"FD"),
    (0x00189115, 0x00180082, "inversion time", b"DS"),
    (0x00189115, 0x00189079, "inversion time", b"FD"),
    (0x00189112, 0x00181314, "flip angle", b"DS"),
    (0x00189314, 0x00181210, "kernel", b"SH"),
    (0x00189118, 0x00209153, "trigger time", b"FD"),
    (0x00189477, 0x00209153, "trigger time", b"FD"),
    (_CONTENT, 0x00209128, "time point", b"UL"),
    (_CONTENT, 0x00189151, "frame time", b"TM"),
)
_GROUPS = frozenset((MAPPING, *_PLACING, _CONTENT, *(group for group, *_ in _TELLING)))
#: Some writers leave out the group around what places or scales a frame.
_LEVEL = _GROUPS.union(GEOMETRY_TAGS)
_INNER = frozenset((*GEOMETRY_TAGS, _VALUES, _STACK, *(element for _, element, *_ in _TELLING)))


def applies(elements: Elements) -> bool:
    """Whether the data set describes its frames by functional groups."""
    return _PER_FRAME in elements or _SHARED in elements


def frames(
    data: bytes, elements: Elements, *, count: int, sop_class: str
) -> tuple[tuple[Frame, ...], str]:
    """The frames, and why they cannot be used where they cannot.

    What a frame's own groups do not say, the shared ones do, and the top of the data set at last.

    Raises:
        Cut, NotDicom: a sequence is damaged.
        NotANumber: a value that places or scales a frame cannot be read.
    """
    shared = items(data, elements.get(_SHARED), wanted=_LEVEL)
    per_frame = items(data, elements.get(_PER_FRAME), wanted=_LEVEL)
    if len(per_frame) != count and (per_frame or count > 1):
        return (), (
            f"corrupt: {count} frames, but {len(per_frame)} of them are described "
            "(no position for each frame)"
        )
    dimensions = [
        _pointer(data, item.get(_POINTER))
        for item in items(data, elements.get(_DIMENSIONS), wanted=frozenset((_POINTER,)))
    ]
    for_all = shared[0] if shared else {}
    common = _opened(data, for_all)
    described = []
    for index, item in enumerate(per_frame or [{}]):
        own = _opened(data, item)
        groups = common | own
        content = groups.get(_CONTENT, {})
        placing = []
        for level, around in ((own, item), (common, for_all)):
            placing += [*(level[group] for group in _PLACING if group in level), around]
        frame = frame_of(
            data,
            [*placing, elements],
            _marks(data, groups, dimensions),
            index=index,
            stack=text(data, content.get(_STACK)),
        )
        if sop_class == PARAMETRIC_MAP:
            frame = mapped(frame, data, (item, for_all, elements))
        described.append(frame)
    return tuple(described), ""


def _opened(data: bytes, item: Elements) -> dict[int, Elements]:
    """The elements inside each functional group of an item."""
    opened = {}
    for group in item.keys() & _GROUPS:
        element = item[group]
        inside = items(data, element, wanted=_INNER)
        if inside:
            opened[group] = inside[0]
    return opened


def _marks(data: bytes, groups: dict[int, Elements], dimensions: list[int]) -> Marks:
    marks: dict[str, float | str] = {}
    for group, element, name, vr in _TELLING:
        value = mark(data, groups.get(group, {}).get(element), vr)
        if value is not None:
            marks.setdefault(name, value)
    try:
        indices = numbers(data, groups.get(_CONTENT, {}).get(_VALUES), b"UL") or ()
    except NotANumber:
        indices = ()
    if len(indices) == len(dimensions):
        for place, (pointer, value) in enumerate(zip(dimensions, indices, strict=True)):
            if pointer not in _WITHIN_VOLUME:
                marks[f"dimension {place + 1}"] = value
    return tuple(marks.items())


def _pointer(data: bytes, element: Element | None) -> int:
    """The tag that a dimension runs over."""
    if element is None or element.stop - element.start < 4:
        return 0
    order = "big" if element.encoding.big else "little"
    group = int.from_bytes(data[element.start : element.start + 2], order)  # type: ignore[arg-type]
    return group << 16 | int.from_bytes(data[element.start + 2 : element.start + 4], order)  # type: ignore[arg-type]
