"""The meaning of a mask's integers: value <-> name, colour, code, side, regions."""

from medseg.labels.label import Label, Side, plain_name, side_of
from medseg.labels.table import LabelTable, Region

__all__ = ["Label", "LabelTable", "Region", "Side", "plain_name", "side_of"]
