"""How tissues look: levels, texture, shading and noise of CT and MR scanners."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from medseg.geometry import Geometry

#: HU in the portal venous phase: level, spread between patients, texture within one.
_HU: dict[str, tuple[float, float, float]] = {
    "air": (-1000, 0, 0),
    "skin": (20, 8, 4),
    "fat": (-102, 6, 8),
    "visceral fat": (-96, 6, 10),
    "muscle": (58, 5, 9),
    "cortical bone": (480, 50, 60),
    "marrow": (170, 30, 30),
    "disc": (85, 10, 6),
    "nerve": (35, 4, 3),
    "lung": (-840, 20, 35),
    "heart": (125, 10, 12),
    "bowel wall": (72, 8, 8),
    "bowel content": (18, 12, 22),
    "stomach content": (24, 12, 12),
    "gas": (-960, 5, 5),
    "pancreas": (88, 6, 10),
    "vena cava": (128, 8, 4),
    "blood": (152, 10, 4),
    "liver": (106, 8, 7),
    "liver vein": (138, 8, 4),
    "spleen": (121, 8, 5),
    "bile": (8, 4, 2),
    "kidney cortex": (182, 12, 7),
    "kidney medulla": (150, 12, 7),
    "kidney sinus": (10, 20, 15),
    "scalp": (-60, 8, 10),
    "csf": (6, 2, 2),
    "grey matter": (37, 1.5, 2),
    "white matter": (28, 1.5, 2),
    "oedema": (19, 2, 2),
    "tumour": (45, 4, 5),
    "necrosis": (14, 3, 3),
    "eye": (12, 2, 2),
}

#: T1 and FLAIR, in thousandths of the fat's signal; spread and texture are shares of the level.
_T1_FLAIR: dict[str, tuple[float, float]] = {
    "air": (0, 0),
    "skin": (420, 400),
    "fat": (1000, 760),
    "visceral fat": (960, 740),
    "muscle": (390, 300),
    "cortical bone": (45, 40),
    "marrow": (640, 480),
    "disc": (330, 260),
    "nerve": (300, 260),
    "lung": (50, 45),
    "heart": (330, 250),
    "bowel wall": (360, 330),
    "bowel content": (270, 240),
    "stomach content": (230, 200),
    "gas": (5, 5),
    "pancreas": (560, 420),
    "vena cava": (150, 130),
    "blood": (120, 110),
    "liver": (540, 390),
    "liver vein": (390, 300),
    "spleen": (400, 480),
    "bile": (190, 170),
    "kidney cortex": (470, 470),
    "kidney medulla": (380, 520),
    "kidney sinus": (620, 460),
    "scalp": (900, 620),
    "csf": (150, 70),
    "grey matter": (470, 520),
    "white matter": (640, 430),
    "oedema": (430, 780),
    "tumour": (560, 640),
    "necrosis": (250, 330),
    "eye": (170, 90),
}


@dataclass(frozen=True)
class Scanner(ABC):
    """One way of turning tissues into numbers.

    Attributes:
        modality: as DICOM writes it.
        channels: what is measured, one volume each.
    """

    modality: str
    channels: tuple[str, ...]

    @abstractmethod
    def level(self, tissue: str, channel: str) -> float:
        """Mean signal of a tissue."""

    @abstractmethod
    def spread(self, tissue: str, channel: str) -> float:
        """Standard deviation of that mean between patients."""

    @abstractmethod
    def texture(self, tissue: str) -> float:
        """Standard deviation of the signal within one patient's tissue."""

    @abstractmethod
    def measure(
        self, signal: NDArray[np.float32], grid: Geometry, rng: np.random.Generator
    ) -> NDArray[np.int16]:
        """(X, Y, Z) signal to stored numbers: shading, blur, noise, rounding."""


class CtScanner(Scanner):
    """Hounsfield units with the grainy noise of a reconstructed image."""

    def level(self, tissue: str, channel: str) -> float:
        """HU."""
        return _HU[tissue][0]

    def spread(self, tissue: str, channel: str) -> float:
        """HU."""
        return _HU[tissue][1]

    def texture(self, tissue: str) -> float:
        """HU."""
        return _HU[tissue][2]

    def measure(
        self, signal: NDArray[np.float32], grid: Geometry, rng: np.random.Generator
    ) -> NDArray[np.int16]:
        """HU, never below -1024; noise of 9 to 15 HU, stronger in the patient's middle."""
        body = ndimage.gaussian_filter(
            (signal > -500).astype(np.float32), [25.0 / mm for mm in grid.spacing_mm]
        )
        grain = ndimage.gaussian_filter(rng.normal(size=grid.shape).astype(np.float32), 0.55)
        noise = grain / grain.std() * (5 + rng.uniform(4, 10) * body)
        return np.asarray(np.clip(np.rint(signal + noise), -1024, 3071), np.int16)


class MrScanner(Scanner):
    """Arbitrary units under the coils' smooth shading, with Rician noise and a gain of its own."""

    def level(self, tissue: str, channel: str) -> float:
        """Thousandths of the fat's signal in T1."""
        return _T1_FLAIR[tissue][0 if channel == "T1" else 1]

    def spread(self, tissue: str, channel: str) -> float:
        """A twentieth of the level."""
        return 0.05 * self.level(tissue, channel)

    def texture(self, tissue: str) -> float:
        """A thirtieth of the level in T1."""
        return self.level(tissue, "T1") / 30

    def measure(
        self, signal: NDArray[np.float32], grid: Geometry, rng: np.random.Generator
    ) -> NDArray[np.int16]:
        """Shaded by up to a third, with noise of 2 to 3.5 per cent, times the scanner's gain."""
        x, y, z = np.meshgrid(
            *(np.linspace(-1, 1, n, dtype=np.float32) for n in grid.shape),
            indexing="ij",
            sparse=True,
        )
        a = rng.uniform(-0.16, 0.16, 6)
        shading = np.exp(
            a[0] * x
            + a[1] * y
            + a[2] * z
            + a[3] * x * y
            + a[4] * (z * z - 0.3)
            + a[5] * (x * x - 0.3)
        )
        real, imaginary = rng.normal(scale=rng.uniform(14, 26), size=(2, *grid.shape))
        measured = np.hypot(signal * shading + real, imaginary) * rng.uniform(0.7, 1.4)
        return np.asarray(np.clip(np.rint(measured), 0, 4095), np.int16)


#: What can be asked for. MR2 is one examination with two channels.
SCANNERS: dict[str, Scanner] = {
    "CT": CtScanner("CT", ("CT",)),
    "MR": MrScanner("MR", ("T1",)),
    "MR2": MrScanner("MR", ("T1", "FLAIR")),
}
