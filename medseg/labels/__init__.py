"""What the integers of a mask mean: value <-> name, colour, code, side, regions."""

from medseg.labels.label import Label, Side, side_of
from medseg.labels.table import LabelTable, Region

__all__ = ["Label", "LabelTable", "Region", "Side", "side_of"]
