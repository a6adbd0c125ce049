"""A cohort: cases with their files, patients and splits, and the labels they share."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path

from medseg.errors import BadCohort
from medseg.labels import LabelTable
from medseg.scans import Frames

#: Words in the names of channels that say the modality.
_NAMES = {
    "MR": re.compile(
        "MR|MRI|MRT|MRA|MPRAGE|T[12](W|WI|C|CE|GD|N|F|WFS|FS|STAR|MAP)?|FLAIR|ADC|DWI|PD|PDW|SWI"
        "|DCE|CINE|STIR|DIXON|GRE|TOF|BOLD|ASL|FA"
    ),
    "PT": re.compile(
        "PE?T(AC|NAC|RES|SUV)?|SUV(BW|LBM|BSA|MAX)?|FDG|PSMA|FET|FLT|DOTATATE|18F|68GA"
    ),
    "CT": re.compile("CT(AC|RES|A|V)?|CECT|NCCT|CBCT|LDCT|PCCT|HU"),
    "NM": re.compile("NM|SPECT"),
}


class Split(StrEnum):
    """What a case may be used for."""

    #: Learning, selection, early stopping, learning of rules: all of it on folds of these.
    TRAIN = "train"
    #: The final scores, and nothing else.
    TEST = "test"


def channel_modality(name: str) -> str:
    """DICOM's modality behind a channel's name; empty where the name does not say.

    Of several words the last one counts.

    >>> [channel_modality(name) for name in ("T1w", "CT_venous", "PET1", "PET-CT_CT", "image")]
    ['MR', 'CT', 'PT', 'CT', '']
    """
    for word in reversed(re.findall(r"[A-Z0-9]+", name.upper())):
        for kind, pattern in _NAMES.items():
            if pattern.fullmatch(word) or pattern.fullmatch(word.rstrip("0123456789")):
                return kind
    return ""


@dataclass(frozen=True)
class Case:
    """One row of a cohort's table: one examination of one patient.

    Attributes:
        case: unique and safe as a file name.
        patient: equal in all rows of one person.
        split: what the case may be used for.
        fold: 0…k-1 for a train row that has one.
        images: file, DICOM folder or ``folder#SeriesInstanceUID`` of each channel.
        label: the mask, or ``None`` where nobody drew one.
        labelled: names of the labels that the mask was drawn for; empty means all. Where it
            names some, a background voxel may belong to any of the others.
        image_sha256: of each channel's file, where the table says.
        label_sha256: of the mask, or empty.
        covariates: every further column, as written.
    """

    case: str
    patient: str
    split: Split
    fold: int | None
    images: Mapping[str, Path]
    label: Path | None = None
    image_sha256: Mapping[str, str] = field(default_factory=dict)
    label_sha256: str = ""
    covariates: Mapping[str, str] = field(default_factory=dict)
    labelled: tuple[str, ...] = ()

    @property
    def sources(self) -> tuple[Path, ...]:
        """The image paths in the order of the channels."""
        return tuple(self.images.values())

    def annotates(self, name: str) -> bool:
        """Whether the mask, if there is one, was drawn for the label of that name."""
        return not self.labelled or name in self.labelled


@dataclass(frozen=True)
class Cohort:
    """Cases that share channels and labels.

    Attributes:
        name: of the cohort.
        modality: ``CT``, ``MR``, ``PT`` …
        channels: one name an image, in order.
        labels: what the mask values mean, after `remap`.
        cases: in the order of the table; case ids and patients are checked when loaded.
        root: folder where relative paths start.
        remap: mask values in the files -> values of `labels`.
        frames: what brings the channels of a case into one space.
        path: the card, as the user named it.
        table: the CSV file that the card names.
        source, licence, citation, notes: where the data comes from, and under which terms.
        remarks: what an importer left out or took for granted; not kept in the card.
    """

    name: str
    modality: str
    channels: tuple[str, ...]
    labels: LabelTable
    cases: tuple[Case, ...]
    root: Path
    remap: Mapping[int, int] = field(default_factory=dict)
    frames: Frames = Frames.CHECK
    path: Path | None = None
    table: Path | None = None
    source: str = ""
    licence: str = ""
    citation: str = ""
    notes: str = ""
    remarks: tuple[str, ...] = ()

    @property
    def folds(self) -> tuple[int, ...]:
        """The fold numbers that occur, ascending."""
        return tuple(sorted({case.fold for case in self.cases if case.fold is not None}))

    @property
    def patients(self) -> tuple[str, ...]:
        """Each patient once, in the order of the table."""
        return tuple(dict.fromkeys(case.patient for case in self.cases))

    def modality_of(self, channel: str) -> str:
        """The modality of a channel: what its name says, else the cohort's.

        Beside a channel that is named after the cohort's modality, a name that says nothing is
        of no known one: of ``[CT, tracer]`` under ``CT``, the tracer is not in HU.
        """
        modality = self.modality.strip().upper()
        modalities = {name: channel_modality(name) for name in self.channels}
        if modalities[channel]:
            return modalities[channel]
        return "" if modality in modalities.values() else modality

    def with_cases(self, cases: tuple[Case, ...]) -> Cohort:
        """The same cohort with other rows."""
        return replace(self, cases=cases)

    def case(self, name: str) -> Case:
        """The row of that case id.

        Raises:
            BadCohort: there is none.
        """
        for case in self.cases:
            if case.case == name:
                return case
        raise BadCohort("no case of that name", path=self.path, found=repr(name))

    def labelled(self) -> Cohort:
        """Only the cases that have a mask.

        Raises:
            BadCohort: none has.
        """
        return self._narrowed("with a label", tuple(c for c in self.cases if c.label is not None))

    def select(
        self, *, split: str | None = None, fold: int | None = None, not_fold: int | None = None
    ) -> Cohort:
        """The cases of a split, of one fold, or of all folds but one.

        Folds are those of train rows; asking for one leaves out rows without.

        Raises:
            BadCohort: no case is left.
        """
        if split is not None and split not in list(Split):
            raise BadCohort(
                "no such split", path=self.path, found=repr(split), expected=" or ".join(Split)
            )
        filters = {"split": split, "fold": fold, "all folds but": not_fold}
        chosen = tuple(
            case
            for case in self.cases
            if split in (None, case.split)
            and fold in (None, case.fold)
            and (not_fold is None or case.fold not in (None, not_fold))
        )
        what = ", ".join(f"{name} {value}" for name, value in filters.items() if value is not None)
        return self._narrowed(f"of {what}" if what else "at all", chosen)

    def _narrowed(self, what: str, chosen: tuple[Case, ...]) -> Cohort:
        if not chosen:
            splits = sorted({case.split.value for case in self.cases})
            raise BadCohort(
                f"no case {what}",
                path=self.path,
                found=f"{len(self.cases)} cases, splits {splits}, folds {list(self.folds)}",
                remedy="See `medseg cohort show`, or split the cohort with `medseg cohort split`.",
            )
        return self.with_cases(chosen)
