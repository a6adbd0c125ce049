"""Probabilities on disk are those of the whole computation, on the scan's grid."""

import nibabel
import numpy as np
import pytest
import torch

from medseg.config import InferConfig, LocateThreshold
from medseg.errors import BadOutput
from medseg.inference import Keeping, Segmenter
from medseg.inference.forward_memory import Living
from medseg.inference.locate import whole_region
from medseg.inference.probabilities import STEPS, Probabilities, file_stems
from medseg.scans import read
from medseg.transforms.resample import resample
from medseg.volume import NiftiForms, Origin
from tests.inference.models import LABELS, REGIONS, TinyModel, scan
from tests.transforms.grids import NATIVE, grid

INFER = InferConfig(window=(12, 10, 14), batch=3)
SPACING = (1.3, 1.4, 1.5)
every_grid = pytest.mark.parametrize("native", NATIVE.values(), ids=NATIVE)


def smooth(channels, shape, spread=4.0):
    coarse = torch.randn(
        1,
        channels,
        *(max(2, n // 4) for n in shape),
        dtype=torch.float64,
        generator=torch.Generator().manual_seed(3),
    )
    fine = torch.nn.functional.interpolate(coarse, size=shape, mode="trilinear", align_corners=True)
    return spread * fine[0]


def put_in_boxes(put, logits, thickness=7):
    """Boxes along the first axis that share a layer, as the stitcher hands them over."""
    size = logits.shape[-3]
    for low in range(0, max(1, size - 1), thickness):
        put(logits[..., low : min(size, low + thickness + 1), :, :], (low, 0, 0))


@every_grid
@pytest.mark.parametrize("labels", [LABELS, REGIONS], ids=["labels", "regions"])
def test_what_is_kept_is_the_whole_computation_to_half_a_step(native, labels, tmp_path):
    from medseg.geometry import working_grid

    working = working_grid(native, SPACING)
    logits = smooth(labels.channels, working.shape)
    whole = resample(logits, working, native, antialias=False)
    expected = torch.sigmoid(whole) if labels.regions else torch.softmax(whole, 0)[1:]
    with Probabilities(whole_region(working, native), native, labels, tmp_path) as kept:
        put_in_boxes(kept.put, logits)
        assert len(kept.names) == len(expected)
        for name, share in zip(kept.names, expected.numpy(), strict=True):
            found = np.concatenate(list(kept.planes(name)), axis=2) / STEPS
            assert found.shape == native.shape
            assert np.abs(found - share).max() <= 0.52 / STEPS  # half a step, and what is unseen
    assert not list(tmp_path.iterdir())


def test_air_that_is_surely_background_takes_no_place(tmp_path):
    native = grid((40, 40, 40))
    logits = torch.zeros(4, 40, 40, 40)
    logits[0] = 30
    logits[1, :5, :5, :5] = 60
    kept = Probabilities(whole_region(native, native), native, LABELS, tmp_path)
    put_in_boxes(kept.put, logits)
    assert 0 < kept.bytes_on_disk < 3 * 40 * 40 * 40 / 10
    assert sum(plane.sum() for plane in kept.planes("liver")) == STEPS * 125
    assert not any(plane.any() for plane in kept.planes("right kidney"))


@every_grid
def test_files_are_the_scans_twins_and_agree_with_the_mask(native, tmp_path):
    forms = NiftiForms(None, 0, (0.1, 0.2, 0.3, 4, 5, 6), 1, (1.0,) * 8, 2)
    volume = scan(native, seed=4, forms=forms if native is NATIVE["oblique"] else None)
    result = Segmenter(TinyModel(infer=INFER))(
        volume, keeping=Keeping(tmp_path, probabilities=True)
    )
    paths = result.probabilities.write(tmp_path / "out", "case", volume.origin)
    result.probabilities.close()
    assert [path.name for path in paths] == [
        "case_prob_liver.nii.gz",
        "case_prob_left_kidney.nii.gz",
        "case_prob_right_kidney.nii.gz",
    ]
    shares = []
    for path in paths:
        assert read(path).geometry.same_grid(native)
        shares.append(nibabel.load(path).get_fdata())
    values = np.array([0, *LABELS.values])
    background = 1 - sum(shares)
    decided = values[np.argmax([background, *shares], axis=0)]
    assert (decided == result.labelmap.data).mean() > 0.995  # ties within a step


def test_outside_a_located_region_nothing_is_likely(tmp_path):
    volume = scan(grid((60, 40, 30)), seed=5)
    volume.data[:] -= 3000
    volume.data[:, 30:40, 20:30, 10:20] += 6000
    infer = INFER.model_copy(update={"locate": LocateThreshold(above=0, margin_mm=1)})
    result = Segmenter(TinyModel(infer=infer))(
        volume, keeping=Keeping(tmp_path, probabilities=True)
    )
    for name in LABELS.names:
        share = np.concatenate(list(result.probabilities.planes(name)), axis=2)
        assert share.shape == volume.geometry.shape
        assert not share[:10].any()
        most = share == STEPS
        value = LABELS.value_of(name)
        assert (result.labelmap.data[most] == value).all()
        assert most.any()


def test_interpolating_never_holds_labels_times_scan(tmp_path):
    working, native = grid((51, 51, 51), (3, 3, 3)), grid((151, 151, 151))
    logits = smooth(4, working.shape)
    whole_bytes = 4 * native.voxels * logits.element_size()
    with Living() as living:
        kept = Probabilities(whole_region(working, native), native, LABELS, tmp_path)
        put_in_boxes(kept.put, logits, thickness=25)
    for path in kept.write(tmp_path / "out", "case", Origin()):
        assert path.is_file()
    assert kept.bytes_on_disk > native.voxels  # there was something to hold
    assert living.peak < whole_bytes / 4


def test_names_become_file_names():
    assert file_stems(["left kidney", "left/kidney", "µ", "Liver", "liver"]) == [
        "left_kidney",
        "left_kidney_2",
        "label",
        "Liver",
        "liver_2",
    ]


def test_a_place_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").write_text("no folder")
    native = grid((4, 4, 4))
    with pytest.raises(BadOutput, match="cannot be kept on disk"):
        Probabilities(whole_region(native, native), native, LABELS, tmp_path / "file")
