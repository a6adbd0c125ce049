"""The page of a batch shows what matters first, harms nobody, and stays usable when large."""

import io
import re
import shutil
import subprocess
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from medseg.batch import Entry, Flag, State
from medseg.batch.companions import PICTURES
from medseg.batch.task import Written
from medseg.labels import LabelTable
from medseg.reports import batch as report
from tests.review.chromium import open_browser, wait

TABLE = LabelTable.from_card({"labels": {"ball": 1, "<b>rod</b>": 2}})
HOSTILE = '<img src=x onerror="document.title=`owned`">'
CHROMIUM = (
    shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
)


def entry(case, *flags, state=State.DONE, reason="", volume=4.0):
    volumes = {"ball": volume, "<b>rod</b>": 1.0} if state is State.DONE else {}
    return Entry(
        case,
        f"private/{case}.dcm",
        f"/archive/private/{case}.dcm",
        "x",
        1,
        state,
        1,
        reason,
        (),
        flags,
        volumes,
        {"ball": 0.5} if volumes else {},
        {},
        0.5,
        0.4,
        1.0,
        None,
    )


def batch_of(count):
    entries = [entry(f"c{n:04}", volume=4 - n / count) for n in range(count - 4)]
    entries.append(entry("cut", Flag("cut", "ball", "ball is cut by the edge of the scan")))
    entries.append(entry(HOSTILE, Flag("volume", "ball", f"</script>{HOSTILE}")))
    entries.append(
        entry("refused", state=State.REFUSED, reason="private/refused.dcm: a slice is missing")
    )
    entries.append(entry("failed", state=State.FAILED, reason=HOSTILE))
    return entries


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    folder = tmp_path_factory.mktemp("batch")
    (folder / PICTURES).mkdir()
    noise = np.random.default_rng(0).integers(0, 255, (144, 432, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(noise).save(stream, "JPEG", quality=70)
    entries = batch_of(200)
    for item in entries[:50]:
        (folder / PICTURES / f"{item.case}.jpg").write_bytes(stream.getvalue())
    return report.write_batch_report(folder, entries, TABLE)


def seen(page, fragment=""):
    """The page as a browser builds it."""
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine")
    call = [
        CHROMIUM,
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--dump-dom",
        "--virtual-time-budget=3000",
        f"file://{page}{fragment}",
    ]
    return subprocess.run(call, capture_output=True, text=True, timeout=120, check=True).stdout


def cases(dom):
    return re.findall(r"<h3>(.*?)<span>", dom)


def test_rare_flags_make_a_case_more_suspicious_than_common_ones():
    common = [entry(f"c{n}", Flag("cut", "ball", "cut")) for n in range(50)]
    scores = report.suspicion([*common, entry("odd", Flag("empty", "", "empty")), entry("good")])
    assert scores["odd"] > scores["c0"] > scores["good"] == 0


def test_no_source_path_is_in_the_page(page):
    assert "private" not in page.read_text()


def test_nothing_is_fetched_from_anywhere(page):
    assert not re.findall(r"(?:src|href)=[\"']?https?:", page.read_text())
    assert "default-src 'none'" in page.read_text()


def test_hostile_names_stay_text_in_the_file(page):
    assert "<img src=x" not in page.read_text()
    assert "<b>rod</b>" not in page.read_text()


def test_pictures_lie_beside_the_page_and_masks_are_one_click_away(tmp_path):
    (tmp_path / PICTURES / "slices").mkdir(parents=True)
    (tmp_path / PICTURES / "c 1.jpg").write_bytes(b"picture")
    Image.new("L", (2, 6)).save(tmp_path / PICTURES / "slices" / "c 1.jpg", comment=b"3 AS")
    Image.new("L", (2, 6)).save(tmp_path / PICTURES / "slices" / "c 1.png")
    written = Written("c 1.nii.gz", 1, 0, "0" * 64)
    files = report._files(tmp_path, replace(entry("c 1"), written=written))
    column = "pictures/slices/c%201"
    assert files == {
        "picture": "pictures/c%201.jpg",
        "slices": {
            "number": 3,
            "edges": "AS",
            "scan": f"{column}.jpg",
            "layers": [{"name": "mask", "source": f"{column}.png"}],
        },
        "mask": "c%201.nii.gz",
    }
    refused = replace(entry("c2", state=State.REFUSED), written=written)
    assert report._files(tmp_path, refused) == {"picture": "", "slices": None, "mask": ""}


def test_a_page_of_two_thousand_cases_stays_small(tmp_path):
    page = report.write_batch_report(tmp_path, batch_of(2000), TABLE)
    assert page.stat().st_size < 3_000_000


def test_labels_of_one_colour_are_told_apart(tmp_path):
    kidney = {"value": 1, "colour": "#b98745"}
    table = LabelTable.from_card(
        {"labels": {"kidney left": kidney, "kidney right": kidney | {"value": 2}}}
    )
    page = report.write_batch_report(tmp_path, [entry("c")], table).read_text()
    assert len(set(re.findall(r'data-colour="(#\w+)"', page))) == 2


@pytest.mark.slow
def test_the_browser_shows_the_suspicious_first_and_one_page_at_a_time(page):
    dom = seen(page)
    shown = cases(dom)
    assert len(shown) == 48
    assert {shown[0], shown[1]} == {"cut", HOSTILE.replace("<", "&lt;").replace(">", "&gt;")}
    assert "page 1 of 5, 200 cases" in dom


@pytest.mark.slow
def test_the_browser_pages_sorts_and_filters(page):
    last = seen(page, "#page=5&sort=case&show=all")
    assert len(cases(last)) == 200 - 4 * 48
    by_volume = cases(seen(page, "#page=1&sort=ml0&show=all"))
    assert by_volume[0] == "c0195"  # the smallest
    bad = seen(page, "#sort=suspicion&show=bad")
    assert set(cases(bad)) == {"refused", "failed"}
    assert "the scan: a slice is missing" in bad
    assert len(cases(seen(page, "#show=flagged"))) == 2


@pytest.mark.slow
def test_hostile_names_are_inert_in_the_browser(page):
    for fragment in ("", "#show=bad", "#sort=<script>&show=__proto__&page=x"):
        dom = seen(page, fragment)
        assert "<title>Batch of 200 cases</title>" in dom
        assert '<img src="x"' not in dom


@pytest.mark.slow
def test_slices_are_scrolled_and_labels_switched_off_and_on(tmp_path):
    """Three slices of 40 × 20; in the second, the left half is of the first label."""
    labels = np.zeros((3, 20, 40), np.uint8)
    labels[1, :, :20] = 1
    labels[2] = 2
    (tmp_path / PICTURES / "slices").mkdir(parents=True)
    column = tmp_path / PICTURES / "slices" / "c.jpg"
    Image.new("L", (40, 60), 40).save(column, comment=b"3 RA")
    Image.fromarray(labels.reshape(60, 40)).save(column.with_suffix(".png"))
    table = LabelTable.from_card(
        {
            "labels": {
                "ball": {"value": 1, "colour": "#ff0000"},
                "<b>rod</b>": {"value": 7, "colour": "#00ff00"},
            }
        }
    )
    page = report.write_batch_report(tmp_path, [entry("c")], table)
    browser = open_browser(900, 900)
    try:
        browser.get(page.as_uri())
        browser.execute_script("document.querySelector('.case button').click()")
        browser.execute_script("opacity.value = 100; opacity.dispatchEvent(new Event('input'))")
        wait(lambda: browser.execute_script("return grey.naturalWidth"), "the slices")
        frame = browser.execute_script(
            "const box = frame.getBoundingClientRect();"
            "return [box.left, box.top, box.width, box.height]"
        )
        assert frame[2] >= 512

        def colours():
            with Image.open(io.BytesIO(browser.get_screenshot_as_png())) as image:
                left, top, width, height = frame
                points = [(left + part * width, top + height / 2) for part in (0.25, 0.75)]
                return [image.convert("RGB").getpixel((int(x), int(y))) for x, y in points]

        assert browser.execute_script("return frame.innerText").split() == ["R", "L", "A", "P"]

        red, green, dark = (255, 0, 0), (0, 255, 0), (40, 40, 40)
        assert colours() == [red, dark]  # it opens in the middle
        browser.execute_script("slice.value = 3; slice.dispatchEvent(new Event('input'))")
        assert colours() == [green, green]
        browser.execute_script("toggles.querySelectorAll('input')[1].click()")
        assert colours() == [dark, dark]
        assert browser.execute_script("return toggles.innerText").split() == ["ball", "<b>rod</b>"]
    finally:
        browser.quit()


def test_reasons_name_no_file():
    inside = report.without_names("ann/IM1.dcm: corrupt (after ann/IM0.dcm)", "ann")
    assert inside == "a file: corrupt (after a file)"
    assert report.without_names("one voxel is 2.5 mm.", ".") == "one voxel is 2.5 mm."
