"""A bundle segments as the model does, with MONAI and torch alone."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
import torch

from medseg.config import (
    Choice,
    InferConfig,
    LocateThreshold,
    NormalisePercentiles,
    NormaliseWindow,
    NormaliseZScore,
    PostprocessRule,
    PrepareConfig,
)
from medseg.errors import BadModel
from medseg.export import export_model
from medseg.export.scripted_model import script_model
from medseg.geometry import Alignment, Geometry
from medseg.inference import segment
from medseg.labels import LabelTable
from medseg.model import save_model
from medseg.model.card import ModelCard
from medseg.networks import build_network
from medseg.readers.labels import read_labels
from medseg.volume import Volume
from medseg.writers.nifti import write_volume

LABELS = LabelTable.from_card({"labels": {"liver": 1, "tumour": 3}})
TWINS = LabelTable.from_card({"labels": {"left kidney": 1, "right kidney": 2}})
NO_TWIN = LabelTable.from_card({"labels": {"left ventricle": 1}})
REGIONS = LabelTable.from_card(
    {"labels": {"edema": 1, "core": 2}, "regions": {"whole": [1, 2], "core": [2]}}
)
OBLIQUE = ((0.8, 0.6, 0.0), (-0.6, 0.8, 0.0), (0.0, 0.0, 1.0))

#: Model options: what each of them must carry across.
MODELS = {
    "plain": {},
    "finer and coarser": {"prepare": {"spacing_mm": (0.8, 2.2, 1.5)}},
    "edges": {"prepare": {"spacing_mm": (1.3, 1.7, 2.0), "alignment": Alignment.EDGES}},
    "frame": {"prepare": {"frame": OBLIQUE, "spacing_mm": (1.5, 1.5, None)}},
    "window": {"rules": [NormaliseWindow(low=100, high=500)]},
    "percentiles": {"rules": [NormalisePercentiles(low=1, high=98)]},
    "cropped": {
        "prepare": {"crop": "zeros", "spacing_mm": (1.5, 1.7, None)},
        "infer": {"zeros": "background"},
    },
    "nonzero": {"rules": [NormaliseZScore(nonzero=True)]},
    "channels": {
        "channels": ("T1", "T2"),
        "rules": [NormaliseZScore(), NormaliseWindow(low=0, high=600, mean=250, sd=99)],
    },
    "2D": {"dims": 2, "window": (16, 12)},
    "mirrors": {"infer": {"mirror_axes": (0, 1)}},
    "twins": {"labels": TWINS, "infer": {"mirror_axes": ("left-right", 2)}},
    "no twin": {"labels": NO_TWIN, "infer": {"mirror_axes": (0, 1)}},
    "regions": {"labels": REGIONS},
    "folds": {"folds": 2, "infer": {"weighting": "constant", "overlap": 0.25}},
}

GRIDS = {
    "volume": ((19, 22, 17), np.diag([-1.0, 1.2, 1.4, 1.0])),
    "sagittal stack": ((7, 24, 20), np.diag([4.0, -1.0, 1.1, 1.0])[:, [0, 1, 2, 3]]),
    "turned": (
        (20, 18, 23),
        np.array([[0, 1.1, 0, 5], [0, 0, -1.2, 3], [1.3, 0, 0, 0], [0, 0, 0, 1.0]]),
    ),
}


def model_of(
    folder,
    *,
    labels=LABELS,
    channels=("T1",),
    prepare=(),
    infer=(),
    rules=None,
    dims=3,
    window=(16, 12, 8),
    folds=1,
    postprocess=(),
):
    options = {"features": [4, 6]}
    card = ModelCard(
        name="test",
        channels=channels,
        labels={},
        dims=dims,
        slice_axis=2 if dims == 2 else None,
        network=Choice(name="unet", options=options),
        prepare=PrepareConfig(normalise=tuple(rules or [NormaliseZScore()]), **dict(prepare)),
        infer=InferConfig(window=window, **dict(infer)),
        postprocess=postprocess,
        weights={f"fold_{n}": "" for n in range(folds)},
    )
    states = {}
    for number in range(folds):
        torch.manual_seed(number)
        network = build_network(
            "unet",
            dims=dims,
            in_channels=len(channels),
            out_channels=labels.channels,
            options=options,
        )
        states[f"fold_{number}"] = {
            n: v + 0.1 * torch.randn(v.shape) for n, v in network.state_dict().items()
        }
    return save_model(folder, card, labels, states)


def scan(channels=1, shape=GRIDS["volume"][0], affine=GRIDS["volume"][1], *, seed=1) -> Volume:
    rng = np.random.default_rng(seed)
    data = np.zeros((channels, *shape), dtype=np.float32)
    for channel in data:
        blobs = torch.from_numpy(rng.normal(size=(1, 1, 6, 6, 6)).astype(np.float32))
        smooth = torch.nn.functional.interpolate(blobs, shape, mode="trilinear")[0, 0]
        channel[:] = 300 + 150 * smooth.numpy()
    data[:, :2] = 0
    data[:, 3:6, 5:9, 4:7] = 0
    return Volume(data, Geometry(shape, affine))


@pytest.mark.parametrize("name", MODELS)
def test_the_torchscript_segmenter_gives_the_models_masks(tmp_path, name):
    model = model_of(tmp_path / "model", **MODELS[name])
    scripted = script_model(model)
    for grid in GRIDS.values():
        volume = scan(len(model.card.channels), *grid)
        ours = segment(model, volume, precision="float32").labelmap.data
        with torch.no_grad():
            theirs = scripted(torch.from_numpy(volume.data), torch.from_numpy(grid[1])).numpy()
        assert (ours == theirs).mean() > 0.998  # random weights: rounding decides near-ties
    assert len(np.unique(ours)) > 1


REFUSED = {
    "resampling": ({"prepare": {"resampling": "cubic"}}, r"prepare\.resampling.*cubic"),
    "bias field": ({"prepare": {"bias_field": "n4"}}, r"prepare\.bias_field"),
    "locate": ({"infer": {"locate": LocateThreshold(above=-300)}}, r"infer\.locate"),
    "cleaning": ({"postprocess": (PostprocessRule(rule="fill_holes"),)}, "fill_holes"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_a_bundle_cannot_follow_is_refused_by_name(tmp_path, name):
    options, words = REFUSED[name]
    with pytest.raises(BadModel, match=words):
        export_model(model_of(tmp_path / "model", **options), "bundle", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "channels",
    [
        pytest.param(("T1",), id="one channel", marks=pytest.mark.slow),
        pytest.param(("T1", "T2"), id="two"),
    ],
)
def test_monai_runs_the_bundle_where_medseg_cannot_be_imported(tmp_path, channels):
    pytest.importorskip("fire")  # what `python -m monai.bundle` reads its arguments with
    rule = PostprocessRule(rule="keep_largest", label="tumour")
    model = model_of(
        tmp_path / "model",
        channels=channels,
        postprocess=(rule,),
        prepare={"spacing_mm": (1.5, 1.5, 1.5)},
    )
    bundle = tmp_path / "bundle"
    export_model(model, "bundle", bundle)
    assert json.loads((bundle / "configs" / "metadata.json").read_text())["labels"] == {
        "liver": 1,
        "tumour": 3,
    }
    volume = scan(len(channels))
    (tmp_path / "scans").mkdir()
    for number in range(len(channels)):
        one = Volume(volume.data[number : number + 1], volume.geometry)
        write_volume(one, tmp_path / "scans" / f"case_{number:04}.nii.gz")
    words = [
        "--config_file",
        str(bundle / "configs" / "inference.json"),
        "--bundle_root",
        str(bundle),
        "--dataset_dir",
        str(tmp_path / "scans"),
        "--output_dir",
        str(tmp_path / "masks"),
    ]
    code = (
        "import sys, runpy; sys.modules['medseg'] = None; "
        f"sys.argv = ['monai.bundle', 'run', *{words!r}]; "
        "runpy.run_module('monai.bundle', run_name='__main__')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    (mask,) = (tmp_path / "masks").iterdir()
    ours = segment(model, volume, precision="float32").labelmap.data
    theirs = read_labels(mask).data
    assert (ours == theirs).mean() > 0.998
    assert set(np.unique(theirs)) <= {0, 1, 3} and theirs.any()
