"""One scan becomes a mask: read, prepare, stream, clean, measure."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from medseg.errors import BadScan
from medseg.geometry import Box, Geometry
from medseg.inference.budget import UNLIMITED, Allowance, Budget
from medseg.inference.engine import Engine, engaged, faults, require_engine
from medseg.inference.ensemble import SegmentationModel, check_alike, input_channels
from medseg.inference.forward import Precision, calculating, choose_precision
from medseg.inference.forward_memory import forward_bytes
from medseg.inference.keeping import Keeping, Kept
from medseg.inference.locate import (
    Locator,
    Region,
    Search,
    region_about,
    search_for,
    whole_region,
)
from medseg.inference.road import Ensemble, Machine, Road, plan_road
from medseg.inference.segmentation import Segmentation, volumes_ml
from medseg.inference.stream import stream
from medseg.inference.windows import WindowPlan, empty_windows
from medseg.memory import give_back, is_out_of_memory
from medseg.postprocess import apply_rules
from medseg.progress import Progress
from medseg.scans import read
from medseg.transforms.prepare import Prepared, prepare_volume
from medseg.volume import LabelMap, Origin, Volume


class Segmenter:
    """One model, or several as an ensemble, loaded once and called for each scan."""

    def __init__(
        self,
        models: SegmentationModel | Sequence[SegmentationModel],
        *,
        device: torch.device | str = "cpu",
        allowance: Allowance = UNLIMITED,
        precision: Precision = "auto",
        all_windows: bool = False,
        locator: Locator | None = None,
        engine: Engine = Engine.TORCH,
    ) -> None:
        """Load the networks.

        Args:
            models: averaged as logits; they share labels, preparation and windows.
            device: where the networks run.
            allowance: memory to keep within.
            precision: of the convolutions; ``auto`` takes 16 bits where the hardware has them.
            all_windows: ask the networks about windows with nothing in them, too.
            locator: finds the region to look at, in place of what the model's card says.
            engine: what runs the networks.

        Raises:
            BadModel: the models differ in labels or plan, or a locator cannot be used.
            BadConfig: the engine cannot run here.
        """
        self._models = tuple(models) if isinstance(models, Sequence) else (models,)
        check_alike(self._models)
        device = torch.device(device)
        if precision == "auto" and device.type == "cpu":
            precision = self._models[0].infer.cpu_precision
        dtype = choose_precision(precision, device)
        require_engine(engine, device, dtype)
        self._machine = Machine(device, dtype, allowance)
        self._all_windows = all_windows
        self._networks = [
            network.to(self._machine.image_dtype)
            for model in self._models
            for network in model.networks(device)
        ]
        self._engaged = [engaged(network, engine) for network in self._networks]
        self._window_bytes: dict[tuple[int, ...], int] = {}
        alike = partial(
            Segmenter,
            device=device,
            allowance=allowance,
            precision=precision,
            all_windows=all_windows,
            engine=engine,
        )
        self._search: Search | None = search_for(self._models[0], locator, alike)

    def __call__(
        self,
        scan: Volume | str | Path | Callable[[], Volume],
        *,
        progress: Progress | None = None,
        tell: Callable[[Budget], object] | None = None,
        keeping: Keeping | None = None,
    ) -> Segmentation:
        """Segment one scan; see :func:`segment`.

        Args:
            scan: a volume, where it lies, or what hands it over: a volume that nobody else
                holds is let go before the first window.
            progress: called with (windows done, windows).
            tell: called with the predicted memory before the first window.
            keeping: what else is wanted of the scan.
        """
        began = time.perf_counter()
        path = self._path(scan, keeping)
        del scan  # not needed from here on
        prepared_at = time.perf_counter()
        ensemble = Ensemble(self._engaged, self._bytes_a_window(path.road))
        tried_at = time.perf_counter()
        warnings = path.warnings
        streamed = stream(
            path.road, ensemble, self._machine, warn=warnings.append, progress=progress, tell=tell
        )
        streamed_at = time.perf_counter()
        model = self._models[0]
        if path.empty is not None:
            path.mask[path.empty] = 0
        mask = apply_rules(path.mask, path.geometry, model.labels, model.postprocess)
        labelmap = LabelMap(mask, path.geometry, model.labels, path.origin)
        warnings += faults(self._engaged)
        volumes = volumes_ml(labelmap)
        seconds = {
            "prepare": prepared_at - began,
            "trial": tried_at - prepared_at,
            "network": streamed.network_seconds,
            "restore": max(0.0, streamed_at - tried_at - streamed.network_seconds),
            "clean": time.perf_counter() - streamed_at,
        }
        return Segmentation(
            labelmap,
            volumes,
            streamed.confidence,
            tuple(warnings),
            streamed.budget,
            seconds,
            path.kept.probabilities,
            path.kept.uncertainty,
        )

    def _path(
        self, scan: Volume | str | Path | Callable[[], Volume], keeping: Keeping | None
    ) -> _Path:
        """Read and prepare a scan and lay its windows; the scan itself is let go."""
        model = self._models[0]
        volume = scan() if callable(scan) else scan if isinstance(scan, Volume) else read(scan)
        box = self._search.find(volume) if self._search else None
        prepared = prepare_volume(volume, model.prepare, device=self._machine.device)
        warnings = list(dict.fromkeys((*volume.origin.warnings, *prepared.warnings)))
        region = self._region(prepared, box, warnings)
        plan = self._plan(region.working)
        # from a GPU the mask comes in any order: in that of a NIfTI file it is written quickest
        order: Literal["C", "F"] = "C" if self._machine.device.type == "cpu" else "F"
        mask = np.zeros(volume.geometry.shape, dtype=model.labels.dtype, order=order)
        slices = () if prepared.nearest_axis is None else (prepared.nearest_axis,)
        nearest_axes = (0, 1, 2) if model.infer.restore == "labels" else slices
        kept = Kept.begin(keeping, model, region, volume.geometry, nearest_axes)
        road = Road(
            image=prepared.image[(slice(None), *region.working_box)],
            working=region.working,
            native=region.native,
            labels=model.labels,
            infer=model.infer,
            plan=plan,
            asked=self._asked(plan, volume, region.working),
            slice_axis=model.slice_axis if model.dims == 2 else None,
            nearest_axes=nearest_axes,
            mask=mask[region.native_box],
            also=kept.also,
            apart=kept.apart,
        )
        empty = None
        if model.infer.zeros == "background":
            empty = (volume.measured() == 0).all(axis=0)
        return _Path(road, mask, empty, volume.geometry, volume.origin, warnings, kept)

    def _plan(self, working: Geometry) -> WindowPlan:
        model = self._models[0]
        return plan_road(working, model.infer, dims=model.dims, slice_axis=model.slice_axis)

    def _region(self, prepared: Prepared, box: Box | None, warnings: list[str]) -> Region:
        """What the networks are asked about: what was located, or the whole scan."""
        if self._search is not None and box is not None:
            window = self._plan(prepared.working).window
            return region_about(
                box,
                self._search.margin_mm,
                prepared.working,
                prepared.native,
                window,
                kept=prepared.kept,
            )
        if self._search is not None:
            warnings.append("the locator found nothing: the whole scan is looked at")
        return whole_region(prepared.working, prepared.native, prepared.kept)

    def _asked(self, plan: WindowPlan, volume: Volume, working: Geometry) -> np.ndarray:
        threshold = self._models[0].infer.skip_below
        if threshold is None or self._all_windows:
            return np.ones(len(plan.corners), dtype=bool)
        return ~empty_windows(plan, volume, working, threshold)

    def _bytes_a_window(self, road: Road) -> int:
        """Peak of one forward pass, found by running each kind of window once.

        Raises:
            BadScan: the network cannot take this scan's channels.
        """
        seen = [n for axis, n in enumerate(road.plan.window) if axis != road.slice_axis]
        shape = (1, road.image.shape[0], *seen)
        if shape not in self._window_bytes:
            self._window_bytes[shape] = self._measure(shape)
            give_back()  # or what the trial freed would count as held
        return self._window_bytes[shape]

    def _measure(self, shape: tuple[int, ...]) -> int:
        machine = self._machine
        image = torch.zeros(shape, dtype=machine.image_dtype, device=machine.device)
        try:
            with calculating(machine.device, machine.dtype):
                return forward_bytes(self._networks[0], image)
        except Exception as error:
            if is_out_of_memory(error):
                return 0  # nothing is known; the run itself retreats
            channels = input_channels(self._networks[0])
            if channels is not None and channels != shape[1]:
                raise BadScan(
                    "the scan's channels do not fit the model", found=shape[1], expected=channels
                ) from None
            raise


@dataclass(frozen=True, eq=False)
class _Path:
    """A prepared scan on its road, and what grows along it.

    Attributes:
        road: through the networks.
        mask: (X, Y, Z) on the scan's whole grid, filled along the road.
        empty: (X, Y, Z) whether a voxel is background, whatever the networks say; or ``None``.
        geometry: that grid.
        origin: where the scan came from.
        warnings: of reading and preparing; what comes later is added.
        kept: what is wanted beside the mask.
    """

    road: Road
    mask: NDArray[Any]
    empty: NDArray[np.bool_] | None
    geometry: Geometry
    origin: Origin
    warnings: list[str]
    kept: Kept


def segment(
    model: SegmentationModel | Sequence[SegmentationModel],
    scan: Volume | str | Path,
    *,
    device: torch.device | str = "cpu",
    memory_bytes: int | None = None,
    precision: Precision = "auto",
    all_windows: bool = False,
    progress: Progress | None = None,
) -> Segmentation:
    """Segment one scan; for many, make a :class:`Segmenter` once and call it.

    Args:
        model: a loaded model; several are averaged as logits.
        scan: a volume, or where it lies.
        device: where the networks run.
        memory_bytes: limit for this process.
        precision: of the convolutions.
        all_windows: ask the networks about windows with nothing in them, too.
        progress: called with (windows done, windows).

    Raises:
        BadScan: the scan cannot be read or has other channels than the model.
        BadModel: the models differ, or the model contradicts itself.
    """
    segmenter = Segmenter(
        model,
        device=device,
        allowance=Allowance(memory_bytes),
        precision=precision,
        all_windows=all_windows,
    )
    return segmenter(scan, progress=progress)
