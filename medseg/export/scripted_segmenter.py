"""From a scan's values to its mask in one TorchScript module.

It repeats what ``transforms`` and ``inference`` do, in words that TorchScript knows: a runtime
that has torch alone gives the same masks. It holds the whole scan and all its logits in memory.
"""

import math

import torch
from torch import Tensor, nn

from medseg.export.scripted_axes import content, nearest, through_plane
from medseg.export.scripted_intensities import measured, normalised
from medseg.export.scripted_resampling import resampled, restoring, shrinking


class ScriptedSegmenter(nn.Module):
    """From the values and affine of a scan to its mask.

    Args:
        networks: traced on one window, one a fold.
        importance: (*window) weights of a window's voxels, float32.
        frame: (3, 3) directions to which working axes are turned, one a row.
        planes: (3, 3, 3) frames of slices across S, A and R.
        turn: (3, 3) that decides between directions that are equally near.
        values: the label of each decision, background first.
        swapped: the channel to read for each channel of a left-right mirror; one number where
            none swaps, none where such mirrors are not averaged.
        rules: (rules, 5) kind of normalisation, low, high, mean, standard deviation.
        spacing: in mm along the working axes; 0 keeps the scan's.
        window: voxels along three axes; 1 along a slice axis.
        padding: limits by which padding is recognised, as in :mod:`medseg.volume`.
        mirror_axes: working axes; -1 is the left-right one.
    """

    importance: Tensor
    frame: Tensor
    planes: Tensor
    turn: Tensor
    values: Tensor
    swapped: Tensor
    rules: Tensor
    mirror_axes: Tensor

    def __init__(  # noqa: PLR0913 - plain numbers are all that TorchScript keeps
        self,
        networks: list[nn.Module],
        importance: Tensor,
        frame: Tensor,
        planes: Tensor,
        turn: Tensor,
        values: Tensor,
        swapped: Tensor,
        rules: Tensor,
        spacing: list[float],
        window: list[int],
        padding: list[float],
        mirror_axes: list[int],
        *,
        cropped: bool,
        emptied: bool,
        fixed_frame: bool,
        edges: bool,
        overlap: float,
        slice_axis: int,
        regions: bool,
        stack_spacing: float,
        stack_shape: float,
        same_plane: float,
        same_spacing: float,
    ) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)
        self.register_buffer("importance", importance)
        self.register_buffer("frame", frame)
        self.register_buffer("planes", planes)
        self.register_buffer("turn", turn)
        self.register_buffer("values", values)
        self.register_buffer("swapped", swapped)
        self.register_buffer("rules", rules)
        self.register_buffer("mirror_axes", torch.tensor(mirror_axes, dtype=torch.int64))
        self.spacing, self.window = spacing, window
        self.padding, self.cropped, self.emptied = padding, cropped, emptied
        self.fixed_frame, self.edges, self.regions = fixed_frame, edges, regions
        self.overlap, self.slice_axis = overlap, slice_axis
        self.stack_spacing, self.stack_shape = stack_spacing, stack_shape
        self.same_plane, self.same_spacing = same_plane, same_spacing

    def forward(self, image: Tensor, affine: Tensor) -> Tensor:
        """(C, X, Y, Z) real-world values and (4, 4) voxel to RAS mm, to (X, Y, Z) labels."""
        scan = measured(image.float(), self.padding)
        mask = self.mask_of_content(scan, affine)
        if self.emptied:
            mask = mask.masked_fill((scan == 0).all(dim=0), 0)
        return mask

    @torch.jit.export
    def mask_of_content(self, scan: Tensor, affine: Tensor) -> Tensor:
        """The mask of measured values, 0 on the planes that are cut off."""
        if not self.cropped:
            return self.mask_of(scan, affine)
        box = content(scan)
        mask = torch.zeros(scan.shape[1:], dtype=torch.int64, device=scan.device)
        inside = mask
        for axis in range(3):
            scan = scan.narrow(axis + 1, box[axis][0], box[axis][1])
            inside = inside.narrow(axis, box[axis][0], box[axis][1])
        found = self.mask_of(scan, affine)
        inside.copy_(found)
        return mask.to(found.dtype)

    @torch.jit.export
    def mask_of(self, scan: Tensor, affine: Tensor) -> Tensor:
        """The mask of values that are measured and cut, whatever their place."""
        columns = affine[:3, :3].double().cpu()
        spacing = columns.pow(2).sum(0).sqrt()
        directions = columns / spacing
        size = [scan.shape[1], scan.shape[2], scan.shape[3]]
        spacing_mm: list[float] = spacing.tolist()
        order, backwards = self.working_order(size, spacing_mm, directions)
        flips: list[int] = []
        for axis in range(3):
            if backwards[axis]:
                flips.append(axis)
        scan = scan.permute(0, 1 + order[0], 1 + order[1], 1 + order[2])
        scan = scan.flip([axis + 1 for axis in flips])
        native = [scan.shape[1], scan.shape[2], scan.shape[3]]
        sizes, steps = self.grid(native, [spacing_mm[axis] for axis in order])
        for axis in range(3):
            scan = resampled(scan, shrinking(native[axis], sizes[axis], steps[axis]), axis)
        scan = normalised(scan, self.rules)
        turned = directions[:, torch.tensor(order)]
        logits = self.logits(scan, self.left_right(turned))
        mask = self.decided(logits, native, steps)
        mask = mask.flip(flips)
        home = [order.index(axis) for axis in range(3)]
        return mask.permute(home[0], home[1], home[2])

    @torch.jit.export
    def working_order(
        self,
        size: list[int],
        spacing: list[float],
        directions: Tensor,
    ) -> tuple[list[int], list[bool]]:
        """The array axis of each working axis, and whether it runs backwards."""
        through = through_plane(size, spacing, self.stack_spacing, self.stack_shape)
        if through < 0:
            return nearest(directions, self.frame[None], self.turn, -1)
        if self.fixed_frame:
            along = torch.abs(torch.dot(self.frame[2], directions[:, through]))
            if float(along) >= self.same_plane:
                return nearest(directions, self.frame[None], self.turn, through)
        return nearest(directions, self.planes, self.turn, through)

    @torch.jit.export
    def grid(
        self,
        native: list[int],
        spacing: list[float],
    ) -> tuple[list[int], list[float]]:
        """Working voxels along each axis, and scan voxels per working voxel."""
        sizes, steps = [0, 0, 0], [1.0, 1.0, 1.0]
        for axis in range(3):
            size, target = native[axis], self.spacing[axis]
            sizes[axis] = size
            if target <= 0:
                continue
            if self.edges:
                ratio = float(torch.tensor(spacing[axis]).float()) / target * size
                sizes[axis] = max(1, int(torch.tensor(ratio, dtype=torch.float64).round().item()))
                steps[axis] = size / sizes[axis]
            elif abs(target / spacing[axis] - 1) > self.same_spacing:
                steps[axis] = target / spacing[axis]
                sizes[axis] = math.ceil((size - 1) / steps[axis] - 1e-4) + 1
        return sizes, steps

    @torch.jit.export
    def left_right(self, directions: Tensor) -> int:
        """The working axis that runs most nearly left to right."""
        order, _ = nearest(directions, torch.eye(3, dtype=torch.float64)[None], self.turn, -1)
        return order[0]

    @torch.jit.export
    def turns(self, left_right: int) -> list[list[int]]:
        """Every combination of mirrored axes, none first."""
        axes: list[int] = []
        named: list[int] = self.mirror_axes.tolist()
        for axis in named:
            mirrored = left_right if axis < 0 else axis
            forbidden = mirrored == left_right and len(self.swapped) == 0
            if mirrored != self.slice_axis and mirrored not in axes and not forbidden:
                axes.append(mirrored)
        empty: list[int] = []
        sets = [empty]
        for axis in axes:
            longer: list[list[int]] = []
            for chosen in sets:
                longer.append(chosen + [axis])  # noqa: RUF005 - TorchScript knows no stars
            sets = sets + longer
        return sets

    @torch.jit.export
    def starts(self, size: int, window: int) -> list[int]:
        """Where windows start along an axis."""
        step = max(1, int(window * (1 - self.overlap)))
        count = max(0, math.ceil((size - window) / step)) + 1
        return [min(n * step, size - window) for n in range(count)]

    @torch.jit.export
    def logits(self, image: Tensor, left_right: int) -> Tensor:
        """(C, X, Y, Z) to (K, X, Y, Z), averaged over windows, mirrors and networks."""
        size = [image.shape[1], image.shape[2], image.shape[3]]
        before = [0, 0, 0]
        for axis in range(3):
            missing = max(0, self.window[axis] - size[axis])
            before[axis] = missing // 2
            if missing > 0:
                at = torch.arange(-before[axis], size[axis] + missing - before[axis])
                image = image.index_select(axis + 1, at.clamp(0, size[axis] - 1).to(image.device))
        w = self.window
        padded = [image.shape[1], image.shape[2], image.shape[3]]
        total = torch.zeros([0])
        weight = torch.zeros(padded, device=image.device)
        for x in self.starts(padded[0], w[0]):
            for y in self.starts(padded[1], w[1]):
                for z in self.starts(padded[2], w[2]):
                    window = image[:, x : x + w[0], y : y + w[1], z : z + w[2]]
                    answer = self.averaged(window[None], left_right)
                    if total.numel() == 0:
                        shape = [answer.shape[0], padded[0], padded[1], padded[2]]
                        total = torch.zeros(shape, device=image.device)
                    total[:, x : x + w[0], y : y + w[1], z : z + w[2]] += answer * self.importance
                    weight[x : x + w[0], y : y + w[1], z : z + w[2]] += self.importance
        total = total / weight
        b = before
        return total[:, b[0] : b[0] + size[0], b[1] : b[1] + size[1], b[2] : b[2] + size[2]]

    @torch.jit.export
    def averaged(self, window: Tensor, left_right: int) -> Tensor:
        """(1, C, *window) to (K, *window), averaged over mirrors and networks."""
        total = torch.zeros([0])
        count = 0
        for axes in self.turns(left_right):
            flips = [axis + 2 for axis in axes]
            turned = window.flip(flips)
            if self.slice_axis >= 0:
                turned = turned.squeeze(self.slice_axis + 2)
            for network in self.networks:
                answer = network(turned)
                if self.slice_axis >= 0:
                    answer = answer.unsqueeze(self.slice_axis + 2)
                answer = answer.flip(flips)
                if left_right in axes and len(self.swapped) > 1:
                    answer = answer.index_select(1, self.swapped)
                total = answer if count == 0 else total + answer
                count += 1
        return total[0] / count

    @torch.jit.export
    def decided(self, logits: Tensor, native: list[int], steps: list[float]) -> Tensor:
        """(K, x, y, z) working logits to (X, Y, Z) labels on the scan's voxels, class by class."""
        matrices: list[Tensor] = []
        for axis in range(3):
            matrices.append(restoring(native[axis], logits.shape[axis + 1], steps[axis]))
        mask = torch.zeros(native, dtype=torch.int64, device=logits.device)
        best = torch.zeros(native, device=logits.device)
        for channel in range(logits.shape[0]):
            field = logits[channel][None]
            for axis in range(3):
                field = resampled(field, matrices[axis], axis)
            one = field[0]
            if self.regions:
                mask = torch.where(one > 0, torch.full_like(mask, channel + 1), mask)
            elif channel == 0:
                best = one
            else:
                better = one > best
                mask = torch.where(better, torch.full_like(mask, channel), mask)
                best = torch.where(better, one, best)
        return self.values[mask]
