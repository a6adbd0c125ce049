"""The streamed mask is the whole-volume one, and every promise about it holds."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from medseg.config import InferConfig, PostprocessRule, PrepareConfig
from medseg.errors import BadModel, BadScan
from medseg.geometry import Alignment
from medseg.inference import Segmenter, segment
from medseg.labels import LabelTable
from medseg.volume import NiftiForms
from tests.inference.models import LABELS, REGIONS, TinyModel, scan
from tests.inference.whole import class_by_class, whole_volume
from tests.transforms.grids import NATIVE, grid

WINDOW = InferConfig(window=(12, 10, 14), batch=3)
SPACING = (1.3, 1.4, 1.5)
MODELS = {
    "3D": TinyModel(infer=WINDOW),
    "constant weights, no overlap": TinyModel(
        infer=InferConfig(window=(12, 10, 14), overlap=0.0, weighting="constant")
    ),
    "mirrors": TinyModel(infer=InferConfig(window=(12, 10, 14), mirror_axes=(0, 2))),
    "folds": TinyModel(folds=3, infer=WINDOW),
    "regions": TinyModel(labels=REGIONS, infer=WINDOW),
    "native spacing": TinyModel(prepare=PrepareConfig(), infer=WINDOW),
    "aligned edges": TinyModel(
        prepare=PrepareConfig(spacing_mm=SPACING, alignment=Alignment.EDGES), infer=WINDOW
    ),
    "two channels": TinyModel(channels_in=2, infer=WINDOW),
    "2D": TinyModel(dims=2, slice_axis=2, infer=InferConfig(window=(12, 14), batch=5)),
    "2D sagittal, mirrors": TinyModel(
        dims=2, slice_axis=0, infer=InferConfig(window=(10, 14), mirror_axes=(1,))
    ),
}
every_model = pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
every_grid = pytest.mark.parametrize("native", NATIVE.values(), ids=NATIVE)


@every_grid
@every_model
def test_equals_the_whole_volume_exactly_in_float64(model, native):
    volume = scan(native, model.channels_in, seed=1)
    expected, _, spread = whole_volume(model, volume, torch.float64)
    assert spread >= 5
    result = segment(model, volume, precision="float64").labelmap
    assert len(np.unique(expected)) >= 3
    assert np.array_equal(result.data, expected)


@every_grid
@every_model
def test_differs_in_float32_only_at_ties(model, native):
    volume = scan(native, model.channels_in, seed=2)
    expected, margin, _ = whole_volume(model, volume, torch.float32)
    result = segment(model, volume, precision="float32").labelmap.data
    wrong = result != expected
    assert wrong.mean() <= 1e-5
    assert margin[wrong].max(initial=0) < 1e-3


@every_grid
def test_the_reference_for_scans_too_large_for_memory_is_the_same(native, tmp_path):
    model, volume = MODELS["3D"], scan(native, seed=2)
    expected, margin, _ = whole_volume(model, volume, torch.float64)
    mask, apart = class_by_class(model, volume, tmp_path)
    wrong = mask != expected
    assert wrong.mean() <= 1e-4  # float32 beside float64
    assert margin[wrong].max(initial=0) < 1e-3
    assert np.allclose(apart, margin, atol=1e-2)


@pytest.mark.slow
@pytest.mark.parametrize("model", [MODELS["3D"], MODELS["mirrors"]], ids=["3D", "mirrors"])
def test_a_larger_scan_differs_on_few_voxels_and_only_at_ties(model):
    volume = scan(grid((96, 88, 120), (0.8, 0.8, 1.0), "LPS", degrees=13), seed=3)
    expected, margin, _ = whole_volume(model, volume, torch.float32)
    wrong = segment(model, volume, precision="float32").labelmap.data != expected
    assert wrong.mean() <= 1e-5
    assert margin[wrong].max(initial=0) < 1e-3


def test_several_models_are_averaged_as_logits():
    volume = scan(NATIVE["oblique"], seed=4)
    folds = TinyModel(folds=2, infer=WINDOW)

    class Second(TinyModel):
        def networks(self, device="cpu"):
            return folds.networks(device)[1:]

    apart = segment([TinyModel(infer=WINDOW), Second(infer=WINDOW)], volume)
    assert np.array_equal(apart.labelmap.data, segment(folds, volume).labelmap.data)


def test_the_mask_is_the_scans_twin():
    native = NATIVE["sagittal first"]
    forms = NiftiForms(None, 0, (0.1, 0.2, 0.3, 4, 5, 6), 1, (1.0,) * 8, 2)
    result = segment(MODELS["3D"], scan(native, forms=forms, warnings=("odd qform",)))
    assert result.labelmap.geometry is native
    assert result.labelmap.origin.forms is forms
    assert result.labelmap.data.dtype == np.uint8
    assert result.labelmap.labels is LABELS
    assert result.warnings == ("odd qform",)
    for name in LABELS.names:
        voxels = (result.labelmap.data == LABELS.value_of(name)).sum()
        assert result.volumes_ml[name] == pytest.approx(voxels * native.voxel_ml)
    assert set(result.confidence) <= set(LABELS.names)
    assert all(0 <= value <= 1 for value in result.confidence.values())


def test_sharper_logits_are_more_confident():
    class Vague(TinyModel):
        def networks(self, device="cpu"):
            networks = super().networks(device)
            for network in networks:
                network.scale = 0.5
            return networks

    volume = scan(NATIVE["axial LPS"], seed=5)
    sharp = segment(MODELS["3D"], volume).confidence
    vague = segment(Vague(infer=WINDOW), volume).confidence
    assert all(sharp[name] > vague[name] + 0.1 for name in LABELS.names)


def test_empty_windows_become_background_without_asking():
    native = grid((40, 40, 60))
    volume = scan(native, seed=6)
    volume.data[:, :, :, 30:] = -1000
    asked = []

    class Counting(TinyModel):
        def networks(self, device="cpu"):
            networks = super().networks(device)
            networks[0].register_forward_hook(lambda n, args, out: asked.append(len(args[0])))
            return networks

    infer = InferConfig(window=(12, 10, 14), skip_below=-900)
    model = Counting(infer=infer, prepare=PrepareConfig())
    skipped = segment(model, volume)
    few = sum(asked)
    asked.clear()
    everything = segment(model, volume, all_windows=True)
    assert few < 0.8 * sum(asked)
    assert (skipped.labelmap.data[..., 52:] == 0).all()
    assert (everything.labelmap.data[..., 52:] != 0).any()
    assert np.array_equal(skipped.labelmap.data[..., :22], everything.labelmap.data[..., :22])


def test_a_scan_of_air_is_all_background():
    volume = scan(grid((20, 20, 20)))
    volume.data[:] = -1024
    model = TinyModel(infer=InferConfig(window=(12, 10, 14), skip_below=-900))
    result = segment(model, volume)
    assert not result.labelmap.data.any()
    assert result.confidence == {}


def test_voxels_of_zero_in_every_channel_are_background_where_the_model_says_so():
    volume = scan(grid((20, 18, 16)), channels=2)
    volume.data[:, 5:9] = 0
    volume.data[0, 12:15] = 0
    base = TinyModel(infer=WINDOW, channels_in=2)
    free = segment(base, volume).labelmap.data
    bound = segment(replace(base, infer=WINDOW.model_copy(update={"zeros": "background"})), volume)
    empty = (volume.data == 0).all(axis=0)
    assert free[empty].any() and not bound.labelmap.data[empty].any()
    assert np.array_equal(free[~empty], bound.labelmap.data[~empty])


def test_rules_of_the_model_are_applied():
    rule = PostprocessRule(rule="keep_largest", label="liver")
    volume = scan(NATIVE["axial LPS"], seed=7)
    plain = segment(MODELS["3D"], volume)
    clean = segment(TinyModel(infer=WINDOW, postprocess=(rule,)), volume)
    assert 0 < clean.volumes_ml["liver"] < plain.volumes_ml["liver"]
    assert clean.volumes_ml["left kidney"] == plain.volumes_ml["left kidney"]


def test_progress_ends_at_all_windows_and_the_budget_is_told():
    seen, told = [], []
    segmenter = Segmenter(MODELS["3D"])
    segmenter(scan(NATIVE["axial LPS"]), progress=lambda *at: seen.append(at), tell=told.append)
    done, total = seen[-1]
    assert done == total > 1
    assert [at for at, _ in seen] == sorted(at for at, _ in seen)
    assert "predicted peak" in told[0].describe()


ONE_KIDNEY = LabelTable.from_card({"labels": {"left kidney": 1, "liver": 2}})


LEFT_RIGHT = InferConfig(window=(8, 8, 8), mirror_axes=("left-right",))


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (TinyModel(labels=ONE_KIDNEY, infer=LEFT_RIGHT), "no partner"),
        (TinyModel(dims=2, infer=InferConfig(window=(8, 8))), "which axis it slices"),
        (TinyModel(infer=InferConfig()), "how large its windows are"),
        (
            TinyModel(dims=2, slice_axis=2, infer=InferConfig(window=(8, 8), mirror_axes=(2,))),
            "does not see",
        ),
    ],
)
def test_contradictions_of_a_model_are_refused(model, said):
    with pytest.raises(BadModel, match=said):
        segment(model, scan(grid((12, 12, 12))))


def test_models_that_differ_are_no_ensemble():
    other = TinyModel(infer=InferConfig(window=(8, 8, 8)))
    with pytest.raises(BadModel, match="agree on infer"):
        Segmenter([MODELS["3D"], other])


def test_a_scan_with_other_channels_is_refused():
    with pytest.raises(BadScan, match=r"channels do not fit.*found 2, expected 1"):
        segment(MODELS["3D"], scan(NATIVE["oblique"], channels=2))


def test_logits_that_are_not_finite_are_refused():
    class Broken(TinyModel):
        def networks(self, device="cpu"):
            networks = super().networks(device)
            networks[0].scale = float("nan")
            return networks

    with pytest.raises(BadModel, match="not finite"):
        segment(Broken(infer=WINDOW), scan(NATIVE["oblique"]))
