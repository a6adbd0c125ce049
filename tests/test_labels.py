"""Every integer has one meaning, and left stays left."""

import numpy as np
import pytest

from medseg.errors import BadLabels
from medseg.labels import Label, LabelTable, Region, Side, side_of
from medseg.labels.colours import distinct_colours
from medseg.labels.label import rgb_of

BRATS = {
    "labels": {"oedema": 1, "necrosis": 2, "enhancing": 4},
    "regions": {"whole": [1, 2, 4], "core": [2, 4], "enhancing": [4]},
}


def table(**labels):
    return LabelTable.from_card(
        {"labels": {name.replace("_", " "): v for name, v in labels.items()}}
    )


def test_labels_come_in_order_of_value_whatever_the_card_says_first():
    labels = table(spleen=7, liver=2)
    assert labels.names == ("liver", "spleen")
    assert labels.values == labels.channel_values[1:] == (2, 7)
    assert labels.channels == 3
    assert labels.value_of("spleen") == 7
    assert labels.name_of(2) == "liver"


@pytest.mark.parametrize(("highest", "dtype"), [(255, "uint8"), (256, "uint16"), (65535, "uint16")])
def test_a_mask_takes_the_smallest_integer_that_holds_its_labels(highest, dtype):
    assert table(liver=highest).dtype == dtype


def test_background_may_be_written_and_is_no_label():
    assert table(background=0, liver=1).names == ("liver",)
    assert LabelTable.from_card({"labels": {"air": {"value": 0}, "liver": 1}}).names == ("liver",)


@pytest.mark.parametrize(
    ("name", "side"),
    [
        ("left kidney", "left"),
        ("kidney_L", "left"),
        ("Hippocampus-Right", "right"),
        ("R", "right"),
        ("liver", "none"),
        ("upright structure", "none"),
        ("left-right shunt", "none"),
        ("LeftKidney", "left"),
        ("KidneyR", "right"),
        ("lh.precuneus", "left"),
        ("ctx-rh-precuneus", "right"),
        ("Parotid_Lt", "left"),
        ("leftkidney", "left"),
        ("rein gauche", "left"),
        ("Rechte Niere", "right"),
        ("riñón derecho", "right"),
        ("Ren sin.", "left"),
        ("левая почка", "left"),
        ("右肾", "right"),
        ("LV", "left"),
        ("ra", "right"),
        ("cleft palate", "none"),
        ("bright spot", "none"),
        ("vertebrae_L1", "none"),
        ("artère de la rate", "none"),
    ],
)
def test_a_name_tells_the_side(name, side):
    assert side_of(name) == side


def test_left_and_right_of_one_organ_swap_in_a_mirror():
    assert table(left_kidney=3, liver=1, right_kidney=2).mirror_pairing() == ((2, 3),)
    assert table(liver=1, spleen=2).mirror_pairing() == ()


@pytest.mark.parametrize(
    "left, right",
    [
        ("LeftKidney", "RightKidney"),
        ("lh.precuneus", "rh.precuneus"),
        ("LK", "RK"),
        ("lkidney", "rkidney"),
        ("kidneyleft", "kidneyright"),
        ("Lt Parotid", "Rt Parotid"),
    ],
)
def test_twins_swap_however_their_sides_are_written(left, right):
    assert table(**{right: 2, "liver": 1, left: 3}).mirror_pairing() == ((2, 3),)


@pytest.mark.parametrize(
    "left, right",
    [
        ("LV", "RV"),
        ("la", "ra"),
        ("rein gauche", "rein droit"),
        ("左肾", "右肾"),
        ("rein_g", "rein_d"),
        ("links", "rechts"),
        ("L1", "R1"),
        ("LVM", "RVM"),
    ],
)
def test_sides_that_are_not_known_to_be_twins_forbid_the_mirror(left, right):
    assert table(**{left: 1, right: 2}).mirror_pairing() is None


def test_a_code_says_the_side_where_the_name_does_not():
    card = {"labels": {"organ 1": {"value": 1, "code": ["SCT", "18639004", "Left kidney"]}}}
    assert LabelTable.from_card(card).labels[0].side is Side.LEFT


@pytest.mark.parametrize("entry", [0, {"value": 0}])
@pytest.mark.parametrize("name", ["liver", "airway", "nonenhancing core"])
def test_a_structure_cannot_have_the_value_of_background(name, entry):
    with pytest.raises(BadLabels, match=f"'{name}' has the value 0, which is background"):
        LabelTable.from_card({"labels": {name: entry, "spleen": 1}})


@pytest.mark.parametrize("name", ["background", "BG", "Clear Label", "Unknown", "no tumour"])
def test_what_is_no_structure_may_be_named_with_the_value_0(name):
    assert table(**{name: 0, "liver": 1}).names == ("liver",)


@pytest.mark.parametrize(
    "labels",
    [
        {"left_kidney": 1, "liver": 2},
        {"left_kidney": 1, "right_lung": 2},
        {"left_kidney": 1, "right_kidney": 2, "kidney_R": 3},
    ],
    ids=["no partner", "other organ", "two partners"],
)
def test_a_side_without_its_partner_forbids_the_mirror(labels):
    assert table(**labels).mirror_pairing() is None


def test_a_card_may_name_the_partners_and_the_sides():
    card = {
        "labels": {"stomach": {"value": 1, "side": "left"}, "liver": {"value": 2, "side": "right"}},
        "mirror_pairs": [["stomach", "liver"]],
    }
    assert LabelTable.from_card(card).mirror_pairing() == ((1, 2),)
    del card["mirror_pairs"]
    assert LabelTable.from_card(card).mirror_pairing() is None


def test_a_region_that_holds_one_side_of_a_pair_forbids_the_mirror():
    labels = {"labels": {"left lung": 1, "right lung": 2, "tumour": 3}}
    whole = {**labels, "regions": {"lungs": [1, 2, 3], "tumour": [3]}}
    assert LabelTable.from_card(whole).mirror_pairing() == ((1, 2),)
    split = {**labels, "regions": {"left and tumour": [1, 3], "tumour": [3]}}
    assert LabelTable.from_card(split).mirror_pairing() is None


def test_regions_paint_from_the_widest_to_the_innermost():
    labels = LabelTable.from_card(BRATS)
    assert labels.channels == 3
    assert labels.channel_values == (0, 1, 2, 4)


def test_a_region_that_is_painted_over_whole_is_refused():
    regions = (Region("core", (2,)), Region("whole", (1, 2)))
    labels = LabelTable((Label("a", 1, "#000000"), Label("b", 2, "#000000")), regions=regions)
    with pytest.raises(BadLabels, match="region 'core' must paint one label"):
        _ = labels.channel_values


def test_a_mask_with_an_unnamed_value_is_refused_by_its_values():
    labels = LabelTable.from_card({"labels": {"liver": 1}, "ignore": 255})
    labels.check(np.array([[0, 1], [255, 0]], np.uint8))
    with pytest.raises(BadLabels, match=r"found \[2, 9\], expected \[0, 1, 255\]"):
        labels.check(np.array([0, 2, 9, 1]))


CARDS = {
    "short": {"labels": {"liver": 1}},
    "long": {
        "labels": {
            "liver": {"value": 3, "colour": "#DD8265", "code": ["SCT", "10200004", "Liver"]},
            "left kidney": {"value": 1, "side": "none"},
        },
        "ignore": 255,
    },
    "regions": BRATS,
    "pairs": {"labels": {"a": 1, "b": 2}, "mirror_pairs": [["a", "b"]]},
}


@pytest.mark.parametrize("card", CARDS.values(), ids=CARDS)
def test_the_long_form_reads_back_as_the_same_table(card):
    labels = LabelTable.from_card(card)
    assert LabelTable.from_card(labels.to_card()) == labels


def test_a_side_said_in_the_card_stands_above_the_name():
    labels = LabelTable.from_card(CARDS["long"])
    assert labels.labels[0].side is Side.NONE
    assert LabelTable.from_card(labels.to_card()).labels[0].side is Side.NONE


def test_colours_that_nobody_chose_differ():
    labels = LabelTable.from_card({"labels": {f"organ {n}": n for n in range(1, 30)}})
    assert len({label.colour for label in labels.labels}) == 29


def test_colours_on_the_screen_differ_for_a_whole_brain():
    labels = LabelTable.from_card({"labels": {f"region {n}": n for n in range(1, 145)}})
    colours = np.array([rgb_of(colour) for colour in distinct_colours(labels).values()], float)
    apart = np.linalg.norm(colours[:, None] - colours, axis=-1)
    assert apart[np.triu_indices(144, 1)].min() > 25


BAD = {
    "no labels": ({"labels": {}}, "empty"),
    "a list": ({"labels": ["liver"]}, "must map names to values"),
    "missing": ({}, "must map names to values"),
    "value twice": ({"labels": {"a": 1, "b": 1}}, r"label value occurs twice; found \[1\]"),
    "not an integer": ({"labels": {"a": 1.5}}, "'a' is not an integer"),
    "yes is no value": ({"labels": {"a": True}}, "'a' is not an integer"),
    "too high": ({"labels": {"a": 65536}}, "1 to 65535"),
    "negative": ({"labels": {"a": -1}}, "1 to 65535"),
    "unknown key": ({"labels": {"a": {"value": 1, "color": "#fff"}}}, "colour"),
    "no value": ({"labels": {"a": {"colour": "#ffffff"}}}, "not described"),
    "colour": ({"labels": {"a": {"value": 1, "colour": "red"}}}, "#rrggbb"),
    "code": ({"labels": {"a": {"value": 1, "code": ["SCT", "1"]}}}, "incomplete code"),
    "side": ({"labels": {"a": {"value": 1, "side": "top"}}}, "unknown side"),
    "ignore names a label": ({"labels": {"a": 1}, "ignore": 1}, "also names a label"),
    "ignore is background": ({"labels": {"a": 1}, "ignore": 0}, "also names a label"),
    "empty region": ({"labels": {"a": 1}, "regions": {"r": []}}, "region 'r'"),
    "region of nothing": ({"labels": {"a": 1}, "regions": {"r": [2]}}, "region 'r'"),
    "region of a number": ({"labels": {"a": 1}, "regions": {"r": 1}}, "region 'r'"),
    "pair of nothing": (
        {"labels": {"a": 1}, "mirror_pairs": [["a", "b"]]},
        "no label of that name",
    ),
    "case alone": ({"labels": {"liver": 1, "Liver": 2}}, "upper and lower case"),
    "composed letters": ({"labels": {"Ma\u0308": 1, "M\u00e4": 2}}, "upper and lower case"),
    "blanks around": ({"labels": {" liver": 1}}, "blanks around"),
    "a line break": ({"labels": {"a\nb": 1}}, "cannot be shown"),
    "pair of one": ({"labels": {"a": 1}, "mirror_pairs": [["a"]]}, "two names"),
}


@pytest.mark.parametrize(("card", "problem"), BAD.values(), ids=BAD)
def test_a_card_that_does_not_name_labels_is_refused_in_one_line(card, problem):
    with pytest.raises(BadLabels, match=problem) as refusal:
        LabelTable.from_card(card)
    assert "\n" not in str(refusal.value)


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(BadLabels, match="expected liver, spleen"):
        table(liver=1, spleen=2).value_of("livr")


@pytest.mark.parametrize(
    "stem",
    [
        "kidney",
        "lung",
        "hippocampus",
        "femur",
        "adrenal gland",
        "eye",
        "optic nerve",
        "parotid",
        "breast",
        "cerebral white matter",
        "lateral ventricle",
        "temporal lobe",
        "femoral head",
    ],
)
def test_paired_organs_swap(stem):
    labels = table(**{f"left {stem}": 1, f"right {stem}": 2})
    assert labels.mirror_pairing() == ((1, 2),)
    assert labels.mirror_obstacle == ""


@pytest.mark.parametrize(
    "stem",
    [
        "ventricle",
        "atrium",
        "heart ventricle",
        "lobe of liver",
        "liver lobe",
        "upper lung lobe",
        "pulmonary artery",
        "coronary artery",
        "lateral segment",
        "colon",
        "thing",
    ],
)
def test_sided_organs_that_are_no_mirror_images_forbid_the_mirror(stem):
    labels = table(**{f"left {stem}": 1, f"right {stem}": 2})
    assert labels.mirror_pairing() is None
    assert "not known to be mirror images" in labels.mirror_obstacle
    card = {"labels": {f"left {stem}": 1, f"right {stem}": 2}}
    said = LabelTable.from_card(card | {"mirror_pairs": [[f"left {stem}", f"right {stem}"]]})
    assert said.mirror_pairing() == ((1, 2),)


def test_aliases_name_a_label_in_other_files():
    card = {"labels": {"tumour": {"value": 3, "aliases": ["GTV*", "tumor"]}, "liver": 1}}
    labels = LabelTable.from_card(card)
    assert [labels.called(name).value for name in ("GTV_Mass", "Tumor", "TUMOUR", "Liver")] == [
        3,
        3,
        3,
        1,
    ]
    assert labels.called("spleen") is None
    assert LabelTable.from_card(labels.to_card()) == labels


def test_values_of_a_file_are_matched_by_name():
    ours, theirs = table(liver=1, tumour=2), table(tumour=1, liver=2, Segment_7=7)
    assert ours.values_of(theirs, [0, 1, 2, 7]) == {1: 2, 2: 1}
    with pytest.raises(BadLabels, match="'spleen' = 1"):
        ours.values_of(table(spleen=1), [0, 1])
    assert ours.values_of(table(spleen=1, liver=2), [2]) == {2: 1}
