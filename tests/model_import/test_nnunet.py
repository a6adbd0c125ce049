"""A folder that nnU-Net's training left becomes a model that gives nnU-Net's masks."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
import yaml

from medseg.cli import run
from medseg.errors import BadModel
from medseg.export import export_model
from medseg.geometry import Geometry
from medseg.inference import segment
from medseg.model import load_model
from medseg.model_import import ImportOptions, import_model
from medseg.volume import Volume
from model_import.nnunet_folder import Made, checkpoint, make_folder, predict, weights

REGIONS = {"background": 0, "whole": [1, 2], "core": 2, "ignore": 3}

#: Each with what it is there for.
KINDS = {
    "3D": Made(),
    "mirrored": Made(mirrors=(0, 2)),
    "turned axes, folds": Made(transpose=(2, 0, 1), folds=("0", "3")),
    "2D": Made(dims=2, spacing=(1.1, 1.3), patch=(16, 20), mirrors=(0, 1)),
    "2D, turned": Made(dims=2, spacing=(1.1, 1.3), patch=(16, 20), transpose=(1, 2, 0)),
    "residual": Made(residual=True),
    "batch norm": Made(norm="BatchNorm"),
    "plans of 2.0": Made(legacy=True),
    "slices": Made(spacing=(4.5, 1.0, 1.2)),
    "CT": Made(schemes=("CTNormalization",), channels=("CT",)),
    "two channels": Made(
        channels=("T1", "FLAIR"),
        schemes=("ZScoreNormalization", "RescaleTo01Normalization"),
        masked=(True, False),
    ),
    "regions": Made(labels=REGIONS, order=(1, 2)),
    "small patch": Made(patch=(8, 12, 8), strides=(1, 2, 2), widths=(4, 6, 8)),
}


def scan(made: Made, shape=(19, 22, 17), spacing=(1.0, 1.2, 1.4), *, seed=1) -> Volume:
    """Smooth noise with a frame of zeros, stored left to right reversed."""
    rng = np.random.default_rng(seed)
    data = np.zeros((len(made.channels), *shape), dtype=np.float32)
    for channel in data:
        blobs = torch.from_numpy(rng.normal(size=(1, 1, 6, 6, 6)).astype(np.float32))
        smooth = torch.nn.functional.interpolate(blobs, shape, mode="trilinear")[0, 0]
        channel[:] = 300 + 150 * smooth.numpy() + 20 * rng.normal(size=shape)
    data[:, :2], data[:, :, -3:] = 0, 0
    affine = np.diag([-spacing[0], spacing[1], spacing[2], 1.0])
    affine[:3, 3] = (30, -12, 7)
    return Volume(data, Geometry(shape, affine))


def masks(tmp_path, made: Made, volume: Volume):
    model = import_model("nnunet", make_folder(tmp_path, made), tmp_path / "model").model
    ours = segment(model, volume, precision="float32").labelmap.data
    x, y, z = volume.geometry.spacing_mm
    theirs = predict(made, volume.data.transpose(0, 3, 2, 1), (z, y, x)).transpose(2, 1, 0)
    return ours, theirs


@pytest.mark.parametrize("name", KINDS)
def test_masks_are_those_of_nnunet(tmp_path, name):
    made = KINDS[name]
    ours, theirs = masks(tmp_path, made, scan(made))
    assert len(np.unique(theirs)) > 1
    assert (ours == theirs).mean() > 0.999  # random weights: float32 sums decide near-ties


EXPORTED = ("residual", "2D, turned", "regions", "turned axes, folds")


@pytest.mark.parametrize("name", EXPORTED)
def test_an_imported_network_exports_and_the_card_says_what_is_around(tmp_path, name):
    made = KINDS[name]
    model = import_model("nnunet", make_folder(tmp_path, made), tmp_path / "model").model
    *paths, card = export_model(model, "torchscript", tmp_path / "out")
    assert len(paths) == len(made.folds)
    steps = " | ".join(yaml.safe_load(card.read_text())["steps"])
    for words in ("scan's own voxels", "evenly spread", "voxel size // 2", "cubic B-splines"):
        assert words in steps
    assert f"axes in the order {list(model.prepare.axes)}" in steps
    with pytest.raises(BadModel, match="a bundle cannot follow"):
        export_model(model, "bundle", tmp_path / "bundle")


@pytest.mark.parametrize(
    "spacing", [(1.0, 1.0, 5.0), (4.0, 1.0, 1.1), (0.3, 1.25, 1.25)], ids=["z", "x", "two coarse"]
)
def test_slices_far_apart_go_to_the_nearest_one(tmp_path, spacing):
    made = Made()
    ours, theirs = masks(tmp_path, made, scan(made, spacing=spacing))
    assert len(np.unique(theirs)) > 1
    assert (ours == theirs).mean() > 0.999


@pytest.mark.parametrize("codes", [None, "LAS"])
def test_a_scan_in_another_storage_order_is_turned_where_the_orientation_is_known(tmp_path, codes):
    made = Made()
    folder = make_folder(tmp_path, made)
    options = ImportOptions(orientation=codes)
    model = import_model("nnunet", folder, tmp_path / "model", options).model
    volume = scan(made)
    affine = volume.geometry.affine.copy()
    affine[:3, 0] *= -1
    affine[:3, 3] = volume.geometry.to_world((volume.geometry.shape[0] - 1, 0, 0))
    turned = Volume(volume.data[:, ::-1], Geometry(volume.geometry.shape, affine))
    one = segment(model, volume, precision="float32").labelmap.data
    other = segment(model, turned, precision="float32").labelmap.data[::-1]
    assert (np.array_equal(one, other)) is (codes is not None)


def test_labels_channels_and_origin_are_in_the_card(tmp_path):
    made = Made(
        labels=REGIONS,
        order=(1, 2),
        folds=("0", "1"),
        channels=("CT",),
        schemes=("CTNormalization",),
    )
    import_model("nnunet", make_folder(tmp_path, made), tmp_path / "model")
    model = load_model(tmp_path / "model")
    assert model.card.modality == "CT" and model.card.channels == ("CT",)
    assert model.labels.ignore == 3 and model.labels.channels == 2
    assert [region.name for region in model.labels.regions] == ["whole", "core"]
    assert sorted(model.card.weights) == ["fold_0.safetensors", "fold_1.safetensors"]
    assert model.card.provenance.config["nnunet"]["trainer"] == "nnUNetTrainer"
    assert model.card.name == "Dataset001_Test 3d_fullres"


def test_sides_are_dropped_where_nnunet_averaged_over_mirrors(tmp_path):
    labels = {"background": 0, "left kidney": 1, "right kidney": 2}
    mirrored = make_folder(tmp_path / "a", Made(labels=labels, mirrors=(0, 1, 2)))
    plain = make_folder(tmp_path / "b", Made(labels=labels))
    with_mirrors = import_model("nnunet", mirrored, tmp_path / "m")
    without = import_model("nnunet", plain, tmp_path / "n")
    assert {label.side for label in with_mirrors.model.labels.labels} == {"none"}
    assert any("without swapping left and right" in remark for remark in with_mirrors.remarks)
    assert {label.side for label in without.model.labels.labels} == {"left", "right"}


def test_chosen_folds_and_the_only_model_in_a_folder(tmp_path):
    make_folder(tmp_path / "Dataset001_Test", Made(folds=("0", "1", "all")))
    place = tmp_path / "Dataset001_Test"
    every = import_model("nnunet", place, tmp_path / "a").model
    chosen = import_model("nnunet", place, tmp_path / "b", ImportOptions(folds=("1",))).model
    assert sorted(every.card.weights) == ["fold_0.safetensors", "fold_1.safetensors"]
    assert list(chosen.card.weights.values()) == [every.card.weights["fold_1.safetensors"]]


ARCHITECTURE = {
    "network_class_name": "x.ResidualEncoderUNet",
    "arch_kwargs": {
        "n_stages": 2,
        "features_per_stage": [4, 6],
        "strides": [1, 2],
        "kernel_sizes": 3,
        "n_blocks_per_stage": 1,
        "n_conv_per_stage_decoder": 1,
        "norm_op": "x.InstanceNorm3d",
        "nonlin": "torch.nn.LeakyReLU",
    },
}


def architecture(**changes):
    kwargs = {**ARCHITECTURE["arch_kwargs"], **changes}
    return {"architecture": {**ARCHITECTURE, "arch_kwargs": kwargs}}


#: What is not known, and the word by which it is refused.
REFUSED = {
    "cascade": (Made(changes={"previous_stage": "3d_lowres"}), "cascade.*3d_lowres"),
    "normalisation": (Made(schemes=("MyNormalization",)), "normalisation.*MyNormalization"),
    "trainer": (Made(trainer="nnUNetTrainerMedNeXt"), "trainer.*nnUNetTrainerMedNeXt"),
    "reader": (Made(reader="NaturalImage2DIO"), "NaturalImage2DIO"),
    "preprocessor": (Made(changes={"preprocessor_name": "Mine"}), "Mine"),
    "resampling": (Made(changes={"resampling_fn_data": "mine"}), "data are resampled.*mine"),
    "network": (
        Made(changes={"architecture": {"network_class_name": "x.MyNet", "arch_kwargs": {}}}),
        "MyNet",
    ),
    "option": (Made(changes=architecture(squeeze_excitation=True)), "squeeze_excitation"),
    "block": (Made(changes=architecture(block="x.BottleneckD")), "BottleneckD"),
    "activation": (Made(changes=architecture(nonlin="torch.nn.GELU")), "GELU"),
    "norm": (Made(changes=architecture(norm_op="x.LayerNorm")), "LayerNorm"),
    "stride": (Made(changes=architecture(strides=[2, 2])), "before its first level"),
    "weights": (Made(changes=architecture()), "lacks a weight.*encoder.stem"),
    "regions": (Made(labels=REGIONS, order=(2, 1)), "regions are painted"),
    "no stages": (
        Made(changes={"architecture": {**ARCHITECTURE, "arch_kwargs": {}}}),
        "missing or cannot be used",
    ),
    "values": (Made(labels={"background": 0, "a": 1, "b": 4}), "not 1, 2, 3"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_known_is_refused_by_name(tmp_path, name):
    made, words = REFUSED[name]
    with pytest.raises(BadModel, match=words):
        import_model("nnunet", make_folder(tmp_path, made), tmp_path / "model")
    assert not (tmp_path / "model" / "model.yaml").exists()


def test_an_unknown_trainer_is_taken_where_the_user_vouches(tmp_path):
    folder = make_folder(tmp_path, Made(trainer="nnUNetTrainerMine"))
    import_model("nnunet", folder, tmp_path / "model", ImportOptions(any_trainer=True))
    assert load_model(tmp_path / "model").card.network.name == "unet"


@pytest.mark.parametrize(
    "trainer",
    [
        "nnUNetTrainer",
        "nnUNetTrainer_250epochs",
        "nnUNetTrainer_4000epochs_NoMirroring",
        "nnUNetTrainerNoMirroring",
        "nnUNetTrainerDA5",
        "nnUNetTrainerCELoss_5epochs",
    ],
)
def test_variants_that_change_training_alone_are_known(tmp_path, trainer):
    import_model("nnunet", make_folder(tmp_path, Made(trainer=trainer)), tmp_path / "model")


class Evil:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def test_a_checkpoint_that_would_run_code_is_refused_and_runs_none(tmp_path):
    folder = make_folder(tmp_path, Made())
    content = {**checkpoint(Made()), "extra": Evil(tmp_path / "ran")}
    torch.save(content, folder / "fold_0" / "checkpoint_final.pth")
    with pytest.raises(BadModel, match=r"asks to run code.*open"):
        import_model("nnunet", folder, tmp_path / "model")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"PK\x03\x04 cut short"])
def test_a_file_that_is_no_checkpoint_is_refused(tmp_path, content):
    folder = make_folder(tmp_path, Made())
    (folder / "fold_0" / "checkpoint_final.pth").write_bytes(content)
    with pytest.raises(BadModel, match=r"checkpoint_final\.pth"):
        import_model("nnunet", folder, tmp_path / "model")


def test_folders_that_are_no_model_are_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadModel, match=r"no plans\.json"):
        import_model("nnunet", tmp_path / "empty", tmp_path / "model")
    for part in ("a", "b"):
        make_folder(tmp_path / "two" / part, Made()).rename(tmp_path / "two" / f"{part}1")
    with pytest.raises(BadModel, match=r"several.*a1, b1"):
        import_model("nnunet", tmp_path / "two", tmp_path / "model")
    with pytest.raises(BadModel, match=r"found checkpoint_final\.pth"):
        import_model(
            "nnunet", tmp_path / "two" / "a1", tmp_path / "model", ImportOptions(checkpoint="best")
        )


def test_a_weight_without_a_place_is_refused(tmp_path):
    folder = make_folder(tmp_path, Made())
    content = checkpoint(Made())
    content["network_weights"] = {**weights(Made()), "encoder.extra.weight": torch.zeros(1)}
    torch.save(content, folder / "fold_0" / "checkpoint_final.pth")
    with pytest.raises(BadModel, match=r"no place.*encoder\.extra\.weight"):
        import_model("nnunet", folder, tmp_path / "model")


def test_configurations_inherit(tmp_path):
    made = Made()
    folder = make_folder(tmp_path, made)
    plans = json.loads((folder / "plans.json").read_text())
    plans["configurations"]["base"] = plans["configurations"]["3d_fullres"]
    plans["configurations"]["3d_fullres"] = {"inherits_from": "base", "spacing": [2.0, 2.0, 2.0]}
    (folder / "plans.json").write_text(json.dumps(plans))
    model = import_model("nnunet", folder, tmp_path / "model").model
    assert model.prepare.spacing_mm == (2.0, 2.0, 2.0)


def test_the_verb_writes_a_model_and_replaces_no_file_of_the_user(tmp_path, capsys):
    folder = make_folder(tmp_path, Made())
    words = ("import-model", "nnunet", folder, "--output", tmp_path / "model", "--folds", "0")
    assert run(*words) == 0
    assert "as they are stored" in capsys.readouterr().out
    assert run(*words) == 0
    (tmp_path / "model" / "model.yaml").write_text("mine")
    assert run(*words) != 0
    assert (tmp_path / "model" / "model.yaml").read_text() == "mine"
    assert run("import-model", "caffe", folder, "--output", tmp_path / "other") == 2
