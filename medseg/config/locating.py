"""Where may a fine model look?  Rules that find the region of interest before it is asked."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Annotated, Literal

from pydantic import Field, field_validator

from medseg.config.checking import Options


class LocateThreshold(Options):
    """The largest connected part of the scan above a real-world value (CT: the body).

    Attributes:
        above: voxels of more than this value in any channel belong to it.
        margin_mm: kept around it on every side.
    """

    kind: Literal["threshold"] = "threshold"
    above: float
    margin_mm: float = Field(default=20.0, ge=0)


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
    margin_mm: float = Field(default=20.0, ge=0)

    @field_validator("folder")
    @classmethod
    def _check_inside(cls, folder: str) -> str:
        path = PurePosixPath(folder)
        if path.is_absolute() or ".." in path.parts or not path.parts or "\\" in folder:
            raise ValueError("a model travels with its locator: name a folder inside its own")
        return folder


#: Told apart by ``kind``.
Locate = Annotated[LocateThreshold | LocateModel, Field(discriminator="kind")]
