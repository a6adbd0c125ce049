"""Does the page of a batch show what matters first, harm nobody, and stay usable when large?"""

import io
import re
import shutil
import subprocess
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from medseg.batch import Entry, Flag, State
from medseg.batch.task import Written
from medseg.labels import LabelTable
from medseg.reports import batch as report

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
    (folder / report.PICTURES).mkdir()
    noise = np.random.default_rng(0).integers(0, 255, (144, 432, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(noise).save(stream, "JPEG", quality=70)
    entries = batch_of(200)
    for item in entries[:50]:
        (folder / report.PICTURES / f"{item.case}.jpg").write_bytes(stream.getvalue())
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
    (tmp_path / report.PICTURES).mkdir()
    (tmp_path / report.PICTURES / "c 1.jpg").write_bytes(b"picture")
    written = Written("c 1.nii.gz", 1, 0, "0" * 64)
    files = report._files(tmp_path, replace(entry("c 1"), written=written))
    assert files == {"picture": "pictures/c%201.jpg", "mask": "c%201.nii.gz"}
    refused = replace(entry("c2", state=State.REFUSED), written=written)
    assert report._files(tmp_path, refused) == {"picture": "", "mask": ""}


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
