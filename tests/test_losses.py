"""Every loss rewards the truth, forgets what is not scored, and stays finite."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from monai.losses import DiceCELoss

from medseg.config import Choice
from medseg.errors import BadConfig
from medseg.labels import LabelTable
from medseg.losses import IGNORE, LOSSES, build_loss, deep_loss, softmax, thinned

ORGANS = LabelTable.from_card({"labels": {"liver": 1, "spleen": 5}})
TUMOUR = LabelTable.from_card(
    {
        "labels": {"oedema": 1, "core": 2, "enhancing": 4},
        "regions": {"whole": [1, 2, 4], "core": [2, 4], "enhancing": [4]},
    }
)
TABLES = {"labels": ORGANS, "regions": TUMOUR}


@pytest.fixture(params=LOSSES)
def name(request):
    return request.param


@pytest.fixture(params=TABLES)
def labels(request):
    return TABLES[request.param]


def truth(labels, shape=(2, 8, 9, 7), seed=0):
    """(B, X, Y, Z) class indices, mostly background, every class off-centre."""
    generator = torch.Generator().manual_seed(seed)
    chance = torch.rand(shape, generator=generator)
    chance[:, : shape[1] // 2] = 0
    return (chance * 1.4 * (len(labels.values) + 1)).long().clamp(max=len(labels.values))


def logits_of(classes, labels, strength=20.0):
    """Logits that are right everywhere, as sure as `strength`."""
    if not labels.regions:
        hot = F.one_hot(classes.clamp(min=0), len(labels.values) + 1).movedim(-1, 1)
    else:
        value = torch.tensor([0, *labels.values])[classes.clamp(min=0)]
        inside = [torch.isin(value, torch.tensor(region.values)) for region in labels.regions]
        hot = torch.stack(inside, 1)
    return strength * (2.0 * hot.float() - 1)


def test_the_truth_costs_nothing_and_its_opposite_much(name, labels):
    loss, classes = build_loss(Choice(name=name), labels), truth(labels)
    right = loss(logits_of(classes, labels), classes)
    wrong = loss(-logits_of(classes, labels), classes)
    assert 0 <= right < 1e-3
    assert wrong > 1
    assert right < loss(logits_of(classes, labels, strength=0.5), classes) < wrong


def test_a_mirrored_truth_costs_more_than_the_truth(name, labels):
    loss, classes = build_loss(Choice(name=name), labels), truth(labels)
    logits = logits_of(classes, labels, strength=3.0)
    assert loss(logits.flip(2), classes) > 2 * loss(logits, classes)


def test_what_is_not_scored_changes_neither_loss_nor_gradient(name, labels):
    loss, classes = build_loss(Choice(name=name), labels), truth(labels)
    classes[:, :, 3:6] = IGNORE
    ignored = (classes == IGNORE)[:, None]
    logits = torch.randn(2, labels.channels, 8, 9, 7, generator=torch.Generator().manual_seed(1))
    other = torch.where(ignored, 50 * torch.randn_like(logits), logits)
    gradients = []
    for tried in (logits, other):
        tried.requires_grad_(True)
        loss(tried, classes).backward()
        gradients.append(tried.grad)
    torch.testing.assert_close(loss(logits, classes), loss(other, classes))
    for gradient in gradients:
        assert gradient[ignored.expand_as(gradient)].abs().max() == 0
        assert gradient.abs().max() > 0
    torch.testing.assert_close(gradients[0], gradients[1])


def test_leaving_a_half_out_equals_never_having_had_it(name, labels):
    loss, classes = build_loss(Choice(name=name), labels), truth(labels)
    logits = torch.randn(2, labels.channels, 8, 9, 7, generator=torch.Generator().manual_seed(2))
    half = classes.clone()
    half[:, :, :4] = IGNORE
    torch.testing.assert_close(loss(logits, half), loss(logits[:, :, :, 4:], classes[:, :, 4:]))


def test_a_batch_in_which_nothing_is_scored_costs_nothing_to_learn(name, labels):
    loss = build_loss(Choice(name=name), labels)
    logits = torch.randn(1, labels.channels, 4, 4, 4, requires_grad=True)
    value = loss(logits, torch.full((1, 4, 4, 4), IGNORE))
    value.backward()
    assert torch.isfinite(value)
    assert logits.grad.abs().max() == 0


def known(labels, *rows):
    """(B, classes) flags; each row names the values whose classes a truth was drawn for."""
    return torch.tensor([[True, *(value in row for value in labels.values)] for row in rows])


def test_a_truth_drawn_for_every_label_is_an_ordinary_truth(name, labels):
    loss, classes = build_loss(Choice(name=name), labels), truth(labels)
    logits = torch.randn(2, labels.channels, 8, 9, 7, generator=torch.Generator().manual_seed(5))
    every = known(labels, labels.values, labels.values)
    torch.testing.assert_close(loss(logits, classes, every), loss(logits, classes))


def test_a_structure_that_was_not_drawn_may_be_found_or_not_at_the_same_cost(name):
    """The spleen is there and nobody drew it: whoever finds it is not punished."""
    loss, whole = build_loss(Choice(name=name), ORGANS), truth(ORGANS)
    drawn = torch.where(whole == 2, 0, whole)
    finds, misses = logits_of(whole, ORGANS), logits_of(drawn, ORGANS)
    only_liver = known(ORGANS, [1], [1])
    assert loss(finds, drawn, only_liver) < 1e-3
    assert loss(misses, drawn, only_liver) < 1e-3
    assert loss(finds, drawn) > 0.3, "without the flags the right answer would be an error"
    spleen_in_liver = logits_of(torch.where(whole == 1, 2, whole), ORGANS)
    assert loss(spleen_in_liver, drawn, only_liver) > 0.5, "what was drawn is no spleen"


def test_merged_background_is_the_sum_of_probabilities():
    """Shi et al. 2021: cross-entropy over the classes that were drawn, the rest merged."""
    classes = truth(ORGANS, (1, 8, 9, 7))
    classes[classes == 2] = 0
    logits = torch.randn(1, 3, 8, 9, 7, generator=torch.Generator().manual_seed(6))
    p = logits.softmax(1)
    merged = torch.stack([p[:, 0] + p[:, 2], p[:, 1]], 1).log()
    ours = build_loss(Choice(name="dice_ce", options={"dice": 0}), ORGANS)
    torch.testing.assert_close(
        ours(logits, classes, known(ORGANS, [1])), F.nll_loss(merged, classes)
    )


def test_the_logit_of_a_label_not_drawn_has_no_part_in_overlap(name):
    loss, classes = build_loss(Choice(name=name), ORGANS), truth(ORGANS)
    classes = torch.where(classes == 2, 0, classes)
    logits = torch.randn(2, 3, 8, 9, 7, generator=torch.Generator().manual_seed(7))
    # probability moved between background and spleen: nobody can say which is right
    p = logits.softmax(1)
    share = torch.rand(2, 8, 9, 7, generator=torch.Generator().manual_seed(8))
    moved = torch.stack([share * (p[:, 0] + p[:, 2]), p[:, 1], (1 - share) * (p[:, 0] + p[:, 2])])
    flags = known(ORGANS, [1], [1])
    torch.testing.assert_close(
        loss(moved.movedim(0, 1).log(), classes, flags), loss(logits, classes, flags)
    )


def test_each_patch_of_a_batch_has_its_own_labels(name, labels):
    """A channel learns from the patches whose truth was drawn for it, and from no other."""
    first, last = labels.values[0], labels.values[-1]
    loss, classes = build_loss(Choice(name=name), labels), truth(labels)
    classes[1][classes[1] != len(labels.values)] = 0  # the second shows the last label alone
    logits = torch.randn(2, labels.channels, 8, 9, 7, generator=torch.Generator().manual_seed(9))
    logits.requires_grad_(True)
    flags = known(labels, labels.values, [last])
    overlap = build_loss(Choice(name="dice_ce", options={"cross_entropy": 0}), labels)
    (gradient,) = torch.autograd.grad(overlap(logits, classes, flags), logits)
    assert gradient[:, -1].abs().amax((1, 2, 3)).min() > 0, "the last is learnt from both"
    if labels.regions:
        assert gradient[1, 0].abs().max() == 0, "the whole holds labels that were not drawn"
        (gradient,) = torch.autograd.grad(loss(logits, classes, flags), logits)
        assert gradient[1, 0].abs().max() == 0
    else:
        alone = overlap(logits[:1], classes[:1])
        only_first = known(labels, labels.values, [first])
        nowhere = torch.zeros_like(classes[1:])
        both = overlap(logits, torch.cat([classes[:1], nowhere]), only_first)
        assert both != alone, "voxels of the second count for the first label"


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float32])
def test_loss_and_gradient_are_finite_for_extreme_logits_of_every_precision(name, labels, kind):
    loss, classes = build_loss(Choice(name=name), labels), truth(labels)
    for strength in (-3e4, 0.0, 3e4):
        logits = logits_of(classes, labels, strength).to(kind).requires_grad_(True)
        value = loss(logits, classes)
        value.backward()
        assert value.dtype == torch.float32
        assert torch.isfinite(value)
        assert torch.isfinite(logits.grad).all()


def test_a_focal_exponent_below_one_keeps_gradients_finite_where_the_network_is_sure():
    loss = build_loss(Choice(name="tversky_focal", options={"gamma": 0.5}), ORGANS)
    classes = truth(ORGANS)
    logits = logits_of(classes, ORGANS, strength=200).requires_grad_(True)
    loss(logits, classes).backward()
    assert torch.isfinite(logits.grad).all()


def test_a_two_dimensional_batch_costs_what_its_flat_volume_costs(name, labels):
    loss, classes = build_loss(Choice(name=name), labels), truth(labels, (2, 8, 9, 1))
    logits = torch.randn(2, labels.channels, 8, 9, 1, generator=torch.Generator().manual_seed(3))
    torch.testing.assert_close(loss(logits[..., 0], classes[..., 0]), loss(logits, classes))


@pytest.mark.parametrize("smooth", [1.0, 1e-3])
def test_dice_ce_equals_monais(smooth):
    classes = truth(ORGANS)
    logits = torch.randn(2, 3, 8, 9, 7, generator=torch.Generator().manual_seed(4))
    ours = build_loss(Choice(name="dice_ce", options={"smooth": smooth}), ORGANS)
    monais = DiceCELoss(
        include_background=False,
        to_onehot_y=True,
        softmax=True,
        batch=True,
        smooth_nr=2 * smooth,  # MONAI writes Dice with doubled terms
        smooth_dr=2 * smooth,
    )
    torch.testing.assert_close(ours(logits, classes), monais(logits, classes[:, None]))


def test_rare_classes_weigh_more_by_the_power_of_their_rarity():
    classes = truth(ORGANS).clone()
    classes[0, :, 0] = IGNORE
    logits = logits_of(classes, ORGANS, 0.3) + torch.randn(2, 3, 8, 9, 7)
    counts = torch.bincount(classes[classes != IGNORE], minlength=3)
    for power in (0.0, 0.5, 1.0):
        options = {"dice": 0, "balance": power}
        weights = (counts.sum() / 3 / counts) ** power
        expected = F.cross_entropy(logits, classes, weights, ignore_index=IGNORE)
        found = build_loss(Choice(name="dice_ce", options=options), ORGANS)(logits, classes)
        assert found == pytest.approx(float(expected), rel=1e-5)
    by_class = F.cross_entropy(logits, classes, ignore_index=IGNORE, reduction="none")
    of_each = torch.stack([by_class[classes == k].mean() for k in range(3)])
    assert found == pytest.approx(float(of_each.mean()), rel=1e-5), "all classes weigh the same"


def test_a_balanced_loss_that_knows_the_frequencies_leaves_them_to_the_network(labels):
    classes = truth(labels)
    logits = torch.randn(2, labels.channels, 8, 9, 7)
    shares = [0.9, *[0.1 / len(labels.values)] * len(labels.values)]
    for balance in (0.0, 0.5, 1.0):
        choice = Choice(name="dice_ce", options={"balance": balance})
        plain, knowing = build_loss(choice, labels), build_loss(choice, labels)
        knowing.expect(shares)
        shift = torch.zeros(labels.channels)
        if not labels.regions:
            shift = 0.5 * balance * torch.tensor(shares).log()
        shifted = logits + shift.view(1, -1, 1, 1, 1)
        assert knowing(shifted, classes) == pytest.approx(float(plain(logits, classes)), rel=1e-5)


def test_balanced_voxels_leave_out_what_is_not_scored_and_absent_classes(labels):
    loss = build_loss(Choice(name="dice_ce", options={"balance": 1.0}), labels)
    classes = torch.zeros(1, 4, 4, 4, dtype=torch.long)  # background alone
    plain = build_loss(Choice(name="dice_ce"), labels)
    logits = torch.randn(1, labels.channels, 4, 4, 4)
    assert loss(logits, classes) == pytest.approx(float(plain(logits, classes)), rel=1e-5)
    nothing = torch.full_like(classes, IGNORE)
    assert torch.isfinite(loss(logits, nothing))
    known = torch.tensor([[True, *[False] * len(labels.values)]])
    assert torch.isfinite(loss(logits, classes, known))


def test_weights_of_the_two_terms_add_up():
    classes, logits = truth(ORGANS), torch.randn(2, 3, 8, 9, 7)
    values = [
        build_loss(Choice(name="dice_ce", options={"dice": d, "cross_entropy": c}), ORGANS)(
            logits, classes
        )
        for d, c in ((1, 0), (0, 1), (2, 3))
    ]
    torch.testing.assert_close(values[2], 2 * values[0] + 3 * values[1])
    torch.testing.assert_close(values[1], F.cross_entropy(logits, classes))


def test_all_voxels_of_topk_are_plain_cross_entropy_and_fewer_cost_more():
    classes, logits = truth(ORGANS), torch.randn(2, 3, 8, 9, 7)
    costs = [
        build_loss(Choice(name="topk_dice", options={"share": share}), ORGANS)(logits, classes)
        for share in (1.0, 0.3, 0.05)
    ]
    torch.testing.assert_close(
        costs[0], build_loss(Choice(name="dice_ce"), ORGANS)(logits, classes)
    )
    assert costs[0] < costs[1] < costs[2]


def test_tversky_punishes_a_missed_lesion_more_than_an_invented_one():
    classes = torch.zeros(1, 6, 6, 6, dtype=torch.long)
    classes[0, 1:4, 1:4, 1:4] = 1
    more, less = classes.clone(), classes.clone()
    more[0, 4, 1:4, 1:4] = 1
    less[0, 3, 1:4, 1:4] = 0
    loss = build_loss(Choice(name="tversky_focal", options={"gamma": 0}), ORGANS)
    assert loss(logits_of(less, ORGANS), classes) > loss(logits_of(more, ORGANS), classes)


def test_a_region_voxel_outside_the_core_asks_for_the_whole_alone():
    classes = torch.ones(1, 4, 4, 4, dtype=torch.long)  # oedema: whole, but neither core
    loss = build_loss(Choice(name="dice_ce"), TUMOUR)
    right = torch.tensor([20.0, -20.0, -20.0]).view(1, 3, 1, 1, 1).expand(1, 3, 4, 4, 4)
    assert loss(right, classes) < 1e-3
    assert loss(-right, classes) > 10


def test_deep_supervision_weighs_the_finest_most_and_thins_the_truth(name, labels):
    loss, classes = build_loss(Choice(name=name), labels), truth(labels, (1, 8, 8, 8))
    fine = logits_of(classes, labels)
    coarse = logits_of(classes[:, 1::2, 1::2, 1::2], labels)
    assert deep_loss(loss, [fine, coarse], classes) < 1e-3
    torch.testing.assert_close(deep_loss(loss, [fine], classes), loss(fine, classes))
    bad_fine = deep_loss(loss, [-fine, coarse], classes)
    bad_coarse = deep_loss(loss, [fine, -coarse], classes)
    assert bad_fine > 1.5 * bad_coarse > 0.5


SIZES = st.lists(st.integers(1, 40), min_size=2, max_size=3)
STEPS = st.lists(st.sampled_from([(1, 1, 1), (2, 2, 2), (1, 2, 2), (2, 1, 3)]), max_size=3)


@given(size=SIZES, steps=STEPS, data=st.data())
def test_truth_of_a_coarse_level_is_never_stretched(size, steps, data):
    """Every cell of the coarsest level holds one class, so that each level has one right answer."""
    strides = [(1,) * len(size)]
    for step in steps:
        strides.append(tuple(a * b for a, b in zip(strides[-1], step, strict=False)))
    coarsest = strides[-1]
    cells = [-(-n // s) for n, s in zip(size, coarsest, strict=True)]
    seed = data.draw(st.integers(0, 99))
    blocks = torch.randint(-1, 3, (2, *cells), generator=torch.Generator().manual_seed(seed))

    def at(stride):
        level = blocks
        for axis, (n, s, c) in enumerate(zip(size, stride, coarsest, strict=True)):
            level = level.index_select(axis + 1, torch.arange(-(-n // s)) * s // c)
        return level

    for stride in strides:
        assert torch.equal(thinned(at(strides[0]), stride), at(stride))
    loss = build_loss(Choice(name="dice_ce"), ORGANS)
    logits = [logits_of(at(stride).clamp(min=0), ORGANS) for stride in strides]
    assert deep_loss(loss, logits, at(strides[0]), strides=strides) < 0.02


def test_strides_are_told_from_sizes_where_nobody_says_them():
    loss, classes = build_loss(Choice(name="dice_ce"), ORGANS), truth(ORGANS, (1, 35, 27, 9))
    sizes = [(2, 2, 1), (4, 4, 2), (8, 8, 4)]
    logits = [logits_of(thinned(classes, stride), ORGANS) for stride in [(1, 1, 1), *sizes]]
    assert deep_loss(loss, logits, classes) < 1e-3


@given(
    size=st.lists(st.integers(8, 60), min_size=2, max_size=3),
    steps=st.lists(st.sampled_from([2, 4, 8]), min_size=1, max_size=2),
    flat=st.booleans(),
)
def test_strides_that_nobody_states_are_those_of_the_levels(size, steps, flat):
    """Levels of powers of two on patches of any size, the first axis kept whole or not."""
    classes = torch.arange(math.prod(size)).remainder(3).reshape(1, *size)
    factors = [math.prod(steps[:n]) for n in range(len(steps) + 1)]
    strides = [(1 if flat else f, *[f] * (len(size) - 1)) for f in factors]
    cells = [thinned(classes, stride) for stride in strides]
    loss = build_loss(Choice(name="dice_ce"), ORGANS)
    assert deep_loss(loss, [logits_of(level, ORGANS) for level in cells], classes) < 0.02


def test_deep_supervision_knows_what_was_not_drawn():
    loss, whole = build_loss(Choice(name="dice_ce"), ORGANS), truth(ORGANS, (1, 8, 8, 8))
    drawn = torch.where(whole == 2, 0, whole)
    finds = [logits_of(whole, ORGANS), logits_of(whole[:, 1::2, 1::2, 1::2], ORGANS)]
    assert deep_loss(loss, finds, drawn, known(ORGANS, [1])) < 1e-3
    assert deep_loss(loss, finds, drawn) > 0.3


def test_deep_supervision_keeps_ignored_voxels_ignored():
    loss, classes = build_loss(Choice(name="dice_ce"), ORGANS), truth(ORGANS, (1, 8, 8, 8))
    classes[:, :4] = IGNORE
    coarse = torch.randn(1, 3, 4, 4, 4, requires_grad=True)
    deep_loss(loss, [torch.randn(1, 3, 8, 8, 8), coarse], classes).backward()
    assert coarse.grad[:, :, :2].abs().max() == 0
    assert coarse.grad[:, :, 2:].abs().max() > 0


@pytest.mark.parametrize(
    ("choice", "said"),
    [
        (Choice(name="dice"), "dice_ce, tversky_focal, topk_dice"),
        (Choice(name="dice_ce", options={"smoth": 1}), "cross_entropy, dice, smooth"),
        (Choice(name="topk_dice", options={"share": 0}), "share"),
    ],
)
def test_an_unknown_loss_or_option_says_what_there_is(choice, said):
    with pytest.raises(BadConfig, match=said):
        build_loss(choice, ORGANS)


def written_out(logits, index, weight, offset):
    """The same sums as `softmax_sums`, from everything at once."""
    shift = 0 if offset is None else offset.view(1, -1, *[1] * (logits.ndim - 2))
    log_probability = (logits.float() - shift).log_softmax(1)
    counted = weight[:, None]
    true = F.one_hot(index, logits.shape[1]).movedim(-1, 1) * counted
    probability = log_probability.exp() * counted
    axes = [0, *range(2, logits.ndim)]
    losses = -log_probability.gather(1, index[:, None])[:, 0]
    return (probability * true).sum(axes), probability.sum(axes), true.sum(axes), losses


@pytest.mark.parametrize("offset", [None, torch.linspace(-2, 3, 6)])
@pytest.mark.parametrize("by_voxel", [False, True])
@pytest.mark.parametrize("portion", [1, 150, 10**6])
@pytest.mark.parametrize("shape", [(3, 7, 5, 4), (2, 9, 6), (1, 1, 1, 1)])
def test_sums_by_portions_are_those_of_everything_at_once(
    portion, shape, by_voxel, offset, monkeypatch
):
    monkeypatch.setattr(softmax, "_PORTION", portion)
    monkeypatch.setattr(softmax, "_MANY", 2 if by_voxel else 16)
    generator = torch.Generator().manual_seed(1)
    values = 3 * torch.randn(shape[0], 6, *shape[1:], generator=generator)
    if by_voxel:
        values = values.movedim(1, -1).contiguous().movedim(-1, 1)
    index = torch.randint(0, 6, shape, generator=generator)
    weight = torch.rand(shape, generator=generator) > 0.3
    of_sums = torch.randn(2, 6, generator=generator)
    of_losses = torch.randn(shape, generator=generator)
    answers = []
    for sums_of in (softmax.softmax_sums, written_out):
        logits = values.clone().requires_grad_()
        hit, probable, true, losses = sums_of(logits, index, weight, offset)
        ((of_sums[0] * hit + of_sums[1] * probable).sum() + (of_losses * losses).sum()).backward()
        answers.append((hit, probable, true.float(), losses, logits.grad))
    for one, other in zip(*answers, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_the_loss_of_many_classes_keeps_little_beside_the_logits():
    """Voxels times classes are kept once, as the logits themselves; written out it was eight."""
    labels = LabelTable.from_card({"labels": {f"organ {n}": n for n in range(1, 106)}})
    loss = build_loss(Choice(name="dice_ce"), labels)
    logits = torch.randn(1, 106, 12, 12, 12, requires_grad=True)
    kept = {}

    def note(tensor):
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        value = loss(logits, torch.randint(0, 106, (1, 12, 12, 12)))
    value.backward()
    assert sum(kept.values()) < 1.2 * logits.nbytes
