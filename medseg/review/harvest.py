"""Accepted and corrected masks of a review become train rows of a cohort; test rows never change.

Patients stay together: a new row takes the patient of whoever has the same DICOM PatientID or the
same scan in the cohort, and is left out where that patient is a test patient.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from medseg.archives.members import is_archive
from medseg.batch.task import PLACES
from medseg.checksums import sha256_of
from medseg.errors import BadCohort, BadLabels, MedsegError
from medseg.files import is_folder
from medseg.labels import LabelTable
from medseg.manifests import Case, Cohort, Split
from medseg.manifests.reading import named_truth
from medseg.progress import Progress
from medseg.readers.entry import Status
from medseg.readers.labels import read_labels
from medseg.review.items import Item, items_of
from medseg.review.patients import patient_keys
from medseg.review.remembered import recalled_places
from medseg.review.rows import Rows, rows_of
from medseg.review.standing import Standings
from medseg.review.store import Corrected, Judgement, Store, Verdict, look_store
from medseg.review.together import kept_together
from medseg.scans import discover
from medseg.tables import read_csv


@dataclass(frozen=True)
class Harvest:
    """What a review gives a cohort.

    Attributes:
        cohort: with the new rows and masks.
        added: case -> in words what it is.
        left_out: case -> why not.
        remarks: what a person should know of the whole.
    """

    cohort: Cohort
    added: Mapping[str, str]
    left_out: Mapping[str, str]
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Ripe:
    """A mask that may be learnt from."""

    item: Item
    mask: Path
    what: str


def harvest(
    cohort: Cohort,
    folder: Path,
    *,
    rater: str = "",
    patients: Path | None = None,
    progress: Progress | None = None,
) -> Harvest:
    """A cohort with what was accepted or corrected in a review.

    Args:
        cohort: gets the rows; its scans are read, so that none comes under a second patient.
        folder: the masks that were reviewed, or the ``--output`` of the review.
        rater: whose verdicts count; all raters' by default, who must then not contradict.
        patients: table with the columns ``case`` and ``patient``, for scans that do not say.
        progress: called while scans are compared.

    Raises:
        BadOutput: the folder was not reviewed.
        BadLabels: the masks' values mean something else than the card's.
        BadCohort: the card remaps the values of its masks.
    """
    store = look_store(folder)
    try:
        places = recalled_places(store, folder)
        labels, items = items_of(places)
        _require_same_values(cohort, labels, places.masks)
        ripe, left_out = _ripe(items, store, folder, rater)
    finally:
        store.close()
    patient_of = _table_of_patients(patients)
    own_rows = rows_of(cohort, [item.case for item in items])
    rows = _rows(cohort, ripe, labels, own_rows, left_out)
    rows = _with_patients(cohort, rows, patient_of)
    together = kept_together(cohort, list(rows.values()), progress=progress)
    mask_of = {row.case: name for name, row in rows.items()}
    left_out |= {mask_of[case]: why for case, why in together.left_out.items()}
    what = {one.item.case: one.what for one in ripe}
    added = {mask_of[row.case]: _said(what, mask_of[row.case], row) for row in together.rows}
    new = {row.case: row for row in together.rows}
    cases = [new.pop(case.case, case) for case in cohort.cases]
    return Harvest(
        cohort.with_cases((*cases, *new.values())), added, left_out, _remarks(list(new.values()))
    )


def _require_same_values(cohort: Cohort, labels: LabelTable, masks: Path) -> None:
    if cohort.remap:
        raise BadCohort(
            "the card remaps the values of its masks, and would do so with the reviewed ones",
            path=cohort.path,
            remedy="Write the masks with the values of `labels`, and remove `remap`.",
        )
    known = {label.name: label.value for label in cohort.labels.labels}
    apart = [
        f"{label.name} = {label.value}"
        for label in labels.labels
        if known.get(label.name) != label.value
    ]
    if apart:
        raise BadLabels(
            "the reviewed masks have labels that the card does not have like that",
            path=masks,
            found=", ".join(apart),
            expected=", ".join(f"{name} = {value}" for name, value in known.items()),
        )


def _ripe(
    items: Sequence[Item], store: Store, folder: Path, rater: str
) -> tuple[list[_Ripe], dict[str, str]]:
    """The masks that were accepted or corrected, and why the others are not."""
    said: dict[str, list[Judgement]] = {}
    for one in store.judgements():
        if one.verdict is not Verdict.NONE and rater in ("", one.rater):
            said.setdefault(one.case, []).append(one)
    saved = {key: one for key, one in store.corrected().items() if not rater or one.rater == rater}
    by_case = {item.case: item for item in items}
    standings = Standings(store)
    ripe, left_out = [], {}
    for case, judgements in said.items():
        if case not in by_case:
            left_out[case] = "its mask is no longer there"
            continue
        own = [one for (name, _), one in saved.items() if name == case]
        found = _judged(by_case[case], judgements, own, folder, standings)
        if isinstance(found, str):
            left_out[case] = found
        else:
            ripe.append(found)
    return ripe, left_out


def _judged(
    item: Item,
    judgements: Sequence[Judgement],
    saved: Sequence[Corrected],
    folder: Path,
    standings: Standings,
) -> _Ripe | str:
    """The mask that the raters ended with, or why there is none."""
    verdicts = {one.verdict for one in judgements}
    if Verdict.REJECT in verdicts:
        return "rejected"
    if Verdict.EDIT in verdicts:
        editors = {one.rater for one in judgements if one.verdict is Verdict.EDIT}
        saved = [one for one in saved if one.rater in editors]
        if not saved:
            return "to be mended: no corrected mask was saved"
        if len(saved) > 1 or Verdict.ACCEPT in verdicts:
            return "raters differ: choose one with --rater"
        standing = standings.of(item.case, saved[0].rater, sha256_of(item.mask))
        if standing.saved is None:
            return "the mask was made again since it was corrected"
        if standing.is_unsaved:
            return "there are changes that were not saved"
        path = folder / saved[0].name
        if not path.is_file() or sha256_of(path) != saved[0].sha256:
            return "the corrected mask was changed since it was saved"
        return _Ripe(item, path, f"corrected by {saved[0].rater}")
    if any(one.mask_sha256 != sha256_of(item.mask) for one in judgements):
        return "the mask was made again since it was accepted"
    return _Ripe(item, item.mask, f"accepted by {', '.join(one.rater for one in judgements)}")


def _table_of_patients(path: Path | None) -> dict[str, str]:
    if path is None:
        return {}
    columns, rows = read_csv(path, refusal=BadCohort)
    if not {"case", "patient"} <= set(columns):
        raise BadCohort(
            "the table does not say who is who",
            path=path,
            found=", ".join(columns),
            expected="the columns case and patient",
        )
    return {row.cells["case"]: row.cells["patient"] for row in rows}


def _rows(
    cohort: Cohort,
    ripe: Sequence[_Ripe],
    labels: LabelTable,
    known: Rows,
    left_out: dict[str, str],
) -> dict[str, Case]:
    """Mask -> the row that gets it, known or new."""
    drawn = () if set(labels.names) == set(cohort.labels.names) else labels.names
    rows = {}
    for one in ripe:
        name = one.item.case
        row = known.of.get(name)
        problem = _unfit(row)
        if name in known.unclear:
            problem = "its name is like that of a row of the cohort, and not clearly its"
        images = {} if problem or row is not None else _images(cohort, one.item)
        if not problem and row is None and not images:
            problem = f"nothing says where its {len(cohort.channels)} channel(s) lie"
        if problem:
            left_out[name] = problem
            continue
        if row is None:
            row = Case(name, name, Split.TRAIN, None, images=images)
        mask = one.mask.resolve()
        row = replace(row, label=mask, label_sha256=sha256_of(mask), labelled=drawn)
        try:
            named_truth(cohort, row, read_labels(mask, labels=cohort.labels))
        except MedsegError as error:
            left_out[name] = error.problem
            continue
        rows[name] = row
    return rows


def _with_patients(
    cohort: Cohort, rows: Mapping[str, Case], patients: Mapping[str, str]
) -> dict[str, Case]:
    """The new rows with whom they show, where the table or the scan says so."""
    known = {case.case for case in cohort.cases}
    fresh = [row for row in rows.values() if row.case not in known]
    keys = patient_keys(cohort, fresh)
    return {
        name: row
        if row.case in known
        else replace(row, patient=patients.get(name) or keys.get(row.case) or row.patient)
        for name, row in rows.items()
    }


def _said(what: Mapping[str, str], name: str, row: Case) -> str:
    return what[name] if row.case == name else f"{what[name]}, in the row {row.case}"


def _remarks(fresh: Sequence[Case]) -> tuple[str, ...]:
    alone = [row.case for row in fresh if row.patient == row.case]
    if not alone:
        return ()
    return (f"{len(alone)} cases count as a patient of their own; say with --patients who is who",)


def _unfit(row: Case | None) -> str:
    if row is None:
        return ""
    if row.split is Split.TEST:
        return "a test row: it stays as it is"
    return "it has a mask already" if row.label is not None else ""


def _images(cohort: Cohort, item: Item) -> dict[str, Path]:
    """Path of each channel; empty where they are not as many as the cohort's."""
    if item.row is not None and set(item.row.case.images) == set(cohort.channels):
        return {name: item.row.case.images[name].absolute() for name in cohort.channels}
    places = [Path(place) for place in item.place.split(PLACES)]
    if not item.place or len(places) != len(cohort.channels):
        return {}
    if not all(place.exists() for place in places):
        return {}
    return {
        name: _series(place.absolute(), item.case)
        for name, place in zip(cohort.channels, places, strict=True)
    }


def _series(place: Path, case: str) -> Path:
    """``folder#case`` where a folder or archive holds several scans."""
    if not is_folder(place) and not is_archive(place.name):
        return place
    usable = [scan for scan in discover(place) if scan.status is Status.USABLE]
    several = len(usable) > 1 and any(scan.is_series(case) for scan in usable)
    return place.with_name(f"{place.name}#{case}") if several else place
