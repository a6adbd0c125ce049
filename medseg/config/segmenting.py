"""Settings of segmenting that are rarely changed, each with its default."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from medseg.config.checking import Options
from medseg.config.locating import MARGIN_MM


class SegmentConfig(Options):
    """What ``medseg segment`` takes as ``key=value``; its ``--help`` shows the descriptions."""

    tta: Literal["model", "none"] = Field(
        default="model", description="Mirrored copies to average: model (as its card says) or none."
    )
    engine: Literal["torch", "compiled", "openvino"] = Field(
        default="torch",
        description="What runs the network: torch, compiled (torch.compile) or openvino.",
    )
    all_windows: bool = Field(default=False, description="Ask the network about empty air, too.")
    locator: str | None = Field(
        default=None, description="Folder of a coarse model that finds where to look first."
    )
    margin_mm: float = Field(
        default=MARGIN_MM, ge=0, description="Kept around what the locator finds, in mm."
    )
    device_memory: Annotated[str, Field(coerce_numbers_to_str=True)] | None = Field(
        default=None, description="Memory limit on the GPU, e.g. 8GB; else what is free there."
    )
    timeout: float = Field(
        default=600.0,
        ge=1,
        description="Seconds that a small scan may take; a large one gets more.",
    )
