"""A MONAI bundle becomes a model that gives MONAI's masks, and nothing of the bundle is run."""

from __future__ import annotations

import json
import zipfile
from dataclasses import replace

import numpy as np
import pytest
import torch

from medseg.cli import run
from medseg.errors import BadConfig, BadModel
from medseg.export import export_model
from medseg.geometry import Geometry
from medseg.inference import segment
from medseg.labels import LabelTable
from medseg.model import load_model
from medseg.model_import import ImportOptions, import_model
from medseg.readers.labels import read_labels
from medseg.scans import read_channels
from medseg.volume import Volume
from medseg.writers.nifti import write_volume
from model_import.monai_bundle import BEFORE, WINDOW, configuration, make_bundle, predict

RAS = np.eye(3)
LPS = np.diag([-1.0, -1.0, 1.0])
SAGITTAL = np.array([[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]])
OBLIQUE = np.array([[-0.8, 0.6, 0.0], [0.6, 0.8, 0.0], [0.0, 0.0, -1.0]])

#: Directions of a scan's axes, and its spacing in mm.
SCANS = {
    "finer, stored the other way": (LPS, (0.8, 0.9, 1.1)),
    "oblique, head first": (OBLIQUE, (1.1, 1.3, 3.1)),
    "sagittal slices": (SAGITTAL, (1.0, 1.2, 2.5)),
    "coarser": (RAS, (2.9, 2.2, 4.0)),
    "as trained": (RAS, (1.5, 1.5, 2.0)),
}


def scan(folder, directions=LPS, spacing=(0.8, 0.9, 1.1), *, seed=1, name="scan"):
    """Smooth noise, smaller than a window along no axis but the last of a few."""
    shape, rng = (31, 29, 21), np.random.default_rng(seed)
    blobs = torch.from_numpy(rng.normal(size=(1, 1, 7, 7, 6)).astype(np.float32))
    smooth = torch.nn.functional.interpolate(blobs, shape, mode="trilinear")[0, 0].numpy()
    data = (300 + 200 * smooth + 15 * rng.normal(size=shape)).astype(np.float32)
    data[:4] = 0  # what was not scanned
    affine = np.eye(4)
    affine[:3, :3] = directions * np.array(spacing)
    affine[:3, 3] = (30, -12, 7)
    path = folder / f"{name}.nii.gz"
    write_volume(Volume(data[None], Geometry(shape, affine)), path)
    return path


def agreement(ours, theirs) -> float:
    """Share of the voxels that are foreground to either that both label alike."""
    foreground = (ours > 0) | (theirs > 0)
    shares = np.bincount(theirs.ravel(), minlength=3) / theirs.size
    assert foreground.mean() > 0.02 and shares.min() > 0, "the masks hold something to compare"
    return float((ours == theirs)[foreground].mean())


def compared(tmp_path, config, path, *, channels=1, yaml=False) -> float:
    folder = make_bundle(tmp_path / "bundle", config, channels=channels, yaml=yaml)
    model = import_model("bundle", folder, tmp_path / "model").model
    theirs = predict(folder, config, path)
    if isinstance(path, list):
        return agreement(segment(model, read_channels(path, ["a", "b"])).labelmap.data, theirs)
    return agreement(segment(model, path).labelmap.data, theirs)


@pytest.mark.parametrize("name", SCANS)
def test_masks_are_those_of_monai(tmp_path, name):
    assert compared(tmp_path, configuration(), scan(tmp_path, *SCANS[name])) >= 0.999


def changed(**changes):
    return {**configuration(), **changes}


def before(*steps):
    return {"_target_": "Compose", "transforms": [*steps]}


def after(*steps):
    return {"_target_": "Compose", "transforms": [*steps]}


def step(name, **arguments):
    return {"_target_": name, "keys": "image", **arguments}


ARGMAX = {"_target_": "AsDiscreted", "keys": "pred", "argmax": True}
INVERT = {
    "_target_": "Invertd",
    "keys": "pred",
    "transform": "@preprocessing",
    "orig_keys": "image",
    "nearest_interp": False,
}
NEAREST = {**INVERT, "nearest_interp": True}
SCORE = {"_target_": "NormalizeIntensityd", "keys": "image"}
SCALE = {"_target_": "ScaleIntensityd", "keys": "image"}
LARGEST = {
    "_target_": "KeepLargestConnectedComponentd",
    "keys": "pred",
    "applied_labels": [1],
    "is_onehot": False,
}
WIDE = {**configuration()["inferer"], "roi_size": [32, 32, 32]}  # four levels leave 2 voxels
NETS = {
    "DynUNet": {
        "_target_": "monai.networks.nets.DynUNet",
        "spatial_dims": 3,
        "in_channels": 1,
        "out_channels": 3,
        "kernel_size": [3, 3, 3],
        "strides": [1, 2, 2],
        "upsample_kernel_size": [2, 2],
        "filters": [4, 8, 16],
    },
    "SegResNet": {
        "_target_": "SegResNet",
        "in_channels": 1,
        "out_channels": 3,
        "init_filters": 8,
        "blocks_down": [1, 1],
        "blocks_up": [1],
    },
    "BasicUNet": {"_target_": "BasicUNet", "out_channels": 3, "features": [4, 4, 4, 4, 4, 4]},
    "SegResNetDS": {
        "_target_": "SegResNetDS",
        "in_channels": 1,
        "out_channels": 3,
        "init_filters": 8,
        "blocks_down": [1, 1],
        "dsdepth": 2,
    },
    "HighResNet": {
        "_target_": "HighResNet",
        "out_channels": 3,
        "layer_params": [
            {"name": "conv_0", "n_features": 4, "kernel_size": 3},
            {"name": "res_1", "n_features": 4, "kernels": [3, 3], "repeat": 1},
            {"name": "conv_1", "n_features": 6, "kernel_size": 1},
            {"name": "conv_2", "kernel_size": 1},
        ],
    },
    "UNETR": {
        "_target_": "UNETR",
        "in_channels": 1,
        "out_channels": 3,
        "img_size": [32, 32, 32],
        "feature_size": 4,
        "hidden_size": 12,
        "mlp_dim": 12,
        "num_heads": 2,
    },
    "AttentionUnet": {
        "_target_": "monai.networks.nets.attentionunet.AttentionUnet",
        "spatial_dims": 3,
        "in_channels": 1,
        "out_channels": 3,
        "channels": [4, 8],
        "strides": [2],
    },
}

LOAD, FIRST, TURN, SPACE = BEFORE[:4]

#: Changes of the configuration, each of something else.
KINDS = {
    **{name: {"network_def": network, "inferer": WIDE} for name, network in NETS.items()},
    "SwinUNETR": {
        "network_def": {
            "_target_": "SwinUNETR",
            "in_channels": 1,
            "out_channels": 3,
            "feature_size": 12,
            "depths": [1, 1, 1, 1],
            "num_heads": [1, 1, 1, 1],
        },
        "inferer": {**WIDE, "roi_size": [64, 32, 32]},  # five levels leave more than one voxel
    },
    "z-score": {
        "preprocessing": before(
            LOAD,
            FIRST,
            TURN,
            SPACE,
            {
                "_target_": "NormalizeIntensityd",
                "keys": "image",
                "nonzero": True,
                "channel_wise": True,
            },
        )
    },
    "z-score before resampling": {
        "preprocessing": before(
            LOAD, FIRST, TURN, {"_target_": "NormalizeIntensityd", "keys": "image"}, SPACE
        )
    },
    "percentiles": {
        "preprocessing": before(
            LOAD,
            FIRST,
            TURN,
            SPACE,
            {
                "_target_": "ScaleIntensityRangePercentilesd",
                "keys": "image",
                "lower": 2,
                "upper": 98,
                "b_min": 0.0,
                "b_max": 1.0,
                "clip": True,
            },
        )
    },
    "0 to 1": {
        "preprocessing": before(
            LOAD, FIRST, TURN, SPACE, {"_target_": "ScaleIntensityd", "keys": "image"}
        )
    },
    "-1 to 1": {"preprocessing": before(LOAD, FIRST, TURN, SPACE, {**WINDOW, "b_min": -1})},
    "one axis resampled": {
        "preprocessing": before(LOAD, FIRST, TURN, {**SPACE, "pixdim": [-1, -1, 2.0]}, WINDOW)
    },
    "nothing resampled": {
        "preprocessing": before(LOAD, FIRST, TURN, WINDOW),
        "postprocessing": after(ARGMAX, {**INVERT, "nearest_interp": True}),
    },
    "logits go back": {"postprocessing": after(INVERT, ARGMAX)},
    "labels go back": {"postprocessing": after(ARGMAX, NEAREST)},
    "z-score, then -1 to 1": {
        "preprocessing": before(LOAD, FIRST, TURN, SPACE, SCORE, {**SCALE, "minv": -1})
    },
    "z-score of what is not 0, then -1 to 1, as for whole bodies": {
        "preprocessing": before(
            LOAD, FIRST, TURN, SPACE, {**SCORE, "nonzero": True}, {**SCALE, "minv": -1}
        ),
        "postprocessing": after(ARGMAX, NEAREST),
    },
    "0 to 1, then z-score, as for prostates": {
        "preprocessing": before(LOAD, FIRST, TURN, SPACE, SCALE, SCORE)
    },
    "largest component": {"postprocessing": after(INVERT, ARGMAX, LARGEST)},
    "plain windows": {"inferer": {"_target_": "SlidingWindowInferer", "roi_size": [16, 16, 32]}},
    "expressions": {
        "high": True,
        "sizes": [1.5, 1.5, 2.0],
        "image": "$monai.utils.CommonKeys.IMAGE",
        "classes": ["liver", "spleen"],
        "network_def": {
            **configuration()["network_def"],
            "spatial_dims": "$len(@sizes)",
            "out_channels": "$len(@classes) + 1",
        },
        "first": [{**LOAD, "keys": "@image"}, FIRST, TURN],
        "rest": [
            {**SPACE, "pixdim": "$@sizes if @high else [3.0, 3.0, 3.0]", "mode": ["bilinear"]},
            WINDOW,
        ],
        "preprocessing": {"_target_": "Compose", "transforms": "$@first + @rest"},
    },
    "disabled": {
        "preprocessing": before(
            LOAD,
            FIRST,
            TURN,
            SPACE,
            WINDOW,
            {
                "_target_": "CropForegroundd",
                "keys": "image",
                "source_key": "image",
                "_disabled_": True,
            },
        )
    },
}


@pytest.mark.parametrize("name", KINDS)
def test_every_entry_of_the_tables_gives_the_masks_of_monai(tmp_path, name):
    assert compared(tmp_path, changed(**KINDS[name]), scan(tmp_path, OBLIQUE)) >= 0.999


@pytest.mark.parametrize("axis", [0, 2])
def test_slices_are_those_of_monai(tmp_path, axis):
    config = changed(
        network_def={**configuration()["network_def"], "spatial_dims": 2},
        inferer={"_target_": "SliceInferer", "roi_size": [16, 16], "spatial_dim": axis},
        preprocessing=before(LOAD, FIRST, step("ScaleIntensityd")),
        postprocessing=after(ARGMAX),
    )
    assert compared(tmp_path, config, scan(tmp_path, OBLIQUE)) >= 0.999


def painted(function):
    """Four steps after a network of three overlapping structures, widest first or not."""
    return after(
        {"_target_": "Activationsd", "keys": "pred", "sigmoid": True},
        {**INVERT, "nearest_interp": True},
        {"_target_": "AsDiscreted", "keys": "pred", "threshold": 0.5},
        {"_target_": "Lambdad", "keys": "pred", "func": function},
    )


NESTED = "torch.where(x[[2]] > 0, 4, torch.where(x[[0]] > 0, 1, torch.where(x[[1]] > 0, 2, 0)))"


def test_regions_are_painted_as_the_bundle_paints_them(tmp_path):
    config = changed(
        imports=[],
        preprocessing=before(LOAD, FIRST, WINDOW),
        postprocessing=painted(f"$lambda x: {NESTED}"),
    )
    path, folder = scan(tmp_path), make_bundle(tmp_path / "bundle", config)
    model = import_model("bundle", folder, tmp_path / "model").model
    assert [region.name for region in model.labels.regions] == ["liver", "background", "spleen"]
    assert model.labels.channel_values == (0, 2, 1, 4)
    theirs = predict(folder, {**config, "imports": ["$import torch"]}, path)
    ours = segment(model, path).labelmap.data
    foreground = (ours > 0) | (theirs > 0)
    assert set(np.unique(theirs)) == {0, 1, 2, 4}
    assert (ours == theirs)[foreground].mean() >= 0.999


@pytest.mark.parametrize(
    "function",
    [
        "$lambda x: torch.where(x[[2]] > 0, 4, 0)",
        "$lambda x: x.argmax(0)",
        "$lambda x: torch.where(x[[0]] > 0, __import__('os').getpid(), 0)",
        "@nothing",
    ],
)
def test_another_way_to_paint_is_refused(tmp_path, function):
    folder = make_bundle(tmp_path / "bundle")
    changes = changed(preprocessing=before(LOAD, FIRST, WINDOW), postprocessing=painted(function))
    (folder / "configs" / "inference.json").write_text(json.dumps(changes))
    with pytest.raises(BadModel, match=r"Lambdad of this function|not every channel"):
        import_model("bundle", folder, tmp_path / "model")


@pytest.mark.parametrize("packed", [False, True])
def test_weights_of_another_name_are_those_that_the_configuration_loads(tmp_path, packed):
    loader = {"_target_": "CheckpointLoader", "load_path": "$@bundle_root + '/models/' + @file"}
    config = changed(file="$'fine.pt' if @high else 'low.pt'", high=True, handlers=[loader])
    folder = make_bundle(tmp_path / "bundle", config)
    (folder / "models" / "model.pt").rename(folder / "models" / "fine.pt")
    path = folder
    if packed:
        path = tmp_path / "bundle.zip"
        with zipfile.ZipFile(path, "w") as archive:
            for file in folder.rglob("*.*"):
                archive.write(file, file.relative_to(tmp_path))
    assert import_model("bundle", path, tmp_path / "model").model.labels.values == (1, 2)


def test_two_channels_and_a_configuration_in_yaml(tmp_path):
    config = configuration()
    config["network_def"]["in_channels"] = 2
    config["preprocessing"]["transforms"][4] = {
        "_target_": "NormalizeIntensityd",
        "keys": "image",
        "channel_wise": True,
    }
    paths = [scan(tmp_path, seed=n, name=f"s_000{n}") for n in range(2)]
    assert compared(tmp_path, config, paths, channels=2, yaml=True) >= 0.999


def test_a_zip_is_read_and_the_verb_segments(tmp_path, capsys):
    folder = make_bundle(tmp_path / "organs")
    packed = tmp_path / "organs.zip"
    with zipfile.ZipFile(packed, "w") as archive:
        for file in folder.rglob("*.*"):
            archive.write(file, file.relative_to(tmp_path))
    (tmp_path / "scans").mkdir()
    path = scan(tmp_path / "scans")
    model, masks = tmp_path / "model", tmp_path / "masks"
    assert run("import-model", "bundle", packed, "--output", model) == 0
    scans = (tmp_path / "scans", "--executor", "inline")
    assert run("segment", model, *scans, "--output", masks) == 0
    theirs = predict(folder, configuration(), path)
    ours = read_labels(next(masks.rglob("scan*.nii.gz"))).data
    assert agreement(ours, theirs) >= 0.999


def test_labels_channels_and_origin_are_in_the_card(tmp_path):
    import_model("bundle", make_bundle(tmp_path / "bundle"), tmp_path / "model")
    model = load_model(tmp_path / "model")
    assert model.labels.names == ("liver", "spleen") and model.labels.values == (1, 2)
    assert model.card.channels == ("CT",) and model.card.modality == "CT"
    assert model.card.name == "Two organs"
    assert model.card.provenance.config["monai_bundle"]["version"] == "0.1.0"
    assert model.card.network.options["arguments"]["channels"] == [4, 8, 8]


def test_an_imported_network_exports_as_a_network_but_not_as_our_bundle(tmp_path):
    model = import_model("bundle", make_bundle(tmp_path / "bundle"), tmp_path / "model").model
    export_model(model, "torchscript", tmp_path / "out")
    assert list((tmp_path / "out").rglob("*.pt*"))
    with pytest.raises(BadModel, match=r"prepare\.resampling"):
        export_model(model, "bundle", tmp_path / "again")


def test_what_goes_back_to_the_scan_makes_a_difference(tmp_path):
    folder, path = make_bundle(tmp_path / "bundle"), scan(tmp_path, *SCANS["coarser"])
    model = import_model("bundle", folder, tmp_path / "model").model
    assert model.infer.restore == "probabilities"
    infer = model.infer.model_copy(update={"restore": "logits"})
    logits = replace(model, card=model.card.model_copy(update={"infer": infer}))
    one, other = segment(model, path), segment(logits, path)
    assert (one.labelmap.data != other.labelmap.data).mean() > 0.001


def test_probabilities_of_regions_do_not_go_back(tmp_path):
    model = import_model("bundle", make_bundle(tmp_path / "bundle"), tmp_path / "model").model
    regions = LabelTable.from_card(
        {"labels": {"a": 1, "b": 2, "c": 3}, "regions": {"x": [1, 2, 3], "y": [2, 3], "z": [3]}}
    )
    with pytest.raises(BadModel, match=r"infer\.restore"):
        segment(replace(model, labels=regions), scan(tmp_path))


def inferer(**changes):
    return {"inferer": {**configuration()["inferer"], **changes}}


def network(**changes):
    return {"network_def": {**configuration()["network_def"], **changes}}


#: Changes of the configuration, and the words by which each is refused.
REFUSED = {
    "transform": (
        {"preprocessing": before(*BEFORE, step("CropForegroundd", source_key="image"))},
        r"inference\.json.*preprocessing: CropForegroundd",
    ),
    "own transform": ({"preprocessing": before(*BEFORE, step("scripts.Mine"))}, r"scripts\.Mine"),
    "two intensities": (
        {"preprocessing": before(*BEFORE, step("ScaleIntensityd"))},
        "ScaleIntensityd after another transform of intensities",
    ),
    "intensities on two grids": (
        {"preprocessing": before(LOAD, FIRST, TURN, SCORE, SPACE, SCALE)},
        "ScaleIntensityd after Spacingd and another one before it",
    ),
    "turned range": (
        {"preprocessing": before(LOAD, FIRST, TURN, SPACE, {**SCALE, "minv": 2})},
        "cannot be used.*target goes from low to high",
    ),
    "no clip": (
        {"preprocessing": before(LOAD, FIRST, TURN, SPACE, {**WINDOW, "clip": False})},
        "does not clip",
    ),
    "cubic": (
        {"preprocessing": before(LOAD, FIRST, TURN, {**SPACE, "mode": 3}, WINDOW)},
        "Spacingd with this mode",
    ),
    "order": ({"preprocessing": before(LOAD, FIRST, SPACE, TURN, WINDOW)}, "after Spacingd"),
    "argument": (
        {"preprocessing": before(LOAD, FIRST, TURN, {**SPACE, "new": 1}, WINDOW)},
        "not known here.*new",
    ),
    "labels between": ({"postprocessing": after(ARGMAX, INVERT)}, "gives numbers between them"),
    "largest first, as for prostates": (
        {"postprocessing": after(ARGMAX, LARGEST, NEAREST)},
        "KeepLargestConnectedComponentd before the mask is on the scan's own grid",
    ),
    "no way back": ({"postprocessing": after(ARGMAX)}, "no Invertd"),
    "no argmax": ({"postprocessing": after(INVERT)}, "no AsDiscreted"),
    "nothing after": ({"postprocessing": after()}, r"inference\.json.*no AsDiscreted"),
    "sigmoid": (
        {
            "postprocessing": after(
                {"_target_": "Activationsd", "keys": "pred", "sigmoid": True}, INVERT, ARGMAX
            )
        },
        "this sigmoid",
    ),
    "post": (
        {"postprocessing": after(INVERT, ARGMAX, {"_target_": "FillHolesd", "keys": "pred"})},
        "postprocessing: FillHolesd",
    ),
    "inferer": ({"inferer": {"_target_": "SimpleInferer"}}, "SimpleInferer"),
    "padding": (inferer(padding_mode="reflect"), "padding_mode reflect"),
    "sigma": (inferer(sigma_scale=0.25), "sigma_scale"),
    "whole": (inferer(roi_size=[0, 16, 16]), "roi_size"),
    "network": (network(_target_="monai.networks.nets.SENet"), "SENet"),
    "switched off": (network(_disabled_="true"), "switched off"),
    "own network": (network(_target_="scripts.UNet"), r"scripts\.UNet"),
    "expression": (network(act="$torch.nn.ReLU"), r"UNet\.act is an expression"),
    "object": (network(act={"_target_": "torch.nn.ReLU"}), r"UNet\.act is an object"),
    "channels": (network(in_channels=4), r"in_channels does not fit"),
    "classes": (network(out_channels=5), r"out_channels does not fit"),
    "dimensions": (network(spatial_dims=2), r"spatial_dims does not fit"),
    "lost": (inferer(overlap="@nowhere"), "nowhere"),
    "circle": ({"a": "@b", "b": "@a", **inferer(overlap="@a")}, "refers to itself"),
    "other file": (inferer(overlap="%other.json#overlap"), "is an expression"),
    "doubling": (
        {f"a{n}": [f"@a{n + 1}"] * 2 for n in range(40)} | {"a40": 1} | inferer(overlap="@a0"),
        "more references",
    ),
    "endless": (inferer(roi_size=[float("inf"), 16, 16]), "cannot be used"),
    "text": (inferer(roi_size=["a", 16, 16]), "cannot be used"),
    "turned percentiles": (
        {
            "preprocessing": before(
                LOAD,
                FIRST,
                TURN,
                SPACE,
                step(
                    "ScaleIntensityRangePercentilesd",
                    lower=98,
                    upper=2,
                    b_min=0,
                    b_max=1,
                    clip=True,
                ),
            )
        },
        "cannot be used.*must be above",
    ),
    "no list": ({"preprocessing": {"_target_": "Compose", "transforms": 3}}, "no list"),
    "no inferer": ({"inferer": None}, "inferer is no component"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_known_is_refused_by_name(tmp_path, name):
    changes, words = REFUSED[name]
    folder = make_bundle(tmp_path / "bundle")
    (folder / "configs" / "inference.json").write_text(json.dumps(changed(**changes)))
    with pytest.raises(BadModel, match=words):
        import_model("bundle", folder, tmp_path / "model")
    assert not (tmp_path / "model" / "model.yaml").exists()


@pytest.mark.parametrize("where", ["network", "roi_size", "pixdim", "imports", "other"])
def test_no_expression_is_ever_run(tmp_path, where):
    evil = f"$__import__('os').system('touch {tmp_path / 'ran'}')"
    config = configuration()
    match where:
        case "network":
            config["network_def"]["act"] = evil
        case "roi_size":
            config["inferer"]["roi_size"] = evil
        case "pixdim":
            config["preprocessing"]["transforms"][3]["pixdim"] = evil
        case "imports":
            config["imports"] = [evil]
        case "other":
            config["datalist"] = evil
    folder = make_bundle(tmp_path / "bundle")
    (folder / "configs" / "inference.json").write_text(json.dumps(config))
    if where in ("imports", "other"):  # what nothing needs is not looked at
        import_model("bundle", folder, tmp_path / "model")
    else:
        with pytest.raises(BadModel, match="is an expression, and none are run"):
            import_model("bundle", folder, tmp_path / "model")
    assert not (tmp_path / "ran").exists()


class Evil:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def test_weights_that_are_a_program_or_do_not_fit_are_refused(tmp_path):
    folder = make_bundle(tmp_path / "bundle")
    path = folder / "models" / "model.pt"
    state = torch.load(path, weights_only=True)

    def refused(content, words):
        torch.save(content, path)
        with pytest.raises(BadModel, match=words):
            import_model("bundle", folder, tmp_path / "model")

    refused({**state, "more": Evil(tmp_path / "ran")}, "asks to run code.*open")
    assert not (tmp_path / "ran").exists()
    refused({**state, "more": torch.zeros(1)}, "without a place.*more")
    refused(dict(list(state.items())[1:]), "lacks weights")
    key = next(iter(state))
    refused({**state, key: torch.zeros(2)}, "another size")
    refused({**state, "epoch": 3}, "not a state dict.*epoch")
    path.rename(path.with_suffix(".ts"))
    with pytest.raises(BadModel, match=r"model\.ts.*TorchScript"):
        import_model("bundle", folder, tmp_path / "model")
    path.with_suffix(".ts").unlink()
    with pytest.raises(BadModel, match="no weights"):
        import_model("bundle", folder, tmp_path / "model")


def test_a_zip_that_is_damaged_or_claims_too_much_is_refused(tmp_path, monkeypatch):
    folder = make_bundle(tmp_path / "bundle")
    packed = tmp_path / "bundle.zip"
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(folder.rglob("*.*")):
            archive.write(path, path.relative_to(tmp_path))
    monkeypatch.setattr("medseg.readers.limits.HARMLESS_BYTES", 100)
    monkeypatch.setattr("medseg.readers.limits.MOST_EXPANSION", 0)
    with pytest.raises(BadModel, match="far more than its size"):
        import_model("bundle", packed, tmp_path / "model")
    monkeypatch.undo()
    with zipfile.ZipFile(packed) as archive:
        first = archive.infolist()[0]
    content = bytearray(packed.read_bytes())
    start = first.header_offset + 30 + len(first.filename)
    content[start : start + 8] = b"\xff" * 8
    packed.write_bytes(content)
    with pytest.raises(BadModel, match="neither a folder nor a zip"):
        import_model("bundle", packed, tmp_path / "model")


def test_all_weights_of_a_zip_together_have_one_limit(tmp_path, monkeypatch):
    """Without models/model.pt every state dict may be the one that the configuration loads."""
    folder = make_bundle(tmp_path / "bundle")
    weights = (folder / "models" / "model.pt").read_bytes()
    (folder / "models" / "model.pt").unlink()
    packed = tmp_path / "bundle.zip"
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(folder.rglob("*.*")):
            archive.write(path, path.relative_to(tmp_path))
        for number in range(3):
            archive.writestr(f"bundle/models/{number}.pt", weights)
    monkeypatch.setattr("medseg.readers.limits.HARMLESS_BYTES", 2 * len(weights))
    monkeypatch.setattr("medseg.readers.limits.MOST_EXPANSION", 0)
    with pytest.raises(BadModel, match="far more than its size"):
        import_model("bundle", packed, tmp_path / "model")


def test_a_wrapped_state_dict_is_taken(tmp_path):
    folder = make_bundle(tmp_path / "bundle")
    path = folder / "models" / "model.pt"
    state = torch.load(path, weights_only=True)
    torch.save({"model": {f"module.{key}": t for key, t in state.items()}, "epoch": 3}, path)
    model = import_model("bundle", folder, tmp_path / "model").model
    key, value = next(iter(state.items()))
    assert torch.equal(model.networks()[0].state_dict()[f"network.{key}"], value)


def test_options_that_do_not_fit_are_refused(tmp_path):
    folder = make_bundle(tmp_path / "bundle")
    with pytest.raises(BadModel, match="--orientation is not the bundle's; found LPS"):
        import_model("bundle", folder, tmp_path / "model", ImportOptions(orientation="LPS"))
    with pytest.raises(BadConfig, match=r"folds.*are for nnunet"):
        import_model("bundle", folder, tmp_path / "model", ImportOptions(folds=("0",)))


def test_places_that_are_no_bundle_are_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadModel, match=r"no configs/metadata\.json"):
        import_model("bundle", tmp_path / "empty", tmp_path / "model")
    (tmp_path / "no.zip").write_bytes(b"PK\x03\x04")
    with pytest.raises(BadModel, match="neither a folder nor a zip"):
        import_model("bundle", tmp_path / "no.zip", tmp_path / "model")
    folder = make_bundle(tmp_path / "bundle")
    (folder / "configs" / "metadata.json").write_text("{}")
    with pytest.raises(BadModel, match="does not describe one image"):
        import_model("bundle", folder, tmp_path / "model")


def test_a_bundle_that_turns_nothing_is_turned_where_the_orientation_is_known(tmp_path):
    config = changed(preprocessing=before(LOAD, FIRST, WINDOW), postprocessing=after(ARGMAX))
    folder = make_bundle(tmp_path / "bundle", config)
    plain = import_model("bundle", folder, tmp_path / "a")
    turned = import_model("bundle", folder, tmp_path / "b", ImportOptions(orientation="RAS"))
    assert "as they are stored" in plain.remarks[0] and not turned.remarks
    path = scan(tmp_path)
    assert (
        agreement(segment(plain.model, path).labelmap.data, predict(folder, config, path)) >= 0.999
    )
    config["preprocessing"] = before(LOAD, FIRST, TURN, WINDOW)
    config["postprocessing"] = after(ARGMAX, INVERT)
    assert (
        agreement(segment(turned.model, path).labelmap.data, predict(folder, config, path)) >= 0.999
    )
