"""Every mistake in a config is reported in one line, with what could stand there instead."""

import pytest
import yaml

from medseg import config
from medseg.config import (
    Options,
    PostprocessRule,
    PrepareConfig,
    TrainConfig,
    load_yaml,
    override,
    validate,
)
from medseg.errors import BadConfig

LEAST = {"cohort": "c.yaml", "patch": [8, 8, 8], "training": {"steps": 3}}


def with_changes(*assignments):
    return override(LEAST, assignments)


def test_the_least_config_is_complete_and_survives_yaml():
    least = validate(TrainConfig, LEAST)
    plain = yaml.safe_load(yaml.safe_dump(least.model_dump(mode="json")))
    assert validate(TrainConfig, plain) == least


MISTAKES = {
    "unknown key": ("pach=[8,8,8]", ["'pach'", "patch", "training"]),
    "unknown key below": ("training.minuts=3", ["'training.minuts'", "minutes", "steps"]),
    "unknown key of a choice": ("network.optoins={}", ["'network.optoins'", "name, options"]),
    "unknown key in a list": (
        "postprocess=[{rule: keep_largest, volume: 3}]",
        ["'postprocess.0.volume'", "count, label, ml, mm, of, rule"],
    ),
    "misspelt, so another is missing": (
        "prepare.normalise=[{kind: window, low: 0, hihg: 9}]",
        ["hihg'", "expected one of high, kind, low, mean, sd"],
    ),
    "key of another rule": (
        "prepare.normalise=[{kind: zscore, low: 0}]",
        ["low'", "expected one of kind, nonzero, target."],
    ),
    "unknown rule": (
        "prepare.normalise=[{kind: windo, low: 0}]",
        ["needs 'kind'", "'zscore', 'window', 'percentiles'"],
    ),
    "no rule": ("prepare.normalise=[{}]", ["needs 'kind'", "'zscore', 'window', 'percentiles'"]),
    "empty rules": ("prepare.normalise=[]", ["prepare.normalise"]),
    "window upside down": (
        "prepare.normalise=[{kind: window, low: 5, high: 5}]",
        ["high (5.0) must be above low (5.0)"],
    ),
    "percentiles upside down": (
        "prepare.normalise=[{kind: percentiles, low: 99, high: 1}]",
        ["must be above low"],
    ),
    "no length": ("training.steps=null", ["minutes or steps"]),
    "two lengths": ("training.minutes=2", ["minutes or steps", "not both"]),
    "endless": ("training={minutes: .inf}", ["training.minutes", "finite"]),
    "no patch": ("patch=[]", ["patch needs 3 sizes"]),
    "flat patch": ("patch=[8, 8]", ["patch needs 3 sizes", "[8, 8]"]),
    "empty patch": ("patch=[8, 0, 8]", ["patch.1", "found 0"]),
    "four dimensions": ("dims=4", ["dims", "2 or 3", "found 4"]),
    "spacing": ("prepare.spacing_mm=[1, 0, 1]", ["prepare.spacing_mm.1", "found 0"]),
    "two spacings": ("prepare.spacing_mm=[1, 1]", ["prepare.spacing_mm.2"]),
    "zoom upside down": ("augment.scale=[1.2, 0.8]", ["small to large"]),
    "zoom to nothing": ("augment.scale=[0, 1]", ["augment.scale.0"]),
    "mirror of no axis": ("augment.mirror_axes=[3]", ["augment.mirror_axes.0", "found 3"]),
    "test-time mirror of no axis": ("infer.mirror_axes=[-1]", ["infer.mirror_axes.0"]),
    "whole overlap": ("infer.overlap=1", ["infer.overlap", "found 1"]),
    "empty window": ("infer.window=[0, 8, 8]", ["infer.window.0"]),
    "probability": ("augment.noise=1.5", ["augment.noise", "found 1.5"]),
    "text for a number": ("training.batch=two", ["training.batch", "'two'"]),
    "inside of nothing": ("postprocess=[{rule: inside}]", ["postprocess.0", "`of`"]),
    "on_error": ("training.on_error=ignore", ["'refuse' or 'skip'", "'ignore'"]),
}


@pytest.mark.parametrize(("assignment", "said"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_one_line_that_names_the_key_and_what_may_stand_there(assignment, said):
    with pytest.raises(BadConfig) as refusal:
        validate(TrainConfig, with_changes(assignment), path="plan.yaml")
    text = str(refusal.value)
    assert text.startswith("plan.yaml: ")
    assert "\n" not in text
    assert len(text) < 400
    for part in said:
        assert part in text


def test_a_two_dimensional_patch_may_have_two_or_three_sizes():
    for patch in ("[8, 8]", "[8, 8, 1]"):
        validate(TrainConfig, with_changes("dims=2", f"patch={patch}"))


def test_normalisation_is_read_as_the_rule_it_names():
    rules = [{"kind": "window", "low": -160, "high": 240}, {"kind": "zscore", "nonzero": True}]
    read = validate(PrepareConfig, {"normalise": rules}).normalise
    assert [type(rule).__name__ for rule in read] == ["NormaliseWindow", "NormaliseZScore"]


def test_options_cannot_be_changed_once_checked():
    rule = PostprocessRule(rule="fill_holes")
    with pytest.raises(ValueError, match="frozen"):
        rule.label = "liver"


def test_every_options_model_forbids_unknown_keys():
    models = [
        model
        for model in vars(config).values()
        if isinstance(model, type) and issubclass(model, Options)
    ]
    assert len(models) > 8
    for model in models:
        assert model.model_config["extra"] == "forbid", model
        assert model.model_config["frozen"] is True, model


def test_an_override_makes_its_way_without_changing_what_it_started_from():
    changed = with_changes("training.seed=7", "network.name=fcn8s", "network.options.width=0.5")
    assert changed["training"] == {"steps": 3, "seed": 7}
    assert changed["network"] == {"name": "fcn8s", "options": {"width": 0.5}}
    assert LEAST["training"] == {"steps": 3}
    assert "network" not in LEAST


@pytest.mark.parametrize(
    ("assignment", "problem"),
    [
        ("training.seed", "not an assignment"),
        ("=3", "not an assignment"),
        ("cohort.name=3", "'cohort' in 'cohort.name' has no keys"),
        ("patch=[1, 2", "'patch': .*is not YAML"),
    ],
)
def test_an_override_that_makes_no_sense_is_refused(assignment, problem):
    with pytest.raises(BadConfig, match=problem):
        with_changes(assignment)


FILES = {
    "missing": (None, "no such file"),
    "broken": ("a: [1, 2\nb: 3", "line 2 is not YAML"),
    "list": ("- a\n- b", "found list"),
    "empty": ("", "found NoneType"),
    "binary": (b"\xff\xfe\x00", "cannot be read"),
    "python tag": ("a: !!python/object/apply:os.getcwd []", "line 1 is not YAML"),
}


@pytest.mark.parametrize(("content", "problem"), FILES.values(), ids=FILES)
def test_a_file_that_is_no_mapping_is_refused_by_name(tmp_path, content, problem):
    path = tmp_path / "plan.yaml"
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(BadConfig, match=problem) as refusal:
        load_yaml(path)
    assert str(refusal.value).startswith(str(path))
    assert "\n" not in str(refusal.value)


def bomb(levels=9, width=10):
    lines = ["a0: &a0 [x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * width)}]" for n in range(1, levels)]
    return "\n".join(lines)


HOSTILE = {
    "a key twice": ("dims: 2\nname: x\ndims: 3\n", "'dims' occurs twice, on lines 1 and 3"),
    "a label twice": ("labels: {a: 1, a: 3}", "'a' occurs twice, on line 1"),
    "a key twice deep down": (
        "a:\n  - b:\n      c: 1\n      c: 2\n",
        "'c' occurs twice, on lines 3 and 4",
    ),
    "aliases that explode": (bomb(), "aliases stand for too many values"),
    "an alias of itself": ("a: &a [*a]", "stands for nothing yet"),
    "deep lists": ("a: " + "[" * 5000 + "]" * 5000, "nested too deeply"),
    "deep mappings": ("a: " + "{b: " * 3000 + "1" + "}" * 3000, "nested too deeply"),
    "a huge integer": ("a: " + "9" * 6000, "cannot be understood|too large"),
    "an integer of 70 bits": (f"a: {2**70}", "too large"),
    "an impossible date of a kind": ("a: !!timestamp 2024-13-77", "cannot be understood"),
    "eights": ("labels: {liver: 010}", "line 1: '010' is not the number that it looks like"),
    "sixties": ("a: 1\nlabels: {liver: 1:30}", "line 2: '1:30' is not the number"),
    "a list": ("- 1\n- 2", "not a mapping"),
    "a control character": ("a: \x01", "not YAML"),
    "a long text": ("a: " + "x" * 8_000_001, "too long"),
    "a longer one": ("a: " + "x" * 33_000_000, "bytes are more than such a file can have"),
    "values without end": ("a: [" + "1," * 300_001 + "]", "too many values"),
    "lists without end": ("a: [" + "[]," * 300_001 + "]", "too many values"),
    "a truth that is none": ("a: !!bool x", "cannot be understood"),
    "a program": ("a: !!python/object/apply:os.system [ls]", "not YAML|cannot be understood"),
    "merges that explode": (
        "a0: &a0 {x: 1}\n"
        + "".join(f"a{n}: &a{n} {{<<: [*a{n - 1}, *a{n - 1}]}}\n" for n in range(1, 30)),
        "aliases stand for too many values",
    ),
    "two merges": ("a: {<<: {x: 1}, <<: {x: 2}}", "'<<' occurs twice"),
    "a merge with no mapping": ("a: {<<: 1}", "not YAML|cannot be understood"),
}


@pytest.mark.parametrize(("text", "problem"), HOSTILE.values(), ids=HOSTILE)
def test_hostile_yaml_is_refused_in_one_line(tmp_path, text, problem):
    path = tmp_path / "c.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(BadConfig, match=problem) as refused:
        load_yaml(path)
    assert "\n" not in str(refused.value) and len(str(refused.value)) < 400


def test_dates_stay_text_and_aliases_within_reason_work(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text("day: 2024-02-31\nbase: &b {x: 1, y: 2}\nmore: {<<: *b, y: 3}\n")
    assert load_yaml(path) == {
        "day": "2024-02-31",
        "base": {"x": 1, "y": 2},
        "more": {"x": 1, "y": 3},
    }
