"""The content of ``model.yaml``: labels, network, preparing, and where the model comes from."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from medseg.config import (
    Choice,
    InferConfig,
    LearntRule,
    Options,
    PostprocessRule,
    PrepareConfig,
)
from medseg.geometry import Frame


class Fingerprint(Options):
    """What the training scans looked like, to notice an input that is unlike them.

    Attributes:
        spacing_mm: smallest and largest spacing in plane, in plane and through plane.
        intensity: 0.5, 50 and 99.5 percentile of real-world values, a row a channel.
        shape: smallest and largest number of voxels along the same axes.
        frames: RAS directions of these axes in the training scans, no two of them alike.
    """

    spacing_mm: tuple[tuple[float, float], ...] = ()
    intensity: tuple[tuple[float, float, float], ...] = ()
    shape: tuple[tuple[int, int], ...] = ()
    frames: tuple[Frame, ...] = ()


class Limits(Options):
    """Beyond these a structure is unlike those of the training truths, and is flagged.

    Attributes:
        volume_ml: smallest and largest.
        cuts: largest share of a section on each face of the scan: low and high end of each
            working axis.
        pieces: most large components.
    """

    volume_ml: tuple[float, float]
    cuts: tuple[float, ...]
    pieces: int


class Validation(Options):
    """How good the weights were on whole scans of the fold that was held out.

    Attributes:
        kept: whether the weights of the last step are the model, or the best validated ones.
        cases: scans that were scored each time.
        last: step and mean Dice of the last validation.
        best: step and mean Dice of the best.
    """

    kept: Literal["last", "best"] = "last"
    cases: int
    last: tuple[int, float]
    best: tuple[int, float]


class Pace(Options):
    """How quickly the run went.

    Attributes:
        seconds_a_step: mean over the run, with waiting.
        data_wait: share of it in which no step ran because its patches were not there.
        processes: that trained together.
        parts: a batch went through in so many parts at the end; more than one where memory
            ran out.
    """

    seconds_a_step: float
    data_wait: float
    processes: int = 1
    parts: int = 1


class Origin(Options):
    """Another model whose weights a run started from.

    Attributes:
        name: of the model.
        weights: file -> SHA-256.
    """

    name: str
    weights: dict[str, str] = Field(default_factory=dict)


class Provenance(Options):
    """How the model came about.

    Attributes:
        cohort: name of the training cohort.
        cohort_sha256: of its table.
        training_pixels: pixel hash of every training scan (see ``medseg.volume.pixel_hash``),
            those of the model it started from included.
        training_patients: number of patients among them; who they are is not kept.
        seed, steps, seconds, config: of the run.
        versions: of Python and the packages that shape the numbers.
        non_finite_steps: steps skipped because a gradient was not finite.
        float32_steps: steps computed once more in float32 because a gradient was not finite
            in bfloat16.
        pace: how quickly it went.
        validation: of the weights, where a fold was held out.
        init: the model it started from, if any.
        learnt_rules: what was added to the post-processing; ``None`` where nobody asked.
    """

    cohort: str = ""
    cohort_sha256: str = ""
    training_pixels: tuple[str, ...] = ()
    training_patients: int = 0
    seed: int = 0
    steps: int = 0
    seconds: float = 0.0
    non_finite_steps: int = 0
    float32_steps: int = 0
    pace: Pace | None = None
    validation: Validation | None = None
    init: Origin | None = None
    learnt_rules: tuple[LearntRule, ...] | None = None
    config: dict[str, Any] = Field(default_factory=dict)
    versions: dict[str, str] = Field(default_factory=dict)


class NetworkFacts(Options):
    """What the network sees and costs, for one window of the size it was trained on.

    Attributes:
        parameters: learned numbers.
        multiply_adds: of one forward pass of a window.
        activation_bytes: kept for the backward pass, float32.
        receptive_field: voxels along each axis of a window that can change one output voxel.
    """

    parameters: int
    multiply_adds: int
    activation_bytes: int
    receptive_field: tuple[int, ...]


class ModelCard(Options):
    """The content of ``model.yaml``; ``labels`` and its companions as in a cohort card."""

    format: Literal["medseg-model-1"] = "medseg-model-1"
    name: str = ""
    modality: str = ""
    channels: tuple[str, ...]
    frames: Literal["check", "trust", "register"] = "check"
    labels: dict[str, Any]
    ignore: int | None = None
    regions: dict[str, tuple[int, ...]] | None = None
    mirror_pairs: tuple[tuple[str, str], ...] | None = None
    dims: Literal[2, 3]
    slice_axis: Literal[0, 1, 2] | None = None
    network: Choice
    network_facts: NetworkFacts | None = None
    prepare: PrepareConfig
    infer: InferConfig
    postprocess: tuple[PostprocessRule, ...] = ()
    volume_ranges_ml: dict[str, tuple[float, float]] = Field(default_factory=dict)
    limits: dict[str, Limits] = Field(default_factory=dict)
    fingerprint: Fingerprint = Fingerprint()
    provenance: Provenance = Provenance()
    weights: dict[str, str] = Field(default_factory=dict)
