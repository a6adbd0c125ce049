"""Does a cohort hold what its card says?  Every file opened, every problem listed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from medseg.errors import BadCohort, MedsegError
from medseg.manifests.checksums import sha256_of
from medseg.manifests.cohort import Case, Cohort, Split
from medseg.manifests.reading import file_of, read_grid, read_truth
from medseg.memory import usable_cores

#: Reading is mostly waiting and unpacking, which threads share well.
MOST_WORKERS = 8

Progress = Callable[[int, int], object]


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


def check_cohort(cohort: Cohort, *, progress: Progress | None = None) -> list[Problem]:
    """Look for missing files, other bytes than recorded, other grids, unnamed label values.

    That no patient is in two splits or folds is certain since the cohort was loaded; here the
    same scan under two patients' names is looked for too.

    Args:
        cohort: all its cases are read.
        progress: called as (done, total) after each.

    Returns:
        Problems in the order of the table; empty where all is well.
    """
    if _nothing_there(cohort):
        return [
            Problem(
                "all cases",
                str(
                    BadCohort(
                        "not one file of the cohort is there",
                        path=cohort.root,
                        expected=f"for example {cohort.cases[0].sources[0].name}",
                        remedy="Say with --root where the table's paths start.",
                    )
                ),
            )
        ]
    problems: list[Problem] = []
    with ThreadPoolExecutor(min(MOST_WORKERS, usable_cores())) as pool:
        results = pool.map(lambda case: _check_case(cohort, case), cohort.cases)
        for done, found in enumerate(results, start=1):
            problems += found
            if progress:
                progress(done, len(cohort.cases))
    return problems + list(_same_scan_twice(cohort))


def require_files(cohort: Cohort) -> None:
    """Refuse early a cohort whose files are not all there.

    Raises:
        BadCohort: the first missing file, and how many are missing.
    """
    paths = [path for case in cohort.cases for path in (*case.sources, case.label) if path]
    missing = [path for path in paths if not file_of(path).exists()]
    if missing:
        raise BadCohort(
            "no such file",
            path=missing[0],
            found=f"{len(missing)} of {len(paths)} files missing",
            expected=f"the files of the cohort {cohort.name}",
            remedy="Say with --root where the table's paths start.",
        )


def _nothing_there(cohort: Cohort) -> bool:
    paths = (path for case in cohort.cases for path in (*case.sources, case.label) if path)
    return not any(file_of(path).exists() for path in paths)


def _check_case(cohort: Cohort, case: Case) -> list[Problem]:
    texts = list(_check_files(case))
    if not texts:
        try:
            grid = read_grid(cohort, case)
            if case.label is not None:
                read_truth(cohort, case, grid=grid)
        except MedsegError as error:
            texts.append(str(error))
    if case.split is Split.TRAIN and case.label is None:
        texts.append("a train row without a label cannot be learnt from")
    return [Problem(case.case, text) for text in texts]


def _check_files(case: Case) -> Iterator[str]:
    recorded = [(path, case.image_sha256.get(channel, "")) for channel, path in case.images.items()]
    if case.label is not None:
        recorded.append((case.label, case.label_sha256))
    for path, expected in recorded:
        file = file_of(path)
        if not file.exists():
            yield str(BadCohort("no such file", path=path))
        elif expected and (found := _sum_or_reason(file)) != expected:
            yield str(
                BadCohort(
                    "the file is not the one that was recorded",
                    path=path,
                    found=f"SHA-256 {found[:12]}…",
                    expected=f"{expected[:12]}…",
                )
            )


def _sum_or_reason(file: Path) -> str:
    try:
        return sha256_of(file)
    except OSError as error:
        return f"unreadable: {error.strerror}"


def _same_scan_twice(cohort: Cohort) -> Iterator[Problem]:
    """The same bytes or the same path under two patients would leak between the splits."""
    holders: dict[str, list[Case]] = defaultdict(list)
    for case in cohort.cases:
        for channel, path in case.images.items():
            holders[case.image_sha256.get(channel) or str(path)].append(case)
    for cases in holders.values():
        if len({case.patient for case in cases}) > 1:
            first, *others = cases
            for other in others:
                yield Problem(other.case, f"the same image as {first.case}, under another patient")
