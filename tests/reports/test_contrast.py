"""Text on every page stands out from what is behind it, in light, dark and print (WCAG 2.2, AA)."""

import re
from importlib.resources import files

import pytest

REPORTS = files("medseg.reports") / "templates"
REVIEW = files("medseg.review") / "static"

#: What WCAG 2.2 asks of text (1.4.3) and of what shows a control (1.4.11).
TEXT, CONTROL = 4.5, 3.0

_ROOT = re.compile(r":root\s*{([^}]*)}")
_COLOUR = re.compile(r"--([\w-]+):\s*(#[0-9a-f]{3,6})\b")


def luminance(colour: str) -> float:
    """Relative luminance of ``#rgb`` or ``#rrggbb``, 0 black to 1 white."""
    digits = colour.lstrip("#")
    pairs = [2 * d for d in digits] if len(digits) == 3 else re.findall("..", digits)
    parts = [int(pair, 16) / 255 for pair in pairs]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return sum(w * c for w, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(one: str, other: str) -> float:
    darker, lighter = sorted((luminance(one), luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


def themes(css: str) -> dict[str, dict[str, str]]:
    """The colours of each theme; what one leaves out is as in the first."""
    first: dict[str, str] = {}
    result = {}
    for match in _ROOT.finditer(css):
        before = css[: match.start()].rpartition("@media")
        is_plain = before[2].count("{") == before[2].count("}")
        name = "first" if not before[1] or is_plain else before[2].partition("{")[0].strip()
        result[name] = {**first, **dict(_COLOUR.findall(match.group(1)))}
        first = first or result[name]
    return result


def texts(css: str) -> set[str]:
    """Every colour that a rule writes text in, as it is written."""
    return set(re.findall(r"(?<![-\w])color:\s*(var\(--[\w-]+\)|#[0-9a-f]{3,6})", css))


def test_black_on_white_is_21_and_grey_is_as_published():
    assert contrast("#000", "#ffffff") == pytest.approx(21)
    assert contrast("#767676", "#fff") == pytest.approx(4.54, abs=0.01)


REPORT_CSS = "\n".join(p.read_text() for p in sorted(REPORTS.iterdir()) if p.name.endswith(".css"))
REVIEW_CSS = (REVIEW / "review.css").read_text()
PAGES = {
    "reports": (REPORT_CSS, ("paper", "wash"), 3),
    "review": (REVIEW_CSS, ("back", "wash"), 2),
}

#: Written over a picture, with a dark shadow around it.
ON_PICTURES = {"#fff", "#dfe4e8"}


@pytest.mark.parametrize("page", PAGES)
def test_text_stands_out_in_every_theme(page):
    css, grounds, count = PAGES[page]
    found = themes(css)
    assert len(found) == count, "light, dark and print" if count == 3 else "screen and print"
    faint = {}
    for theme, colours in found.items():
        for written in texts(css) - ON_PICTURES:
            colour = colours[written[6:-1]] if written.startswith("var") else written
            for ground in grounds:
                ratio = contrast(colour, colours[ground])
                if ratio < TEXT and _is_shown(page, theme, written):
                    faint[theme, written, ground] = round(ratio, 2)
    assert not faint


def _is_shown(page: str, theme: str, written: str) -> bool:
    """Whether a colour's text is on the page: printing leaves the lists of cases out."""
    return not (
        page == "review" and theme == "print" and written[6:-1] in ("good", "bad", "accent")
    )


@pytest.mark.parametrize("page", PAGES)
def test_what_has_the_focus_stands_out(page):
    css, grounds, _ = PAGES[page]
    for theme, colours in themes(css).items():
        for ground in grounds:
            if theme != "print":
                assert contrast(colours["accent"], colours[ground]) >= CONTROL, (theme, ground)


def test_verdicts_stand_out_on_their_buttons():
    pressed = re.findall(r"aria-pressed=true\][^}]*background:\s*(#[0-9a-f]{6})", REVIEW_CSS)
    ink = themes(REVIEW_CSS)["first"]["ink"]
    assert len(pressed) == 4
    assert all(contrast(ink, ground) >= TEXT for ground in pressed)
