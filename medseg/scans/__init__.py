"""A place becomes scans, and scans become cases: files, folders, archives, tables of scans."""

from __future__ import annotations

from medseg.scans.arguments import ListedScan, scans_of
from medseg.scans.discover import discover
from medseg.scans.found import FoundScan
from medseg.scans.read import read, read_channels
from medseg.scans.selection import Selection
from medseg.scans.stack import Align, Frames, stack

__all__ = [
    "Align",
    "FoundScan",
    "Frames",
    "ListedScan",
    "Selection",
    "discover",
    "read",
    "read_channels",
    "scans_of",
    "stack",
]
