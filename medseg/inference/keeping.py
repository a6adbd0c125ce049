"""What is kept of a scan beside its mask: probabilities, maps of uncertainty."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from medseg.config import Measure
from medseg.geometry import Geometry
from medseg.inference.ensemble import SegmentationModel
from medseg.inference.locate import Region
from medseg.inference.probabilities import Probabilities
from medseg.inference.stitch import Sink
from medseg.inference.uncertainty import UncertaintyMap


@dataclass(frozen=True)
class Keeping:
    """What is kept of a scan beside its mask.

    Attributes:
        folder: on whose disk it waits until it is written.
        probabilities: those of every label.
        uncertainty: measures of it; ``disagreement`` needs two networks or more to say anything.
    """

    folder: Path
    probabilities: bool = False
    uncertainty: tuple[Measure, ...] = ()


@dataclass(frozen=True, eq=False)
class Kept:
    """What grows beside one scan's mask."""

    probabilities: Probabilities | None = None
    uncertainty: tuple[UncertaintyMap, ...] = ()

    @classmethod
    def begin(
        cls,
        keeping: Keeping | None,
        model: SegmentationModel,
        region: Region,
        whole: Geometry,
        nearest_axes: Collection[int],
    ) -> Kept:
        """Open what is wanted of a scan; nothing where `keeping` is ``None``."""
        if keeping is None:
            return cls()
        place = (region, whole, model.labels, keeping.folder)
        maps = [
            UncertaintyMap(
                measure,
                *place,
                nearest_axes=nearest_axes,
                of_probabilities=model.infer.restore == "probabilities",
            )
            for measure in keeping.uncertainty
        ]
        wanted = keeping.probabilities
        return cls(
            Probabilities(*place, nearest_axes=nearest_axes) if wanted else None, tuple(maps)
        )

    @property
    def also(self) -> tuple[Sink, ...]:
        """Take averaged logits."""
        kept = (self.probabilities,) if self.probabilities else ()
        entropies = (one for one in self.uncertainty if one.measure == "entropy")
        return tuple(one.put for one in (*kept, *entropies))

    @property
    def apart(self) -> tuple[Sink, ...]:
        """Take the logits of every network by itself."""
        return tuple(one.put_members for one in self.uncertainty if one.measure == "disagreement")
