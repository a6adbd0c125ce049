"""The scans of the truth suite come out as its author computed them from the standard.

Every case goes through ``medseg convert`` in this process; every case that must convert also gets
a mask written as the scan's twin.
"""

from __future__ import annotations

import csv
import importlib.util
import json
import re
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from typer.testing import CliRunner

from medseg.cli.app import app
from medseg.labels import LabelTable
from medseg.scans import Selection, discover
from medseg.volume import LabelMap
from medseg.writers import write_labels, write_volume
from tests.conftest import shared_data_folder

SUITE = shared_data_folder() / "scans"


def _cases() -> list[dict]:
    truth = SUITE / "truth.json"
    return json.loads(truth.read_text())["cases"] if truth.is_file() else []


CASES = {case["id"]: case for case in _cases()}
pytestmark = [
    pytest.mark.skipif(not CASES, reason="no truth suite here: set MEDSEG_SHARED_DATA"),
    pytest.mark.usefixtures("forked_workers"),
]


@pytest.fixture(scope="module")
def checker() -> ModuleType:
    spec = importlib.util.spec_from_file_location("truth_suite_check", SUITE / "check.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDSEG_CACHE", str(tmp_path / "cache"))


@pytest.fixture(params=CASES.values(), ids=CASES)
def case(request: pytest.FixtureRequest) -> dict:
    return request.param


def test_every_case_converts_or_is_refused_as_expected(case, checker, tmp_path):
    output = tmp_path / "out"
    scan = SUITE / case["path"]
    result = CliRunner().invoke(app, ["convert", str(scan), "--output", str(output)])
    rows = list(csv.DictReader((output / "scans.csv").open(encoding="utf-8")))
    told = result.output + "\n".join(row["reason"] + " " + row["warnings"] for row in rows)
    volumes = sorted(output.glob("*.nii.gz"))
    assert {path.name for path in tmp_path.iterdir()} <= {"out", "cache"}
    written = {path.name for path in output.iterdir()} - {"ledger.sqlite", ".medseg-written"}
    assert written == {"scans.csv", *(v.name for v in volumes)}
    assert {f"{row['case']}.nii.gz" for row in rows if row["status"] == "converted"} == {
        volume.name for volume in volumes
    }
    for volume in volumes:
        fine, why = checker.check(case, str(volume))
        assert fine, f"{why}\n{told}"
    mentioned = all(re.search(pattern, told, re.IGNORECASE) for pattern in case["must_mention_any"])
    if case["expect"] == "ok":
        wanted = len(case["volumes"])
        assert len(volumes) == wanted, told
        assert mentioned, told
        assert result.exit_code == 0, told
    elif case["expect"] == "ok_or_error":
        assert volumes or (result.exit_code == 1 and mentioned), told
        refused = any(row["status"] == "refused" for row in rows)  # a part of an archive, say
        assert result.exit_code == (0 if volumes and not refused else 1), told
    else:
        assert not volumes
        assert mentioned, told
        assert result.exit_code == 1
        if case["expect"] == "skip":
            assert {row["status"] for row in rows} == {"skipped"}, told
    for text in case.get("forbidden_in_html", ()):
        assert text not in told


@pytest.mark.parametrize("name", [name for name in CASES if CASES[name]["expect"] == "ok"])
def test_masks_lie_on_the_grid_of_their_scan(name, checker, tmp_path):
    case = CASES[name]
    labels = LabelTable.from_card({"labels": {"ball": 1}})
    for scan in discover(SUITE / case["path"]):
        if scan.status != "usable":
            continue
        volume = scan.read()
        mask = LabelMap(
            np.zeros(volume.geometry.shape, np.uint8), volume.geometry, labels, volume.origin
        )
        path = tmp_path / f"{scan.case}.nii.gz"
        write_labels(mask, path)
        fine, why = checker.check(case, str(path), mask=True)
        assert fine, why


def test_every_volume_of_a_series_with_several_can_be_chosen(checker, tmp_path):
    case = CASES["mr_ge_3plane_localizer"]
    (localizer,) = discover(SUITE / case["path"])
    stacks = [localizer.volume_number(number) for number in range(localizer.volumes)]
    assert len(stacks) == len(case["volumes"]) == 3
    for scan in stacks:
        write_volume(scan.read(), tmp_path / f"{scan.case}.nii.gz")
        fine, why = checker.check(case, str(tmp_path / f"{scan.case}.nii.gz"))
        assert fine, why


@pytest.mark.parametrize(
    "name", ["mr_siemens_mosaic_ax", "mr_siemens_xa30_2echo_enhanced", "mr_ge_4d_fmri"]
)
def test_volumes_chosen_one_by_one_add_up_to_the_whole_series(name, checker):
    case = CASES[name]
    truth = case["volumes"][0]
    scans = [
        scan
        for scan in discover(SUITE / case["path"], selection=Selection(volume="all"))
        if scan.status == "usable"
    ]
    assert len(scans) == truth["shape_ijk"][3]
    assert len({scan.case for scan in scans}) == len(scans)
    total = 0.0
    for scan in scans:
        volume = scan.read()
        assert volume.geometry.shape == tuple(truth["shape_ijk"][:3])
        fine = [
            checker.corners(variant, size)
            for _, _, variant, size in checker.variants(
                np.array(truth["affine_ras"]), truth["shape_ijk"]
            )
        ]
        assert min(np.abs(volume.geometry.corners_mm() - corners).max() for corners in fine) < 0.01
        total += volume.values().sum(dtype=np.float64)
    assert total == pytest.approx(truth["values"]["sum"], rel=1e-6)
    means = [point["value"] for point in truth["values"]["probes"]]
    first = scans[0].read()
    index = first.geometry.to_index([point["ras_mm"] for point in truth["values"]["probes"]])
    found = [first.values()[0][tuple(np.rint(i).astype(int))] for i in index]
    assert found == pytest.approx(means)
