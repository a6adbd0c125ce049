"""An exported network answers as the network does, and the card says what is around it."""

from __future__ import annotations

import hashlib
import itertools
from dataclasses import replace
from importlib import import_module

import numpy as np
import pytest
import torch
import yaml

from medseg.cli import run
from medseg.config import (
    Choice,
    InferConfig,
    LocateThreshold,
    NormaliseZScore,
    PrepareConfig,
)
from medseg.errors import BadConfig, BadModel
from medseg.export import EXPORTERS, export_model, torchscript
from medseg.export import networks as exported_networks
from medseg.export.steps import steps_around
from medseg.geometry import Alignment
from medseg.labels import LabelTable
from medseg.model import save_model
from medseg.model.card import ModelCard
from medseg.networks import build_network

LABELS = LabelTable.from_card({"labels": {"liver": 1, "tumour": 2}})
REGIONS = LabelTable.from_card(
    {"labels": {"liver": 1, "tumour": 2}, "regions": {"whole": [1, 2], "core": [2]}}
)
NETWORKS = {
    "3D U-Net": (3, "unet", {"features": [4, 8, 8]}, (16, 12, 20)),
    "2D U-Net": (2, "unet", {"features": [4, 8, 8]}, (20, 24)),
    "2D FCN-8s": (2, "fcn8s", {}, (40, 48)),
}
#: Takes as long as all others; the slow tests have it.
SLOW = ("2D FCN-8s", "onnx")


def model_of(folder, name="3D U-Net", *, labels=LABELS, weights=("all",), **changes):
    dims, network, options, window = NETWORKS[name]
    card = ModelCard(
        name="test",
        channels=("T1", "T2"),
        labels={},
        dims=dims,
        slice_axis=2 if dims == 2 else None,
        network=Choice(name=network, options=options),
        prepare=PrepareConfig(normalise=(NormaliseZScore(),)),
        infer=InferConfig(window=window, **changes),
        weights=dict.fromkeys(weights, ""),
    )
    states = {}
    for number, stem in enumerate(weights):
        torch.manual_seed(number)
        states[stem] = build_network(
            network, dims=dims, in_channels=2, out_channels=labels.channels, options=options
        ).state_dict()
    return save_model(folder, card, labels, states)


def require(to):
    if to == "onnx":
        for package in ("onnx", "onnxruntime", "onnxscript"):
            pytest.importorskip(package)


@pytest.mark.parametrize(
    ("name", "to"),
    [
        pytest.param(name, to, marks=[pytest.mark.slow] if (name, to) == SLOW else [])
        for name, to in itertools.product(NETWORKS, EXPORTERS)
    ],
)
def test_an_exported_network_answers_as_the_network(tmp_path, to, name):
    require(to)
    model = model_of(tmp_path / "model", name)
    path, _ = export_model(model, to, tmp_path / "out")
    module = import_module(EXPORTERS[to])
    for batch in (1, 3):
        windows = torch.randn(batch, 2, *NETWORKS[name][3])
        with torch.no_grad():
            expected = model.networks()[0](windows)
        assert torch.allclose(module.run(path, windows), expected, atol=1e-4)


@pytest.mark.parametrize("labels", [LABELS, REGIONS], ids=["labels", "regions"])
def test_the_card_says_what_is_around(tmp_path, labels):
    model = model_of(tmp_path / "model", labels=labels, weights=("fold_0", "fold_1"))
    paths = export_model(model, "torchscript", tmp_path / "out")
    assert [path.name for path in paths] == ["fold_0.pt", "fold_1.pt", "export.yaml"]
    card = yaml.safe_load(paths[-1].read_text())
    sums = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths[:-1]}
    assert card["networks"] == sums
    assert card["input"]["shape"] == ["batch", 2, 16, 12, 20]
    expected = ["whole", "core"] if labels is REGIONS else ["background", "liver", "tumour"]
    assert card["output"]["channels"] == expected
    assert any("average the logits of the 2 networks" in step for step in card["steps"])
    assert any(
        ("sigmoid" in step) is (labels is REGIONS) for step in card["steps"] if "decide" in step
    )


#: Another value of every option that changes what happens around a network.
AROUND = {
    "prepare": {
        "spacing_mm": (1.0, None, 2.0),
        "frame": ((1.0, 0.0, 0.0), (0.0, 0.0, 1.0), (0.0, 1.0, 0.0)),
        "axes": (2, 0, 1),
        "turned_to": "LPS",
        "crop": "zeros",
        "alignment": Alignment.EDGES,
        "normalise_on": "scan",
        "resampling": "spline",
        "slices_apart": 3.0,
        "bias_field": "n4",
    },
    "infer": {
        "overlap": 0.25,
        "steps": "even",
        "padding": "zeros",
        "weighting": "gaussian_nnunet",
        "restore": "labels",
        "mirror_axes": (0, 2),
        "skip_below": -500.0,
        "zeros": "background",
        "locate": LocateThreshold(above=-300.0),
    },
}

#: What the card says in another place, or what changes no mask.
ELSEWHERE = {"normalise", "window", "batch", "cpu_precision"}


def test_every_option_around_a_network_is_among_the_steps(tmp_path):
    model = model_of(tmp_path / "model")
    for part, changes in AROUND.items():
        before = getattr(model.card, part)
        assert set(type(before).model_fields) - set(changes) <= ELSEWHERE
        for name, value in changes.items():
            needed = {"axes": (0, 1, 2)} if name == "turned_to" else {}
            base = before.model_copy(update=needed)
            one, other = (
                replace(model, card=model.card.model_copy(update={part: options}))
                for options in (base, base.model_copy(update={name: value}))
            )
            assert steps_around(one) != steps_around(other), name


def test_a_network_that_answers_otherwise_leaves_no_file(tmp_path, monkeypatch):
    model = model_of(tmp_path / "model")
    monkeypatch.setattr(torchscript, "run", lambda path, windows: torch.zeros(2, 3, 16, 12, 20))
    with pytest.raises(BadModel, match="gives other logits"):
        export_model(model, "torchscript", tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())


def test_a_network_that_the_other_tool_has_no_words_for_is_refused(tmp_path, monkeypatch):
    def write(network, windows, path):
        raise RuntimeError("no such operator\nand a long story")

    model = model_of(tmp_path / "model")
    monkeypatch.setattr(torchscript, "write", write)
    with pytest.raises(BadModel, match=r"unet cannot be exported as \.pt; found no such operator"):
        export_model(model, "torchscript", tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())


def test_a_model_without_a_window_is_refused(tmp_path):
    model = model_of(tmp_path / "model")
    object.__setattr__(model.card, "infer", InferConfig())
    with pytest.raises(BadModel, match="no window"):
        exported_networks.window_of(model)


def test_a_missing_package_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr("medseg.extras.find_spec", lambda name: None)
    with pytest.raises(BadConfig, match="no onnx, onnxruntime, onnxscript"):
        export_model(model_of(tmp_path / "model"), "onnx", tmp_path / "out")


def test_the_verb_replaces_its_own_files_and_no_others(tmp_path, capsys):
    model_of(tmp_path / "model")
    words = ("export", tmp_path / "model", "--to", "torchscript", "--output", tmp_path / "out")
    assert run(*words) == 0
    assert run(*words) == 0
    (tmp_path / "out" / "all.pt").write_bytes(b"mine")
    assert run(*words) != 0
    assert (tmp_path / "out" / "all.pt").read_bytes() == b"mine"
    assert run(*words, "--overwrite") == 0
    assert np.frombuffer((tmp_path / "out" / "all.pt").read_bytes()[:4], np.uint8).any()
