"""A file of the wrong kind is refused by what it is, before any work, in one line."""

import itertools

import pytest
from typer.testing import CliRunner

from medseg.cli.app import app
from medseg.config.kinds import Kind, kind_of
from medseg.writers import write_volume
from tests.batch import stub

pytestmark = pytest.mark.usefixtures("forked_workers")

#: Content of a file, or of a folder by the names of its files.
CONTENT = {
    Kind.CARD: "name: x\nlabels: {liver: 1}\ntable: x.csv\nchannels: [CT]\n",
    Kind.CONFIG: "cohort: x.yaml\ndims: 3\n",
    Kind.MODEL_CARD: "format: medseg-model-1\nweights: {}\nlabels: {liver: 1}\n",
    Kind.LABELS: "labels: {liver: 1}\n",
    Kind.RECORD: "models: []\n",
    Kind.COHORT_TABLE: "case,patient,split,fold,image,label\n",
    Kind.CASES: "case,status,reason,source,warnings,seconds\n",
    Kind.SCANS: "case;status;reason;source;warnings;modality\n",
    Kind.SCORES: "case,patient,label,metric,value,unit,note\n",
    Kind.TABLE: "a,b\n",
}
FOLDERS = {
    Kind.MODEL: ["model.yaml"],
    Kind.RUN: ["model/model.yaml"],
    Kind.MASKS: ["run.yaml", "labels.yaml", "cases.csv"],
    Kind.EVALUATION: ["scores.csv", "cases.csv"],
    Kind.VOLUMES: ["scans.csv"],
    Kind.FOREIGN: ["plans.json", "dataset.json"],
    Kind.FOLDER: ["notes.txt"],
}


def place_of(kind, folder):
    """A file or folder of a kind."""
    place = folder / kind.name.lower()
    if kind in FOLDERS:
        for name in FOLDERS[kind]:
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            (place / name).write_text("format: x\n")
        return place
    if kind is Kind.SCAN:
        write_volume(stub.scan(0), place.with_suffix(".nii.gz"))
        return place.with_suffix(".nii.gz")
    endings = {Kind.ARCHIVE: ".zip", Kind.PAGE: ".html"}
    tables = (Kind.COHORT_TABLE, Kind.CASES, Kind.SCANS, Kind.SCORES, Kind.TABLE)
    path = place.with_suffix(endings.get(kind, ".csv" if kind in tables else ".yaml"))
    path.write_text(CONTENT.get(kind, "…"), encoding="utf-8")
    return path


@pytest.mark.parametrize("kind", Kind, ids=lambda kind: kind.name)
def test_every_kind_is_known(tmp_path, kind):
    assert kind_of(place_of(kind, tmp_path)) is kind


def test_what_is_no_kind_has_none(tmp_path):
    (tmp_path / "notes.txt").write_text("hello")
    (tmp_path / "broken.yaml").write_text("a: [1, 2\n")
    for name in ("notes.txt", "broken.yaml", "nothing", "x" * 300):
        assert kind_of(tmp_path / name) is None


#: Verbs that want a card or a config, and the words in front of it and behind.
VERBS = {
    "train": (Kind.CONFIG, ["train"], ["-o", "OUT"]),
    "preview": (Kind.CONFIG, ["preview"], ["-o", "OUT"]),
    "plan --against": (Kind.CONFIG, ["plan", "card.yaml", "--against"], ["-o", "OUT.yaml"]),
    "plan": (Kind.CARD, ["plan"], ["-o", "OUT.yaml"]),
    "cohort check": (Kind.CARD, ["cohort", "check"], []),
    "cohort show": (Kind.CARD, ["cohort", "show"], []),
    "cohort split": (Kind.CARD, ["cohort", "split"], []),
    "cohort add": (Kind.CARD, ["cohort", "add"], ["--from", "masks"]),
    "cohort next": (Kind.CARD, ["cohort", "next"], ["--from", "masks"]),
}

#: Verbs that want masks: the same, and what no folder of masks is.
MASKS = {
    "status": (["status"], []),
    "review": (["review"], []),
    "evaluate": (["evaluate"], ["labels", "-o", "OUT"]),
}
NO_MASKS = [Kind.CARD, Kind.CONFIG, Kind.MODEL, Kind.COHORT_TABLE, Kind.SCORES, Kind.PAGE]


@pytest.mark.parametrize(("verb", "kind"), list(itertools.product(MASKS, NO_MASKS)))
def test_what_are_no_masks_is_refused_by_its_name(tmp_path, monkeypatch, verb, kind):
    monkeypatch.chdir(tmp_path)
    before, behind = MASKS[verb]
    ended = CliRunner().invoke(app, [*before, place_of(kind, tmp_path).name, *behind])
    assert ended.exit_code == 2, ended.output
    assert f"this is {kind}, not {Kind.MASKS}" in ended.output


@pytest.mark.parametrize(
    ("verb", "kind"),
    [(verb, kind) for verb, kind in itertools.product(VERBS, Kind) if VERBS[verb][0] is not kind],
)
def test_the_wrong_kind_is_refused_by_its_name(tmp_path, monkeypatch, verb, kind):
    monkeypatch.chdir(tmp_path)
    wanted, before, behind = VERBS[verb]
    path = place_of(kind, tmp_path).name
    ended = CliRunner().invoke(app, [*before, path, *behind])
    assert ended.exit_code == 2, ended.output
    assert f"this is {kind}, not {wanted}" in ended.output
    assert not (tmp_path / "OUT").exists()
    assert not (tmp_path / "OUT.yaml").exists()


#: Verbs that want something else: which, the words in front of it and behind, what is refused.
OTHERS = {
    "compare": (Kind.EVALUATION, ["compare"], ["evaluation", "-o", "OUT"]),
    "compare, the second": (Kind.EVALUATION, ["compare", "evaluation"], ["-o", "OUT"]),
    "export": (Kind.MODEL, ["export", "--to", "bundle"], ["-o", "OUT"]),
    "train --init": (Kind.MODEL, ["train", "config.yaml", "--init"], ["-o", "OUT"]),
    "import-model": (Kind.FOREIGN, ["import-model", "nnunet"], ["-o", "OUT"]),
    "cohort add --from": (Kind.MASKS, ["cohort", "add", "card.yaml", "--from"], []),
    "cohort next --from": (Kind.MASKS, ["cohort", "next", "card.yaml", "--from"], []),
}
NEITHER = [Kind.CARD, Kind.COHORT_TABLE, Kind.SCAN, Kind.PAGE, Kind.RUN, Kind.SCORES]


@pytest.fixture(scope="module")
def around(tmp_path_factory):
    """What the verbs are given besides."""
    folder = tmp_path_factory.mktemp("around")
    write_volume(stub.scan(0), folder / "a.nii.gz")
    (folder / "card.csv").write_text("case,patient,split,fold,image,label\na,p,train,0,a.nii.gz,\n")
    (folder / "card.yaml").write_text(CONTENT[Kind.CARD].replace("x.csv", "card.csv"))
    (folder / "config.yaml").write_text(
        "cohort: card.yaml\ndims: 3\npatch: [8, 8, 8]\ntraining: {steps: 1}\n"
    )
    (folder / "evaluation").mkdir()
    (folder / "evaluation/scores.csv").write_text(CONTENT[Kind.SCORES])
    return folder


@pytest.mark.parametrize(("verb", "kind"), list(itertools.product(OTHERS, NEITHER)))
def test_a_refused_place_leaves_nothing(tmp_path, monkeypatch, around, verb, kind):
    monkeypatch.chdir(around)
    before = sorted(around.rglob("*"))
    wanted, words, behind = OTHERS[verb]
    ended = CliRunner().invoke(app, [*words, str(place_of(kind, tmp_path)), *behind])
    assert ended.exit_code == 2, ended.output
    assert f"this is {kind}, not {wanted}" in ended.output
    assert sorted(around.rglob("*")) == before


def test_a_model_of_another_architecture_is_refused_before_any_case_is_prepared(
    tmp_path, monkeypatch, around
):
    monkeypatch.chdir(around)
    model = stub.small_model(tmp_path / "model")
    words = ["train", "config.yaml", "--init", str(model), "--output", str(tmp_path / "a/b/run")]
    ended = CliRunner().invoke(app, words)
    assert ended.exit_code == 1
    assert "another architecture" in ended.output
    assert not (tmp_path / "a").exists()


NO_SCANS = [Kind.COHORT_TABLE, Kind.SCORES, Kind.CONFIG, Kind.LABELS, Kind.MODEL_CARD, Kind.PAGE]


@pytest.mark.parametrize("kind", NO_SCANS, ids=lambda kind: kind.name)
def test_what_holds_no_scans_is_not_searched_for_them(tmp_path, kind):
    path = place_of(kind, tmp_path)
    ended = CliRunner().invoke(app, ["convert", str(path), "-o", str(tmp_path / "out")])
    assert ended.exit_code == 2
    assert f"this is {kind}, not a scan" in ended.output
    assert not (tmp_path / "out").exists()


def test_a_call_without_a_model_says_what_was_given(tmp_path):
    card, scan = place_of(Kind.CARD, tmp_path), place_of(Kind.SCAN, tmp_path)
    ended = CliRunner().invoke(app, ["segment", str(card), str(scan), "-o", str(tmp_path / "o")])
    assert ended.exit_code == 2
    assert "card.yaml (a cohort's card)" in ended.output


def test_what_an_option_names_is_looked_at_before_any_work(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    labels = place_of(Kind.FOLDER, tmp_path)
    write_volume(stub.scan(0), labels / "a.nii.gz")
    call = ["evaluate", str(labels), str(labels), "--labels", "liver=1", "-o", "OUT"]
    for words in (["--curves", "nothing.csv"], ["--split", "val"]):
        ended = CliRunner().invoke(app, [*call, *words])
        assert ended.exit_code in (1, 2), ended.output
        assert not (tmp_path / "OUT").exists()
    ended = CliRunner().invoke(app, ["networks", "unet", "--output", "OUT"])
    assert ended.exit_code == 2
    assert "--figure" in ended.output
