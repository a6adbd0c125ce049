"""Maps of uncertainty are those of the whole computation, on the scan's grid, never held whole."""

import math
from dataclasses import replace

import nibabel
import numpy as np
import pytest
import torch

from medseg.config import InferConfig, LocateThreshold
from medseg.errors import BadOutput
from medseg.geometry import working_grid
from medseg.inference import Keeping, Segmenter
from medseg.inference.budget import UNLIMITED, plan_budget
from medseg.inference.forward_memory import Living
from medseg.inference.locate import whole_region
from medseg.inference.uncertainty import STEPS, UncertaintyMap
from medseg.scans import read
from medseg.transforms.resample import resample
from medseg.volume import NiftiForms
from tests.inference.models import LABELS, REGIONS, TinyModel, scan
from tests.inference.test_budget import CPU, DEMAND
from tests.inference.test_probabilities import INFER, SPACING, put_in_boxes, smooth
from tests.inference.whole import whole_logits
from tests.transforms.grids import NATIVE, grid

every_grid = pytest.mark.parametrize("native", NATIVE.values(), ids=NATIVE)
BOTH = ("entropy", "disagreement")

#: Half a step, a quarter for channels that were left out, and float32.
TOLERANCE = 0.75 / STEPS + 1e-6


def nats(shares, axis):
    """Entropy by its definition; 0 log 0 is 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return -np.where(shares > 0, shares * np.log(shares), 0).sum(axis)


def expected(measure, logits, labels):
    """Independently, of (M, K, X, Y, Z) float64 logits of each network on the scan's grid."""
    logits = np.asarray(logits)
    if measure == "entropy":
        logits = logits.mean(0, keepdims=True)
    if labels.regions:
        inside = 1 / (1 + np.exp(-logits))
        shares, most = np.stack([inside, 1 - inside], 2), math.log(2)  # (M, R, 2, X, Y, Z)
    else:
        powers = np.exp(logits - logits.max(1, keepdims=True))
        shares = (powers / powers.sum(1, keepdims=True))[:, None]
        most = math.log(logits.shape[1])
    value = nats(shares.mean(0), axis=1)
    if measure == "disagreement":
        value = value - nats(shares, axis=2).mean(0)
    return value.max(0) / most


def values(one):
    return np.concatenate(list(one._levels.planes(0)), axis=2) / STEPS


@every_grid
@pytest.mark.parametrize("labels", [LABELS, REGIONS], ids=["labels", "regions"])
def test_a_map_is_the_whole_computation_to_half_a_step(native, labels, tmp_path):
    working = working_grid(native, SPACING)
    members = torch.stack(
        [seed * smooth(labels.channels, working.shape) for seed in (1, -0.6, 0.2)]
    )
    whole = torch.stack([resample(one, working, native, antialias=False) for one in members])
    place = (whole_region(working, native), native, labels, tmp_path)
    with UncertaintyMap("entropy", *place) as entropy:
        put_in_boxes(entropy.put, members.mean(0))
        assert np.abs(values(entropy) - expected("entropy", whole, labels)).max() <= TOLERANCE
    with UncertaintyMap("disagreement", *place) as disagreement:
        put_in_boxes(disagreement.put_members, members)
        found, truth = values(disagreement), expected("disagreement", whole, labels)
        assert np.abs(found - truth).max() <= TOLERANCE
        assert 0.2 < truth.max() <= 1
        assert found.shape == native.shape
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "model",
    [
        TinyModel(folds=3, infer=INFER.model_copy(update={"mirror_axes": (0, 2)})),
        TinyModel(folds=2, labels=REGIONS, infer=INFER),
        TinyModel(folds=2, dims=2, slice_axis=2, infer=InferConfig(window=(12, 14), batch=5)),
    ],
    ids=["folds and mirrors", "regions", "2D"],
)
def test_a_scan_from_end_to_end_equals_whole_windows_of_every_network(model, tmp_path):
    """Whole logits by MONAI's sliding windows, entropies in numpy."""
    native = NATIVE["oblique"]
    volume = scan(native, seed=8)
    plain = Segmenter(model, precision="float64")(volume).labelmap.data
    result = Segmenter(model, precision="float64")(volume, keeping=Keeping(tmp_path, False, BOTH))
    assert np.array_equal(result.labelmap.data, plain)  # the mask is that of averaged logits
    logits = [whole_logits(replace_networks(model, [n]), volume) for n in range(model.folds)]
    for one in result.uncertainty:
        truth = expected(one.measure, np.stack(logits), model.labels)
        assert np.abs(values(one) - truth).max() <= TOLERANCE
        assert truth.max() > 0.3
        one.close()


def replace_networks(model, members):
    """The same model with some of its networks alone."""

    class Part(TinyModel):
        def networks(self, device="cpu"):
            networks = TinyModel(**vars(self) | {"folds": model.folds}).networks(device)
            return [networks[member] for member in members]

    return Part(**vars(model) | {"folds": len(members)})


def test_several_models_disagree_as_their_folds_would(tmp_path):
    volume, keeping = scan(NATIVE["axial LPS"], seed=4), Keeping(tmp_path, False, BOTH)
    folds = TinyModel(folds=2, infer=INFER)
    models = [replace_networks(folds, [0]), replace_networks(folds, [1])]
    apart = Segmenter(models)(volume, keeping=keeping).uncertainty
    together = Segmenter(folds)(volume, keeping=keeping).uncertainty
    for one, other in zip(apart, together, strict=True):
        assert np.array_equal(values(one), values(other))
        assert values(one).max() > 0.1


def test_networks_that_agree_do_not_disagree_however_unsure(tmp_path):
    twice = [TinyModel(infer=INFER), TinyModel(infer=INFER)]
    keeping = Keeping(tmp_path, False, BOTH)
    entropy, disagreement = Segmenter(twice)(scan(NATIVE["oblique"]), keeping=keeping).uncertainty
    assert values(entropy).max() > 0.3
    assert values(disagreement).max() <= 1 / STEPS


def test_probabilities_are_interpolated_where_the_mask_comes_from_them(tmp_path):
    native = NATIVE["oblique"]
    working = working_grid(native, SPACING)
    logits = smooth(LABELS.channels, working.shape)
    shares = resample(torch.softmax(logits, 0), working, native, antialias=False).numpy()
    place = (whole_region(working, native), native, LABELS, tmp_path)
    with UncertaintyMap("entropy", *place, of_probabilities=True) as one:
        put_in_boxes(one.put, logits)
        assert np.abs(values(one) - nats(shares, 0) / math.log(4)).max() <= TOLERANCE


@every_grid
def test_files_are_the_scans_twins(native, tmp_path):
    forms = NiftiForms(None, 0, (0.1, 0.2, 0.3, 4, 5, 6), 1, (1.0,) * 8, 2)
    volume = scan(native, seed=4, forms=forms if native is NATIVE["oblique"] else None)
    keeping = Keeping(tmp_path, False, BOTH)
    result = Segmenter(TinyModel(infer=INFER, folds=2))(volume, keeping=keeping)
    for one in result.uncertainty:
        (path,) = one.write(tmp_path / "out", "case", volume.origin)
        assert path == tmp_path / "out" / one.measure / "case.nii.gz"
        assert read(path).geometry.same_grid(native)
        stored = nibabel.load(path)
        assert stored.get_data_dtype() == np.uint16
        assert np.abs(stored.get_fdata() - values(one)).max() < 1e-6
        one.close()


def test_what_lies_outside_a_located_region_is_sure(tmp_path):
    volume = scan(grid((60, 40, 30)), seed=5)
    volume.data[:] -= 3000
    volume.data[:, 30:40, 20:30, 10:20] += 6000
    infer = INFER.model_copy(update={"locate": LocateThreshold(above=0, margin_mm=1)})
    keeping = Keeping(tmp_path, False, ("entropy",))
    (one,) = Segmenter(TinyModel(infer=infer))(volume, keeping=keeping).uncertainty
    assert values(one).shape == volume.geometry.shape
    assert not values(one)[:10].any()
    assert values(one).any()


@pytest.mark.parametrize("measure", BOTH)
def test_networks_x_labels_x_scan_are_never_held(measure, tmp_path):
    working, native = grid((51, 51, 51), (3, 3, 3)), grid((151, 151, 151))
    members = torch.stack([smooth(4, working.shape), smooth(4, working.shape).flip(0)])
    whole_bytes = members[:, 0].numel() // 51**3 * 4 * native.voxels * members.element_size()
    with Living() as living:
        one = UncertaintyMap(measure, whole_region(working, native), native, LABELS, tmp_path)
        put_in_boxes(one.put_members, members, thickness=25)
    assert one._levels.bytes_on_disk > native.voxels  # there was something to hold
    assert living.peak < whole_bytes / 4
    one.close()


def test_the_logits_of_every_network_are_foreseen():
    alone = plan_budget(DEMAND, batch=1, device=CPU, allowance=UNLIMITED)
    five = plan_budget(replace(DEMAND, members=5), batch=1, device=CPU, allowance=UNLIMITED)
    ratio = five.host["logits"] / alone.host["logits"]
    assert 4.8 < ratio < 5  # the weights are shared
    assert five.host["restoring"] > alone.host["restoring"]


def test_what_is_foreseen_is_told_before_the_first_window(tmp_path):
    told = []
    segmenter = Segmenter(TinyModel(folds=3, infer=INFER))
    volume = scan(NATIVE["axial LPS"])
    for measures in ((), ("entropy",), ("disagreement",)):
        keeping = Keeping(tmp_path, False, measures)
        for one in segmenter(volume, tell=told.append, keeping=keeping).uncertainty:
            one.close()
    plain, entropy, disagreement = (budget.host["logits"] for budget in told)
    assert plain == entropy < disagreement


def test_a_place_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").write_text("no folder")
    native = grid((4, 4, 4))
    with pytest.raises(BadOutput, match="uncertainty cannot be kept"):
        UncertaintyMap("entropy", whole_region(native, native), native, LABELS, tmp_path / "file")
