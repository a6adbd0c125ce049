"""A MONAI bundle: a folder that ``python -m monai.bundle run`` segments with, without medseg.

The weights and all that is done around them are one TorchScript file
(:mod:`medseg.export.scripted_segmenter`); MONAI reads scans, cleans masks and writes them.
"""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from medseg import __version__
from medseg.config import PostprocessRule
from medseg.errors import BadModel
from medseg.export.scripted_model import script_model
from medseg.geometry import Alignment
from medseg.model import Model
from medseg.writers.atomic import atomic_path


def write_bundle(model: Model, folder: Path) -> list[Path]:
    """Write a bundle: configs, models/model.ts, docs/README.md.

    Raises:
        BadModel: the card has a rule that the bundle cannot follow; it says which.
    """
    _check(model)
    segmenter = script_model(model)
    files = {
        "configs/metadata.json": json.dumps(_metadata(model), indent=2),
        "configs/inference.json": json.dumps(_inference(model), indent=2),
        "docs/README.md": _readme(model),
    }
    paths = [folder / "models" / "model.ts"]
    paths[0].parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(paths[0]) as temporary:
        torch.jit.save(segmenter, str(temporary))
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(path) as temporary:
            temporary.write_text(text + "\n", encoding="utf-8")
        paths.append(path)
    return paths


def _check(model: Model) -> None:
    """Refuse what the bundle cannot do."""
    prepare, infer = model.prepare, model.infer
    wanted: dict[str, tuple[object, object]] = {
        "prepare.resampling": (prepare.resampling, "linear"),
        "prepare.bias_field": (prepare.bias_field, "keep"),
        "prepare.alignment": (prepare.alignment is Alignment.MONAI, False),
        "prepare.axes": (prepare.axes, None),
        "prepare.normalise_on": (prepare.normalise_on, "working"),
        "prepare.slices_apart": (prepare.slices_apart, None),
        "infer.steps": (infer.steps, "fixed"),
        "infer.padding": (infer.padding, "border"),
        "infer.restore": (infer.restore, "logits"),
        "infer.skip_below": (infer.skip_below, None),
        "infer.locate": (infer.locate, None),
        "frames": (model.card.frames == "register", False),
    }
    for name, (value, expected) in wanted.items():
        if value != expected:
            raise BadModel(
                f"a bundle cannot follow {name} of this model",
                path=model.folder,
                found=value,
                expected=expected,
                remedy="Export to onnx or torchscript, whose card says what is around the network.",
            )
    for rule in model.postprocess:
        _cleaning(model, rule)


def _cleaning(model: Model, rule: PostprocessRule) -> dict[str, Any]:
    """A rule for masks as a transform of MONAI."""
    labels = model.labels
    values = list(labels.values) if rule.label == "*" else [labels.value_of(rule.label)]
    if rule.rule == "keep_largest":
        return {
            "_target_": "KeepLargestConnectedComponentd",
            "keys": "image",
            "applied_labels": values,
            "is_onehot": False,
            "independent": True,
            "connectivity": 3,
            "num_components": rule.count,
        }
    raise BadModel(
        "a bundle cannot follow a cleaning rule of this model",
        path=model.folder,
        found=rule.rule,
        expected="keep_largest or none",
    )


def _inference(model: Model) -> dict[str, Any]:
    """The configuration that ``monai.bundle run`` reads."""
    groups = "$sorted(glob.glob(os.path.join(@dataset_dir, '*.nii*')))"
    if len(model.card.channels) > 1:
        number = "x.split('.nii')[0].rsplit('_', 1)[0]"
        groups = (
            "$[sorted(y for y in glob.glob(os.path.join(@dataset_dir, '*.nii*')) "
            f"if y.split('.nii')[0].rsplit('_', 1)[0] == s) for s in sorted({{{number} "
            "for x in glob.glob(os.path.join(@dataset_dir, '*.nii*'))})]"
        )
    highest = max(model.labels.values)
    return {
        "imports": ["$import glob", "$import os", "$import torch"],
        "bundle_root": ".",
        "dataset_dir": "$@bundle_root + '/scans'",
        "output_dir": "$@bundle_root + '/masks'",
        "device": "$torch.device('cuda' if torch.cuda.is_available() else 'cpu')",
        "network_def": "$torch.jit.load(@bundle_root + '/models/model.ts', map_location=@device)",
        "files": groups,
        "segment": "$lambda scan: type(scan)(@network_def(scan.as_tensor().to(@device), "
        "scan.affine)[None].cpu(), meta=scan.meta)",
        "transforms": {
            "_target_": "Compose",
            "map_items": False,
            "transforms": [
                {
                    "_target_": "LoadImaged",
                    "keys": "image",
                    "image_only": True,
                    "ensure_channel_first": True,
                    "reader": "NibabelReader",
                },
                {"_target_": "Lambdad", "keys": "image", "func": "@segment"},
                *(_cleaning(model, rule) for rule in model.postprocess),
                {
                    "_target_": "SaveImaged",
                    "keys": "image",
                    "output_dir": "@output_dir",
                    "output_postfix": "",
                    "separate_folder": False,
                    "resample": False,
                    "output_dtype": "$__import__('numpy')."
                    + ("uint8" if highest < 256 else "uint16"),
                },
            ],
        },
        "run": [
            "$torch.set_grad_enabled(False)",
            "$[@transforms({'image': path}) is None for path in @files]",
        ],
    }


def _metadata(model: Model) -> dict[str, Any]:
    card, labels = model.card, model.labels
    names = [r.name for r in labels.regions] if labels.regions else ["background", *labels.names]
    return {
        "schema": "https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/0.8.1/"
        "meta_schema_20240725.json",
        "version": "1.0.0",
        "changelog": {"1.0.0": f"exported by medseg {__version__}"},
        "monai_version": version("monai"),
        "pytorch_version": version("torch").partition("+")[0],
        "numpy_version": version("numpy"),
        "required_packages_version": {
            "fire": "0.6",
            "nibabel": version("nibabel"),
            "scikit-image": version("scikit-image"),
        },
        "name": card.name or "medseg model",
        "task": f"segmentation of {', '.join(labels.names)}",
        "description": f"Exported by medseg {__version__} from a model with SHA-256 "
        f"{model.checksum}. The network and all that is done around it are models/model.ts.",
        "authors": "",
        "copyright": "",
        "data_source": card.provenance.cohort,
        "intended_use": "Research only.",
        "labels": dict(zip(labels.names, labels.values, strict=True)),
        "weights": dict(card.weights),
        "network_data_format": {
            "inputs": {
                "image": {
                    "type": "image",
                    "format": "magnitude",
                    "modality": card.modality,
                    "num_channels": len(card.channels),
                    "spatial_shape": ["*", "*", "*"],
                    "dtype": "float32",
                    "value_range": [],
                    "is_patch_data": False,
                    "channel_def": {str(n): name for n, name in enumerate(card.channels)},
                }
            },
            "outputs": {
                "pred": {
                    "type": "image",
                    "format": "segmentation",
                    "num_channels": 1,
                    "spatial_shape": ["*", "*", "*"],
                    "dtype": "int64",
                    "value_range": [],
                    "is_patch_data": False,
                    "channel_def": {str(n): name for n, name in enumerate(names)},
                }
            },
        },
    }


def _readme(model: Model) -> str:
    several = len(model.card.channels) > 1
    named = (
        "Channels of a case are `CASE_0000.nii.gz`, `CASE_0001.nii.gz` … in this order: "
        + ", ".join(model.card.channels)
        + ". "
        if several
        else ""
    )
    rows = "\n".join(f"| {label.value} | {label.name} |" for label in model.labels.labels)
    return f"""# {model.card.name or "A model of medseg"}

    python -m monai.bundle run --config_file configs/inference.json --bundle_root . \\
        --dataset_dir SCANS --output_dir MASKS

SCANS holds NIfTI files. {named}Needs MONAI, nibabel, scikit-image and fire, not medseg.

| value | label |
|---|---|
{rows}

`models/model.ts` (TorchScript) takes (C, X, Y, Z) values as they are measured and the (4, 4) affine
to RAS mm, and gives the (X, Y, Z) mask: turning, resampling, normalisation, windows, mirrors, folds
and the way back to the scan's own grid are inside. It holds a whole scan and its logits in memory.
Research only.

SHA-256 of the model: {model.checksum}"""
