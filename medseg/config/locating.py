"""Rules that find the region of interest in which a fine model is run."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Annotated, Literal

from pydantic import Field, field_validator

from medseg.config.checking import Options

#: Kept around what is found, in mm.
MARGIN_MM = 20.0


class LocateThreshold(Options):
    """The largest connected part of the scan above a real-world value (CT: the body).

    Attributes:
        above: voxels of more than this value in any channel belong to it.
        margin_mm: kept around it on every side.
    """

    kind: Literal["threshold"] = "threshold"
    above: float
    margin_mm: float = Field(default=MARGIN_MM, ge=0)


class LocateModel(Options):
    """What a coarse model finds.

    Attributes:
        folder: of the coarse model, inside the fine model's folder.
        labels: of the coarse model that count; empty means all.
        margin_mm: kept around them on every side.
    """

    kind: Literal["model"] = "model"
    folder: str
    labels: tuple[str, ...] = ()
    margin_mm: float = Field(default=MARGIN_MM, ge=0)

    @field_validator("folder")
    @classmethod
    def _check_inside(cls, folder: str) -> str:
        path = PurePosixPath(folder)
        if path.is_absolute() or ".." in path.parts or not path.parts or "\\" in folder:
            raise ValueError("a model travels with its locator: name a folder inside its own")
        return folder


#: Told apart by ``kind``.
Locate = Annotated[LocateThreshold | LocateModel, Field(discriminator="kind")]
