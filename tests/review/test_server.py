"""The application as a browser meets it: who is let in, what is served, what is kept."""

import json
import threading

import nibabel as nib
import numpy as np
import pytest
from starlette.testclient import TestClient

from medseg.readers.labels import read_labels
from medseg.review import corrected
from medseg.review.desk import Desk, Review
from medseg.review.items import Places, items_of
from medseg.review.planes import BY_NAME, picture
from medseg.review.server import PAGES, build_app
from medseg.review.store import open_store

TOKEN = "secret-token"
ORIGIN = {"Origin": "http://localhost:8000"}


def desk_of(masks, rater="ann", **options):
    labels, items = items_of(Places(masks))
    return Desk(Review(masks, masks, labels, rater, **options), items, open_store(masks))


def client_of(desk, *, token=TOKEN, host="localhost:8000"):
    client = TestClient(
        build_app(desk, token=TOKEN), base_url=f"http://{host}", follow_redirects=False
    )
    if token:
        assert client.get(f"/?token={token}").status_code == 303
    return client


@pytest.fixture
def desk(masks):
    return desk_of(masks)


@pytest.fixture
def client(desk):
    return client_of(desk)


STROKE = {"tool": "paint", "plane": "axial", "position": 5, "runs": [40, 3], "label": 2}


def painted(client, case="case_0", *, position=5, runs=(40, 3), label=2, **changes):
    order = STROKE | {"position": position, "runs": list(runs), "label": label}
    return client.post(f"/api/cases/{case}/edit", json=order | changes, headers=ORIGIN)


def test_nothing_is_served_without_the_token(desk):
    client = client_of(desk, token="")
    for path in ("/", "/main.js", "/api/list", "/api/cases/case_0", "/niivue.js", "/no/such"):
        assert client.get(path).status_code == 403, path
    assert client.get("/?token=wrong").status_code == 403
    assert client.post("/api/cases/case_0/save", json={}, headers=ORIGIN).status_code == 403


def test_the_token_moves_from_the_address_to_a_cookie_for_this_site_alone(desk):
    client = client_of(desk, token="")
    answer = client.get(f"/?token={TOKEN}")
    cookie = answer.headers["set-cookie"].lower()
    assert answer.headers["location"] == "/"
    assert "httponly" in cookie and "samesite=strict" in cookie


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:8000",
        "localhost.evil.example",
        "192.168.1.5:8000",
        "127.0.0.1.nip.io",
        "localhost@evil.example",
        "localhost:8000@evil.example",
    ],
)
def test_another_host_name_is_refused(client, host):
    assert client.get("/api/list", headers={"Host": host}).status_code == 403


@pytest.mark.parametrize("host", ["localhost:9999", "127.0.0.1:8000", "[::1]:8000", "LOCALHOST"])
def test_any_port_of_this_machine_is_fine_for_a_tunnel_ends_anywhere(desk, host):
    client = client_of(desk, token="")
    assert client.get(f"/?token={TOKEN}", headers={"Host": host}).status_code == 303


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "http://localhost:1", "https://localhost:8000"]
)
def test_another_origin_is_refused_even_with_the_cookie(client, origin):
    assert client.get("/api/list", headers={"Origin": origin}).status_code == 403
    answer = client.post(
        "/api/cases/case_0/verdict", json={"verdict": "accept"}, headers={"Origin": origin}
    )
    assert answer.status_code == 403


def test_a_change_must_say_where_it_comes_from(client, desk):
    body = {"verdict": "accept"}
    assert client.post("/api/cases/case_0/verdict", json=body).status_code == 403
    same = {"Sec-Fetch-Site": "same-origin"}
    assert client.post("/api/cases/case_0/verdict", json=body, headers=same).status_code == 200
    crossed = {"Sec-Fetch-Site": "cross-site"}
    assert client.get("/api/list", headers=crossed).status_code == 403


def test_a_form_of_another_site_is_no_json(client):
    answer = client.post(
        "/api/cases/case_0/verdict",
        content=b'{"verdict": "accept"}',
        headers=ORIGIN | {"Content-Type": "text/plain"},
    )
    assert answer.status_code == 400


def test_pages_load_nothing_from_elsewhere_and_hold_no_inline_script(client):
    answer = client.get("/")
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "script-src 'self'" in policy
    assert "unsafe" not in policy
    assert not any(inline in answer.text for inline in ("<script>", "style=", "onclick"))
    for name in filter(None, PAGES):
        text = client.get(f"/{name}").text
        assert "innerHTML" not in text and "://" not in text.replace("http://localhost", "")


@pytest.mark.parametrize(
    "path",
    [
        "/../masks/labels.yaml",
        "/%2e%2e/labels.yaml",
        "/..%2flabels.yaml",
        "/static/main.js",
        "/api/cases/..%2f..%2fimages%2fcase_0",
        "/api/cases/%2e%2e%2flabels.yaml",
        "/api/cases/labels.yaml",
        "/api/cases/case_0/..%2f..%2fscan/axial/3",
        "/api/cases/case_0/scan.nii/axial/3",
        "/api/cases/case_0/scan/..%2f/3",
        "/api/cases/case_0/small/..%2fscan.nii",
        "/review.sqlite",
        "//etc/passwd",
    ],
)
def test_no_address_leads_out_of_the_cases(client, path):
    answer = client.get(path)
    assert answer.status_code in (400, 404), answer.text
    assert "liver" not in answer.text


def test_names_are_data_never_markup(client):
    listing = client.get("/api/list")
    assert listing.headers["content-type"] == "application/json"
    assert listing.headers["x-content-type-options"] == "nosniff"
    assert "<img src=x onerror=alert(1)>" in [one["name"] for one in listing.json()["labels"]]


def test_a_slice_is_the_plane_of_the_file(client, masks):
    facts = client.get("/api/cases/case_1").json()
    scan = nib.load(masks.parent / "images" / "case_1.nii.gz")
    data, grid = np.asarray(scan.dataobj), read_labels(masks / "case_1.nii.gz").geometry
    for name, plane in BY_NAME.items():
        position = facts["focus"][plane.cut]
        got = np.frombuffer(client.get(f"/api/cases/case_1/scan/{name}/{position}").content, "<i2")
        want = picture(data, grid, plane, position)
        assert np.array_equal(got.reshape(want.shape), want)
    assert facts["layers"] == ["mask", "prediction"]


def test_a_slice_that_waits_holds_nobody_else_up(desk):
    app = build_app(desk, token=TOKEN)
    with TestClient(app, base_url="http://localhost:8000") as client:  # one event loop for all
        client.get(f"/?token={TOKEN}")
        client.get("/api/cases/case_0")
        waiting = threading.Thread(target=client.get, args=["/api/cases/case_0/mask/axial/3"])
        other = threading.Thread(target=client.get, args=["/api/list"])
        with desk.opened("case_0").lock:  # as while a large change is made
            waiting.start()
            other.start()
            other.join(20)
            answered = not other.is_alive()
        waiting.join()
        other.join()
    assert answered


def test_a_preview_is_small_and_slices_alone_are_sent(client):
    answer = client.get("/api/cases/case_0/preview")
    shape = tuple(map(int, answer.headers["x-shape"].split(",")))
    assert max(shape) <= 96 and len(answer.content) == 2 * np.prod(shape)
    solid = client.get("/api/cases/case_0/small/mask.nii").content
    small = nib.Nifti1Image.from_bytes(solid)
    assert set(np.unique(np.asarray(small.dataobj))) == {0, 1, 2}


def test_a_verdict_is_kept_at_once_and_exported(client, masks):
    answer = client.post(
        "/api/cases/case_2/verdict",
        json={"verdict": "reject", "note": "wrong,\nall of it"},
        headers=ORIGIN,
    )
    assert answer.json()["verdict"] == "reject"
    again = desk_of(masks)  # another process would see the same
    row = next(one for one in again.overview()["cases"] if one["case"] == "case_2")
    assert (row["verdict"], row["note"]) == ("reject", "wrong,\nall of it")
    text = (masks / "review.csv").read_text(encoding="utf-8")
    assert text.splitlines()[1].startswith('case_2,ann,reject,"wrong, all of it",')


def test_strokes_outlive_the_server_and_the_saved_mask_is_what_was_drawn(client, desk, masks):
    before = read_labels(masks / "case_0.nii.gz")
    assert painted(client).json()["voxels"] == 3
    assert painted(client, position=7, runs=[100, 10], label=1).json()["voxels"] == 10
    drawn = desk.opened("case_0").mask.copy()
    later = client_of(desk_of(masks))  # nothing was closed: as after a kill
    assert later.get("/api/cases/case_0").json()["has"]["edits"] == 2
    saved = later.post("/api/cases/case_0/save", json={}, headers=ORIGIN).json()
    assert saved["name"] == "corrected/case_0.nii.gz" and saved["voxels_changed"] == 13
    file = nib.load(masks / "corrected" / "case_0.nii.gz")
    scan = nib.load(masks.parent / "images" / "case_0.nii.gz")
    assert np.array_equal(np.asarray(file.dataobj), drawn)
    assert file.affine.tobytes() == scan.affine.tobytes()
    for name in ("pixdim", "srow_x", "srow_y", "srow_z", "quatern_b", "sform_code", "qform_code"):
        assert file.header[name].tobytes() == scan.header[name].tobytes(), name
    assert np.array_equal(read_labels(masks / "case_0.nii.gz").data, before.data)
    facts = json.loads((masks / "corrected" / "case_0.json").read_text(encoding="utf-8"))
    assert facts["rater"] == "ann" and facts["edits"] == {"paint": 2}
    assert facts["voxels"]["spleen"]["after"] - facts["voxels"]["spleen"]["before"] == 3
    row = later.get("/api/list").json()["cases"]
    assert next(one for one in row if one["case"] == "case_0")["verdict"] == "edit"


def test_undo_takes_back_strokes_of_an_earlier_session_too(client, desk, masks):
    before = desk.opened("case_0").mask.copy()
    painted(client)
    painted(client, position=6)
    later = desk_of(masks)
    for _ in range(2):
        state = later.undo("case_0")
        assert state["voxels"] == 3
    counted = later.opened("case_0").counts()
    assert [int((before == k).sum()) for k in range(4)] == counted[:4].tolist()
    assert later.undo("case_0")["voxels"] == 0
    assert np.array_equal(later.opened("case_0").mask, before)
    assert np.array_equal(desk_of(masks).opened("case_0").mask, before)


def test_changes_of_a_mask_that_was_made_again_are_left_out_and_said(client, masks):
    painted(client)
    (masks / "case_0.nii.gz").write_bytes((masks / "case_1.nii.gz").read_bytes())
    facts = client_of(desk_of(masks)).get("/api/cases/case_0").json()
    assert facts["has"]["edits"] == 0 and "made again" in facts["notes"][0]


def listed(client, case="case_0"):
    return next(one for one in client.get("/api/list").json()["cases"] if one["case"] == case)


def verdict_on(client, verdict, case="case_0"):
    body = {"verdict": verdict}
    return client.post(f"/api/cases/{case}/verdict", json=body, headers=ORIGIN)


def save(client, case="case_0"):
    return client.post(f"/api/cases/{case}/save", json={}, headers=ORIGIN).json()


def undo(client, case="case_0"):
    return client.post(f"/api/cases/{case}/undo", json={}, headers=ORIGIN).json()


def test_unsaved_is_one_thing_in_the_list_and_in_the_case(client):
    def stands():
        case = client.get("/api/cases/case_0").json()["has"]
        assert case["unsaved"] == listed(client)["unsaved"]
        return case["unsaved"]

    assert not stands()
    painted(client)
    assert stands()
    save(client)
    assert not stands()
    undo(client)  # the file still holds the stroke
    assert stands()
    assert save(client)["voxels_changed"] == 0
    assert not stands()


def test_a_mask_that_was_made_again_is_not_unsaved_for_ever(client, masks):
    painted(client)
    save(client)
    painted(client, position=6)
    (masks / "case_0.nii.gz").write_bytes((masks / "case_1.nii.gz").read_bytes())
    row = listed(client_of(desk_of(masks)))
    assert not row["unsaved"] and not row["corrected"]


def test_a_mask_that_is_made_again_meanwhile_must_be_looked_at_before_it_is_judged(client, masks):
    client.get("/api/cases/case_0")
    (masks / "case_0.nii.gz").write_bytes((masks / "case_1.nii.gz").read_bytes())
    answer = verdict_on(client, "accept")
    assert answer.status_code == 400 and "made again" in answer.json()["error"]
    assert client.get("/api/cases/case_0").status_code == 200
    assert verdict_on(client, "accept").json()["verdict"] == "accept"


def test_accepting_never_means_less_than_what_was_drawn(client):
    painted(client)
    answer = verdict_on(client, "accept")
    assert answer.status_code == 400 and "not saved" in answer.json()["error"]
    save(client)
    said = verdict_on(client, "accept").json()
    assert said["verdict"] == "edit" and "corrected mask" in said["remark"]
    undo(client)
    save(client)  # back to the prediction: nothing differs from what is accepted
    assert verdict_on(client, "accept").json()["verdict"] == "accept"


def test_a_mask_that_is_gone_is_a_refusal(client, masks):
    (masks / "case_0.nii.gz").unlink()
    for answer in (verdict_on(client, "accept"), client.get("/api/cases/case_0")):
        assert answer.status_code == 400 and answer.json()["error"]


@pytest.mark.parametrize(
    "changes",
    [
        {"label": 9},
        {"tool": "rm"},
        {"plane": "../x"},
        {"position": 99},
        {"position": "1"},
        {"runs": [0]},
        {"runs": "all"},
        {"runs": [0, 10**8]},
        {"runs": [0, 400] * 5},
        {"runs": [-5, 2]},
        {"label": True},
        {"runs": [2**63, 1]},
        {"runs": [0, 2**70]},
        {"runs": [-(2**63), 1]},
        {"position": 10**30},
        {"label": 2**80},
        {"tool": "swap", "other": 2**64},
        {"tool": "island", "pixel": 2**63},
        {"tool": "fill", "position": -(2**63)},
    ],
)
def test_orders_that_make_no_sense_change_nothing(client, desk, changes):
    before = desk.opened("case_0").mask.copy()
    answer = painted(client, **changes)
    assert answer.status_code in (400, 404) and answer.json()["error"]
    assert np.array_equal(desk.opened("case_0").mask, before)
    assert desk.store.edits("case_0", "ann") == []


@pytest.mark.parametrize(
    "content",
    [
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b"{",
        b"\xff\xfe",
        b"[]",
        b"null",
        b"1" * 10_000,
        b'{"verdict": ' + b"9" * 10_000 + b"}",
        b'{"verdict": NaN}',
        b'{"verdict": {}}',
        b'{"note": ["x"]}',
        b'{"verdict": "\\ud800"}',
        b'{"verdict": "", "note": "\\ud800"}',
    ],
    ids=range(13),
)
@pytest.mark.parametrize("order", ["verdict", "edit", "undo", "save"])
def test_what_is_no_order_is_a_refusal_never_a_fault(masks, content, order):
    app = client_of(desk_of(masks))
    headers = ORIGIN | {"Content-Type": "application/json"}
    answer = app.post(f"/api/cases/case_0/{order}", content=content, headers=headers)
    assert answer.status_code < 500, answer.text
    if order == "verdict":
        assert answer.status_code in (400, 404) and answer.json()["error"]


def test_a_second_rater_has_a_mask_of_their_own(client, masks):
    painted(client)
    client.post("/api/cases/case_0/save", json={}, headers=ORIGIN)
    ben = client_of(desk_of(masks, "ben"))
    assert ben.get("/api/cases/case_0").json()["has"]["edits"] == 0
    painted(ben, runs=(40, 6))
    saved = ben.post("/api/cases/case_0/save", json={}, headers=ORIGIN).json()
    assert saved["name"] == "corrected/ben/case_0.nii.gz"
    for rater, name in (("ann", "corrected/case_1.nii.gz"), ("ben", "corrected/ben/case_1.nii.gz")):
        store = open_store(masks)  # of a process of its own; neither has saved a mask yet
        assert corrected.name_for("case_1", rater, store) == name
    (pair,) = ben.get("/api/raters").json()
    assert (pair["cases"], pair["edited"]) == (1, 1) and 0.99 < pair["dice"] < 1


def test_changes_that_a_rater_made_elsewhere_are_never_left_out(client, masks):
    """One rater with two servers: a mask that lacks half of the changes is not saved."""
    assert client.get("/api/cases/case_0").status_code == 200
    elsewhere = desk_of(masks)
    elsewhere.edit("case_0", {**STROKE, "runs": [60, 2]})
    refused = painted(client)
    assert refused.status_code == 400 and "elsewhere" in refused.json()["error"]
    assert painted(client).status_code == 200
    client.post("/api/cases/case_0/save", json={}, headers=ORIGIN)
    saved = read_labels(masks / "corrected" / "case_0.nii.gz").data
    assert np.array_equal(saved, desk_of(masks).opened("case_0").mask)
    assert np.count_nonzero(saved != read_labels(masks / "case_0.nii.gz").data) == 5


def test_a_mask_without_changes_is_not_saved(client, masks):
    answer = client.post("/api/cases/case_0/save", json={}, headers=ORIGIN)
    assert answer.status_code == 400 and "nothing to save" in answer.json()["error"]
    assert not (masks / "corrected").exists()
    painted(client)
    client.post("/api/cases/case_0/save", json={}, headers=ORIGIN)
    client.post("/api/cases/case_0/undo", json={}, headers=ORIGIN)
    again = client.post("/api/cases/case_0/save", json={}, headers=ORIGIN).json()
    assert again["voxels_changed"] == 0 and not again["unsaved"]


def test_blinded_raters_see_no_flags_scores_or_other_verdicts(client, masks):
    client.post("/api/cases/case_0/verdict", json={"verdict": "accept"}, headers=ORIGIN)
    blind = client_of(desk_of(masks, "ben", blind=True))
    listing = blind.get("/api/list").json()
    hidden = {"flags", "suspicion", "confidence", "dice", "others"}
    assert listing["blind"] and all(not hidden & set(one) for one in listing["cases"])
    assert blind.get("/api/raters").json() == []
    for layer in ("truth", "uncertainty", "entropy", "disagreement"):
        assert blind.get(f"/api/cases/case_0/{layer}/axial/3").status_code == 404


def test_a_case_that_cannot_be_read_is_refused_alone_and_can_be_judged(masks):
    (masks / "case_1.nii.gz").write_bytes(b"no mask")
    client = client_of(desk_of(masks))
    answer = client.get("/api/cases/case_1")
    assert answer.status_code == 400 and answer.json()["error"] and str(masks) not in answer.text
    body = {"verdict": "reject"}
    assert client.post("/api/cases/case_1/verdict", json=body, headers=ORIGIN).status_code == 200
    assert client.get("/api/cases/case_0").status_code == 200
