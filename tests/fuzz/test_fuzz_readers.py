"""Damaged files, a few hundred, neither crash, hang nor deceive the readers."""

from __future__ import annotations

import pytest

from tests.fuzz.fuzz_readers import BAD, examine
from tests.fuzz.mutate import MUTATIONS
from tests.fuzz.seeds import make_seeds


@pytest.fixture(scope="module")
def seeds(tmp_path_factory):
    return make_seeds(tmp_path_factory.mktemp("fuzz") / "seeds")


def test_a_few_hundred_mutants_are_read_right_or_refused(seeds, tmp_path, monkeypatch):
    monkeypatch.setenv("MEDSEG_CACHE", "/dev/null/none")
    outcomes = [
        examine(seeds[number % len(seeds)], number, tmp_path / "case") for number in range(300)
    ]
    assert [outcome for outcome in outcomes if outcome.result in BAD] == []
    results = {outcome.result for outcome in outcomes}
    assert results == {"same", "changed", "refused"}  # else the damage does not bite
    assert {outcome.mutation for outcome in outcomes} == set(MUTATIONS)


@pytest.mark.parametrize("shift_mm", [0.0, 3.0])
def test_the_judge_sees_a_scan_in_the_wrong_place(seeds, tmp_path, monkeypatch, shift_mm):
    from dataclasses import replace

    from medseg.geometry import Geometry
    from medseg.scans import found

    monkeypatch.setenv("MEDSEG_CACHE", "/dev/null/none")
    genuine = found.FoundScan.read

    def moved(scan):
        volume = genuine(scan)
        affine = volume.geometry.affine.copy()
        affine[0, 3] += shift_mm
        return replace(volume, geometry=Geometry(volume.geometry.shape, affine))

    monkeypatch.setattr(found.FoundScan, "read", moved)
    results = {examine(seeds[0], number, tmp_path / "case").result for number in range(20)}
    assert ("wrong" in results) == (shift_mm > 0)
