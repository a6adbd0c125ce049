"""The meaning of a mask's integers: value <-> name, colour, code, side, regions."""

from medseg.labels.label import Label, Region, is_generic, plain_name
from medseg.labels.sides import Side, side_of
from medseg.labels.table import LabelTable, present_values

__all__ = [
    "Label",
    "LabelTable",
    "Region",
    "Side",
    "is_generic",
    "plain_name",
    "present_values",
    "side_of",
]
