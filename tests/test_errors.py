"""A refusal says everything on one line and survives the way back from a worker."""

import multiprocessing
import pickle
from pathlib import Path

import pytest

from medseg import errors
from medseg.errors import BadScan, MedsegError

KINDS = [
    kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, MedsegError)
]


def test_a_refusal_says_file_problem_finding_expectation_and_remedy_in_this_order():
    error = BadScan(
        "a slice is missing",
        path=Path("chest/ct"),
        found="a gap of 10 mm",
        expected="2 mm everywhere",
        remedy="Export the series again.",
    )
    assert str(error) == (
        "chest/ct: a slice is missing; found a gap of 10 mm, expected 2 mm everywhere."
        " Export the series again."
    )


def test_what_is_not_known_leaves_no_trace():
    assert str(BadScan("a slice is missing")) == "a slice is missing"
    assert str(BadScan("wrong", expected=3)) == "wrong; expected 3"
    assert str(BadScan("wrong", found=0)) == "wrong; found 0"
    assert str(BadScan("It is wrong.", remedy="Mend it.")) == "It is wrong. Mend it."


def test_a_finding_of_several_lines_stays_on_one():
    error = BadScan("not YAML", path="a\nb.yaml", found="line 1\n\tline 2\r\nline 3")
    assert str(error) == "a b.yaml: not YAML; found line 1 line 2 line 3"


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_refusal_survives_pickling_with_all_its_parts(kind):
    error = kind("bad", path="a.nii", found=(1, 2), expected=[3], remedy="Mend it.")
    back = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own bytes
    assert type(back) is kind
    assert str(back) == str(error)
    assert vars(back) == vars(error)


def _refuse(name):
    raise BadScan("cut short", path=name, found=OSError(5, "Input/output error"))


@pytest.mark.slow
def test_a_refusal_in_a_worker_process_arrives_as_itself():
    with (
        multiprocessing.get_context("spawn").Pool(1) as pool,
        pytest.raises(BadScan, match=r"^x\.nii: cut short; found .*Input/output error"),
    ):
        pool.apply(_refuse, ["x.nii"])
