"""A ledger that somebody edited is refused in words, and never leads out of its folder."""

import sqlite3

import pytest

from medseg.batch import open_ledger
from medseg.batch.entry import Recipe
from medseg.batch.ledger import NAME, remembered
from medseg.batch.task import Outcome, State, Unusable, Written
from medseg.errors import BadOutput
from medseg.scans.names import Named

DAMAGE = {
    "a state that there is not": ("state", "'eaten'"),
    "warnings that are no JSON": ("warnings", "'[\"a'"),
    "JSON nested without end": ("facts", f"'{'[' * 100_000}'"),
    "flags of another shape": ("flags", "'[[1]]'"),
    "volumes that are no numbers": ("volumes_ml", '\'{"liver": "much"}\''),
    "a size that is no number": ("size_bytes", "'large'"),
    "a file outside the folder": ("output", "'../precious.nii.gz'"),
    "a file of no size": ("output", "'a.nii.gz'"),
    "a case outside the folder": ('"case"', "'../precious'"),
}


@pytest.fixture
def folder(tmp_path):
    ledger = open_ledger(tmp_path)
    ledger.add(Unusable("a", "a.nii", "/a.nii", "1", State.REFUSED, "damaged"))
    ledger.close()
    return tmp_path


@pytest.mark.parametrize(("column", "value"), DAMAGE.values(), ids=DAMAGE)
def test_a_row_that_medseg_did_not_write_is_refused(folder, column, value):
    with sqlite3.connect(folder / NAME) as base:
        base.execute(f"UPDATE cases SET {column} = {value}")
    ledger = open_ledger(folder)
    try:
        with pytest.raises(BadOutput, match="ledger"):
            ledger.entries()
    finally:
        ledger.close()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"models": 3}', '{"options": {}}'])
def test_a_recipe_that_medseg_did_not_write_is_refused(folder, text):
    with sqlite3.connect(folder / NAME) as base:
        base.execute("INSERT OR REPLACE INTO facts VALUES ('recipe', ?)", (text,))
    ledger = open_ledger(folder)
    try:
        with pytest.raises(BadOutput, match="ledger"):
            ledger.adopt(Recipe(()))
    finally:
        ledger.close()


@pytest.mark.parametrize("tables", ["", "CREATE TABLE facts (key TEXT PRIMARY KEY, value TEXT)"])
def test_a_ledger_whose_making_was_cut_short_holds_nothing_yet(tmp_path, tables):
    with sqlite3.connect(tmp_path / NAME) as base:
        base.execute(tables or "SELECT 1")
    (tmp_path / NAME).touch()
    assert remembered(tmp_path) == Named()
    open_ledger(tmp_path).close()
    assert remembered(tmp_path) == Named()


def test_what_a_command_wrote_stays_its_own_after_a_failure(tmp_path):
    ledger = open_ledger(tmp_path)
    try:
        ledger.add(Unusable("a", "a.nii", "/a.nii", "1", State.REFUSED, "damaged"))
        mask = Written("a.nii.gz", 1, 2, "0" * 64)
        ledger.finish(Outcome("a", State.DONE, written=mask))
        ledger.finish(Outcome("a", State.FAILED, "out of luck"))
        entry = ledger.entry("a")
    finally:
        ledger.close()
    assert entry.state is State.FAILED and entry.written == mask
