"""How a network is trained: loop, learning rate, augmentation, and what goes with them."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from medseg.config.checking import Choice, Options
from medseg.config.preparing import Positive, PrepareConfig
from medseg.config.rules import PostprocessRule
from medseg.config.segmenting import InferConfig, MirrorAxis, Size

#: The working axis through plane, along which 2D networks slice unless `slice_axis` says otherwise.
THROUGH_PLANE: Literal[2] = 2


class AugmentConfig(Options):
    """Random changes of training patches; every probability is per patch.

    Attributes:
        rotate_degrees: largest rotation about each axis (2D: about the slice's normal).
        scale: smallest and largest zoom.
        elastic_voxels: standard deviation of the elastic displacement at its control points,
            in working voxels; 0 switches it off.
        elastic_every: voxels between control points.
        spatial: probability of rotation, zoom and elastic deformation together.
        mirror_axes: working axes mirrored at random, by role, or ``left-right`` for whichever
            of a scan's runs that way. Where the axis is the scan's left-right one, labels with
            a side are swapped with their partner; a scan is not mirrored along it where a label
            has none.
        brightness, contrast, gamma, noise, blur, low_resolution, bias: probability of each.
    """

    rotate_degrees: float = Field(default=15.0, ge=0, le=180)
    scale: tuple[Positive, Positive] = (0.85, 1.2)
    elastic_voxels: float = Field(default=1.5, ge=0)
    elastic_every: int = Field(default=12, ge=4)
    spatial: float = Field(default=0.8, ge=0, le=1)
    mirror_axes: tuple[MirrorAxis, ...] = ()
    brightness: float = Field(default=0.3, ge=0, le=1)
    contrast: float = Field(default=0.3, ge=0, le=1)
    gamma: float = Field(default=0.3, ge=0, le=1)
    noise: float = Field(default=0.2, ge=0, le=1)
    blur: float = Field(default=0.15, ge=0, le=1)
    low_resolution: float = Field(default=0.15, ge=0, le=1)
    bias: float = Field(default=0.2, ge=0, le=1)

    @model_validator(mode="after")
    def _check_scale(self) -> AugmentConfig:
        if self.scale[1] < self.scale[0]:
            raise ValueError(f"scale goes from small to large, not {list(self.scale)}")
        return self


class LoopConfig(Options):
    """How long and how a network is trained.

    Attributes:
        minutes: wall time of the whole command; turned into steps once, after a timed
            warm-up. Either this or ``steps``.
        steps: number of optimiser steps.
        batch: patches a step.
        growth: sizes through which patches grow to ``patch``; while they are small, a step has
            more of them. 1 keeps one size.
        foreground: share of patches centred on a labelled voxel (classes in turn).
        learning_rate: peak of warm-up and cosine decay.
        weight_decay: of AdamW.
        warmup: steps in which the learning rate rises; a time budget is measured in them.
        clip: largest gradient norm.
        decay: how the learning rate falls after the warm-up.
        ema: weight of the past in the averaged weights, which are the ones saved.
        precision: ``auto`` takes bfloat16 where the processor has it, and float16 on GPUs
            without; ``tf32`` is float32 whose products a GPU rounds to 19 bits.
        layout: order of an image's values in memory; ``auto`` tries both on a GPU, once, and
            takes the quicker.
        seed: of weights, patches and augmentation.
        fold: rows of this fold validate; ``None`` trains on every train row.
        validations: how often the fold is scored by whole scans while training.
        validation_cases: at most so many scans each time.
        keep: whether the averaged weights of the last step make the model, or those that
            validated best (this needs ``fold``).
        checkpoint_minutes: time between checkpoints.
        workers: processes that read patches; 0 reads in the training process.
        processes: that train together on this machine, one a GPU (or sharing the CPU), each
            on its part of every batch; more machines with ``torchrun`` or ``srun``.
        compile: translate the network with ``torch.compile`` before the first step.
        cases_on_device: largest share of a GPU's free memory that prepared cases may take;
            those that fit are cut there, others are read by threads ahead of time.
        on_error: whether an unreadable case stops before the first step or is left out.
        logger: who else sees the figures of ``curves.csv``; ``auto`` is TensorBoard where it is
            installed. ``mlflow`` and ``wandb`` write into the run's folder until the environment
            names a server.
        rules: whether ``postprocess`` stays as given, or is added to by what raises Dice on
            train rows that were held out (this needs ``folds`` or ``fold``).
    """

    minutes: float | None = Field(default=None, gt=0)
    steps: int | None = Field(default=None, ge=1)
    batch: int = Field(default=2, ge=1)
    growth: int = Field(default=1, ge=1, le=8)
    foreground: float = Field(default=0.5, ge=0, le=1)
    learning_rate: float = Field(default=1e-3, gt=0)
    weight_decay: float = Field(default=1e-2, ge=0)
    warmup: int = Field(default=40, ge=1)
    clip: float = Field(default=1.0, gt=0)
    decay: Literal["cosine", "poly"] = "cosine"
    ema: float = Field(default=0.998, ge=0, lt=1)
    precision: Literal["auto", "float32", "tf32", "bfloat16", "float16"] = "auto"
    layout: Literal["auto", "channels_last", "channels_first"] = "auto"
    seed: int = Field(default=0, ge=0)
    fold: int | None = Field(default=None, ge=0)
    validations: int = Field(default=5, ge=0)
    validation_cases: int = Field(default=8, ge=1)
    keep: Literal["last", "best"] = "last"
    checkpoint_minutes: float = Field(default=5.0, gt=0)
    workers: int = Field(default=0, ge=0, le=256)
    processes: int = Field(default=1, ge=1, le=256)
    compile: bool = False
    cases_on_device: float = Field(default=0.25, ge=0, le=1)
    on_error: Literal["refuse", "skip"] = "refuse"
    logger: Literal["auto", "none", "tensorboard", "mlflow", "wandb"] = "auto"
    rules: Literal["given", "learn"] = "given"

    @model_validator(mode="after")
    def _check_length(self) -> LoopConfig:
        if (self.minutes is None) == (self.steps is None):
            raise ValueError("give either minutes or steps, and not both")
        if self.growth > 1 and self.workers:
            raise ValueError("patches that grow (growth) are not read by workers: set workers to 0")
        return self


class TrainConfig(Options):
    """Everything ``medseg train`` needs; written by ``medseg plan``, read and edited by people.

    Attributes:
        cohort: card with the labelled cases; relative to this file.
        dims: 2 trains on slices, 3 on volumes.
        slice_axis: working axis along which 2D networks slice, by role; ``None`` is 2, through
            plane.
        patch: voxels in plane, in plane and through plane (2D: of the two axes within a slice).
        folds: cross-validate: train one network a fold and leave their ensemble.
    """

    cohort: str
    dims: Literal[2, 3] = 3
    slice_axis: Literal[0, 1, 2] | None = None
    patch: tuple[Size, ...]
    network: Choice = Choice(name="unet")
    prepare: PrepareConfig = PrepareConfig()
    augment: AugmentConfig = AugmentConfig()
    loss: Choice = Choice(name="dice_ce")
    training: LoopConfig
    infer: InferConfig = InferConfig()
    postprocess: tuple[PostprocessRule, ...] = ()
    folds: int | None = Field(default=None, ge=2)

    @property
    def sliced(self) -> int | None:
        """The working axis along which the network slices; ``None`` in 3D."""
        if self.dims == 3:
            return None
        return THROUGH_PLANE if self.slice_axis is None else self.slice_axis

    @model_validator(mode="after")
    def _check_patch(self) -> TrainConfig:
        if len(self.patch) not in (self.dims, 3):
            raise ValueError(f"patch needs {self.dims} sizes, found {list(self.patch)}")
        if self.folds is not None and self.training.fold is not None:
            raise ValueError("give folds for all of them or training.fold for one, not both")
        held_out = self.folds is not None or self.training.fold is not None
        if self.training.rules == "learn" and not held_out:
            raise ValueError("rules are learnt on rows held out: give folds or training.fold")
        return self
