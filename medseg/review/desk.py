"""What one rater does with the cases of a folder: look, judge, mend, save; HTTP aside."""

from __future__ import annotations

import random
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.ct_windows import WINDOWS
from medseg.errors import BadConfig, MedsegError
from medseg.labels import LabelTable
from medseg.labels.colours import distinct_colours
from medseg.readers.labels import read_labels
from medseg.review.corrected import save
from medseg.review.items import Item
from medseg.review.listing import Listing, number_of
from medseg.review.opened import Opened, open_case
from medseg.review.orders import change_of
from medseg.review.planes import BY_NAME, canonical_shape, picture, plane_named
from medseg.review.ranking import ranked, with_volume_flags
from medseg.review.raters import agreements
from medseg.review.shelf import Shelf
from medseg.review.standing import Digests, Standings
from medseg.review.store import Edit, Store, Verdict
from medseg.review.table import write_review
from medseg.review.uncertainty import MAPS

#: Letters that a note may have.
LONGEST_NOTE = 4000

#: Layers that would tell a blinded rater what to think.
UNBLINDING = ("truth", *MAPS)


@dataclass(frozen=True)
class Review:
    """What a review is about.

    Attributes:
        folder: of the masks.
        output: where verdicts and corrected masks go.
        labels: of the masks.
        rater: who looks.
        blind: whether flags, scores, confidence and other raters' verdicts stay hidden, and the
            cases come in an order of chance.
        run: what ``run.yaml`` says of the models.
    """

    folder: Path
    output: Path
    labels: LabelTable
    rater: str
    blind: bool = False
    run: Mapping[str, Any] = field(default_factory=dict)


class Desk:
    """The state behind the pages; every method may be called from any thread."""

    def __init__(self, review: Review, items: Sequence[Item], store: Store) -> None:
        self.review, self.store = review, store
        self._lock = threading.Lock()
        self._plain = list(items)
        self._items: dict[str, Item] = {}
        self._arrange()
        self._shelf = Shelf(self._open)
        self._digests = Digests()

    def item(self, case: str) -> Item | None:
        """The case of that name, or ``None``."""
        return self._items.get(case)

    def items(self) -> list[Item]:
        """Every case in the order of the list."""
        return list(self._items.values())

    def learn(self, measured: Mapping[str, Item]) -> None:
        """Take in what was measured of the masks meanwhile: volumes, Dice; the order follows."""
        with self._lock:
            self._plain = [measured.get(item.case, item) for item in self._plain]
            self._arrange()

    def overview(self) -> dict[str, Any]:
        """The list, as the page wants it."""
        review = self.review
        listing = Listing(self.store, self._digests, rater=review.rater, blind=review.blind)
        return {
            "title": review.folder.resolve().name,
            "rater": review.rater,
            "blind": review.blind,
            "labels": self._labels(),
            "windows": {name: list(ends) for name, ends in WINDOWS.items()},
            "cases": [listing.row(item) for item in self.items()],
        }

    def describe(self, case: str) -> dict[str, Any]:
        """What the page must know before it draws a case.

        Raises:
            MedsegError: the mask cannot be read.
        """
        opened = self.opened(case)
        grid, shades = opened.geometry, opened.shades
        axes = grid.canonical_axes[0]
        return {
            "case": case,
            "shape": canonical_shape(grid),
            "spacing": [grid.spacing_mm[axis] for axis in axes],
            "planes": {
                p.name: {"cut": p.cut, "across": p.across, "up": p.up, "letters": p.letters}
                for p in BY_NAME.values()
            },
            "scan": None
            if shades is None
            else {
                "slope": shades.slope,
                "intercept": shades.intercept,
                "window": shades.window,
                "ct": shades.is_ct,
            },
            "layers": [
                name for name in opened.layers if not (self.review.blind and name in UNBLINDING)
            ],
            "bits": 8 * opened.mask.itemsize,
            "focus": opened.focus(),
            "before": "" if self.review.blind else opened.item.before,
            "notes": opened.notes,
            "has": self._state(opened),
        }

    def opened(self, case: str) -> Opened:
        """The case in memory, read again where its mask was made again.

        Raises:
            MedsegError: the mask cannot be read.
        """
        held = self._shelf.held(case)
        if held is not None and held.mask_sha256 != self._digests.of(held.item.mask):
            self._shelf.drop(case)
        return self._shelf.take(case)

    def pixels(self, case: str, layer: str, plane: str, position: int) -> NDArray[Any]:
        """(rows, columns) of one plane of a layer; a copy.

        Raises:
            BadConfig: no such layer, plane or position.
            MedsegError: a file cannot be read.
        """
        opened = self.opened(case)
        array = opened.layer(layer)
        if array is None:
            raise BadConfig("this case has no such layer")
        with opened.lock:
            view = picture(array, opened.geometry, plane_named(plane), position)
            return np.ascontiguousarray(view)

    def judge(self, case: str, verdict: str, note: str) -> dict[str, Any]:
        """Keep a verdict.

        Accepting a case whose corrected mask was saved accepts that mask: the verdict is ``edit``,
        and the answer says so.

        Raises:
            BadConfig: no such verdict; an endless note; a mask accepted with changes that were
                not saved, or made again since it was opened.
            BadOutput: the mask is gone, or the verdict cannot be kept.
        """
        if verdict not in list(Verdict):
            raise BadConfig(
                "no such verdict", found=repr(verdict)[:60], expected="accept, edit or reject"
            )
        if len(note) > LONGEST_NOTE:
            raise BadConfig("the note is too long", expected=f"at most {LONGEST_NOTE} letters")
        digest = self._seen(case)
        kept, remark = Verdict(verdict), ""
        if kept is Verdict.ACCEPT:
            standing = Standings(self.store).of(case, self.review.rater, digest)
            if standing.is_unsaved:
                raise BadConfig(
                    "there are changes that were not saved",
                    remedy="Save them (s), or undo them (z), before you accept.",
                )
            if standing.differs:
                kept, remark = Verdict.EDIT, "kept as edited: the corrected mask is accepted"
        said = self.store.judge(case, self.review.rater, kept, note, digest)
        write_review(self.review.output, self.store)
        return {
            "verdict": said.verdict.value,
            "note": said.note,
            "time": said.time,
            "remark": remark,
        }

    def edit(self, case: str, order: Mapping[str, Any]) -> dict[str, Any]:
        """Make a change with a tool and keep it.

        Args:
            case: which.
            order: see :func:`medseg.review.orders.change_of`.

        Raises:
            MedsegError: no such tool, label or pixel; or the mask cannot be read.
        """
        opened = self._current(case)
        with opened.lock:
            change = change_of(order, opened.mask, opened.geometry, self.review.labels)
            if change.voxels.size:
                tool, digest = str(order["tool"]), opened.mask_sha256
                number = self.store.add_edit(case, self.review.rater, tool, digest, change)
                opened.apply(Edit(number, tool, digest, change))
            return {"voxels": int(change.voxels.size), **self._state(opened)}

    def undo(self, case: str) -> dict[str, Any]:
        """Take the last change back, also one of an earlier day.

        Raises:
            MedsegError: as :meth:`edit`.
        """
        opened = self._current(case)
        with opened.lock:
            edit = opened.edits[-1][0] if opened.edits else None
            if edit is not None:
                self.store.drop_edit(edit.number)
                opened.undo()
            return {"voxels": int(edit.change.voxels.size) if edit else 0, **self._state(opened)}

    def save(self, case: str) -> dict[str, Any]:
        """Write the corrected mask; the verdict becomes ``edit``.

        Raises:
            BadConfig: nothing was changed here, or something elsewhere.
            BadOutput: it cannot be written.
        """
        opened = self._current(case)
        standing = Standings(self.store).of(case, self.review.rater, opened.mask_sha256)
        if not opened.edits and standing.saved is None:
            raise BadConfig("nothing to save: the mask is as it was")
        saved = save(opened, self.review.output, self.store, self.review.rater, self.review.run)
        note = next(
            (
                one.note
                for one in self.store.judgements()
                if (one.case, one.rater) == (case, self.review.rater)
            ),
            "",
        )
        self.judge(case, Verdict.EDIT.value, note)
        return {"name": saved.name, "voxels_changed": saved.voxels_changed, **self._state(opened)}

    def agreement(self) -> list[dict[str, Any]]:
        """Every pair of raters; none while blinded."""
        if self.review.blind:
            return []
        pairs = agreements(
            self.store.judgements(), self.store.corrected(), self._final, self.review.labels
        )
        return [
            {
                **{key: getattr(pair, key) for key in ("one", "other", "cases", "same", "edited")},
                "kappa": number_of(pair.kappa),
                "dice": number_of(pair.dice),
            }
            for pair in pairs
        ]

    def _seen(self, case: str) -> str:
        """Checksum of the mask that the rater looks at."""
        digest, held = self._digests.of(self._items[case].mask), self._shelf.held(case)
        if held is not None and held.mask_sha256 != digest:
            self._shelf.drop(case)
            raise BadConfig(
                "the mask was made again since it was opened", remedy="Open the case again."
            )
        return digest

    def _current(self, case: str) -> Opened:
        """The opened case, with every change that this rater made.

        Raises:
            BadConfig: the rater has changed it elsewhere meanwhile.
            MedsegError: the mask cannot be read.
        """
        opened = self.opened(case)
        standing = Standings(self.store).of(case, self.review.rater, opened.mask_sha256)
        if standing.last_edit != (opened.edits[-1][0].number if opened.edits else 0):
            self._shelf.drop(case)
            raise BadConfig(
                f"{self.review.rater} has changed this case elsewhere", remedy="Reload the page."
            )
        return opened

    def _open(self, case: str) -> Opened:
        edits = self.store.edits(case, self.review.rater)
        return open_case(self._items[case], self.review.labels, edits)

    def _state(self, opened: Opened) -> dict[str, Any]:
        standing = Standings(self.store).of(opened.item.case, self.review.rater, opened.mask_sha256)
        return {
            "edits": len(opened.edits),
            "unsaved": standing.is_unsaved,
            "corrected": standing.saved.name if standing.saved else "",
            "volumes": {name: number_of(ml) for name, ml in opened.volumes_ml().items()},
        }

    def _labels(self) -> list[dict[str, Any]]:
        table = self.review.labels
        colours = distinct_colours(table)
        return [
            {"name": one.name, "value": one.value, "colour": colours[one.value]}
            for one in table.labels
        ]

    def _arrange(self) -> None:
        """Worst first; blinded, an order of chance that stays the same for a rater."""
        items = ranked(with_volume_flags(self._plain))
        if self.review.blind:
            items.sort(key=lambda item: item.case)
            random.Random(self.review.rater).shuffle(items)
        self._items = {item.case: item for item in items}

    def _final(self, case: str, rater: str) -> NDArray[Any] | None:
        item = self._items.get(case)
        saved = self.store.corrected().get((case, rater))
        if item is None:
            return None
        path = self.review.output / saved.name if saved else item.mask
        try:
            return read_labels(path, labels=self.review.labels).data
        except MedsegError:
            return None
