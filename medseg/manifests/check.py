"""A cohort holds what its card says, or every problem is listed: every file is opened."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from medseg.checksums import sha256_of
from medseg.errors import BadCohort, BadLabels, MedsegError
from medseg.files import is_there
from medseg.manifests.cohort import Case, Cohort, Split
from medseg.manifests.duplicates import cohort_likenesses, duplicates_among
from medseg.manifests.likeness import Likeness
from medseg.manifests.reading import file_of, read_truth, read_unaligned, why_absent
from medseg.manifests.remarks import mask_remarks, scan_remarks
from medseg.memory import usable_cores
from medseg.progress import Progress

#: Reading is mostly waiting and unpacking, which threads share well.
MOST_WORKERS = 8


@dataclass(frozen=True)
class Problem:
    """One thing to mend.

    Attributes:
        case: the row it is about.
        text: one line: which file, what was found, what was expected.
    """

    case: str
    text: str

    def __str__(self) -> str:
        return f"{self.case}: {self.text}"


@dataclass(frozen=True)
class Examination:
    """What opening every file of a cohort showed.

    Attributes:
        problems: to be mended, in the order of the table; empty where all is well.
        warnings: what the readers accepted and a person should know of.
    """

    problems: tuple[Problem, ...]
    warnings: tuple[Problem, ...] = ()


def check_cohort(cohort: Cohort, *, progress: Progress | None = None) -> list[Problem]:
    """The problems that `examine_cohort` finds."""
    return list(examine_cohort(cohort, progress=progress).problems)


def examine_cohort(cohort: Cohort, *, progress: Progress | None = None) -> Examination:
    """Look for missing files, other bytes than recorded, other grids, unnamed label values.

    That no patient is in two splits or folds is certain since the cohort was loaded; here one
    scan under two patients is looked for too, however it was saved (see
    `medseg.manifests.likeness`, which also says what goes unseen).

    Args:
        cohort: all its cases are read.
        progress: called as (done, total) after each.
    """
    if _nothing_there(cohort):
        return Examination(
            (
                Problem(
                    "all cases",
                    str(
                        BadCohort(
                            "none of the cohort's files is there",
                            path=cohort.root,
                            expected=f"for example {cohort.cases[0].sources[0].name}",
                            remedy="Give --root, the folder where the table's paths start.",
                        )
                    ),
                ),
            )
        )
    problems = list(_check_card(cohort))
    warnings: list[Problem] = []
    looks: list[tuple[Case, Likeness]] = []
    with ThreadPoolExecutor(min(MOST_WORKERS, usable_cores())) as pool:
        results = pool.map(lambda case: _check_case(cohort, case), cohort.cases)
        for done, (case, seen) in enumerate(zip(cohort.cases, results, strict=True), start=1):
            problems += [Problem(case.case, text) for text in seen.problems]
            warnings += [Problem(case.case, text) for text in seen.warnings]
            looks += [(case, look) for look in seen.looks]
            if progress:
                progress(done, len(cohort.cases))
    warnings += _alike_patients(cohort.cases)
    duplicates = duplicates_among(cohort.cases, looks)
    problems += [Problem(duplicate.case.case, str(duplicate)) for duplicate in duplicates]
    return Examination(tuple(problems), tuple(warnings))


def require_files(cohort: Cohort) -> None:
    """Refuse early a cohort whose files are not all there.

    Raises:
        BadCohort: the first missing file, and how many are missing.
    """
    paths = [path for case in cohort.cases for path in (*case.sources, case.label) if path]
    missing = [path for path in paths if not is_there(file_of(path))]
    if missing:
        raise BadCohort(
            "no such file",
            path=missing[0],
            found=f"{len(missing)} of {len(paths)} files missing",
            expected=f"the files of the cohort {cohort.name}",
            remedy="Give --root, the folder where the table's paths start.",
        )


def _nothing_there(cohort: Cohort) -> bool:
    paths = (path for case in cohort.cases for path in (*case.sources, case.label) if path)
    return not any(is_there(file_of(path)) for path in paths)


def _check_card(cohort: Cohort) -> Iterator[Problem]:
    """What card and table say that training would refuse."""
    try:
        _ = cohort.labels.channel_values
    except BadLabels as error:
        yield Problem("the card", str(error))
    if cohort.folds != tuple(range(len(cohort.folds))):
        folds = ", ".join(map(str, cohort.folds))
        yield Problem(
            "the table",
            f"the folds are {folds}, not numbered from 0 without gaps; `medseg cohort split --test"
            " keep` deals them again",
        )


def _alike_patients(cases: Sequence[Case]) -> Iterator[Problem]:
    """Patients of different parts whose ids a spreadsheet or a typist may have made of one."""
    first: dict[str, Case] = {}
    for case in cases:
        other = first.setdefault(_plain_id(case.patient), case)
        apart = (case.split, case.fold) != (other.split, other.fold)
        if case.patient != other.patient and apart:
            yield Problem(
                case.case,
                f"patient {case.patient!r} and patient {other.patient!r} of {other.case} lie in"
                " different parts; if they are one person, give both rows one id",
            )


def _plain_id(patient: str) -> str:
    """An id without what spreadsheets change: ``P 07``, ``p07`` and ``p7.0`` are one."""
    letters = re.sub(r"[\s_]+", "", patient).casefold()
    return re.sub(r"(?<!\d)0+(?=\d)", "", re.sub(r"(?<=\d)\.0+$", "", letters))


@dataclass(frozen=True)
class _Seen:
    problems: tuple[str, ...]
    warnings: tuple[str, ...] = ()
    looks: tuple[Likeness, ...] = ()


def _check_case(cohort: Cohort, case: Case) -> _Seen:
    problems = list(_check_files(case))
    warnings: tuple[str, ...] = ()
    looks: tuple[Likeness, ...] = ()
    if not problems:
        try:
            scan = read_unaligned(cohort, case)
            warnings, looks = scan_remarks(scan), tuple(cohort_likenesses(scan))
            grid = scan.geometry
            del scan
            if case.label is not None:
                truth = read_truth(cohort, case, grid=grid)
                warnings += mask_remarks(truth, warnings)
        except MedsegError as error:
            problems.append(str(error))
    if case.split is Split.TRAIN and case.label is None:
        problems.append("a train row without a label cannot be learnt from")
    return _Seen(tuple(problems), warnings, looks)


def _check_files(case: Case) -> Iterator[str]:
    recorded = [(path, case.image_sha256.get(channel, "")) for channel, path in case.images.items()]
    if case.label is not None:
        recorded.append((case.label, case.label_sha256))
    for path, expected in recorded:
        file = file_of(path)
        if reason := why_absent(file):
            yield str(BadCohort(reason, path=path))
        elif expected and (actual := _sum_or_reason(file)) != expected:
            yield str(
                BadCohort(
                    "the file is not the one that was recorded",
                    path=path,
                    found=f"SHA-256 {actual[:12]}…",
                    expected=f"{expected[:12]}…",
                )
            )


def _sum_or_reason(file: Path) -> str:
    try:
        return sha256_of(file)
    except OSError as error:
        return f"unreadable: {error.strerror}"
