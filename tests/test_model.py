"""A model folder is whole and all that segmenting needs; loading runs nothing from it."""

import hashlib
import re

import pytest
import safetensors.torch
import torch
import yaml

from medseg.config import Choice, InferConfig, NormaliseWindow, PostprocessRule, PrepareConfig
from medseg.errors import BadModel
from medseg.labels import LabelTable
from medseg.model import CARD, Fingerprint, ModelCard, Provenance, load_model, save_model, versions
from medseg.networks import build_network

KIDNEYS = LabelTable.from_card({"labels": {"left kidney": 1, "right kidney": 2}, "ignore": 255})
TUMOUR = LabelTable.from_card(
    {"labels": {"oedema": 1, "core": 2}, "regions": {"whole": [1, 2], "core": [2]}}
)


def card_of(dims=3, **changes):
    content = {
        "name": "kidneys",
        "modality": "CT",
        "channels": ("CT",),
        "labels": {},
        "dims": dims,
        "slice_axis": 2 if dims == 2 else None,
        "network": Choice(name="unet", options={"features": [4, 8]}),
        "prepare": PrepareConfig(
            spacing_mm=(1.5, 1.5, None), normalise=(NormaliseWindow(low=-160, high=240),)
        ),
        "infer": InferConfig(window=(16,) * dims, mirror_axes=(1,)),
        "postprocess": (PostprocessRule(rule="keep_largest", label="left kidney"),),
        "volume_ranges_ml": {"left kidney": (90.5, 210.0)},
        "fingerprint": Fingerprint(spacing_mm=((0.7, 0.9), (0.7, 0.9), (1.0, 5.0))),
        "provenance": Provenance(cohort="kidneys", seed=3, versions=versions()),
    }
    return ModelCard(**{**content, **changes})


def saved(folder, dims=3, labels=KIDNEYS, folds=("all",), **changes):
    card = card_of(dims, **changes)
    blank = {}
    for seed, fold in enumerate(folds):
        torch.manual_seed(seed)
        network = build_network(
            card.network.name,
            dims=dims,
            in_channels=len(card.channels),
            out_channels=labels.channels,
            options=card.network.options,
        )
        blank[fold] = network.state_dict()
    return save_model(folder / "model", card, labels, blank), blank


def edited(model, **changes):
    """The folder again, with keys of the card changed by hand."""
    path = model.folder / CARD
    content = yaml.safe_load(path.read_text()) | changes
    path.write_text(yaml.safe_dump(content))
    return model.folder


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("labels", [KIDNEYS, TUMOUR], ids=["labels", "regions"])
def test_a_saved_model_comes_back_as_it_was(tmp_path, dims, labels):
    postprocess = ()
    model, states = saved(tmp_path, dims, labels, postprocess=postprocess)
    again = load_model(model.folder)
    assert again.labels == labels
    assert again.card == model.card
    assert (again.dims, again.slice_axis) == (dims, 2 if dims == 2 else None)
    assert again.prepare == card_of().prepare
    assert again.infer == card_of(dims).infer
    assert again.volume_ranges_ml == {"left kidney": (90.5, 210.0)}
    (network,) = again.networks()
    assert not network.training
    for name, value in network.state_dict().items():
        assert torch.equal(value, states["all"][name]), name
    logits = network(torch.zeros(1, 1, *[16] * dims))
    assert logits.shape == (1, labels.channels, *[16] * dims)


def test_a_model_of_several_folds_gives_a_network_each(tmp_path):
    model, states = saved(tmp_path, folds=("fold_0", "fold_1"))
    networks = load_model(model.folder).networks()
    assert len(networks) == 2
    for network, state in zip(networks, states.values(), strict=True):
        name, value = next(iter(state.items()))
        assert torch.equal(network.state_dict()[name], value)


def test_the_card_is_plain_yaml_without_python_tags_or_pickles(tmp_path):
    model, _ = saved(tmp_path)
    text = (model.folder / CARD).read_text()
    assert "!!" not in text
    assert set(yaml.safe_load(text)) >= {"labels", "channels", "network", "prepare", "weights"}
    assert sorted(p.name for p in model.folder.rglob("*")) == [
        "all.safetensors",
        "model.yaml",
        "weights",
    ]


def test_a_tag_that_would_run_code_is_refused(tmp_path):
    model, _ = saved(tmp_path)
    path = model.folder / CARD
    path.write_text(path.read_text() + "\nnote: !!python/object/apply:os.system ['true']\n")
    with pytest.raises(BadModel, match="not YAML"):
        load_model(model.folder)


def test_altered_weights_are_refused(tmp_path):
    model, _ = saved(tmp_path)
    path = model.folder / "weights" / "all.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(BadModel, match=r"all\.safetensors: .*another checksum"):
        load_model(model.folder).networks()


def test_missing_weights_are_refused_before_any_work(tmp_path):
    model, _ = saved(tmp_path)
    (model.folder / "weights" / "all.safetensors").unlink()
    with pytest.raises(BadModel, match=r"missing; expected all\.safetensors"):
        load_model(model.folder)


@pytest.mark.parametrize("name", ["../all.safetensors", "/etc/passwd", "..", "", "a/b.safetensors"])
def test_weights_outside_the_folder_are_never_looked_at(tmp_path, name):
    model, _ = saved(tmp_path)
    weights = model.folder / "weights" / "all.safetensors"
    (model.folder / "all.safetensors").write_bytes(weights.read_bytes())
    folder = edited(model, weights={name: next(iter(model.card.weights.values()))})
    with pytest.raises(BadModel, match="missing"):
        load_model(folder)


def test_weights_that_do_not_fit_the_network_are_refused_in_one_line(tmp_path):
    model, _ = saved(tmp_path)
    folder = edited(model, network={"name": "unet", "options": {"features": [4, 8, 8]}})
    with pytest.raises(BadModel, match="do not fit") as refusal:
        load_model(folder).networks()
    assert "\n" not in str(refusal.value)


def test_weights_that_are_no_safetensors_are_refused(tmp_path):
    model, _ = saved(tmp_path)
    content = b"\x80\x04not a tensor in sight"
    (model.folder / "weights" / "all.safetensors").write_bytes(content)
    folder = edited(model, weights={"all.safetensors": hashlib.sha256(content).hexdigest()})
    with pytest.raises(BadModel, match="do not fit"):
        load_model(folder).networks()


BAD_CARDS = {
    "unknown key": ({"pocket": 1}, "unknown key 'pocket'"),
    "unknown format": ({"format": "medseg-model-9"}, "format"),
    "unknown network": ({"network": {"name": "vnet", "options": {}}}, "unknown network.*unet"),
    "unknown option": ({"network": {"name": "unet", "options": {"depth": 3}}}, "depth"),
    "no labels": ({"labels": {}}, "label table is empty"),
    "labels twice": ({"labels": {"a": 1, "b": 1}}, "occurs twice"),
    "no weights": ({"weights": {}}, "names no weights"),
}


@pytest.mark.parametrize(("changes", "problem"), BAD_CARDS.values(), ids=BAD_CARDS)
def test_a_card_that_cannot_be_used_is_refused_when_loaded(tmp_path, changes, problem):
    model, _ = saved(tmp_path)
    with pytest.raises(BadModel, match=problem) as refusal:
        load_model(edited(model, **changes))
    assert "\n" not in str(refusal.value)


def test_mirrors_that_training_did_not_show_are_refused_when_loaded(tmp_path):
    told = Provenance(config={"augment": {"mirror_axes": [1]}})
    model, _ = saved(tmp_path, provenance=told)
    assert load_model(model.folder).infer.mirror_axes == (1,)
    folder = edited(model, infer={"window": [16, 16, 16], "mirror_axes": [0, 1]})
    with pytest.raises(BadModel, match=r"not trained to see mirrored; found \[0\]"):
        load_model(folder)


def test_a_folder_without_a_card_is_no_model(tmp_path):
    with pytest.raises(BadModel, match="not a model folder"):
        load_model(tmp_path)


def test_a_folder_whose_writing_was_cut_short_is_no_model(tmp_path):
    model, _ = saved(tmp_path)
    (model.folder / CARD).unlink()  # the card comes last
    with pytest.raises(BadModel, match="not a model folder"):
        load_model(model.folder)


def test_the_identity_follows_weights_and_card(tmp_path):
    first, _ = saved(tmp_path / "a")
    same, _ = saved(tmp_path / "b")
    other_card, _ = saved(tmp_path / "c", name="other")
    assert re.fullmatch("[0-9a-f]{64}", first.checksum)
    assert first.checksum == same.checksum
    assert first.checksum != other_card.checksum
    weights = tmp_path / "d"
    model, states = saved(weights)
    for value in states["all"].values():
        value += 1e-3
    altered = save_model(weights / "again", card_of(), KIDNEYS, states)
    assert altered.checksum != model.checksum


def test_weights_saved_from_another_memory_order_are_the_same_file(tmp_path):
    _, states = saved(tmp_path)
    turned = {
        name: value.to(memory_format=torch.channels_last_3d) if value.ndim == 5 else value
        for name, value in states["all"].items()
    }
    plain = save_model(tmp_path / "plain", card_of(), KIDNEYS, states)
    other = save_model(tmp_path / "other", card_of(), KIDNEYS, {"all": turned})
    assert plain.card.weights == other.card.weights
    read = safetensors.torch.load_file(tmp_path / "other" / "weights" / "all.safetensors")
    assert all(torch.equal(read[name], value) for name, value in states["all"].items())
