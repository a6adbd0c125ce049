"""Some damaged texts are read or refused in words; fuzz_texts.py tries thousands."""

from __future__ import annotations

from functools import partial

import pytest

from tests.fuzz import fuzz_texts
from tests.fuzz.fuzz_texts import begin, examine, make_scratch
from tests.fuzz.texts import TARGETS
from tests.fuzz.workers import BAD, run


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("texts")
        patch.setenv("MEDSEG_CACHE", str(folder / "cache"))
        yield make_scratch(folder)


@pytest.mark.slow
def test_two_hundred_mutants_are_read_or_refused(place):
    outcomes = list(run(partial(examine, *place, 0.1), range(200), begin))
    assert [outcome for outcome in outcomes if outcome.result in BAD] == []
    assert {outcome.result for outcome in outcomes} == {"done", "refused"}


@pytest.mark.slow
@pytest.mark.parametrize(("fault", "seen"), [("crash", "crash"), ("write", "wrong")])
def test_the_judge_sees_a_fault(place, monkeypatch, fault, seen):
    def reader(world):
        if fault == "crash":
            raise KeyError("a reader that does not look")
        (world.parent / "outside" / "new.txt").write_text("a reader that writes")

    monkeypatch.setattr(fuzz_texts, "READERS", {target.name: reader for target in TARGETS})
    (outcome,) = run(partial(examine, *place, 0.0), [7], begin)
    assert outcome.result == seen
