"""How scans are segmented: windows, their overlap, mirrors; and what a call may change of it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from medseg.config.checking import Options
from medseg.config.locating import MARGIN_MM, Locate
from medseg.config.preparing import WorkingAxis

#: An axis to mirror: a working axis, or whichever of a scan's runs most nearly left to right.
MirrorAxis = WorkingAxis | Literal["left-right"]

#: Voxels: more than none.
Size = Annotated[int, Field(ge=1)]


class InferConfig(Options):
    """How windows are laid and joined; travels in the model folder.

    Attributes:
        window: voxels in plane, in plane and through plane; empty means the training patch.
        overlap: share of a window that overlaps its neighbour.
        steps: whether windows lie a fixed step apart with the last one at the grid's end, or
            evenly spread, as nnU-Net lays them.
        padding: what surrounds a grid that is smaller than a window.
        weighting: importance of a window's voxels; ``gaussian_nnunet`` lies about the voxel
            beside the middle of an even window and falls to almost nothing in its corners.
        restore: what is interpolated on the way from the working grid to the scan's: logits, or
            the probabilities of labels (not of regions); or nothing, with ``labels``: each voxel
            of the scan takes the label of the nearest working voxel.
        cpu_precision: what ``auto`` means on CPUs that multiply bfloat16 in hardware.
        batch: windows at a time.
        mirror_axes: working axes averaged over mirrors, by role, or ``left-right``.
        skip_below: windows whose every voxel is below this real-world value in every
            channel are background without asking the network; ``None`` asks always.
        zeros: what scan voxels are that are exactly 0 in every channel, as around a stripped skull:
            what the network says, or background.
        locate: finds the region that windows are laid over; the rest is background.
    """

    window: tuple[Size, ...] = ()
    overlap: float = Field(default=0.5, ge=0, lt=1)
    steps: Literal["fixed", "even"] = "fixed"
    padding: Literal["border", "zeros"] = "border"
    weighting: Literal["constant", "gaussian", "gaussian_nnunet"] = "gaussian"
    restore: Literal["logits", "probabilities", "labels"] = "logits"
    cpu_precision: Literal["auto", "float32"] = "auto"
    batch: int = Field(default=2, ge=1)
    mirror_axes: tuple[MirrorAxis, ...] = ()
    skip_below: float | None = None
    zeros: Literal["network", "background"] = "network"
    locate: Locate | None = None


#: Maps of how uncertain every voxel is, by the names of their folders.
Measure = Literal["entropy", "disagreement"]


class SegmentConfig(Options):
    """What ``medseg segment`` takes as ``key=value``; its ``--help`` shows the descriptions."""

    tta: Literal["model", "none"] = Field(
        default="model", description="Mirrored copies to average: model (as its card says) or none."
    )
    engine: Literal["torch", "compiled", "openvino"] = Field(
        default="torch",
        description="What runs the network: torch, compiled (torch.compile) or openvino.",
    )
    all_windows: bool = Field(default=False, description="Run the network on empty air, too.")
    locator: str | None = Field(
        default=None, description="Folder of a coarse model that finds where to look first."
    )
    margin_mm: float = Field(
        default=MARGIN_MM, ge=0, description="Kept around what the locator finds, in mm."
    )
    uncertainty: Literal["none", "entropy", "disagreement", "both"] = Field(
        default="none",
        description="Also write how uncertain every voxel is, 0 to 1: entropy of its "
        "probabilities; disagreement of folds or models; or both.",
    )
    device_memory: Annotated[str, Field(coerce_numbers_to_str=True)] | None = Field(
        default=None, description="Memory limit on the GPU, e.g. 8GB; else what is free there."
    )
    timeout: float = Field(
        default=600.0,
        ge=1,
        description="Seconds that a small scan may take; a large one gets more.",
    )

    @property
    def measures(self) -> tuple[Measure, ...]:
        """The maps of uncertainty that are wanted.

        >>> SegmentConfig(uncertainty="both").measures, SegmentConfig().measures
        (('entropy', 'disagreement'), ())
        """
        if self.uncertainty == "both":
            return "entropy", "disagreement"
        return () if self.uncertainty == "none" else (self.uncertainty,)
