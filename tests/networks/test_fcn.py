"""An FCN is a classifier slid over the image; finer ones start as the coarser one."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from medseg.errors import BadConfig
from medseg.networks import build_network
from medseg.networks.classifier import Classifier, convolutionalise
from medseg.networks.fcn import FCNOptions

SMALL = {"features": (2, 2, 3, 3, 4), "convs_per_stage": (1, 1, 1, 1, 1), "head_features": 8}


def fcn(name: str, seed: int, dims: int = 2, **options: object) -> nn.Module:
    torch.manual_seed(seed)
    given = {**SMALL, **options}
    return build_network(name, dims=dims, in_channels=1, out_channels=2, options=given).eval()


@pytest.mark.parametrize(("coarse", "fine"), [("fcn32s", "fcn16s"), ("fcn16s", "fcn8s")])
@pytest.mark.parametrize("dims", [2, 3])
def test_a_finer_network_starts_as_the_coarser_one(coarse, fine, dims):
    teacher, student = fcn(coarse, 0, dims), fcn(fine, 1, dims)
    image = torch.randn(1, 1, *(64, 96 if dims == 2 else 33, 33)[:dims])
    assert not torch.allclose(student(image), teacher(image), atol=0.1)
    student.start_from_coarser(teacher.state_dict())
    before, after = teacher(image), student(image)
    # two steps of linear interpolation are not quite one
    assert (before - after).abs().mean() < 0.15 * before.std()
    both = torch.corrcoef(torch.stack([before.flatten(), after.flatten()]))
    assert both[0, 1] > 0.98


def test_copying_steps_make_the_start_exactly_equal():
    teacher, student = (fcn(name, 0, upsampling="nearest") for name in ("fcn16s", "fcn8s"))
    student.start_from_coarser(teacher.state_dict())
    image = torch.randn(1, 1, 50, 70)
    torch.testing.assert_close(student(image), teacher(image))


def test_a_trained_step_is_taken_over():
    teacher, student = fcn("fcn16s", 0), fcn("fcn8s", 1)
    nn.init.normal_(teacher.rise["4"].conv.weight)
    nn.init.normal_(teacher.score_skip["4"].weight)
    student.start_from_coarser(teacher.state_dict())
    assert torch.equal(student.rise["4"].conv.weight, teacher.rise["4"].conv.weight)
    assert torch.equal(student.score_skip["4"].weight, teacher.score_skip["4"].weight)
    assert not student.score_skip["3"].weight.any()


def test_weights_of_other_options_are_refused():
    with pytest.raises(BadConfig, match="another network"):
        fcn("fcn8s", 0).start_from_coarser(fcn("fcn16s", 0, head_features=4).state_dict())


def test_skips_score_zero_at_the_start():
    network = fcn("fcn8s", 0)
    assert list(network.score_skip) == ["4", "3"]
    assert not any(score.weight.any() for score in network.score_skip.values())


def test_the_papers_step_starts_as_linear_interpolation():
    network = fcn("fcn32s", 0)
    image = torch.randn(1, 1, 128, 128)
    scores = network.score(network.head(network.backbone(image)[-1]))
    linear = nn.functional.interpolate(scores, scale_factor=32, mode="bilinear")
    torch.testing.assert_close(network(image), linear, atol=1e-5, rtol=1e-4)


OPTIONS = FCNOptions(**SMALL, norm="none", dropout=0.5)


@pytest.mark.parametrize(("dims", "size"), [(2, 96), (2, (64, 96)), (3, (32, 64, 33))])
def test_on_its_training_size_a_convolutionalised_classifier_gives_the_same_numbers(dims, size):
    torch.manual_seed(0)
    classifier = Classifier(dims, 1, 5, OPTIONS, size=size).eval()
    shape = (size,) * dims if isinstance(size, int) else size
    image = torch.randn(2, 1, *shape)
    places = convolutionalise(classifier).eval()(image)
    assert places.shape == (2, 5, *[1] * dims)
    torch.testing.assert_close(places.flatten(1), classifier(image))


@pytest.mark.parametrize("norm", ["batch", "instance", "none"])
@pytest.mark.parametrize(("dims", "size"), [(2, 96), (2, 224), (3, 33)])
def test_classifier_and_its_convolutional_form_agree_to_a_hundred_thousandth(dims, size, norm):
    torch.manual_seed(1)
    options = FCNOptions(**SMALL, norm=norm)
    classifier = Classifier(dims, 1, 4, options, size=size)
    classifier.train()
    for _ in range(3):  # running means of a batch norm that has seen images
        classifier(torch.randn(4, 1, *(size,) * dims))
    classifier.eval()
    image = torch.randn(4, 1, *(size,) * dims)
    with torch.no_grad():
        difference = classifier(image) - convolutionalise(classifier).eval()(image).flatten(1)
    assert difference.abs().max() < 1e-5


def test_on_a_larger_image_it_gives_a_map_each_place_being_the_classifier_there():
    torch.manual_seed(0)
    classifier = Classifier(2, 1, 3, OPTIONS, size=160).eval()
    image = torch.randn(1, 1, 160 + 64, 160 + 32)
    places = convolutionalise(classifier).eval()(image)
    assert places.shape == (1, 3, 3, 2)
    # zeros around a crop reach 31 voxels in; compare where the backbone's map is the crop's own
    for row, column in ((0, 0), (2, 1)):
        crop = image[:, :, 32 * row : 32 * row + 160, 32 * column : 32 * column + 160]
        cells = classifier.backbone(crop)[-1]
        whole = classifier.backbone(image)[-1][:, :, row : row + 5, column : column + 5]
        torch.testing.assert_close(whole[:, :, 1:-1, 1:-1], cells[:, :, 1:-1, 1:-1])
    kernel_view = nn.functional.unfold(classifier.backbone(image)[-1], 5)
    expected = classifier.score(classifier.head(kernel_view.transpose(1, 2)))
    torch.testing.assert_close(places.flatten(2).transpose(1, 2), expected)


def test_an_fcn_can_start_from_a_convolutionalised_classifier():
    torch.manual_seed(0)
    classifier = Classifier(2, 1, 2, FCNOptions(**SMALL, head_kernel=3), size=96)
    network = fcn("fcn32s", 1)
    network.start_from_coarser(convolutionalise(classifier).state_dict())
    image = torch.randn(1, 1, 96, 96)
    scores = network.score(network.head(network.backbone(image)[-1]))
    torch.testing.assert_close(scores[0, :, 1, 1], classifier.eval()(image)[0])


def test_even_head_kernels_are_refused():
    with pytest.raises(BadConfig, match="head_kernel is odd"):
        fcn("fcn8s", 0, head_kernel=4)
