"""Names become safe ones; two names never become one."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medseg.names import MOST_BYTES, is_safe, safe_name, tell_apart

FAMILIAR = ("case_0001", "张伟", "Müller_Ä", "a+b", "राम", "Οδυσσέας", "sub-01_ses-2", "p@site=3")

ODD = (
    "Anna Maria",
    "a/b",
    ".hidden",
    "-rf",
    "=1+1",
    "con",
    "x.",
    "🫀",
    "a\nb",
    "\udce4.nii",
    "名" * 80,
)

# What people and archives call things: letters of many scripts, separators, controls, surrogates.
NAMES = st.text(
    st.one_of(
        st.sampled_from("aA1_-. /\\:+=@~#%&'\"\n\t\u0308\u200d"),
        st.characters(codec=None),
        st.characters(min_codepoint=0xDC80, max_codepoint=0xDCFF, categories=None),
    ),
    max_size=200,
)


@pytest.mark.parametrize("name", FAMILIAR)
def test_a_usual_name_stays_as_it_is(name):
    assert safe_name(name) == name and is_safe(name)


@pytest.mark.parametrize("name", [*ODD, "名" * 80])
def test_an_odd_name_loses_what_is_odd_and_gains_a_mark(name):
    safe = safe_name(name)
    assert safe != name and is_safe(safe) and safe.rpartition("-")[2].isalnum()


def test_composed_and_decomposed_letters_are_one_name():
    assert safe_name(unicodedata.normalize("NFD", "Müller_Ä")) == "Müller_Ä"


@given(NAMES)
def test_every_name_becomes_a_safe_file_name(name):
    safe = safe_name(name)
    assert len(safe.encode()) <= MOST_BYTES and bool(safe) == bool(name)
    assert not set(safe) & set('/\\:*?"<>| \n\t\0') and safe[:1] not in tuple("._-+=@")
    assert safe_name(safe) == safe


@given(NAMES, NAMES)
def test_two_names_never_become_one(one, other):
    if unicodedata.normalize("NFC", one) != unicodedata.normalize("NFC", other):
        assert safe_name(one) != safe_name(other)


def test_names_that_share_what_is_kept_stay_apart():
    spellings = ["a b", "a_b", "a/b", "a  b", " a b", "a:b", "_a_b", "a_b.", "a\tb"]
    assert len({safe_name(name) for name in spellings}) == len(spellings)
    long = ["x" * 200, "x" * 201, "x" * 119 + "ä"]
    assert len({safe_name(name) for name in long}) == 3


def test_upper_and_lower_case_are_told_apart_where_both_occur():
    assert tell_apart(["scan", "Other"]) == ["scan", "Other"]
    together = tell_apart(["Scan", "scan", "M\u00fcller", "Mu\u0308ller"])
    assert len({name.casefold() for name in together}) == 4
