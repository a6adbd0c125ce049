"""What every pipeline shares: typed, validated once, read from YAML; an unknown key is an error."""

from __future__ import annotations

from medseg.config.checking import Choice, Options, override, validate
from medseg.config.json_text import load_json, parse_json
from medseg.config.locating import Locate, LocateModel, LocateThreshold
from medseg.config.preparing import (
    Normalise,
    NormaliseInside,
    NormaliseNothing,
    NormalisePercentiles,
    NormaliseWindow,
    NormaliseZScore,
    PrepareConfig,
)
from medseg.config.rules import LearntRule, PostprocessRule
from medseg.config.scoring import TOLERANCE_MM, EvaluateConfig
from medseg.config.segmenting import InferConfig, Measure, MirrorAxis, SegmentConfig
from medseg.config.training import THROUGH_PLANE, AugmentConfig, LoopConfig, TrainConfig
from medseg.config.yaml_text import load_yaml

__all__ = [
    "THROUGH_PLANE",
    "TOLERANCE_MM",
    "AugmentConfig",
    "Choice",
    "EvaluateConfig",
    "InferConfig",
    "LearntRule",
    "Locate",
    "LocateModel",
    "LocateThreshold",
    "LoopConfig",
    "Measure",
    "MirrorAxis",
    "Normalise",
    "NormaliseInside",
    "NormaliseNothing",
    "NormalisePercentiles",
    "NormaliseWindow",
    "NormaliseZScore",
    "Options",
    "PostprocessRule",
    "PrepareConfig",
    "SegmentConfig",
    "TrainConfig",
    "load_json",
    "load_yaml",
    "override",
    "parse_json",
    "validate",
]
