"""A selection leaves the right cases, and wrong cards and tables are refused."""

import unicodedata

import pytest

from medseg.errors import BadCohort, BadConfig
from medseg.manifests import load_cohort, write_cohort
from tests.manifests.small import CARD, TABLE, write_card


@pytest.fixture
def cohort(tmp_path):
    return load_cohort(write_card(tmp_path))


def names(cohort):
    return [case.case for case in cohort.cases]


def test_a_cohort_is_read(cohort, tmp_path):
    assert (cohort.name, cohort.modality, cohort.channels) == ("small", "MR", ("T1",))
    assert cohort.labels.names == ("head", "tail") and cohort.folds == (0, 1)
    first = cohort.cases[0]
    assert first.images == {"T1": tmp_path / "images/a1.nii.gz"}
    assert first.label == tmp_path / "labels/a1.nii.gz"
    assert first.covariates == {"sex": "F", "age": "61"}
    assert cohort.patients == ("ann", "bob", "cy")


def test_selections(cohort):
    assert names(cohort.select(split="test")) == ["c1"]
    assert names(cohort.select(split="train", fold=0)) == ["a1", "a2"]
    assert names(cohort.select(not_fold=0)) == ["b1"]
    assert names(cohort.select()) == ["a1", "a2", "b1", "c1"]
    assert cohort.case("b1").patient == "bob"


def test_an_empty_selection_is_refused_with_what_there_is(cohort):
    with pytest.raises(BadCohort, match=r"no case of split train, fold 7; found 4 cases.*\[0, 1\]"):
        cohort.select(split="train", fold=7)
    with pytest.raises(BadCohort, match="no such split; found 'val', expected train or test"):
        cohort.select(split="val")
    with pytest.raises(BadCohort, match="no case of that name"):
        cohort.case("z")


def test_only_labelled_cases(tmp_path):
    table = TABLE.replace("labels/b1.nii.gz", "")
    cohort = load_cohort(write_card(tmp_path, table=table))
    assert names(cohort.labelled()) == ["a1", "a2", "c1"]


def test_root_comes_from_the_card_or_from_the_call(tmp_path):
    card = write_card(tmp_path / "cards", card=CARD.replace("root: .", "root: ../scans"))
    image = load_cohort(card).cases[0].images["T1"]
    assert image.resolve() == tmp_path / "scans/images/a1.nii.gz"
    (tmp_path / "else").mkdir()
    moved = load_cohort(card, root=tmp_path / "else")
    assert moved.cases[0].images["T1"] == tmp_path / "else/images/a1.nii.gz"
    with pytest.raises(BadCohort, match="the root is not a folder"):
        load_cohort(card, root=tmp_path / "nowhere")


EXCEL = {
    "byte-order mark": (TABLE, "utf-8-sig"),
    "semicolons": (TABLE.replace(",", ";"), "utf-8-sig"),
    "tabs": (TABLE.replace(",", "\t"), "utf-8"),
    "carriage returns": (TABLE.replace("\n", "\r\n"), "utf-8"),
    "blank last rows": (TABLE + ",,,,,,,\n\n", "utf-8"),
    "folds as floats": (TABLE.replace("train,0,", "train,0.0,"), "utf-8"),
    "spaces": (TABLE.replace(",train,", " , train ,"), "utf-8"),
    "backslashes": (TABLE.replace("images/", "images\\"), "utf-8"),
}


@pytest.mark.parametrize(("table", "encoding"), EXCEL.values(), ids=EXCEL)
def test_tables_from_spreadsheets_mean_the_same(tmp_path, table, encoding, cohort):
    other = load_cohort(write_card(tmp_path, table=table, encoding=encoding))
    assert other.cases == cohort.cases


def test_long_labels_regions_remap_and_ignore(tmp_path):
    card = CARD.replace(
        "labels: {head: 1, tail: 2}",
        """
labels:
  left head: {value: 1, colour: "#112233", code: [SCT, "1", Head]}
  right head: {value: 2}
ignore: 255
regions: {whole: [1, 2], core: [2]}
mirror_pairs: [[left head, right head]]
remap: {7: 1, 9: 255}
""",
    )
    cohort = load_cohort(write_card(tmp_path, card=card))
    assert cohort.labels.ignore == 255 and cohort.remap == {7: 1, 9: 255}
    assert [region.name for region in cohort.labels.regions] == ["whole", "core"]
    assert cohort.labels.mirror_pairs == (("left head", "right head"),)
    again = load_cohort(write_cohort(cohort, tmp_path / "again.yaml"))
    assert again.labels == cohort.labels and again.remap == cohort.remap
    assert again.cases == cohort.cases


def test_an_empty_key_is_an_absent_key(tmp_path):
    cohort = load_cohort(write_card(tmp_path, card=CARD + "citation:\nremap:\nregions:\n"))
    assert cohort.citation == "" and cohort.remap == {} and cohort.labels.regions == ()


def test_what_is_written_reads_back(cohort, tmp_path):
    again = load_cohort(write_cohort(cohort, tmp_path / "copy.yaml"))
    assert again.cases == cohort.cases and again.licence == "CC0-1.0"
    below = load_cohort(write_cohort(cohort, tmp_path / "cards/deep/copy.yaml"))
    assert "root: ../.." in (tmp_path / "cards/deep/copy.yaml").read_text()
    assert [c.images["T1"].resolve() for c in below.cases] == [c.images["T1"] for c in cohort.cases]


def test_several_channels(tmp_path):
    card = CARD.replace("[T1]", "[T1, FLAIR]")
    table = "case,patient,split,image:FLAIR,image:T1\na,p,test,f.nii,t.nii\n"
    case = load_cohort(write_card(tmp_path, card=card, table=table)).cases[0]
    assert case.sources == (tmp_path / "t.nii", tmp_path / "f.nii"), "in the card's order"


def row(number, text, table=TABLE):
    lines = table.splitlines()
    lines[number - 1] = text
    return "\n".join(lines) + "\n"


BAD_TABLES = {
    "same case twice": (
        row(3, "A1,ann,train,0,i.nii,l.nii,F,1"),
        "rows 2 and 3 have the same case id; found 'A1'",
    ),
    "unsafe case": (
        row(2, "../a,ann,train,0,i.nii,l.nii,F,1"),
        "row 2: the case id is not safe as a file name; found '../a'",
    ),
    "patient in both splits": (
        row(5, "c1,bob,test,,i.nii,l.nii,M,1"),
        "one patient in two splits: rows 4 and 5; found fold 1 and test",
    ),
    "patient in two folds": (
        row(4, "b1,ann,train,1,i.nii,l.nii,M,1"),
        "one patient in two folds: rows 2 and 4; found fold 0 and fold 1",
    ),
    "wrong split": (
        row(4, "b1,bob,val,1,i.nii,l.nii,M,1"),
        "row 4: wrong split; found 'val', expected train or test",
    ),
    "fold no integer": (
        row(4, "b1,bob,train,1.5,i.nii,l.nii,M,1"),
        "row 4: the fold is not an integer; found '1.5'",
    ),
    "fold of a test row": (row(5, "c1,cy,test,0,i.nii,l.nii,M,1"), "row 5: a test row has a fold"),
    "train row without fold": (
        row(4, "b1,bob,train,,i.nii,l.nii,M,1"),
        "row 4 is a train row without a fold",
    ),
    "no patient": (row(2, "a1,,train,0,i.nii,l.nii,F,1"), "row 2: the patient is empty"),
    "no image": (row(2, "a1,ann,train,0,,l.nii,F,1"), "row 2: the cell 'image' is empty"),
    "cells missing": (row(3, "a2,ann,train"), "row 3 has another number of cells.*found 3.*8"),
    "no patient column": (
        TABLE.replace("patient", "person"),
        "the column 'patient' is missing; found case, person",
    ),
    "no image column": (TABLE.replace("image", "scan"), "the column 'image' is missing"),
    "column misspelt": (TABLE.replace("fold", "Fold"), "the column 'Fold' is not spelt"),
    "column twice": (TABLE.replace("age", "sex"), r"the same column occurs twice; found sex"),
    "channel unknown": (TABLE.replace("sex", "image:T2"), "'image:T2' belongs to no channel"),
    "bad checksum": (TABLE.replace("sex", "label_sha256"), "row 2: not a SHA-256.*found 'F'"),
    "no rows": (TABLE.splitlines()[0], "the table has no rows"),
    "nothing": ("", "the table has no rows"),
    "no CSV": ('case,"patient\n', "the table is not CSV"),
}


@pytest.mark.parametrize(("table", "said"), BAD_TABLES.values(), ids=BAD_TABLES)
def test_bad_tables_are_refused_with_their_row(tmp_path, table, said):
    with pytest.raises(BadCohort, match=said) as refusal:
        load_cohort(write_card(tmp_path, table=table))
    assert "\n" not in str(refusal.value)
    assert str(refusal.value).startswith(str(tmp_path / "small.csv"))


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8-sig", "cp1252"])
def test_a_table_is_read_in_the_encodings_of_spreadsheets(tmp_path, encoding):
    table = TABLE.replace("ann", "änn")
    cohort = load_cohort(write_card(tmp_path, table=table, encoding=encoding))
    assert "änn" in cohort.patients


def test_cells_that_a_spreadsheet_would_run_come_back_as_they_were(tmp_path):
    table = TABLE.replace(",F,61", ",=HYPERLINK(A1),61")
    cohort = load_cohort(write_card(tmp_path, table=table))
    written = write_cohort(cohort, tmp_path / "again" / "small.yaml")
    assert "'=HYPERLINK(A1)" in written.with_suffix(".csv").read_text()
    assert load_cohort(written).cases[0].covariates["sex"] == "=HYPERLINK(A1)"


BAD_CARDS = {
    "unknown key": (CARD + "license: x\n", "unknown key 'license'. Did you mean 'licence'?"),
    "key missing": (CARD.replace("table: small.csv\n", ""), "table: Field required"),
    "labels no mapping": (CARD.replace("{head: 1, tail: 2}", "[head, tail]"), "labels"),
    "label twice": (CARD.replace("tail: 2", "tail: 1"), "the same label value occurs twice"),
    "label no integer": (CARD.replace("tail: 2", "tail: two"), "'tail' is not an integer"),
    "code no list": (CARD.replace("head: 1", "head: {value: 1, code: 5}"), "an incomplete code"),
    "region of nothing": (CARD + "regions: {all: [1, 5]}\n", "labels that do not exist"),
    "remap to nothing": (CARD + "remap: {3: 4}\n", r"no label names; found \[4\]"),
    "channels empty": (CARD.replace("[T1]", "[]"), "channels"),
    "channel twice": (CARD.replace("[T1]", "[T1, T1]"), "the same channel occurs twice"),
    "no YAML": ("name: [", "line 2 is not YAML|is not YAML"),
    "a list": ("- a\n", "not a mapping"),
}


@pytest.mark.parametrize(("card", "said"), BAD_CARDS.values(), ids=BAD_CARDS)
def test_bad_cards_are_refused(tmp_path, card, said):
    with pytest.raises(BadCohort, match=said.replace("?", r"\?")) as refusal:
        load_cohort(write_card(tmp_path, card=card))
    assert "\n" not in str(refusal.value)
    assert str(refusal.value).startswith(str(tmp_path / "small.yaml"))


def test_what_is_no_card_is_refused(tmp_path):
    card = write_card(tmp_path)
    with pytest.raises(BadCohort, match=r"nothing.yaml: no such file"):
        load_cohort(tmp_path / "nothing.yaml")
    with pytest.raises(BadConfig, match="this is a cohort's table, not a cohort's card"):
        load_cohort(card.with_suffix(".csv"))
    with pytest.raises(BadConfig, match="this is a folder, not a cohort's card"):
        load_cohort(tmp_path)
    card.with_suffix(".csv").unlink()
    with pytest.raises(BadCohort, match="no such table"):
        load_cohort(card)


def test_a_path_is_found_in_whatever_form_the_table_writes_its_accents(tmp_path):
    stored, written = (unicodedata.normalize(form, "Bücher") for form in ("NFD", "NFC"))
    (tmp_path / stored).mkdir()
    (tmp_path / stored / "a1.nii.gz").touch()
    card = write_card(tmp_path, table=TABLE.replace("images/a1", f"{written}/a1"))
    assert load_cohort(card).cases[0].sources[0].exists()


def test_a_root_in_the_home_of_nobody_is_refused(tmp_path):
    card = write_card(tmp_path, card=CARD.replace("root: .", "root: ~nobody-here/data"))
    with pytest.raises(BadCohort, match="nobody-here"):
        load_cohort(card)
