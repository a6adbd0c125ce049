"""The real application in a headless Chromium: open, scroll, draw, kill, resume, save."""

import http.server
import threading
from functools import partial

import nibabel as nib
import numpy as np
import pytest

from medseg.readers.labels import read_labels
from medseg.review.planes import BY_NAME, picture
from medseg.review.store import look_store
from medseg.volume import Volume
from medseg.writers import write_volume
from tests.review.chromium import Server, open_browser, shown, wait

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def browser():
    pytest.importorskip("selenium")
    driver = open_browser(1280, 800)
    yield driver
    driver.quit()


@pytest.fixture
def server(masks):
    running = Server(masks, "--rater", "ann")
    yield running
    running.kill()


def press(browser, keys):
    from selenium.webdriver.common.by import By

    for key in keys:
        browser.find_element(By.TAG_NAME, "body").send_keys(key)


def drag(browser, plane, start, end):
    """From and to, as shares of the canvas from its middle."""
    from selenium.webdriver import ActionChains
    from selenium.webdriver.common.by import By

    canvas = browser.find_element(By.CSS_SELECTOR, f"[data-plane={plane}] canvas")
    width, height = canvas.size["width"], canvas.size["height"]
    places = [(int(x * width), int(y * height)) for x, y in (start, end)]
    chain = ActionChains(browser, duration=50)
    chain.move_to_element_with_offset(canvas, *places[0]).click_and_hold()
    chain.move_to_element_with_offset(canvas, *places[1]).release().perform()


def state(browser, expression):
    return browser.execute_script(f"return {expression}")


def slice_shown(browser, plane):
    script = "const v = review.viewer; return [v.at(arguments[0]),"
    script += " Array.from(review.loaded.slice('mask', arguments[0], v.at(arguments[0])))]"
    position, pixels = browser.execute_script(script, plane)
    return position, np.array(pixels)


def test_what_is_drawn_survives_a_kill_and_is_what_is_saved(masks, browser):
    before = read_labels(masks / "case_0.nii.gz")
    server = Server(masks, "--rater", "ann")
    browser.get(f"{server.address}")
    shown(browser)
    browser.execute_script("location.hash = 'case_0'")
    shown(browser, "case_0")
    assert "token" not in browser.current_url
    press(browser, ["e", "2"])
    drag(browser, "axial", (-0.2, -0.1), (0.2, 0.15))
    wait(lambda: state(browser, "document.body.dataset.edits") == "1", "the stroke to be kept")
    position, drawn = slice_shown(browser, "axial")
    server.kill()

    again = Server(masks, "--rater", "ann")
    try:
        browser.get(again.address)
        shown(browser)
        browser.execute_script("location.hash = 'case_0'")
        shown(browser, "case_0")
        assert state(browser, "document.body.dataset.edits") == "1"
        assert np.array_equal(slice_shown(browser, "axial")[1], drawn)
        press(browser, ["s"])
        wait(
            lambda: state(browser, "document.body.dataset.saved") == "true", "the mask to be saved"
        )
    finally:
        again.kill()

    saved = nib.load(masks / "corrected" / "case_0.nii.gz")
    scan = nib.load(masks.parent / "images" / "case_0.nii.gz")
    data = np.asarray(saved.dataobj)
    plane = BY_NAME["axial"]
    assert np.array_equal(picture(data, before.geometry, plane, position).reshape(-1), drawn)
    changed = np.count_nonzero(data != before.data)
    in_slice = picture(data != before.data, before.geometry, plane, position)
    assert changed == np.count_nonzero(in_slice) > 20  # the stroke, and nothing elsewhere
    assert set(np.unique(data[data != before.data])) == {2}
    assert saved.affine.tobytes() == scan.affine.tobytes()
    assert np.array_equal(read_labels(masks / "case_0.nii.gz").data, before.data)


def test_the_keyboard_alone_judges_scrolls_and_undoes(masks, server, browser):
    browser.get(server.address)
    first = shown(browser)
    at = state(browser, "review.viewer.at('axial')")
    press(browser, ["\ue013"])  # arrow up
    wait(lambda: state(browser, "review.viewer.at('axial')") == at + 1, "the next slice")
    press(browser, ["r"])
    second = wait(lambda: (name := shown(browser)) != first and name, "the next case")
    press(browser, ["a"])
    shown(browser)
    wait(
        lambda: (
            "2 of 3, 1 to redo" in state(browser, "document.getElementById('progress').textContent")
        ),
        "progress",
    )
    press(browser, ["k"])
    store = look_store(masks)
    said = {one.case: one.verdict.value for one in store.judgements()}
    assert said == {first: "reject", second: "accept"}
    store.close()
    shown(browser, second)
    before = slice_shown(browser, "axial")[1]
    press(browser, ["x", "\ue007"])  # enter: erased at the crosshair
    wait(lambda: state(browser, "document.body.dataset.edits") == "1", "a stroke")
    assert np.count_nonzero(slice_shown(browser, "axial")[1] != before) > 3
    press(browser, ["z"])
    wait(lambda: state(browser, "document.body.dataset.edits") == "0", "the stroke undone")
    shown(browser)
    assert np.array_equal(slice_shown(browser, "axial")[1], before)  # not shown any more, either
    browser.execute_script("document.getElementById('protect').focus()")
    browser.switch_to.active_element.send_keys(" ")
    assert not state(browser, "document.getElementById('protect').checked")
    contour = state(browser, "review.viewer.look.contour")
    press(browser, ["\ue00c", " "])  # escape, space
    assert state(browser, "review.viewer.look.contour") is not contour


def test_names_and_notes_with_markup_do_nothing(masks, server, browser):
    browser.get(server.address)
    shown(browser)
    hostile = "<img src=x onerror=window.hacked=1><script>window.hacked=1</script>"
    browser.execute_script("document.getElementById('note').value = arguments[0]", hostile)
    press(browser, ["r"])
    shown(browser)
    browser.refresh()
    shown(browser)
    assert state(browser, "window.hacked") is None
    assert state(browser, "document.images.length") == 0
    assert "<img src=x" in state(browser, "document.getElementById('labels').textContent")


def test_a_page_of_another_site_reads_and_changes_nothing(masks, server, browser, tmp_path):
    """Cookies know no ports: a page of another local server does send this server's cookie."""
    browser.get(server.address)
    case = shown(browser)
    site = tmp_path / "site"
    site.mkdir()
    (site / "index.html").write_text("<title>other</title>", encoding="utf-8")
    handler = partial(http.server.SimpleHTTPRequestHandler, directory=str(site))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as other:
        threading.Thread(target=other.serve_forever, daemon=True).start()
        browser.get(f"http://127.0.0.1:{other.server_address[1]}/")
        script = """
            const done = arguments[arguments.length - 1];
            const root = `http://127.0.0.1:${arguments[0]}/api`, way = { credentials: "include" };
            const verdict = `${root}/cases/${arguments[1]}/verdict`;
            const post = { ...way, method: "POST", body: '{"verdict": "accept"}' };
            const json = { "Content-Type": "application/json" };
            const attempts = [
              fetch(`${root}/list`, way),
              fetch(verdict, { ...post, mode: "no-cors" }),
              fetch(verdict, { ...post, headers: json }),
            ].map(answer => answer.then(r => r.text()));
            Promise.allSettled(attempts).then(all => done(all.map(one => one.value || "")));
        """
        texts = browser.execute_async_script(script, server.port, case)
        other.shutdown()
    assert texts == ["", "", ""]
    store = look_store(masks)
    assert store.judgements() == []
    store.close()


def test_a_phone_shows_everything_without_scrolling_sideways(server):
    phone = open_browser(400, 800)
    try:
        phone.get(server.address)
        phone.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": 400, "height": 800, "deviceScaleFactor": 2, "mobile": True},
        )
        shown(phone)
        assert phone.execute_script("return document.documentElement.scrollWidth") <= 400
        assert not phone.execute_script("return document.getElementById('side').offsetParent")
        below = "return panel.getBoundingClientRect().top - planes.getBoundingClientRect().bottom"
        assert phone.execute_script(below) >= 0  # nothing lies over the controls
        phone.execute_script("document.getElementById('show-list').click()")
        assert phone.execute_script("return document.querySelectorAll('#cases li').length") == 3
    finally:
        phone.quit()


def test_uncertainty_lies_over_the_scan_with_an_opacity_of_its_own(masks, browser):
    """Of two maps either can be chosen; red where uncertain, nothing where sure."""
    grid = read_labels(masks / "case_0.nii.gz").geometry
    for measure, values in (("entropy", (0.0, 1.0)), ("disagreement", (1.0, 0.0))):
        data = np.zeros(grid.shape, np.float32)
        data[:, : grid.shape[1] // 2], data[:, grid.shape[1] // 2 :] = values
        for number in range(3):
            path = masks / "uncertainty" / measure / f"case_{number}.nii.gz"
            write_volume(Volume(data[None], grid), path)
    server = Server(masks, "--rater", "ann")
    try:
        browser.get(server.address)
        shown(browser)
        assert not state(browser, "document.getElementById('unsure').hidden")
        assert red_share(browser) < 0.02
        press(browser, ["h"])
        wait(lambda: red_share(browser) > 0.2, "the overlay")
        entropy = red_share(browser)
        assert state(browser, "review.viewer.look.map") == "entropy"
        choose(browser, "map", "disagreement")
        wait(lambda: red_share(browser) > 0.2, "the other map")
        assert red_share(browser) == pytest.approx(entropy, abs=0.3)
        assert state(browser, "review.viewer.look.map") == "disagreement"
        choose(browser, "heat", "0")
        assert red_share(browser) < 0.02
        choose(browser, "heat", "0.5")
        press(browser, ["j"])
        shown(browser)
        assert state(browser, "document.getElementById('map').value") == "disagreement"
        press(browser, ["h"])
        wait(lambda: red_share(browser) < 0.02, "the overlay gone")
    finally:
        server.kill()


def red_share(browser):
    """The share of the axial plane that is red, once its slices are there."""
    script = """
        const done = arguments[arguments.length - 1];
        requestAnimationFrame(() => requestAnimationFrame(() => {
          const canvas = document.querySelector('[data-plane=axial] canvas');
          const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
          let red = 0;
          for (let k = 0; k < data.length; k += 4) red += data[k] > 200 && data[k + 1] < 40;
          done(review.loaded.waiting.size ? -1 : red / (data.length / 4));
        }));
    """
    return wait_for_number(lambda: browser.execute_async_script(script))


def wait_for_number(measure):
    """The first measure that is none of -1, which stands for not yet."""
    found = []
    wait(lambda: found.append(measure()) or found[-1] != -1, "slices")
    return found[-1]


def choose(browser, name, value):
    """Set a control as a reader does."""
    script = "const box = document.getElementById(arguments[0]); box.value = arguments[1];"
    script += " for (const kind of ['input', 'change']) box.dispatchEvent(new Event(kind))"
    browser.execute_script(script, name, value)


def test_three_dimensions_by_niivue(server, browser):
    pytest.importorskip("ipyniivue")
    browser.get(server.address)
    case = shown(browser)
    if not state(browser, "Boolean(document.createElement('canvas').getContext('webgl2'))"):
        pytest.skip("no WebGL 2 in this browser")
    press(browser, ["v"])
    wait(lambda: state(browser, "document.getElementById('solid').dataset.shown") == case, "3D")
    assert state(browser, "document.querySelector('#solid-box canvas').width") > 50
