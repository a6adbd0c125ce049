"""The whole road from a scan's values to its mask as one TorchScript module.

It repeats what ``transforms`` and ``inference`` do, in words that TorchScript knows: a runtime
that has torch alone gives the same masks. It holds the whole scan and all its logits in memory.
"""

import math

import torch
from torch import Tensor, nn

#: Kinds of normalisation, as numbers that TorchScript compares.
ZSCORE, NONZERO, WINDOW, PERCENTILES, NOTHING = range(5)


class Road(nn.Module):
    """Values and affine of a scan to its mask.

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
        padding: limits by which padding is told, as in :mod:`medseg.volume`.
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
        self.padding = padding
        self.fixed_frame, self.edges, self.regions = fixed_frame, edges, regions
        self.overlap, self.slice_axis = overlap, slice_axis
        self.stack_spacing, self.stack_shape = stack_spacing, stack_shape
        self.same_plane, self.same_spacing = same_plane, same_spacing

    def forward(self, image: Tensor, affine: Tensor) -> Tensor:
        """(C, X, Y, Z) real-world values and (4, 4) voxel to RAS mm, to (X, Y, Z) labels."""
        scan = self.measured(image.float())
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
            scan = self.applied(scan, self.thinned(native[axis], sizes[axis], steps[axis]), axis)
        scan = self.normalised(scan)
        turned = directions[:, torch.tensor(order)]
        logits = self.logits(scan, self.left_right(turned))
        mask = self.decided(logits, native, steps)
        mask = mask.flip(flips)
        home = [order.index(axis) for axis in range(3)]
        return mask.permute(home[0], home[1], home[2])

    @torch.jit.export
    def measured(self, values: Tensor) -> Tensor:
        """Padding, an extreme value that stands alone, becomes the lowest measured value."""
        low, high = float(values.min()), float(values.max())
        if low <= self.padding[0]:
            inner = values[values > low + 0.5]
            if inner.numel() > 0 and float(inner.min()) - low > self.padding[1]:
                return torch.where((values - low).abs() < 0.5, inner.min(), values)
        if high >= self.padding[2]:
            inner = values[values < high - 0.5]
            second = float(inner.max()) if inner.numel() > 0 else low
            if inner.numel() > 0 and high - second > 4 * max(second - low, 1.0):
                return torch.where((values - high).abs() < 0.5, inner.min(), values)
        return values

    @torch.jit.export
    def working_order(
        self,
        size: list[int],
        spacing: list[float],
        directions: Tensor,
    ) -> tuple[list[int], list[bool]]:
        """The array axis of each working axis, and whether it runs backwards."""
        through = self.through_plane(size, spacing)
        if through < 0:
            return self.nearest(directions, self.frame[None], -1)
        if self.fixed_frame:
            along = torch.abs(torch.dot(self.frame[2], directions[:, through]))
            if float(along) >= self.same_plane:
                return self.nearest(directions, self.frame[None], through)
        return self.nearest(directions, self.planes, through)

    @torch.jit.export
    def through_plane(self, size: list[int], spacing: list[float]) -> int:
        """The axis across which a stack's slices lie; -1 for a volume."""
        single: list[int] = []
        for axis in range(3):
            if size[axis] == 1:
                single.append(axis)
        if len(single) > 0:
            return single[0] if len(single) == 1 else -1
        apart, coarsest = torch.sort(torch.tensor(spacing, dtype=torch.float64), descending=True)
        if float(apart[0]) >= self.stack_spacing * float(apart[1]):
            return int(coarsest[0])
        voxels, shortest = torch.sort(torch.tensor(size))
        if int(voxels[1]) >= self.stack_shape * int(voxels[0]):
            return int(shortest[0])
        return -1

    @torch.jit.export
    def nearest(
        self, directions: Tensor, frames: Tensor, last: int
    ) -> tuple[list[int], list[bool]]:
        """Order and signs of axes that come nearest to one of several frames."""
        best = -1e9
        order, backwards = [0, 1, 2], [False, False, False]
        choices = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]]
        for number in range(frames.shape[0]):
            along = frames[number] @ self.turn @ directions
            for axes in choices:
                nearness = 0.0
                for to in range(3):
                    nearness += abs(float(along[to, axes[to]]))
                if nearness > best + 1e-9 and (last < 0 or axes[2] == last):
                    best, order = nearness, axes
                    backwards = [bool(along[to, axes[to]] < 0) for to in range(3)]
        return order, backwards

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
    def thinned(self, native: int, size: int, step: float) -> Tensor:
        """(size, native) weights of linear interpolation, widened where the axis shrinks."""
        start = (native - 1) / 2 - step * (size - 1) / 2
        position = start + step * torch.arange(size, dtype=torch.float64)
        width = math.sqrt(max(0.0, step * step - 1))
        reach = 1 + width / 2
        taps = math.ceil(2 * reach) + 1
        index = (position - reach).floor()[:, None] + torch.arange(taps, dtype=torch.float64)
        offset = index - position[:, None]
        if width < 1e-3:
            weight = (1 - offset.abs()).clamp_min(0)
        else:
            high = (offset + width / 2).clamp(-1, 1)
            low = (offset - width / 2).clamp(-1, 1)
            weight = high - high.sign() * high * high / 2 - low + low.sign() * low * low / 2
        weight = weight / weight.sum(1, keepdim=True)
        matrix = torch.zeros(size, native, dtype=torch.float64)
        return matrix.scatter_add(1, index.long().clamp(0, native - 1), weight)

    @torch.jit.export
    def applied(self, image: Tensor, matrix: Tensor, axis: int) -> Tensor:
        """Resample one axis of (C, X, Y, Z)."""
        same = matrix.shape[0] == matrix.shape[1]
        if same and bool((matrix - torch.eye(len(matrix), dtype=matrix.dtype)).abs().max() < 1e-6):
            return image
        moved = image.movedim(axis + 1, 3) @ matrix.to(image).t()
        return moved.movedim(3, axis + 1)

    @torch.jit.export
    def normalised(self, image: Tensor) -> Tensor:
        """Each channel by its rule."""
        parts: list[Tensor] = []
        for channel in range(image.shape[0]):
            values = image[channel]
            rule = self.rules[channel if self.rules.shape[0] > 1 else 0]
            kind, low, high = int(rule[0]), float(rule[1]), float(rule[2])
            least, most = float(values.min()), float(values.max())
            constant = most - least <= 1e-5 * max(-least, most)
            if kind != 2 and kind != 4 and constant:
                values = torch.zeros_like(values)
            elif kind == 0:
                values = (values - values.mean()) / values.std(unbiased=False)
            elif kind == 1:
                seen = values != 0
                known = values[seen]
                values = torch.where(
                    seen, (values - known.mean()) / known.std(unbiased=False), values
                )
            elif kind == 2:
                values = (values.clamp(low, high) - float(rule[3])) / float(rule[4])
            elif kind == 3:
                ranked = torch.sort(values.flatten())[0].double()
                ends = [low / 100 * (len(ranked) - 1), high / 100 * (len(ranked) - 1)]
                found: list[float] = []
                for end in ends:
                    below = math.floor(end)
                    above = min(below + 1, len(ranked) - 1)
                    first, second = float(ranked[below]), float(ranked[above])
                    found.append(first + (end - below) * (second - first))
                spread = found[1] - found[0]
                values = ((values - found[0]) / (spread if spread > 0 else 1.0)).clamp(0, 1)
            parts.append(values)
        return torch.stack(parts)

    @torch.jit.export
    def left_right(self, directions: Tensor) -> int:
        """The working axis that runs most nearly left to right."""
        order, _ = self.nearest(directions, torch.eye(3, dtype=torch.float64)[None], -1)
        return order[0]

    @torch.jit.export
    def turns(self, left_right: int) -> list[list[int]]:
        """Every combination of mirrored axes, none first."""
        axes: list[int] = []
        named: list[int] = self.mirror_axes.tolist()
        for axis in named:
            wanted = left_right if axis < 0 else axis
            forbidden = wanted == left_right and len(self.swapped) == 0
            if wanted != self.slice_axis and wanted not in axes and not forbidden:
                axes.append(wanted)
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
                    answer = self.asked(window[None], left_right)
                    if total.numel() == 0:
                        shape = [answer.shape[0], padded[0], padded[1], padded[2]]
                        total = torch.zeros(shape, device=image.device)
                    total[:, x : x + w[0], y : y + w[1], z : z + w[2]] += answer * self.importance
                    weight[x : x + w[0], y : y + w[1], z : z + w[2]] += self.importance
        total = total / weight
        b = before
        return total[:, b[0] : b[0] + size[0], b[1] : b[1] + size[1], b[2] : b[2] + size[2]]

    @torch.jit.export
    def asked(self, window: Tensor, left_right: int) -> Tensor:
        """(1, C, *window) to (K, *window), averaged over mirrors and networks."""
        total = torch.zeros([0])
        count = 0
        for axes in self.turns(left_right):
            flips = [axis + 2 for axis in axes]
            seen = window.flip(flips)
            if self.slice_axis >= 0:
                seen = seen.squeeze(self.slice_axis + 2)
            for network in self.networks:
                answer = network(seen)
                if self.slice_axis >= 0:
                    answer = answer.unsqueeze(self.slice_axis + 2)
                answer = answer.flip(flips)
                if left_right in axes and len(self.swapped) > 1:
                    answer = answer.index_select(1, self.swapped)
                total = answer if count == 0 else total + answer
                count += 1
        return total[0] / count

    @torch.jit.export
    def between(self, native: int, size: int, step: float) -> Tensor:
        """(native, size) weights of linear interpolation from working to scan voxels."""
        start = (native - 1) / 2 - step * (size - 1) / 2
        position = (torch.arange(native, dtype=torch.float64) - start) / step
        position = position.clamp(0, size - 1)
        whole = position.round()
        position = torch.where((position - whole).abs() < 1e-6, whole, position)
        cell = position.floor().long().clamp(0, max(0, size - 2))
        fraction = (position - cell)[:, None]
        matrix = torch.zeros(native, size, dtype=torch.float64)
        matrix = matrix.scatter_add(1, cell[:, None], 1 - fraction)
        return matrix.scatter_add(1, (cell + 1).clamp_max(size - 1)[:, None], fraction)

    @torch.jit.export
    def decided(self, logits: Tensor, native: list[int], steps: list[float]) -> Tensor:
        """(K, x, y, z) working logits to (X, Y, Z) labels on the scan's voxels, class by class."""
        ways: list[Tensor] = []
        for axis in range(3):
            ways.append(self.between(native[axis], logits.shape[axis + 1], steps[axis]))
        mask = torch.zeros(native, dtype=torch.int64, device=logits.device)
        best = torch.zeros(native, device=logits.device)
        for channel in range(logits.shape[0]):
            field = logits[channel][None]
            for axis in range(3):
                field = self.applied(field, ways[axis], axis)
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
