"""What an import found, in one line: every case with an id of its own and files to be read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from medseg.errors import BadCohort
from medseg.manifests.cohort import Case, Cohort, Split
from medseg.manifests.reading import file_of
from medseg.names import tell_apart
from medseg.readers import claims, glimpse, promises_dicom

#: Names that are listed before "and N more".
_SHOWN = 3


def settled(cohort: Cohort) -> Cohort:
    """A cohort whose case ids are unique and whose files promise to be readable.

    Scans without a mask of patients who have train rows are left out with a remark: as test rows
    they would put one patient into two parts. Ids that differ in upper and lower case only are
    marked apart, since some file systems cannot distinguish them. A file whose header cannot be
    read becomes a remark.

    Raises:
        BadCohort: two scans would be one case, or no file of the cohort can be read.
    """
    cohort = _with_whole_patients(cohort.with_cases(_distinguished(cohort.cases)))
    faults = [fault for case in cohort.cases for fault in _faults(case)]
    if len({case for case, _ in faults}) == len(cohort.cases):
        raise BadCohort(
            "no scan or mask that can be read",
            path=faults[0][1],
            found=_reason(faults[0][1]),
            expected="NIfTI, NRRD, MetaImage or DICOM with a grid in mm",
            remedy="Convert the images to NIfTI, with their spacing.",
        )
    if not faults:
        return cohort
    remark = f"{len(faults)} files cannot be read: {listed([p.name for _, p in faults])}"
    return replace(cohort, remarks=(*cohort.remarks, remark))


def findings(cohort: Cohort) -> list[str]:
    """What there is, in one line; then what was left out or taken for granted.

    The first line reads ``12 scans, 11 with masks, 1 without (c3); labels liver; 12 patients``.
    """
    without = [case.case for case in cohort.cases if case.label is None]
    scans, patients = len(cohort.cases), len(cohort.patients)
    counts = f"{_some(scans, 'scan')}, {scans - len(without)} with masks, {len(without)} without"
    shown = f" ({listed(without)})" if without else ""
    labels = ", ".join(cohort.labels.names[:8]) + (" …" if len(cohort.labels.names) > 8 else "")
    lines = [f"{counts}{shown}; labels {labels}; {_some(patients, 'patient')}"]
    if without:
        lines.append("Scans without a mask are test rows: neither learnt from nor scored.")
    return lines + list(cohort.remarks)


def listed(names: Sequence[str]) -> str:
    """The first few names, and how many more there are.

    >>> listed(["a", "b"]), listed(["a", "b", "c", "d", "e"])
    ('a, b', 'a, b, c and 2 more')
    """
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def _some(count: int, noun: str) -> str:
    return f"{count} {noun}" + ("" if count == 1 else "s")


def _with_whole_patients(cohort: Cohort) -> Cohort:
    trained = {case.patient for case in cohort.cases if case.split is Split.TRAIN}
    spare = [c.case for c in cohort.cases if c.split is Split.TEST and c.patient in trained]
    if not spare:
        return cohort
    remark = (
        f"{_some(len(spare), 'scan')} without a mask left out ({listed(spare)}): the patient has"
        " others with one, and lies in one part only"
    )
    cases = tuple(case for case in cohort.cases if case.case not in spare)
    return replace(cohort.with_cases(cases), remarks=(*cohort.remarks, remark))


def _distinguished(cases: Sequence[Case]) -> tuple[Case, ...]:
    twice = [name for name, count in Counter(case.case for case in cases).items() if count > 1]
    if twice:
        paths = [case.sources[0] for case in cases if case.case == twice[0]]
        raise BadCohort(
            f"two scans would both be the case {twice[0]!r}",
            path=paths[0],
            found=f"also {paths[1].name}",
            expected="a name of its own for every case",
            remedy="Rename one of the files.",
        )
    names = tell_apart([case.case for case in cases])
    return tuple(
        replace(case, case=name, patient=name if case.patient == case.case else case.patient)
        for case, name in zip(cases, names, strict=True)
    )


def _faults(case: Case) -> list[tuple[str, Path]]:
    """The case's files whose header cannot be read, each with the case; folders are not opened."""
    files = {file_of(path): None for path in (*case.sources, case.label) if path is not None}
    return [(case.case, file) for file in files if file.is_file() and _reason(file)]


def _reason(file: Path) -> str:
    if promises_dicom(file.name) or not file.suffix:
        return ""  # DICOM is read by the series
    if not claims(file.name):
        return f"{file.suffix} files, which are not read"
    header = glimpse(file)
    return header.problem or header.skip
