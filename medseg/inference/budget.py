"""The memory that one scan will take, and the batch and place of logits that keep within it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch

from medseg.inference.stitch import CLASSES_AT_A_TIME, largest_block, peak_voxels
from medseg.inference.windows import WindowPlan
from medseg.memory import give_back, peak_bytes, resident_bytes
from medseg.transforms.cells import TILE, tile_bytes, tile_for

#: Bytes for each voxel of a finished block while it is decided: the strongest logit, its number,
#: the decision, and where its surfaces are.
DECIDING_BYTES = 32

#: A smaller process keeps what it freed for the next scan: allocating it again took 2 % of the time
#: of 40 small scans, and counting it twice does not matter.
WORTH_GIVING_BACK = 1 << 30

#: Share of a device's free memory that a plan may use: the rest goes to gaps and workspaces.
USABLE_OF_DEVICE = 0.8

#: More windows at a time make no GPU much faster that holds so many bytes already.
COMFORTABLE_OF_DEVICE = 4_500_000_000

#: Working voxels at a time that keep a GPU busy.
BUSY_VOXELS = 1 << 22


@dataclass(frozen=True)
class Allowance:
    """Memory to keep within.

    Attributes:
        host_bytes: on the host, with what is held already; ``None`` for no limit.
        device_bytes: on the device; ``None`` for what is free there.
        elsewhere_bytes: what other processes and other scans of the same run take on the host.
    """

    host_bytes: int | None = None
    device_bytes: int | None = None
    elsewhere_bytes: int = 0


#: No limit but what the device has.
UNLIMITED = Allowance()


@dataclass(frozen=True)
class Budget:
    """A plan that keeps within a stated memory, and what it will take.

    Attributes:
        batch: windows at a time.
        accumulators: where growing logits are held.
        host: predicted bytes on the host at the peak, part by part.
        on_device: predicted bytes on the device at its peak, part by part.
        reached: bytes that were held on the host at some time before.
        fits: whether what is planned keeps within what was allowed.
    """

    batch: int
    accumulators: torch.device
    host: Mapping[str, int]
    on_device: Mapping[str, int]
    reached: int
    fits: bool

    @property
    def host_bytes(self) -> int:
        """Predicted peak on the host."""
        return max(self.reached, sum(self.host.values()))

    @property
    def device_bytes(self) -> int:
        """Predicted peak on the device; 0 on the CPU."""
        return sum(self.on_device.values())

    def describe(self) -> str:
        """One line for people: the peak and what it is made of."""
        parts = ", ".join(f"{name} {gigabytes(n)}" for name, n in self.host.items() if n > 1 << 24)
        if self.reached > sum(self.host.values()):
            parts = f"reached before the first window; then {parts}"
        text = (
            f"predicted peak {gigabytes(self.host_bytes)} ({parts}), {self.batch} windows at a time"
        )
        if self.on_device:
            parts = ", ".join(f"{name} {gigabytes(n)}" for name, n in self.on_device.items())
            text += f"; on the device {gigabytes(self.device_bytes)} ({parts})"
        return text


@dataclass(frozen=True)
class Demand:
    """What a scan and a model ask for, whatever the batch.

    Attributes:
        plan: where the windows lie.
        channels: of the logits.
        itemsize: bytes of an accumulated logit.
        image_bytes: of the padded working image, where the device does not hold it yet.
        mask_bytes: of the native mask.
        native_per_working: native voxels per working voxel, for a tile being interpolated.
        window_bytes: peak of one window's forward pass, logits included.
        members: networks whose logits grow side by side, not averaged as they come.
    """

    plan: WindowPlan
    channels: int
    itemsize: int
    image_bytes: int
    mask_bytes: int
    native_per_working: float
    window_bytes: int
    members: int = 1


def gigabytes(count: int) -> str:
    """Bytes as people say them."""
    return f"{count / 1e9:.2f} GB"


def wished_batch(plan: WindowPlan, asked: int, batch: int, device: torch.device) -> int:
    """Windows at a time, if memory allows.

    Args:
        plan: where the windows lie.
        asked: how many there are.
        batch: as the model says; for a GPU it is rather what keeps it busy, a power of two.
        device: where the networks run.
    """
    if device.type == "cpu":
        return batch
    busy = max(1, BUSY_VOXELS // math.prod(plan.window))
    return 1 << min(busy.bit_length() - 1, max(0, asked - 1).bit_length())


def plan_budget(
    demand: Demand,
    *,
    batch: int,
    device: torch.device,
    allowance: Allowance,
) -> Budget:
    """The largest batch, and the nearest place for the logits, that keep within the limits.

    Where nothing fits, the plan with the smallest peak is returned, marked as not fitting.

    Args:
        demand: what the scan and the model ask for.
        batch: windows at a time, at most.
        device: where the networks run.
        allowance: what to keep within.
    """
    host = torch.device("cpu")
    if device.type == "cpu" and resident_bytes() > WORTH_GIVING_BACK:
        give_back()  # windows take up again what was freed, and it would count twice
    taken = {"held": resident_bytes(), "other scans and processes": allowance.elsewhere_bytes}
    if device.type == "cuda" and allowance.device_bytes is None:
        free = torch.cuda.mem_get_info(device)[0] + torch.cuda.memory_reserved(device)
        allowance = replace(allowance, device_bytes=int(free * USABLE_OF_DEVICE))
    places = [host] if device.type == "cpu" else [device, host]
    smallest: Budget | None = None
    for place in places:
        for size in _halving(batch):
            candidate = _predict(demand, size, device, place, taken, allowance)
            modest = size == 1 or candidate.device_bytes <= COMFORTABLE_OF_DEVICE
            if candidate.fits and modest:
                return candidate
            smallest = candidate
    if smallest is None:
        raise ValueError(f"a batch holds one window at least, not {batch}")
    return smallest


def _halving(batch: int) -> list[int]:
    sizes = []
    while batch >= 1:
        sizes.append(batch)
        batch //= 2
    return sizes


def _predict(
    demand: Demand,
    batch: int,
    device: torch.device,
    place: torch.device,
    taken: Mapping[str, int],
    allowance: Allowance,
) -> Budget:
    logit = demand.channels * demand.itemsize
    growing = peak_voxels(demand.plan, batch) * (demand.members * logit + demand.itemsize)
    x, y, z = demand.plan.window
    adding = CLASSES_AT_A_TIME * demand.itemsize * x * y * z
    cells = tile_for(place, demand.channels, demand.native_per_working)
    tile = tile_bytes(cells, demand.channels, demand.native_per_working, demand.itemsize)
    deciding = largest_block(demand.plan) * DECIDING_BYTES
    if demand.members > 1:  # their mean, and what is said of a tile of each
        deciding += largest_block(demand.plan) * logit
        tile += demand.members * tile_bytes(
            TILE, 2 * demand.channels, demand.native_per_working, demand.itemsize
        )
    network = {"windows": batch * demand.window_bytes}
    host = {**taken, "mask": demand.mask_bytes}
    on_device: dict[str, int] = {}
    if device.type == "cpu":
        host |= network
    else:
        held = torch.cuda.memory_allocated(device)
        on_device |= {"held": held, "image": demand.image_bytes, **network}
    stitching = {"logits": growing, "restoring": tile + adding + deciding}
    if place.type == "cpu":
        host |= stitching
    else:
        on_device |= {**stitching, "mask": 2 * demand.mask_bytes}  # again as it lies in memory
    if place.type != device.type:
        host["transfer"] = logit * x * y * z
    fits = all(
        limit is None or sum(parts.values()) <= limit
        for parts, limit in ((host, allowance.host_bytes), (on_device, allowance.device_bytes))
    )
    reached = peak_bytes() + allowance.elsewhere_bytes
    return Budget(batch, place, host, on_device, reached, fits)
